"""When each stage starts and ends: rows, text, JSON, calendar, and the command that prints them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result
from icalendar import Calendar

from splitter.cli import main
from splitter.config import Stage, parse
from splitter.timetable import as_calendar, as_json, as_text, timetable
from tools.ports import free_port

FILE = """
rollout:
  routes: [{name: control, path: /c, percent: 5}]
  plan:
    - {percent: 10, hold: 1d}
    - {percent: 25, hold: 36h, approve: true, routes: {control: 25}}
    - {percent: 50, approve: true, confirm: "http://127.0.0.1:9000/"}
    - {percent: 100, routes: {control: 100}}
"""
START = datetime(2026, 12, 1, 9, tzinfo=ZoneInfo("Europe/Berlin"))
MADE = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)


def plan() -> tuple[Stage, ...]:
    return parse(FILE, "f.yaml", {}).rollout.plan


def test_the_rows() -> None:
    rows = timetable(plan(), START)
    at = START.astimezone(UTC)
    assert [(row.stage, row.percent) for row in rows] == [(1, 10.0), (2, 25.0), (3, 50.0), (4, 100.0)]
    hours = [(row.starts - at, row.ends and row.ends - at) for row in rows]
    day = timedelta(days=1)
    assert hours == [(0 * day, day), (day, 2.5 * day), (2.5 * day, 2.5 * day), (2.5 * day, None)]
    assert [(row.approve, row.confirm) for row in rows] == [(False, False), (True, False), (True, True), (False, False)]
    assert [row.routes for row in rows] == [{}, {"control": 25.0}, {}, {"control": 100.0}]


def test_a_plan_under_way() -> None:
    rows = timetable(plan(), START, from_stage=1, held_s=3600)
    assert [row.stage for row in rows] == [2, 3, 4]
    assert rows[0].starts == START - timedelta(hours=1)
    assert rows[0].ends == START + timedelta(hours=35)


def test_a_change_of_the_clocks_adds_no_hour() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    rows = timetable(plan(), datetime(2026, 10, 24, 12, tzinfo=berlin))
    assert rows[0].ends is not None
    assert rows[0].ends - rows[0].starts == timedelta(days=1)
    assert as_text(rows, lambda moment: moment.astimezone(berlin)).splitlines()[1] == (
        "1      10 %     Sat 2026-10-24 12:00  Sun 2026-10-25 11:00  1 d"
    )


def test_as_text() -> None:
    text = as_text(timetable(plan(), START), lambda moment: moment.astimezone(ZoneInfo("Europe/Berlin")))
    assert text == (
        "stage  percent  starts                ends                  lasts     then\n"
        "1      10 %     Tue 2026-12-01 09:00  Wed 2026-12-02 09:00  1 d\n"
        "2      25 %     Wed 2026-12-02 09:00  Thu 2026-12-03 21:00  1 d 12 h  waits for a person\n"
        "3      50 %     Thu 2026-12-03 21:00  Thu 2026-12-03 21:00  0 s       waits for a person and the hook\n"
        "4      100 %    Thu 2026-12-03 21:00  stays\n"
        "\n"
        "stage 2 sets control to 25 %\n"
        "stage 4 sets control to 100 %\n"
        "Times are the earliest: a stage ends when its hold is over and the guardrails have passed."
    )


def test_as_json() -> None:
    rows = json.loads(json.dumps(as_json(timetable(plan(), START))))
    assert rows[1] == {
        "stage": 2,
        "percent": 25.0,
        "routes": {"control": 25.0},
        "starts": "2026-12-02T08:00:00+00:00",
        "ends": "2026-12-03T20:00:00+00:00",
        "approve": True,
        "confirm": False,
    }
    assert rows[3]["ends"] is None


def test_as_calendar() -> None:
    rows = timetable(plan(), START)
    made = as_calendar(rows, MADE)
    assert made == as_calendar(rows, MADE)
    assert all(len(line) <= 75 for line in made.split(b"\r\n"))  # RFC 5545 section 3.1
    calendar = Calendar.from_ical(made)
    assert calendar["version"] == "2.0"
    assert calendar["prodid"]
    entries = calendar.walk("VEVENT")
    assert [str(entry["summary"]) for entry in entries] == [
        f"Rollout stage {number}: {percent} % of clients on domain" for number, percent in enumerate((10, 25, 50, 100), 1)
    ]
    assert [entry.decoded("dtstart") for entry in entries] == [row.starts for row in rows]
    assert [entry.decoded("dtend", None) for entry in entries] == [rows[0].ends, rows[1].ends, None, None]
    assert len({str(entry["uid"]) for entry in entries}) == 4
    assert all(entry.decoded("dtstamp") == MADE.replace(microsecond=0) for entry in entries)
    assert "Then: waits for a person and the hook." in str(entries[2]["description"])
    assert "Routes: control to 25 %." in str(entries[1]["description"])


class TestCommand:
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TZ", "UTC")
        Path("f.yaml").write_text(FILE)

    @staticmethod
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["plan", *arguments])

    def test_text(self) -> None:
        result = self.invoke("--timetable", "--start", "2026-12-01T09:00Z", "-c", "f.yaml")
        assert (result.exit_code, result.stderr) == (0, "")
        rows = timetable(plan(), datetime(2026, 12, 1, 9, tzinfo=UTC))
        assert result.stdout == as_text(rows, lambda moment: moment.astimezone()) + "\n"

    @pytest.mark.parametrize("asked", [("--format", "json"), ("--json",)])
    def test_json(self, asked: tuple[str, ...]) -> None:
        result = self.invoke("--timetable", "--start", "2026-12-01T09:00+01:00", "-c", "f.yaml", *asked)
        assert json.loads(result.stdout) == as_json(timetable(plan(), START))

    def test_calendar(self) -> None:
        result = self.invoke("--timetable", "--start", "2026-12-01T08:00Z", "-c", "f.yaml", "--format", "ics")
        assert result.exit_code == 0
        entries = Calendar.from_ical(result.stdout_bytes).walk("VEVENT")
        assert [entry.decoded("dtstart") for entry in entries] == [row.starts for row in timetable(plan(), START)]

    def test_now_is_the_default(self) -> None:
        before = datetime.now(UTC)
        result = self.invoke("--timetable", "-c", "f.yaml", "--json")
        assert before <= datetime.fromisoformat(json.loads(result.stdout)[0]["starts"]) <= datetime.now(UTC)

    @pytest.mark.parametrize("when", ["soon", "2026-13-01", ""])
    def test_a_start_that_is_no_time(self, when: str) -> None:
        result = self.invoke("--timetable", "--start", when, "-c", "f.yaml")
        assert result.exit_code == 2
        assert "is no time such as 2026-12-01T09:00" in result.stderr

    def test_without_a_plan(self) -> None:
        Path("none.yaml").write_text("rollout: {percent: 3}\n")
        result = self.invoke("--timetable", "-c", "none.yaml")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "there is no plan in none.yaml: give rollout.plan some stages\n"

    def test_a_faulty_file(self) -> None:
        Path("bad.yaml").write_text("rollout: {plan: [{percent: 101}]}\n")
        result = self.invoke("--timetable", "-c", "bad.yaml")
        assert result.exit_code == 2
        assert result.stderr.startswith("bad.yaml:1: rollout.plan[0].percent: must be a percent from 0 to 100, not 101")

    def test_alone_it_asks_the_splitter(self) -> None:
        result = self.invoke("--admin", f"http://127.0.0.1:{free_port()}")
        assert result.exit_code == 1
        assert "can't reach the splitter" in result.stderr
