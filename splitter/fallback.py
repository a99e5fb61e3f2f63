"""May legacy answer a request that domain failed?

Owns: the rule, and the budget that keeps a broken domain from bringing legacy down with it.
Must not know: how a request is sent again. `now_s` is an argument.
Invariants (RFC 9110 section 9.2.2): a request of which nothing was sent may always be sent elsewhere; one that was sent
only when it may be sent twice (by its method, its route or its key), its body still held, and the budget not used up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 10
ALWAYS_ALLOWED: Final = 10
"""Fallbacks in a window that need no share: at a request a second a fifth of them would be two."""

IDEMPOTENCY_KEY: Final = b"idempotency-key"
"""By which a backend knows a request again (draft-ietf-httpapi-idempotency-key-header)."""

_WORD_OF: Final = {"overload": "connect", "protocol": "reset"}
"""Kinds of failure that go by another's word in the configuration."""


class Budget:
    """Counts of the last ten seconds, second by second."""

    __slots__ = ("_fallbacks", "_requests", "_second")

    def __init__(self) -> None:
        self._requests = [0] * WINDOW_S
        self._fallbacks = [0] * WINDOW_S
        self._second = 0

    def _turn(self, now_s: float) -> int:
        second = int(now_s)
        for passed in range(max(self._second, second - WINDOW_S) + 1, second + 1):
            self._requests[passed % WINDOW_S] = self._fallbacks[passed % WINDOW_S] = 0
        self._second = max(self._second, second)
        return self._second % WINDOW_S

    def add_requests(self, count: int, now_s: float) -> None:
        self._requests[self._turn(now_s)] += count

    def take(self, share: float, now_s: float) -> bool:
        """Use one fallback if `share` of the window's requests allows it."""
        place = self._turn(now_s)
        used = sum(self._fallbacks)
        if used >= ALWAYS_ALLOWED and used + 1 > share * sum(self._requests):
            return False
        self._fallbacks[place] += 1
        return True


@dataclass(frozen=True, slots=True)
class FallbackPolicy:
    """The rule of the configuration: `on` are the words there, `budget` the share of requests (0 to 1).

    `by_key`: a request with an `Idempotency-Key` may be sent twice, whatever its method.
    """

    on: frozenset[str]
    methods: frozenset[bytes]
    budget: float
    by_key: bool = False

    def may_repeat(self, method: bytes, fields: Mapping[bytes, bytes], route_methods: frozenset[bytes]) -> bool:
        """Whether the operator allows this request to be sent twice. `fields` by lower-case name."""
        return method in self.methods or method in route_methods or (self.by_key and bool(fields.get(IDEMPOTENCY_KEY)))

    def covers_status(self, status: int) -> bool:
        """Whether an answer of domain's with this status counts as a failure to be rescued."""
        return str(status) in self.on

    def allows(self, trigger: str, budget: Budget, now_s: float, *, nothing_sent: bool, repeatable: bool) -> bool:
        """`trigger` is the kind of an error, or a status; `repeatable`: it may be sent twice, and all of it is still here.

        Budget is used up only by a yes for a request sent before.
        """
        if _WORD_OF.get(trigger, trigger) not in self.on:
            return False
        if nothing_sent:
            return True
        return repeatable and budget.take(self.budget, now_s)
