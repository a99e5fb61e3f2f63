"""Two JSON values gone through side by side.

Owns: the walk: objects, lists as sequences and as sets, what is spent on it. Must not know: HTTP, noise.
Invariants:
- two values that are the same have no difference; a value and itself with anything changed have at least one, unless a rule
  covers it;
- the number of differences is the same whichever of the two is control;
- the walk ends: work, levels and differences are bounded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from splitter.compare.differences import ABSENT, Difference, Kind, grouped_path
from splitter.compare.items import IDENTITIES, Pairs, alike, in_order, names, not_in_both, positions
from splitter.compare.observation import UnreadableError
from splitter.compare.rules import Rules, Spot

WORK_MAX: Final = 1_000_000
"""About a second and a half of it, if every place differs."""

LEVELS_MAX: Final = 100
FOUND_MAX: Final = 100
_CHARACTERS_PER_WORK: Final = 64
_WORK_OF_A_DIFFERENCE: Final = 4


class JsonWalk:
    """Goes through two values side by side. Raises UnreadableError when that is too much work."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._steps: list[str | int] = []
        self._work_left = WORK_MAX
        self.found: dict[tuple[str, Kind], Difference] = {}
        self.ignored = 0
        self.more = False

    def compare(self, control: Any, candidate: Any) -> None:
        """Note every difference."""
        self._value(control, candidate, self._rules.start)

    def _value(self, control: Any, candidate: Any, spot: Spot) -> None:
        self._spend(1)
        if spot.ignored:
            self.ignored += self._canonical(control) != self._canonical(candidate)
            return
        kind = type(control)
        if kind is not type(candidate):
            if spot.tolerance is None or not spot.tolerance.allows(control, candidate):
                self._note(Kind.TYPE, control, candidate)
        elif kind is dict:
            self._object(control, candidate, spot)
        elif kind is list:
            self._list(control, candidate, spot)
        elif control != candidate and (spot.tolerance is None or not spot.tolerance.allows(control, candidate)):
            self._note(Kind.VALUE, control, candidate)

    def _spend(self, work: int) -> None:
        """A value visited and equal is one piece of work."""
        self._work_left -= work
        if self._work_left < 0:
            raise UnreadableError("is too much to compare place by place")
        if len(self._steps) > LEVELS_MAX:
            raise UnreadableError(f"is nested more than {LEVELS_MAX} levels deep")

    def _canonical(self, value: Any) -> str:
        """A value as a text that two values share when they are equal and of the same types."""
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        self._spend(len(text) // _CHARACTERS_PER_WORK)
        return text

    def _note(self, kind: Kind, control: Any, candidate: Any, *steps: str | int) -> None:
        self._spend(_WORK_OF_A_DIFFERENCE)
        place = (*self._steps, *steps)
        key = (grouped_path(place), kind)
        if key in self.found:
            return
        if len(self.found) >= FOUND_MAX:
            self.more = True
            return
        self.found[key] = Difference(*key, control, candidate, place)

    # --- objects ---

    def _object(self, control: dict[str, Any], candidate: dict[str, Any], spot: Spot) -> None:
        missing = []
        for key, value in control.items():
            if key in candidate:
                self._steps.append(key)
                self._value(value, candidate[key], self._rules.step(spot, key))
                self._steps.pop()
            else:
                missing.append(key)
        if len(candidate) == len(control) and not missing:
            return
        missing = self._counting(missing, spot)
        extra = self._counting([key for key in candidate if key not in control], spot)
        if len(missing) == len(extra) == 1 and self._canonical(control[missing[0]]) == self._canonical(candidate[extra[0]]):
            old, new = missing[0], extra[0]
            self._note(Kind.RENAMED, {old: control[old]}, {new: candidate[new]}, old)
            return
        for key in missing:
            self._note(Kind.MISSING, control[key], ABSENT, key)
        for key in extra:
            self._note(Kind.EXTRA, ABSENT, candidate[key], key)

    def _counting(self, keys: list[str], spot: Spot) -> list[str]:
        """Those of one side's keys that no rule covers."""
        kept = [key for key in keys if not self._rules.step(spot, key).ignored]
        self.ignored += len(keys) - len(kept)
        return kept

    # --- lists ---

    def _list(self, control: list[Any], candidate: list[Any], spot: Spot) -> None:
        if spot.unordered:
            self._as_sets(control, candidate, spot)
        elif len(control) == len(candidate):
            self._as_sequences(control, candidate, spot)
        else:
            self._of_other_length(control, candidate, spot)

    def _as_sequences(self, control: list[Any], candidate: list[Any], spot: Spot) -> None:
        """Item by item; but when both have the same items in another order, that is the difference."""
        before, self.found = self.found, {}
        ignored, more = self.ignored, self.more
        self._items(range(len(control)), range(len(candidate)), control, candidate, spot)
        inside, self.found = self.found, before
        if not inside:
            return
        same_items = self._are_permuted(control, candidate, spot)
        pairs = None if same_items else self._by_identity(control, candidate, spot)
        if same_items or (pairs and not in_order(pairs)):
            self.ignored, self.more = ignored, more
            self._note(Kind.ORDER, names(control), names(candidate))
            if pairs:
                self._items([one for one, _ in pairs], [other for _, other in pairs], control, candidate, spot)
            return
        for difference in inside.values():
            self._note(difference.kind, difference.control, difference.candidate, *difference.steps[len(self._steps) :])

    def _are_permuted(self, control: list[Any], candidate: list[Any], spot: Spot) -> bool:
        """Whether both have the same items, wherever they stand."""
        if not any(self._unmatched(control, candidate, spot)):
            return True
        if not spot.states:
            return False
        # Values under a tolerance are no part of an item's form: items of the same form are looked at to be sure.
        ours, theirs = self._sorted_by_form(control, spot), self._sorted_by_form(candidate, spot)
        if [form for form, _ in ours] != [form for form, _ in theirs]:
            return False
        before, self.found = self.found, {}
        self._items([one for _, one in ours], [other for _, other in theirs], control, candidate, spot)
        inside, self.found = self.found, before
        return not inside

    def _sorted_by_form(self, items: list[Any], spot: Spot) -> list[tuple[str, int]]:
        step = self._rules.step
        return sorted((self._form(item, step(spot, index), loose=True), index) for index, item in enumerate(items))

    def _of_other_length(self, control: list[Any], candidate: list[Any], spot: Spot) -> None:
        """Items that have the same id go together. Without ids, what is equal at both ends is left away, and the rest
        compared item by item. Who has more has items too many."""
        pairs = self._by_identity(control, candidate, spot)
        if pairs is not None:
            if not in_order(pairs):
                self._note(Kind.ORDER, names(control), names(candidate))
            self._paired(pairs, range(len(control)), range(len(candidate)), control, candidate, spot)
            return
        shorter = min(len(control), len(candidate))
        ends = self._equal_ends(control, candidate, spot, range(shorter))
        tails = self._equal_ends(control, candidate, spot, range(-1, ends - shorter - 1, -1))
        left, right = range(ends, len(control) - tails), range(ends, len(candidate) - tails)
        self._paired(list(zip(left, right, strict=False)), left, right, control, candidate, spot)

    def _by_identity(self, control: list[Any], candidate: list[Any], spot: Spot) -> Pairs | None:
        """Pairs of items with the same id, when every item of the shorter list has its like in the other one."""
        if not control or not candidate:
            return None
        inside = self._rules.step(spot, 0)
        for key in IDENTITIES:
            ahead = self._rules.step(inside, key)
            if ahead.ignored or ahead.tolerance is not None:
                continue
            ours, theirs = positions(control, key), positions(candidate, key)
            if ours is None or theirs is None:
                continue
            pairs = [(index, theirs[name]) for name, index in ours.items() if name in theirs]
            if len(pairs) == min(len(control), len(candidate)):
                return pairs
        return None

    def _equal_ends(self, control: list[Any], candidate: list[Any], spot: Spot, indexes: range) -> int:
        """How many items are equal, one after the other."""
        for count, index in enumerate(indexes):
            if any(self._unmatched(control[index : index + 1 or None], candidate[index : index + 1 or None], spot)):
                return count
        return len(indexes)

    def _as_sets(self, control: list[Any], candidate: list[Any], spot: Spot) -> None:
        """Equal items go together wherever they stand; of the rest, those that are most alike are compared."""
        left, right = self._unmatched(control, candidate, spot)
        self._paired(alike(left, right, control, candidate), left, right, control, candidate, spot)

    def _unmatched(self, control: list[Any], candidate: list[Any], spot: Spot) -> tuple[list[int], list[int]]:
        """The indexes of items that have no equal one on the other side, wherever it stands."""
        # As they are, which json.dumps does at a tenth of the cost; the rules are only asked about what is left then.
        left, right = not_in_both(
            {index: self._canonical(item) for index, item in enumerate(control)},
            {index: self._canonical(item) for index, item in enumerate(candidate)},
        )
        if not left or not right or not spot.states:
            return left, right
        step = self._rules.step
        return not_in_both(
            {index: self._form(control[index], step(spot, index)) for index in left},
            {index: self._form(candidate[index], step(spot, index)) for index in right},
        )

    def _paired(
        self,
        pairs: Pairs,
        left: Sequence[int],
        right: Sequence[int],
        control: list[Any],
        candidate: list[Any],
        spot: Spot,
    ) -> None:
        """Compare pairs; what stands alone of both sides is missing, or too many."""
        ours, theirs = [one for one, _ in pairs], [other for _, other in pairs]
        self._items(ours, theirs, control, candidate, spot)
        for index in sorted(set(left).difference(ours)):
            self._alone(Kind.MISSING, index, control[index], ABSENT, spot)
        for index in sorted(set(right).difference(theirs)):
            self._alone(Kind.EXTRA, index, ABSENT, candidate[index], spot)

    def _alone(self, kind: Kind, index: int, control: Any, candidate: Any, spot: Spot) -> None:
        if self._rules.step(spot, index).ignored:
            self.ignored += 1
        else:
            self._note(kind, control, candidate, index)

    def _items(
        self, left: Sequence[int], right: Sequence[int], control: list[Any], candidate: list[Any], spot: Spot
    ) -> None:
        for one, other in zip(left, right, strict=True):
            self._steps.append(one)
            self._value(control[one], candidate[other], self._rules.step(spot, one))
            self._steps.pop()

    def _form(self, value: Any, spot: Spot, *, loose: bool = False) -> str:
        """A value as a text that is equal when values are, under the rules; `loose`: whatever a tolerance may cover."""
        self._spend(1)
        if spot.ignored:
            return ""
        if loose and spot.tolerance is not None and not isinstance(value, dict | list):
            return "~"
        if not spot.states and not spot.unordered:
            return self._canonical(value)
        step = self._rules.step
        if isinstance(value, dict):
            ahead = {key: step(spot, key) for key in sorted(value)}
            parts = (
                f"{json.dumps(key)}:{self._form(value[key], inner, loose=loose)}"
                for key, inner in ahead.items()
                if not inner.ignored
            )
            return f"{{{','.join(parts)}}}"
        if isinstance(value, list):
            forms = [self._form(item, step(spot, index), loose=loose) for index, item in enumerate(value)]
            return f"[{','.join(sorted(forms) if spot.unordered else forms)}]"
        return self._canonical(value)
