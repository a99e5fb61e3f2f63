"""What a body must be, checked by hand, field by field.

Owns: these checks, and that all faults are named at once. Must not know: what is done with a body that passed.
"""

from __future__ import annotations

import math
from typing import Any

from camera_data.definition import FIELDS, fault_of, shown
from legacy_backend.rows import ApiError

METRICS = ("error_rate", "fps", "latency_ms", "offline_s")
OPERATORS = (">", ">=", "<", "<=")
SEVERITIES = ("info", "warning", "critical")
RULE_FIELDS = ("name", "camera_id", "metric", "operator", "threshold", "for_s", "severity", "enabled")
MAX_BATCH = 200


def bad(faults: list[str]) -> ApiError:
    return ApiError(400, "bad_request", "; ".join(faults))


def unknown_in(body: dict[str, Any], known: tuple[str, ...]) -> list[str]:
    return [f"{shown(name)} is not a field here" for name in body if name not in known]


def check_empty(body: dict[str, Any]) -> None:
    faults = unknown_in(body, ())
    if faults:
        raise bad(faults)


def check_camera(body: dict[str, Any], camera_id: str | None = None) -> None:
    """`camera_id` from the path of a PUT; a body may repeat it."""
    required = ("id", "name", "source") if camera_id is None else ("name", "source")
    faults = unknown_in(body, FIELDS)
    for name in required:
        if name not in body:
            faults.append(f"{name} is missing")
    for name in FIELDS:
        if name in body:
            fault = fault_of(name, body[name])
            if fault:
                faults.append(f"{name} {fault}")
            elif name == "id" and camera_id is not None and body["id"] != camera_id:
                faults.append(f"id can't be changed: it is {camera_id!r} in the path")
    if faults:
        raise bad(faults)


def check_auto_start(body: dict[str, Any]) -> None:
    faults = unknown_in(body, ("enabled",))
    if "enabled" not in body:
        faults.append("enabled is missing")
    elif not isinstance(body["enabled"], bool):
        faults.append(f"enabled must be true or false, not {shown(body['enabled'])}")
    if faults:
        raise bad(faults)


def check_batch(body: dict[str, Any]) -> None:
    faults = unknown_in(body, ("camera_ids",))
    ids = body.get("camera_ids")
    if "camera_ids" not in body:
        faults.append("camera_ids is missing")
    elif not isinstance(ids, list):
        faults.append("camera_ids must be a list of ids")
    elif len(ids) > MAX_BATCH:
        faults.append(f"camera_ids has {len(ids)} ids, and {MAX_BATCH} is the limit")
    else:
        for position, camera_id in enumerate(ids):
            if not isinstance(camera_id, str):
                faults.append(f"camera_ids[{position}] must be text, not {shown(camera_id)}")
    if faults:
        raise bad(faults)


def check_rule(body: dict[str, Any]) -> dict[str, Any]:
    """The rule with what was left out filled in."""
    rule = {"camera_id": None, "for_s": 0, "severity": "warning", "enabled": True, **body}
    faults = unknown_in(body, RULE_FIELDS)
    for name in ("name", "metric", "operator", "threshold"):
        if name not in body:
            faults.append(f"{name} is missing")
    name = rule.get("name", "-")
    if not isinstance(name, str) or not name.strip() or len(name) > 100:
        faults.append(f"name must be text of 1 to 100 characters, not {shown(name)}")
    if rule["camera_id"] is not None and not isinstance(rule["camera_id"], str):
        faults.append(f"camera_id must be the id of a camera, or null for all, not {shown(rule['camera_id'])}")
    for field, values in (("metric", METRICS), ("operator", OPERATORS), ("severity", SEVERITIES)):
        if field in rule and rule[field] not in values:
            faults.append(f"{field} must be one of {', '.join(values)}, not {shown(rule[field])}")
    threshold = rule.get("threshold", 0)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not abs(threshold) <= 1e15:
        faults.append(f"threshold must be a number up to 1e15, not {shown(threshold)}")
    elif math.isnan(threshold):
        faults.append("threshold must be a number")
    for_s = rule["for_s"]
    if isinstance(for_s, bool) or not isinstance(for_s, int) or not 0 <= for_s <= 86400:
        faults.append(f"for_s must be a whole number of seconds from 0 to 86400, not {shown(for_s)}")
    if not isinstance(rule["enabled"], bool):
        faults.append(f"enabled must be true or false, not {shown(rule['enabled'])}")
    if faults:
        raise bad(faults)
    rule["threshold"] = float(threshold)
    return rule


def check_page(query: Any) -> tuple[int, int]:
    faults = []
    page = {"limit": 50, "offset": 0}
    for name, low, high in (("limit", 1, 500), ("offset", 0, 1_000_000)):
        text = query.get(name)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= 7 and low <= int(text) <= high):
            faults.append(f"{name} must be a whole number from {low} to {high}, not {shown(text)}")
        else:
            page[name] = int(text)
    if faults:
        raise bad(faults)
    return page["limit"], page["offset"]
