"""A JSON document made different on purpose: what a rewrite gets wrong, for trying out whether anybody notices.

Owns: these changes. Must not know: requests, who wants them.
Invariant: a document without the field in it stays as it is, in every byte of its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Change = Callable[[str, Any], tuple[str, Any]]
"""From a field's name and value to what stands in its place."""


def renamed(document: Any, field: str, name: str) -> Any:
    """Every field of that name has another one, in the same place."""
    return _changed(document, lambda key, value: (name if key == field else key, value))


def as_text(document: Any, field: str) -> Any:
    """Numbers in fields of that name are texts."""

    def change(key: str, value: Any) -> tuple[str, Any]:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return key, str(value) if key == field and is_number else value

    return _changed(document, change)


def in_other_order(document: Any, field: str) -> Any:
    """Lists in fields of that name run backwards."""
    return _changed(document, lambda key, value: (key, value[::-1] if key == field and isinstance(value, list) else value))


def _changed(document: Any, change: Change) -> Any:
    if isinstance(document, list):
        return [_changed(item, change) for item in document]
    if isinstance(document, dict):
        pairs = (change(key, value) for key, value in document.items())
        return {key: _changed(value, change) for key, value in pairs}
    return document
