"""What a developer or operator starts from the checkout; nothing here is installed or imported by the services."""
