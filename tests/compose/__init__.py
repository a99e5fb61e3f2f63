"""The compose file, on a real engine. `make test-compose` runs these; `make test` leaves them out."""
