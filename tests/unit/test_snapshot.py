"""The wire form of snapshots and totals: what another process reads is what was meant."""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import ip_network

import orjson
from hypothesis import given
from hypothesis import strategies as st

from splitter.config import KeySource
from splitter.config.traffic import KEY_KINDS
from splitter.hops import Style
from splitter.routing import BUCKETS, Backend, Force, Reason, Router, Rule, Table
from splitter.snapshot import Gauges, Snapshot
from splitter.stats import BOUNDS_S, Stats

NAME = st.text("abcXYZ019_", min_size=1, max_size=8).map(lambda text: f"n{text}")
NAMED = st.builds(KeySource, st.sampled_from([kind for kind in KEY_KINDS if kind != "client_ip"]), NAME)
SOURCES = st.lists(st.one_of(NAMED, st.just(KeySource("client_ip", ""))), min_size=1, max_size=3).map(tuple)
TEMPLATE = st.sampled_from([None, "/", "/api/*", "/api/v1/cameras/{nid}/*", "/a%20b/{n_1}/{n_2}", "/x.y+z(*"])
METHODS = st.frozensets(st.sampled_from([b"GET", b"POST", b"M-SEARCH"]))
THRESHOLD = st.integers(0, BUCKETS)
RULE = st.builds(Rule, NAME, THRESHOLD, SOURCES, METHODS, TEMPLATE, METHODS)
NETWORK = st.sampled_from(["10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/32"]).map(ip_network)
SENDER = st.one_of(NETWORK, st.just("unix:"))
TABLE = st.builds(
    Table,
    default=st.builds(Rule, st.just("default"), THRESHOLD, SOURCES),
    routes=st.lists(RULE, max_size=3).map(tuple),
    domain_enabled=st.booleans(),
    rolled_back=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
    force=st.sampled_from(Force),
    token=st.binary(max_size=8),
    trusted_proxies=st.lists(SENDER, max_size=2).map(tuple),
    forwarded=st.sampled_from(Style),
)
DOWN = st.frozensets(st.tuples(st.sampled_from(["legacy", "domain"]), st.sampled_from(["http://a:1", "https://[::1]:2"])))
SNAPSHOT = st.builds(Snapshot, TABLE, st.booleans(), DOWN, st.none() | st.floats(0, 86_400))


def over_the_wire(snapshot: Snapshot) -> Snapshot:
    return Snapshot.from_wire(orjson.loads(orjson.dumps(snapshot.to_wire())))


@dataclass
class Asked:
    method: bytes
    path: bytes
    query: bytes
    fields: dict[bytes, bytes]


REQUEST = st.builds(
    Asked,
    st.sampled_from([b"GET", b"POST"]),
    st.sampled_from([b"/", b"/api/v1/cameras/7/start", b"/a%20b/1/2", b"/x.y+z(q"]),
    st.sampled_from([b"", b"force_domain=1", b"na=7&force_domain=0"]),
    st.dictionaries(
        st.sampled_from([b"na", b"cookie", b"x-forwarded-for", b"forwarded", b"x-splitter-token"]), st.binary(max_size=6)
    ),
)


@given(SNAPSHOT, st.lists(REQUEST, min_size=1, max_size=5))
def test_a_snapshot_read_elsewhere_decides_alike(snapshot: Snapshot, requests: list[Asked]) -> None:
    read = over_the_wire(snapshot)
    assert read == snapshot
    here, there = Router(snapshot.table), Router(read.table)
    for request in requests:
        for ejected in (False, True):
            ours = here.decide(request, "192.0.2.7", domain_ejected=ejected)
            theirs = there.decide(request, "192.0.2.7", domain_ejected=ejected)
            assert repr(ours) == repr(theirs)


def test_every_field_of_a_snapshot_is_on_the_wire() -> None:
    table = Table(Rule("default", 0, (KeySource("client_ip", ""),)))
    wire = Snapshot(table).to_wire()
    assert set(wire) == {field.name for field in fields(Snapshot)}
    assert set(wire["table"]) == {field.name for field in fields(Table)}
    assert set(wire["table"]["default"]) == {field.name for field in fields(Rule)}


WORD = st.sampled_from(["legacy", "domain", "bucket", "default", "GET", "timeout"])
COUNT = st.integers(1, 2**53)


@st.composite
def stats(draw: st.DrawFn) -> Stats:
    made = Stats()
    made.requests = draw(st.dictionaries(st.tuples(WORD, WORD, WORD, WORD, st.integers(100, 999)), COUNT, max_size=4))
    made.failures = draw(st.dictionaries(st.tuples(WORD, WORD), COUNT, max_size=3))
    made.fallbacks = draw(st.dictionaries(st.tuples(WORD, WORD), COUNT, max_size=3))
    made.mirrored = draw(st.dictionaries(st.tuples(WORD), COUNT, max_size=3))
    for duration_s in draw(st.lists(st.floats(0, 60), max_size=4)):
        made.record("domain", "bucket", "default", b"GET", 200, duration_s)
        made.judged.record(Backend.DOMAIN, Reason.BUCKET, "default", 200, "", duration_s, cut=False)
    for name in Stats.__slots__:
        if isinstance(getattr(made, name), int):
            setattr(made, name, draw(COUNT))
    return made


@given(stats())
def test_totals_read_elsewhere_are_the_same(made: Stats) -> None:
    read = Stats.from_wire(orjson.loads(orjson.dumps(made.to_wire())))
    for name in Stats.__slots__:
        if name not in {"_places", "durations", "judged"}:
            assert getattr(read, name) == getattr(made, name), name
    assert read.judged.to_wire() == made.judged.to_wire()
    assert set(read.durations) == set(made.durations)
    for place, histogram in made.durations.items():
        assert (read.durations[place].counts, read.durations[place].sum_s) == (histogram.counts, histogram.sum_s)
        assert len(histogram.counts) == len(BOUNDS_S) + 1


def test_every_total_is_on_the_wire() -> None:
    assert set(Stats().to_wire()) == set(Stats.__slots__) - {"_places"}


def test_gauges_add_up_and_cross() -> None:
    one = Gauges(downstream=2, tunnels=1, upstream={"idle": 3})
    one.merge(Gauges.from_wire(orjson.loads(orjson.dumps(Gauges(1, 0, {"idle": 1, "active": 5}).to_wire()))))
    assert one == Gauges(3, 1, {"idle": 4, "active": 5})
