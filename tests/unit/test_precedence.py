"""Which layer a value in force comes from: every combination of all layers, down to the side a client is on."""

from __future__ import annotations

from itertools import product

import pytest

from splitter.config import Config, parse
from splitter.control.table import table_of
from splitter.routing import Backend, Router, bucket_of
from splitter.state import GLOBAL, PERCENTS, SWITCHES, Latch, Override, Record, in_force

LATCH = Latch(5.0, "alice", "errors")
ROUTE = "control"
# Each layer asks for a percent of its own, so that the percent in force says whose it is.
OPERATOR, PLAN, ENVIRONMENT, FILE, DEFAULT = 41.0, 32.0, 23.0, 14.0, 10.0


def config(*, file: bool, environment: bool, use_in_file: bool | None, use_in_environment: bool | None) -> Config:
    lines = ["rollout:", f"  routes: [{{name: {ROUTE}, path: /control, percent: 5}}]"]
    variables = {}
    if file:
        lines.append(f"  percent: {FILE}")
    if use_in_file is not None:
        lines.append(f"  use_domain_service: {str(use_in_file).lower()}")
    if environment:
        variables["ROLLOUT_PERCENT"] = str(ENVIRONMENT)
    if use_in_environment is not None:
        variables["USE_DOMAIN_SERVICE"] = str(use_in_environment).lower()
    return parse("\n".join(lines), "f.yaml", variables)


def record(*, operator: bool, route_operator: bool, latched: bool) -> Record:
    overrides = {GLOBAL: Override(OPERATOR, 1.0, "bob", "")} if operator else {}
    if route_operator:
        overrides[ROUTE] = Override(OPERATOR, 1.0, "bob", "")
    return Record(version=1, overrides=overrides, latch=LATCH if latched else None)


BOTH = (False, True)
GIVEN = (None, False, True)


@pytest.mark.parametrize("latched", BOTH)
@pytest.mark.parametrize(("use_in_file", "use_in_environment"), list(product(GIVEN, GIVEN)))
def test_every_combination(latched: bool, use_in_file: bool | None, use_in_environment: bool | None) -> None:
    walked = 0
    for operator, plan, environment, file, route_operator, route_plan in product(BOTH, repeat=6):
        made = config(file=file, environment=environment, use_in_file=use_in_file, use_in_environment=use_in_environment)
        kept = record(operator=operator, route_operator=route_operator, latched=latched)
        plan_percents = ({GLOBAL: PLAN} if plan else {}) | ({ROUTE: PLAN} if route_plan else {})
        now = in_force(made, kept, plan_percents)

        # Written out here once more, on purpose: the contract's words, not the table's.
        if operator:
            expected = (OPERATOR, "operator")
        elif plan:
            expected = (PLAN, "plan")
        elif environment:
            expected = (ENVIRONMENT, "env:ROLLOUT_PERCENT")
        elif file:
            expected = (FILE, "file:3")
        else:
            expected = (DEFAULT, "default")
        found = now.percents[GLOBAL]
        assert (found.value, found.layer) == expected
        assert (found.instead_of is None) == (not operator and not plan), "there is always a configured one beneath"
        of_route = now.percents[ROUTE]
        by_hand = (OPERATOR, "operator") if route_operator else (PLAN, "plan") if route_plan else (5.0, "file:2")
        assert (of_route.value, of_route.layer) == by_hand, "a route's percent is its own"

        use = now.use_domain_service
        if use_in_environment is not None:
            assert (use.value, use.layer) == (use_in_environment, "env:USE_DOMAIN_SERVICE")
        elif use_in_file is not None:
            assert (use.value, use.layer) == (use_in_file, f"file:{4 if file else 3}")
        else:
            assert (use.value, use.layer) == (True, "default")
        assert (now.rolled_back.value, now.rolled_back.by) == (latched, LATCH if latched else None)

        reason = "disabled" if not use.value else "rollback" if latched else None
        assert next((switch.reason for switch in SWITCHES if switch.is_off(now)), None) == reason
        _reaches(Router(table_of(made, now)), float(found.value), float(of_route.value), reason)
        walked += 1
    assert walked == 64


class Asked:
    """A request of a client whose key hashes into a known bucket."""

    method = b"GET"

    def __init__(self, path: bytes, query: bytes = b"", user: bytes = b"") -> None:
        self.path, self.query = path, query
        self.fields = {b"x-user-id": user}


def _reaches(router: Router, percent: float, of_route: float, reason: str | None) -> None:
    """What the table decides for real requests: by percent, or nothing at all, not even what is forced."""
    forced = router.decide(Asked(b"/", b"force_domain=true", USERS[0][1]), "")
    assert forced.backend is (Backend.DOMAIN if reason is None else Backend.LEGACY)
    for path, share in ((b"/", percent), (b"/control", of_route)):
        for bucket, user in USERS:
            decision = router.decide(Asked(path, b"", user), "")
            if reason is not None:
                assert (decision.backend, decision.reason.value) == (Backend.LEGACY, reason)
            else:
                assert (decision.backend is Backend.DOMAIN) == (bucket < share * 100)


def _users() -> list[tuple[int, bytes]]:
    """Clients in buckets on both sides of every percent that is used here."""
    wanted = [int(percent * 100) for percent in (5.0, DEFAULT, FILE, ENVIRONMENT, PLAN, OPERATOR)]
    by_bucket = {bucket_of(b"u%d" % number): b"u%d" % number for number in range(120_000)}
    return [(bucket, by_bucket[bucket]) for edge in wanted for bucket in (edge - 1, edge)]


USERS = _users()


def test_an_override_for_a_route_that_is_gone_has_no_effect() -> None:
    kept = Record(overrides={"gone": Override(50.0, 1.0, "bob", "")})
    assert set(in_force(parse("", "f.yaml", {}), kept, {"gone": 3.0}).percents) == {GLOBAL}


def test_an_edit_that_beats_a_plan_is_shown_as_the_line_it_is() -> None:
    made = parse("rollout: {percent: 20}\n", "f.yaml", {})
    edited = Record(overrides={GLOBAL: Override(20.0, 1.0, "config", "edited")})
    assert in_force(made, edited, {GLOBAL: 50.0}).percents[GLOBAL].layer == "file:1"
    elsewhere = parse("rollout: {percent: 30}\n", "f.yaml", {})
    assert in_force(elsewhere, edited, {}).percents[GLOBAL].layer == "operator", "another splitter, another file"


@pytest.mark.parametrize(
    ("who", "layer"),
    [("cli:alice", "operator"), ("guardrail:error_rate", "guardrail"), ("store", "store"), ("signal", "operator")],
)
def test_the_layer_of_a_rollback(who: str, layer: str) -> None:
    rolled_back = in_force(parse("", "f.yaml", {}), Record(latch=Latch(1.0, who, "")), {}).rolled_back
    assert (rolled_back.value, rolled_back.layer) == (True, layer)


def test_the_layers_are_those_of_the_contract() -> None:
    assert [layer.word for layer in PERCENTS] == ["operator", "plan", "operator", "env", "file", "default"]
    assert [switch.reason for switch in SWITCHES] == ["disabled", "rollback"]
