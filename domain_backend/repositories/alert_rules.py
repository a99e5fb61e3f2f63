"""Alert rules, as rows.

Owns: their SQL. Must not know: which rules make sense.
"""

from __future__ import annotations

import re
import sqlite3
from datetime import datetime
from typing import Any

from camera_data.database import timestamp
from domain_backend.entities.alert_rule import AlertRule, Metric, Operator, RuleTerms, Severity
from domain_backend.entities.refusals import NotFound

_ID = re.compile(r"rule-([1-9][0-9]{0,17})")


class AlertRuleRepository:
    """The rules within one transaction."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql

    def all(self) -> list[AlertRule]:
        """The oldest first."""
        return [_rule(row) for row in self._sql.execute("SELECT * FROM alert_rules ORDER BY number")]

    def get(self, rule_id: str) -> AlertRule:
        """Raises NotFound."""
        match = _ID.fullmatch(rule_id)
        row = match and self._sql.execute("SELECT * FROM alert_rules WHERE number = ?", (int(match[1]),)).fetchone()
        if not row:
            raise NotFound(f"there is no alert rule {rule_id!r}")
        return _rule(row)

    def named(self, name: str) -> AlertRule | None:
        """Names are unique."""
        row = self._sql.execute("SELECT * FROM alert_rules WHERE name = ?", (name,)).fetchone()
        return _rule(row) if row else None

    def add(self, terms: RuleTerms, at: datetime) -> AlertRule:
        """A new rule with the next number."""
        cursor = self._sql.execute(
            "INSERT INTO alert_rules"
            " (name, camera_id, metric, operator, threshold, for_s, severity, enabled, created_at, updated_at)"
            " VALUES (:name, :camera_id, :metric, :operator, :threshold, :for_s, :severity, :enabled, :at, :at)",
            _columns(terms, at),
        )
        return self.get(f"rule-{cursor.lastrowid}")

    def replace(self, rule: AlertRule, terms: RuleTerms, at: datetime) -> AlertRule:
        """The same rule with other terms."""
        self._sql.execute(
            "UPDATE alert_rules SET name = :name, camera_id = :camera_id, metric = :metric, operator = :operator,"
            " threshold = :threshold, for_s = :for_s, severity = :severity, enabled = :enabled, updated_at = :at"
            " WHERE number = :number",
            {**_columns(terms, at), "number": rule.number},
        )
        return self.get(rule.id)

    def disable_those_of(self, camera_id: str, at: datetime) -> None:
        """Their camera is gone; the rules are somebody's work and stay."""
        self._sql.execute(
            "UPDATE alert_rules SET enabled = 0, updated_at = ? WHERE camera_id = ? AND enabled = 1",
            (timestamp(at), camera_id),
        )


def _columns(terms: RuleTerms, at: datetime) -> dict[str, Any]:
    return {name: getattr(terms, name) for name in RuleTerms.__slots__} | {"at": timestamp(at)}


def _rule(row: sqlite3.Row) -> AlertRule:
    terms = RuleTerms(
        name=row["name"],
        camera_id=row["camera_id"],
        metric=Metric(row["metric"]),
        operator=Operator(row["operator"]),
        threshold=row["threshold"],
        for_s=row["for_s"],
        severity=Severity(row["severity"]),
        enabled=bool(row["enabled"]),
    )
    created_at, updated_at = datetime.fromisoformat(row["created_at"]), datetime.fromisoformat(row["updated_at"])
    return AlertRule(row["number"], terms, created_at, updated_at)
