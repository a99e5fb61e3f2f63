"""The Grafana dashboards, made from code: `python -m tools.dashboards`."""
