"""The pictures of docs/monitoring.md, made again: `python -m tools.pictures`."""
