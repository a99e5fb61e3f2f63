"""The state of the rollout: what people and guardrails have decided at run time, and what of it is in force.

Owns: the record and its form, the changes that may be made to it, which of two records counts, the precedence of what a
person, the plan, the environment and the file say.
Must not know: stores, clocks (`at_s` is an argument), who asks, which event is possible when (`splitter.rollout`).
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
)
from splitter.state.plan import (
    PLAN,
    Course,
    Wish,
    adopt_edit,
    held,
    planned,
    progress_of,
    resume_all,
    roll_all_back,
    set_by_hand,
    steer,
    told,
    went_on,
)
from splitter.state.precedence import PERCENTS, SWITCHES, InForce, Value, in_force
from splitter.state.record import (
    EVENTS_KEPT,
    FORMAT,
    GLOBAL,
    HELD,
    Baseline,
    Event,
    Latch,
    OtherFormatError,
    Override,
    Record,
    RecordError,
    from_json,
    to_json,
    told_percent,
)

__all__ = [
    "CONFIG",
    "EVENTS_KEPT",
    "FORMAT",
    "GLOBAL",
    "HELD",
    "PERCENTS",
    "PLAN",
    "STORE",
    "SWITCHES",
    "Baseline",
    "Course",
    "Event",
    "InForce",
    "Latch",
    "OtherFormatError",
    "Override",
    "Record",
    "RecordError",
    "Value",
    "Wish",
    "adopt_baseline",
    "adopt_edit",
    "agree",
    "clear_override",
    "differs",
    "follows",
    "from_json",
    "held",
    "in_force",
    "lock_out",
    "planned",
    "progress_of",
    "resume",
    "resume_all",
    "roll_all_back",
    "roll_back",
    "set_by_hand",
    "set_percent",
    "steer",
    "to_json",
    "told",
    "told_percent",
    "went_on",
]
