"""The data plane: takes requests from clients, relays them to the backend an immutable snapshot names."""
