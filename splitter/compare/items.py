"""Which items of two lists belong together.

Owns: ids, likeness, pairing. Must not know: rules, what is different about a pair.
Invariant: the same pairs come out whichever of the two lists is the first.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any, Final

IDENTITIES: Final = ("id", "uuid", "key", "name")
"""Fields by which objects in a list are known, the surest first."""

_PAIRED_MAX: Final = 40

Pairs = list[tuple[int, int]]
"""Indexes of the first list and of the second."""


def in_order(pairs: Pairs) -> bool:
    """Whether the pairs stand in the same order on both sides; they are sorted by the first."""
    return all(one[1] < other[1] for one, other in pairwise(pairs))


def positions(items: list[Any], key: str) -> dict[tuple[type, Any], int] | None:
    """Where each id stands; None unless every item is an object with one of its own."""
    found: dict[tuple[type, Any], int] = {}
    for index, item in enumerate(items):
        name = item.get(key) if isinstance(item, dict) else None
        if not isinstance(name, str | int):
            return None
        found[type(name), name] = index
    return found if len(found) == len(items) else None


def names(items: list[Any]) -> list[Any]:
    """The ids of items, if they have any: what tells their order best."""
    for key in IDENTITIES:
        found = positions(items, key)
        if found is not None:
            return [name for _, name in found]
    return items


def not_in_both(ours: dict[int, str], theirs: dict[int, str]) -> tuple[list[int], list[int]]:
    """The indexes of texts that the other side has not, each of its texts counted once."""
    return _without(ours, Counter(theirs.values())), _without(theirs, Counter(ours.values()))


def _without(forms: dict[int, str], there: Counter[str]) -> list[int]:
    left = []
    for index, form in forms.items():
        if there[form] > 0:
            there[form] -= 1
        else:
            left.append(index)
    return left


def alike(left: list[int], right: list[int], control: list[Any], candidate: list[Any]) -> Pairs:
    """Pairs of items to compare, the most alike first. Numbers go by size. Beyond a bound, items go by their order.

    Ties are broken the same way from both sides: by the sum of the indexes, then by their distance.
    """
    items = [*(control[index] for index in left), *(candidate[index] for index in right)]
    if all(type(item) in {int, float} for item in items):
        return list(zip(sorted(left, key=control.__getitem__), sorted(right, key=candidate.__getitem__), strict=False))
    if max(len(left), len(right)) > _PAIRED_MAX:
        return list(zip(left, right, strict=False))
    scored = sorted(
        (-_likeness(control[one], candidate[other]), one + other, abs(one - other), one, other)
        for one in left
        for other in right
    )
    pairs: Pairs = []
    free_left, free_right = set(left), set(right)
    for _, _, _, one, other in scored:
        if one in free_left and other in free_right:
            free_left.discard(one)
            free_right.discard(other)
            pairs.append((one, other))
    return pairs


def _likeness(one: Any, other: Any) -> float:
    """How much two values have in common, from 0 to 1; more for objects with the same id."""
    if type(one) is not type(other):
        return 0.0
    if isinstance(one, dict):
        shared = sum(1 for key in one if key in other and _same(one[key], other[key]))
        same_id = any(key in one and key in other and _same(one[key], other[key]) for key in IDENTITIES)
        return same_id + shared / max(1, len(one), len(other))
    if isinstance(one, list):
        shared = sum(1 for mine, theirs in zip(one, other, strict=False) if _same(mine, theirs))
        return shared / max(1, len(one), len(other))
    return float(_same(one, other))


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
