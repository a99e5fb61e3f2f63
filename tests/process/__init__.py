"""Tests that start real processes: the splitter's own, and the tools that a person or CI starts."""
