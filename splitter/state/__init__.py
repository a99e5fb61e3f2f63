"""The state of the rollout: what people and guardrails have decided at run time, and what of it is in force.

Owns: the record and its form, the changes that may be made to it, which of two records counts, the precedence of what a
person, the plan, the environment and the file say.
Must not know: stores, clocks (`at_s` is an argument), who asks, how a plan works.
Invariants: a record never changes, a change is a function from one record to the next, so it can be tried again on a newer
one; only `resume` clears the latch; no default is ever put in the place of something that can't be read.
"""

from __future__ import annotations

from splitter.state.agreement import agree, follows
from splitter.state.changes import (
    CONFIG,
    STORE,
    adopt_baseline,
    clear_override,
    differs,
    lock_out,
    resume,
    roll_back,
    set_percent,
    with_plan,
)
from splitter.state.precedence import PERCENTS, SWITCHES, InForce, Value, in_force
from splitter.state.record import (
    EVENTS_KEPT,
    FORMAT,
    GLOBAL,
    Baseline,
    Event,
    Latch,
    OtherFormatError,
    Override,
    Record,
    RecordError,
    from_json,
    to_json,
)

__all__ = [
    "CONFIG",
    "EVENTS_KEPT",
    "FORMAT",
    "GLOBAL",
    "PERCENTS",
    "STORE",
    "SWITCHES",
    "Baseline",
    "Event",
    "InForce",
    "Latch",
    "OtherFormatError",
    "Override",
    "Record",
    "RecordError",
    "Value",
    "adopt_baseline",
    "agree",
    "clear_override",
    "differs",
    "follows",
    "from_json",
    "in_force",
    "lock_out",
    "resume",
    "roll_back",
    "set_percent",
    "to_json",
    "with_plan",
]
