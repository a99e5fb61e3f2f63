"""The handlers of alert rules.

Owns: what a rule is and how it is kept. Must not know: cameras beyond "is there one of this id".
"""

from __future__ import annotations

import re
import sqlite3

from aiohttp import web

from camera_data.camera_file import Definitions
from camera_data.database import timestamp
from camera_data.wire import object_of
from legacy_backend.checks import bad, check_rule
from legacy_backend.rows import GROUND, ApiError, Row


def document(row: sqlite3.Row) -> Row:
    rule = dict(row)
    return {"id": f"rule-{rule.pop('number')}", **rule, "enabled": bool(row["enabled"])}


async def list_rules(request: web.Request) -> web.Response:
    ground = request.app[GROUND]

    def work() -> list[Row]:
        with ground.database.reading() as sql:
            return [document(row) for row in sql.execute("SELECT * FROM alert_rules ORDER BY number")]

    rules = await ground.threads.read(work)
    return web.json_response({"rules": rules, "total": len(rules)})


async def create(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    rule = check_rule(object_of(await request.read()))

    def work() -> Row:
        with ground.camera_file.locked() as file, ground.database.writing() as sql:
            check_references(sql, file.cameras, rule, None)
            now = timestamp(ground.now())
            cursor = sql.execute(
                "INSERT INTO alert_rules"
                " (name, camera_id, metric, operator, threshold, for_s, severity, enabled, created_at, updated_at)"
                " VALUES (:name, :camera_id, :metric, :operator, :threshold, :for_s, :severity, :enabled, :now, :now)",
                {**rule, "now": now},
            )
            return document(sql.execute("SELECT * FROM alert_rules WHERE number = ?", (cursor.lastrowid,)).fetchone())

    made = await ground.threads.change(work)
    return web.json_response(made, status=201, headers={"Location": f"/api/v1/alerts/rules/{made['id']}"})


async def update(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    rule_id = request.match_info["rule_id"]
    rule = check_rule(object_of(await request.read()))

    def work() -> Row:
        with ground.camera_file.locked() as file, ground.database.writing() as sql:
            match = re.fullmatch(r"rule-([1-9][0-9]{0,17})", rule_id)
            number = int(match[1]) if match else 0
            if not sql.execute("SELECT 1 FROM alert_rules WHERE number = ?", (number,)).fetchone():
                raise ApiError(404, "not_found", f"there is no alert rule {rule_id!r}")
            check_references(sql, file.cameras, rule, number)
            sql.execute(
                "UPDATE alert_rules SET name = :name, camera_id = :camera_id, metric = :metric, operator = :operator,"
                " threshold = :threshold, for_s = :for_s, severity = :severity, enabled = :enabled, updated_at = :now"
                " WHERE number = :number",
                {**rule, "now": timestamp(ground.now()), "number": number},
            )
            return document(sql.execute("SELECT * FROM alert_rules WHERE number = ?", (number,)).fetchone())

    return web.json_response(await ground.threads.change(work))


def check_references(sql: sqlite3.Connection, cameras: Definitions, rule: Row, number: int | None) -> None:
    if rule["camera_id"] is not None and rule["camera_id"] not in cameras:
        raise bad([f"camera_id: there is no camera {rule['camera_id']!r}"])
    row = sql.execute("SELECT number FROM alert_rules WHERE name = ?", (rule["name"],)).fetchone()
    if row and row["number"] != number:
        raise ApiError(409, "duplicate", f"rule-{row['number']} has the name {rule['name']!r} already")
