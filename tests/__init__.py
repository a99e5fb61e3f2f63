"""The tests, one directory for each kind (ARCHITECTURE.md says which)."""
