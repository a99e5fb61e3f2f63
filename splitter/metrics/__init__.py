"""The metrics a scraper sees: one table of names (`table`, made of `families`), filled from plain totals (`reading`),
written as text (`exposition`)."""

from splitter.metrics.exposition import Form, form_for, render
from splitter.metrics.reading import GuardrailReading, Reading
from splitter.metrics.table import FAMILIES

__all__ = ["FAMILIES", "Form", "GuardrailReading", "Reading", "form_for", "render"]
