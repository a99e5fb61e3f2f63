"""Which of two records counts: the one here, or the one found in the store.

Owns: that decision, for every way in which the two can have come apart. Must not know: stores, clocks.
Invariants:
- a record that continues the other replaces it, so nothing saved is lost to a store that forgot its last writes;
- where both went on without the other (a network in two, a store brought back from an old copy), a rollback on either side
  stays: it takes `resume` by somebody who has seen it to send anything to domain again.
"""

from __future__ import annotations

from dataclasses import replace

from splitter.state.changes import ROLLBACK, ROLLED_BACK
from splitter.state.record import EVENTS_KEPT, HELD, Event, Record

_WHY_KEPT = "made out of sight of the splitters that wrote the record found in the store: "


def follows(later: Record, earlier: Record) -> bool:
    """Whether `later` is `earlier`, or what became of it. A history longer than the list of events is given the benefit."""
    if not earlier.events or later.version - earlier.version >= EVENTS_KEPT:
        return True
    last = earlier.events[-1]
    return any(event == last or _covers(event, last) for event in later.events)


def _covers(event: Event, last: Event) -> bool:
    """Whether an event has taken the place of another: how long a stage was held is written over what it said before."""
    return event.what == last.what == HELD and event.before == last.before and event.version >= last.version


def agree(here: Record, found: Record) -> Record:
    """What is to be in force: `found`, `here`, or a record that goes on from both and is yet to be saved.

    Where the two have parted, the longer history goes on, the found one if they are equally long.
    """
    if found == here:
        return here
    if follows(found, here):
        return found
    if follows(here, found):
        return here
    base, other = (found, here) if found.version >= here.version else (here, found)
    latch = other.latch
    unseen = tuple(event for event in other.events if event.what == ROLLBACK and event not in base.events)
    if latch is None or (base.latch is not None and not unseen):
        return base
    # A latch that is there already stays, but lines are left: who has resumed from that one alone must meet the other.
    kept = replace(base, latch=base.latch or latch, events=base.events + unseen)
    return kept.noted(latch.at_s, latch.who, ROLLBACK, _WHY_KEPT + (latch.why or "no reason given"), "", ROLLED_BACK)
