"""How fast a rollback is, and whether it holds: measured at the backends, under load."""
