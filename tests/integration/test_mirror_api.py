"""GET /api/v1/rollout/mirror: order, limits, what is told while nothing is copied, who may ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitter.compare import Context, Difference, Differences, Kind, Mask, Tally
from tests.integration.operators import CONFIG, operators

MIRRORED = f"{CONFIG}\nmirror: {{percent: 10}}"


def a_tally() -> Tally:
    """One place that really differs, one that is noise, one endpoint that is alike."""
    tally = Tally(1_700_000_000.0)
    port = Difference("$.port", Kind.TYPE, 554, "554", ("port",))
    now, token = (
        Difference("$.now", Kind.VALUE, 1, 2, ("now",)),
        Difference("$.token", Kind.VALUE, "s3cret", "x", ("token",)),
    )
    for number in range(4):
        context = Context("/cameras?token=s3cret", f"id-{number}", 1_700_000_000.5 + number)
        outcome = tally.report.record("GET /cameras", Differences((port, now)), Differences((now,)), context, Mask())
        tally.outcomes[outcome] += 1
    tally.outcomes[tally.report.record("GET /health", Differences(), None, context, Mask())] += 1
    tally.outcomes[tally.report.record("GET /me", Differences((token,)), None, context, Mask())] += 1
    return tally


async def test_what_was_found_in_order(tmp_path: Path) -> None:
    async with operators(tmp_path, MIRRORED) as ops:
        ops.plane.mirrored = a_tally()
        status, body, headers = await ops.ask("GET", "/mirror")
        assert (status, headers["cache-control"]) == (200, "no-store")
        assert [(place["endpoint"], place["path"], place["verdict"]) for place in body["places"]] == [
            ("GET /cameras", "$.port", "mismatch"),
            ("GET /me", "$.token", "mismatch"),
            ("GET /cameras", "$.now", "noise"),
        ]
        assert {key: body[key] for key in ("percent", "to", "copying", "off_because", "since", "verdict", "compared")} == {
            "percent": 10, "to": "domain", "copying": True, "off_because": None, "since": "2023-11-14T22:13:20.000Z",
            "verdict": "mismatch", "compared": 6,
        }  # fmt: skip
        assert (body["mismatches"], body["noise"]) == (2, 1)
        assert [(each["endpoint"], each["mismatches"], each["noise"]) for each in body["endpoints"]] == [
            ("GET /cameras", 1, 1), ("GET /me", 1, 0), ("GET /health", 0, 0),
        ]  # fmt: skip
        port = body["places"][0]
        assert (port["last_at"], port["noisy"], port["asked_twice"]) == ("2023-11-14T22:13:23.500Z", 0, 4)
        sample = {"request": "/cameras?token=***", "where": "$.port", "legacy": "554", "domain": '"554"'}
        assert sample.items() <= port["samples"][0].items()
        assert body["places"][1]["samples"][0]["legacy"] == "*** (string)"
        assert "s3cret" not in str(body)


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("?limit=1", ["$.port"]),
        ("?endpoint=GET%20/me", ["$.token"]),
        ("?endpoint=GET%20/cameras&limit=1", ["$.port"]),
        ("?endpoint=GET%20/nowhere", []),
    ],
)
async def test_less_of_it(tmp_path: Path, query: str, paths: list[str]) -> None:
    async with operators(tmp_path, MIRRORED) as ops:
        ops.plane.mirrored = a_tally()
        _, body, _ = await ops.ask("GET", f"/mirror{query}")
        assert [place["path"] for place in body["places"]] == paths
        assert (body["mismatches"], body["noise"], body["compared"]) == (2, 1, 6), "of all of it"


@pytest.mark.parametrize("limit", ["0", "2001", "-1", "x", "1.5", ""])
async def test_a_limit_that_is_none(tmp_path: Path, limit: str) -> None:
    async with operators(tmp_path, MIRRORED) as ops:
        status, body, _ = await ops.ask("GET", f"/mirror?limit={limit}")
        assert (status, body["error"]["code"]) == (422, "invalid")


async def test_nothing_yet_and_why(tmp_path: Path) -> None:
    async with operators(tmp_path) as ops:
        _, body, _ = await ops.ask("GET", "/mirror/")
        assert (body["verdict"], body["since"], body["places"], body["endpoints"]) == ("no_data", None, [], [])
        assert (body["copying"], body["off_because"]) == (False, "mirror.percent is 0")
    async with operators(tmp_path, MIRRORED) as ops:
        await ops.ask("POST", "/rollback", {})
        _, body, _ = await ops.ask("GET", "/mirror")
        assert (body["copying"], body["off_because"]) == (False, "rolled back")
        _, status, _ = await ops.ask("GET")
        assert status["mirror"] == {"percent": 10, "to": "domain", "copying": False}


async def test_the_gate_stands_before_it(tmp_path: Path) -> None:
    async with operators(tmp_path, MIRRORED) as ops:
        assert (await ops.ask("GET", "/mirror", Host="evil.example"))[0] == 421
        assert (await ops.ask("GET", "/mirror", Origin="http://evil.example"))[0] == 403
        assert (await ops.ask("POST", "/mirror", {}))[0] == 405
