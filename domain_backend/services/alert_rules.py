"""AlertRuleService: the alert rules.

Owns: that names are unique, and that a rule is about a camera there is. Must not know: who evaluates rules.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from domain_backend.entities.alert_rule import AlertRule, RuleTerms
from domain_backend.entities.refusals import Duplicate, InvalidRule
from domain_backend.repositories.store import Edit, Store


class AlertRuleService:
    """List, create, replace."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def all(self) -> list[AlertRule]:
        """The oldest first."""
        with self._store.reading() as view:
            return view.rules.all()

    def create(self, terms: RuleTerms) -> AlertRule:
        """Raises InvalidRule, Duplicate."""
        with self._store.changing() as edit:
            self._check(edit, terms, None)
            return edit.rules.add(terms, self._now())

    def replace(self, rule_id: str, terms: RuleTerms) -> AlertRule:
        """Raises NotFound, InvalidRule, Duplicate."""
        with self._store.changing() as edit:
            rule = edit.rules.get(rule_id)
            self._check(edit, terms, rule)
            return edit.rules.replace(rule, terms, self._now())

    def _check(self, edit: Edit, terms: RuleTerms, itself: AlertRule | None) -> None:
        if terms.camera_id is not None and terms.camera_id not in edit.cameras:
            raise InvalidRule(f"camera_id: there is no camera {terms.camera_id!r}")
        other = edit.rules.named(terms.name)
        if other and (itself is None or other.number != itself.number):
            raise Duplicate(f"{other.id} has the name {terms.name!r} already")
