"""Writes the tables of docs/guardrails.md from simulations: `python -m tools.guardrail_table`; some minutes.

Owns: which truths are in the tables, and how figures are written. Must not know: how they are come by.
Invariant: the same code gives the same tables, byte for byte.
"""

from __future__ import annotations

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from tools.guardrail_sim import Burst, Side, Truth, onsets, thin, well

PAGE: Final = Path(__file__).parent.parent / "docs" / "guardrails.md"
BEGIN: Final = "<!-- made by `python -m tools.guardrail_table`, not by hand -->"
END: Final = "<!-- end of what is made -->"

_BURST: Final = Side(errors=0.005, burst=Burst(every_s=600, lasts_s=2, errors=0.5))
_GOOD: Final = (
    ("1 % of errors, as legacy", Truth(Side(errors=0.01))),
    ("3 % of errors, legacy 1 %", Truth(Side(errors=0.03))),
    ("a fifth slower", Truth(Side(median_s=0.06))),
    ("0.5 % of errors, and for 2 s of every 10 min half of the requests", Truth(_BURST)),
)
_THIN: Final = (
    ("1 % of errors", Truth(Side(errors=0.01), per_second=0.5)),
    ("3 % of errors", Truth(Side(errors=0.03), per_second=2.0)),
    ("30 % of errors, a request in 50 s", Truth(Side(errors=0.3), per_second=0.02)),
)
_BAD: Final = (
    ("6 % of errors", Truth(Side(errors=0.06))),
    ("8 % of errors", Truth(Side(errors=0.08))),
    ("10 % of errors", Truth(Side(errors=0.10))),
    ("10 % of errors", Truth(Side(errors=0.10), per_second=5.0)),
    ("10 % of errors", Truth(Side(errors=0.10), per_second=3.5)),
    ("10 % of errors", Truth(Side(errors=0.10), per_second=2.0)),
    ("30 % of errors", Truth(Side(errors=0.30))),
    ("everything fails", Truth(Side(errors=1.0))),
    ("twice as slow", Truth(Side(median_s=0.1))),
    ("twice as slow", Truth(Side(median_s=0.1), per_second=5.0)),
    ("10 % of errors, legacy too", Truth(Side(errors=0.1), Side(errors=0.1))),
    ("everything fails, on legacy too", Truth(Side(errors=1.0), Side(errors=1.0))),
    ("30 % of errors, legacy 10 %", Truth(Side(errors=0.3), Side(errors=0.1))),
)


def good_row(case: tuple[int, str, Truth, int]) -> str:
    """One row of the first table; `case`: seed, name, truth, hours."""
    seed, name, truth, hours = case
    found = well(truth, hours, seed)
    alarms, limit = len(found.alarms), found.at_most_per_1000
    return f"| {name} | {truth.per_second:g} | {hours:,} | {found.with_bad_window} | {alarms} | {limit:.2f} |"


def thin_row(case: tuple[int, str, Truth, int]) -> str:
    """The same where traffic is thin."""
    seed, name, truth, hours = case
    found = thin(truth, hours, seed)
    return f"| {name} | {truth.per_second:g} | {hours:,} | | {len(found.alarms)} | {found.at_most_per_1000:.0f} |"


def bad_row(case: tuple[int, str, Truth, int]) -> str:
    """One row of the second table; `case`: seed, name, truth, runs."""
    seed, name, truth, runs = case
    found = onsets(truth, runs, seed, lasts_s=600)
    within = " | ".join(f"{found.caught(windows):.1%}".replace("%", " %") for windows in (1, 3))
    half, nearly_all = (_seconds(found.after_s(quantile)) for quantile in (0.5, 0.99))
    return f"| {name} | {truth.per_second:g} | {within} | {half} | {nearly_all} |"


def _seconds(after_s: float) -> str:
    return "never" if math.isinf(after_s) else f"{after_s:.0f} s"


def tables(hours: int, thin_hours: int, runs: int) -> str:
    """Both tables as Markdown."""
    good = [(seed, name, truth, hours) for seed, (name, truth) in enumerate(_GOOD)]
    sparse = [(seed, name, truth, thin_hours) for seed, (name, truth) in enumerate(_THIN)]
    bad = [(seed, name, truth, runs) for seed, (name, truth) in enumerate(_BAD)]
    with ProcessPoolExecutor() as pool:
        rows = pool.map(good_row, good), pool.map(thin_row, sparse), pool.map(bad_row, bad)
        good_rows, thin_rows, bad_rows = (list(found) for found in rows)
    return "\n".join(
        [
            "**A domain of which nothing should be wanted**, hour after hour, each begun anew as after a change of the"
            " percent. Requests are per side. The last column holds with 95 % confidence.",
            "",
            "| truth about domain | requests/s | hours | with a bad window | rolled back | per 1,000 h at most |",
            "|---|---|---|---|---|---|",
            *good_rows,
            *thin_rows,
            "",
            f"**A domain that turns bad** after a good minute: the share of {runs:,} runs rolled back in time,"
            " and how long that took. Given up after 10 minutes.",
            "",
            "| what domain turns to | requests/s | within 1 window | within 3 windows | half of the runs | 99 % |",
            "|---|---|---|---|---|---|",
            *bad_rows,
        ]
    )


def page_with(text: str, page: str) -> str:
    """The page with its tables replaced."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.guardrail_table", description="Write the tables of the guardrails."
    )
    parser.add_argument("--hours", type=int, default=5_000, help="simulated hours of each good domain")
    parser.add_argument("--thin-hours", type=int, default=40, help="the same where traffic is thin, which takes longer")
    parser.add_argument("--runs", type=int, default=400, help="runs of each bad domain")
    options = parser.parse_args()
    text = tables(options.hours, options.thin_hours, options.runs)
    PAGE.write_text(page_with(text, PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
