"""The dashboard for whoever keeps the splitter itself running: processes, connections, bytes, configuration, log.

Owns: its panels and their queries. Must not know: how panels look (`parts`).
"""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from tools.dashboards.parts import (
    BAD,
    GOOD,
    HERE,
    WARN,
    WINDOW,
    figure,
    lines,
    now,
    query,
    rows,
    stacked,
    states,
    steps,
    words,
)

UID = "splitter-inside"
TITLE = "Splitter: inside"
Parts = Iterator[Builder[models.Panel] | Row]


def panels() -> Parts:
    """All panels, in reading order."""
    yield Row("Now")
    yield from _now()
    yield Row("Processes")
    yield from _processes()
    yield Row("Connections and bytes")
    yield from _connections()


def _now() -> Parts:
    yield figure(
        "Splitters", "How many can be scraped.", "none", now('sum(up{job=~"$job", instance=~"$instance"})', "up"),
    ).thresholds(steps((None, BAD), (1, GOOD)))  # fmt: skip
    yield figure(
        "Workers", "Processes that carry traffic and are ready.", "none",
        now(f'sum(splitter_workers{{{HERE}, state="ready"}})', "ready"),
    ).thresholds(steps((None, BAD), (1, GOOD)))  # fmt: skip
    yield figure(
        "Configuration", "Whether the file that was saved last is the one in force.", "none",
        now(f"min(splitter_config_last_reload_successful{{{HERE}}})", "configuration"),
    ).mappings(words({"0": ("FAULTY", BAD), "1": ("in force", GOOD)}))  # fmt: skip
    yield figure(
        "State", "Whether the state of the rollout can be saved.", "none",
        now(f"min(splitter_state_store_up{{{HERE}}})", "state"),
    ).mappings(words({"0": ("CAN'T SAVE", BAD), "1": ("saved", GOOD)}))  # fmt: skip
    yield figure(
        "Descriptors used", "Of those the processes may have.", "percentunit",
        now(f"max(process_open_fds{{{HERE}}} / process_max_fds{{{HERE}}})", "used"),
    ).thresholds(steps((None, GOOD), (0.6, WARN), (0.8, BAD)))  # fmt: skip
    yield figure(
        "Running for", "Since the last start of any of them.", "s",
        now(f"time() - max(process_start_time_seconds{{{HERE}}})", "running"),
    )  # fmt: skip


def _processes() -> Parts:
    yield stacked(lines(
        "CPU", "Of the supervisor and its workers; 1 is one core.", "none",
        query(f"sum by (instance) (rate(process_cpu_seconds_total{{{HERE}}}[{WINDOW}]))", "{{instance}}"),
    ))  # fmt: skip
    yield lines(
        "CPU for a request", "What a request costs, all things included.", "s",
        query(f"sum(rate(process_cpu_seconds_total{{{HERE}}}[{WINDOW}])) "
              f"/ sum(rate(splitter_requests_total{{{HERE}}}[{WINDOW}]))", "CPU"),
    )  # fmt: skip
    yield stacked(lines(
        "Memory", "Of the supervisor and its workers.", "bytes",
        query(f"sum by (instance) (process_resident_memory_bytes{{{HERE}}})", "{{instance}}"),
    ))  # fmt: skip
    yield stacked(lines(
        "Workers", "By state.", "none",
        query(f"sum by (state) (splitter_workers{{{HERE}}})", "{{state}}"),
    ))  # fmt: skip
    yield lines(
        "Workers replaced", "In the ten minutes before, by cause.", "none",
        query(f"sum by (cause) (increase(splitter_worker_restarts_total{{{HERE}}}[10m]))", "{{cause}}"),
    )  # fmt: skip
    yield lines(
        "Log lines lost", "`suppressed`: too many of a kind. `unread`: nobody reads the output. `failed`: it can't be"
        " written.", "none", query(f"sum by (why) (rate(splitter_log_lines_lost_total{{{HERE}}}[{WINDOW}]))", "{{why}}"),
    )  # fmt: skip


def _connections() -> Parts:
    yield lines(
        "Connections", "Of clients (downstream) and to backends (upstream), by state.", "none",
        query(f"sum by (side, state) (splitter_connections{{{HERE}}})", "{{side}} {{state}}"),
    )  # fmt: skip
    yield lines(
        "Bytes", "Heads included.", "Bps",
        query(f"sum by (side, direction) (rate(splitter_bytes_total{{{HERE}}}[{WINDOW}]))", "{{side}} {{direction}}"),
    )  # fmt: skip
    yield lines(
        "Refused at once", "Requests no backend saw, by status: malformed, too large, too slow.", "reqps",
        query(f'sum by (code) (rate(splitter_requests_total{{{HERE}, backend="none"}}[{WINDOW}]))', "{{code}}"),
    )  # fmt: skip
    yield lines(
        "Forcing not heeded", "Requests with a force_domain that is not allowed or not understood.", "reqps",
        query(f"sum(rate(splitter_force_ignored_total{{{HERE}}}[{WINDOW}]))", "ignored"),
    )  # fmt: skip
    yield states(
        "Backends, seen by each splitter", "Whether its probes reach them.", words({"0": ("down", BAD), "1": ("up", GOOD)}),
        query(f"splitter_backend_up{{{HERE}}}", "{{instance}} {{backend}}"), span=8,
    )  # fmt: skip
    yield rows(
        "Versions", "What runs where.", now(f"max by (instance, version) (splitter_build_info{{{HERE}}})"),
        names={"instance": "splitter", "version": "version"},
    )  # fmt: skip
