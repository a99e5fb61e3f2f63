"""The control plane: decides what is in force, watches the backends, answers people and scrapers."""
