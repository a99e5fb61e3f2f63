"""Whole answers compared: status, headers, bodies of every kind, and what hostile ones do (nothing)."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.compare import Kind, Mask, Observation, Rules, compare
from splitter.compare.observation import DECODED_BYTES_MAX, UnreadableError, read_json
from splitter.config import Comparison

JSON_TYPE = ("Content-Type", "application/json")


def rules(**keys: Any) -> Rules:
    return Rules.of(Comparison.model_validate(keys))


def text(body: bytes = b"", *headers: tuple[str, str], status: int = 200) -> Observation:
    return Observation(status, headers, body)


def as_json(body: bytes, *headers: tuple[str, str]) -> Observation:
    return Observation(200, (JSON_TYPE, *headers), body)


def found(control: Observation, candidate: Observation, **keys: Any) -> list[tuple[str, str]]:
    return [(each.path, each.kind.value) for each in compare(control, candidate, rules(**keys)).found]


class TestStatus:
    def test_a_status_differs(self) -> None:
        assert found(text(), text(status=404)) == [("status", "value")]
        assert found(text(), text(status=404), ignore=["status"]) == []

    def test_no_answer_at_all(self) -> None:
        silent = Observation(0, failure="timed out after 5 s")
        (difference,) = compare(text(), silent, Rules()).found
        assert (difference.path, difference.kind) == ("status", Kind.NO_ANSWER)
        assert difference.shown(Mask()) == ("200", "timed out after 5 s")
        assert found(silent, text()) == [("status", "no answer")]
        assert found(silent, silent) == []


class TestHeaders:
    @pytest.mark.parametrize(
        ("ours", "theirs", "expected"),
        [
            ([("X-Total", "5")], [("x-total", "5")], []),
            ([("X-Total", "5")], [], [("header:x-total", "missing")]),
            ([], [("X-Total", "5")], [("header:x-total", "extra")]),
            ([("Location", "/a")], [("Location", "/b")], [("header:location", "value")]),
            ([("Date", "x"), ("Server", "a"), ("Via", "1")], [("Date", "y"), ("Server", "b")], []),
            ([("Allow", "GET, HEAD")], [("Allow", "HEAD,GET")], []),
            ([("Accept-Ranges", "a, b")], [("Accept-Ranges", "b, a")], [("header:accept-ranges", "value")]),
            ([("Vary", "Accept, Origin")], [("vary", "origin"), ("Vary", "accept")], []),
            ([("Content-Type", "text/html; charset=UTF-8")], [("Content-Type", 'Text/HTML;charset="utf-8"')], []),
            ([("Content-Type", "text/html")], [("Content-Type", "text/plain")], [("header:content-type", "value")]),
            ([("Set-Cookie", "a=1; Path=/; Expires=x")], [("Set-Cookie", "a=2; path=/; Expires=y")], [
                ("header:set-cookie", "value")
            ]),
            ([("Set-Cookie", "a=1; Path=/; Max-Age=5")], [("Set-Cookie", "a=2; Path=/")], []),
            ([("Set-Cookie", "a=1"), ("Set-Cookie", "b=1")], [("Set-Cookie", "b=2"), ("Set-Cookie", "a=2")], []),
            ([("Set-Cookie", "a=1; HttpOnly")], [("Set-Cookie", "a=1")], [("header:set-cookie", "value")]),
        ],
    )  # fmt: skip
    def test_what_differs(
        self, ours: list[tuple[str, str]], theirs: list[tuple[str, str]], expected: list[tuple[str, str]]
    ) -> None:
        assert found(text(b"", *ours), text(b"", *theirs)) == expected

    def test_chosen_headers(self) -> None:
        one, other = text(b"", ("A", "1"), ("B", "1")), text(b"", ("A", "2"), ("B", "2"), ("Server", "x"))
        assert found(one, other, headers=["b", "Server"]) == [("header:b", "value"), ("header:server", "extra")]
        assert found(one, other, headers=[]) == []
        assert found(one, other, ignore=["header:A"]) == [("header:b", "value")]
        assert compare(one, other, rules(ignore=["header:A"])).ignored == 1


class TestBodies:
    def test_other_bodies_by_digest(self) -> None:
        (difference,) = compare(text(b"one"), text(b"two"), Rules()).found
        assert (difference.path, difference.kind) == ("body", Kind.VALUE)
        assert difference.shown(Mask())[0] == "3 bytes, sha256 7692c3ad3540"
        assert found(text(b"one"), text(b"one")) == []
        assert found(text(b"one"), text(b"two"), ignore=["body"]) == []

    def test_json_by_what_the_type_says(self) -> None:
        body, other = b'{"a": 1}', b'{"a": 2}'
        assert found(as_json(body), as_json(other)) == [("$.a", "value")]
        assert found(as_json(body), as_json(b'{"a":1}')) == []
        problem = ("Content-Type", "application/problem+json; charset=utf-8")
        assert found(text(body, problem), text(other, problem)) == [("$.a", "value")]
        assert found(text(body), text(other)) == [("body", "value")]

    def test_only_one_is_json(self) -> None:
        page = text(b"<h1>no</h1>", ("Content-Type", "text/html"))
        assert found(as_json(b"{}"), page) == [("header:content-type", "value"), ("body", "type")]
        (difference,) = compare(as_json(b"{}"), as_json(b"{"), Rules()).found
        assert (difference.path, difference.kind) == ("body", Kind.TYPE)
        assert "it is not JSON: " in difference.candidate

    def test_too_large_to_keep(self) -> None:
        one, same = (Observation(200, (), b"", size_bytes=1 << 30, digest="ab" * 32) for _ in range(2))
        other = Observation(200, (JSON_TYPE,), b"", size_bytes=1 << 30, digest="cd" * 32)
        assert found(one, same) == []
        assert found(one, other, headers=[]) == [("body", "value")]
        assert found(as_json(b"{}"), other) == [("body", "type")]
        assert found(text(b"x"), one) == [("body", "value")]

    def test_content_codings(self) -> None:
        body, changed = json.dumps({"a": list(range(99))}).encode(), json.dumps({"a": list(range(98))}).encode()
        zipped = as_json(gzip.compress(body), ("Content-Encoding", "gzip"))
        assert found(as_json(body), zipped) == []
        assert found(as_json(changed), zipped) == [("$.a[*]", "extra")]
        assert found(zipped, as_json(gzip.compress(body, 1), ("Content-Encoding", "x-gzip"))) == []
        assert found(zipped, as_json(zlib.compress(body), ("Content-Encoding", "deflate"))) == []
        bare = zlib.compressobj(wbits=-15)
        raw = bare.compress(body) + bare.flush()
        assert found(zipped, as_json(raw, ("Content-Encoding", "deflate"))) == []
        twice = as_json(gzip.compress(gzip.compress(body)), ("Content-Encoding", "gzip, gzip"))
        assert found(zipped, twice) == []
        assert found(text(b"plain"), text(gzip.compress(b"plain"), ("Content-Encoding", "gzip"))) == []

    @pytest.mark.parametrize(
        ("body", "coding", "why"),
        [
            (b"not zipped", "gzip", "is no gzip"),
            (gzip.compress(b"x" * 999)[:-12], "gzip", "breaks off"),
            (b"x", "br", "'br', which is not read here"),
            (b"x", "gzip, gzip, gzip", "has 3 content codings"),
        ],
    )
    def test_codings_that_can_t_be_undone(self, body: bytes, coding: str, why: str) -> None:
        broken = as_json(body, ("Content-Encoding", coding))
        (difference,) = compare(as_json(b"{}"), broken, Rules()).found
        assert (difference.path, difference.kind) == ("body", Kind.TYPE)
        assert why in difference.candidate
        assert found(broken, as_json(body + b"x", ("Content-Encoding", coding))) == [("body", "value")]


HUGE = b"9" * 5000
DEEP = b"[" * 200 + b"]" * 200
DEEPER = b"[" * 100_000 + b"]" * 100_000


class TestHostileBodies:
    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"NaN", "it has NaN"),
            (b"[-Infinity]", "it has -Infinity"),
            (b"[1e999]", "too large: 1e999"),
            (HUGE, "thousands of digits"),
            (DEEPER, "nested too deeply"),
            (b'{"a": 1, "a": 1}', "a key twice"),
            (b'"\xff"', "not UTF-8"),
            (b"", "not JSON"),
            (b"{'a': 1}", "not JSON"),
            (b"\xef\xbb\xbf{}", "not JSON"),
        ],
    )
    def test_what_has_no_one_meaning_is_not_json(self, body: bytes, why: str) -> None:
        with pytest.raises(UnreadableError, match=why):
            read_json(body)
        assert found(as_json(body), as_json(body)) == []
        assert found(as_json(body), as_json(body + b" ")) == [("body", "value")]
        assert found(as_json(b"{}"), as_json(body)) == [("body", "type")]

    def test_deep_nesting(self) -> None:
        assert found(as_json(DEEP), as_json(b"[" + DEEP[1:-1] + b" ]")) == [("body", "value")]
        assert found(as_json(b"[1]"), as_json(DEEP)) == [("$[*]", "type")]
        assert found(as_json(b"{}"), as_json(b'{"a":' + DEEP + b"}")) == [("$.a", "extra")]

    def test_a_small_body_that_holds_a_large_one(self) -> None:
        bomb = gzip.compress(b"0" * (DECODED_BYTES_MAX + 1))
        assert len(bomb) < 20_000
        (difference,) = compare(as_json(b"0"), as_json(bomb, ("Content-Encoding", "gzip")), Rules()).found
        assert "more than 16 MiB" in difference.candidate

    def test_ten_megabytes(self) -> None:
        cameras = [{"id": f"c{number}", "name": "x" * 60, "fps": number % 25} for number in range(100_000)]
        body = json.dumps(cameras).encode()
        assert len(body) > 9_000_000
        cameras[70_000]["fps"] = "5"
        assert found(as_json(body), as_json(json.dumps(cameras).encode())) == [("$[*].fps", "type")]

    def test_more_than_is_worth_the_work(self) -> None:
        one, other = json.dumps([[0] * 1000] * 2500).encode(), json.dumps([[1] * 1000] * 2500).encode()
        (difference,) = compare(as_json(one), as_json(other), Rules()).found
        assert difference.path == "body"
        assert "too much to compare" in difference.candidate

    def test_more_places_than_are_told(self) -> None:
        wide = {f"key{'x' * (number % 7)}{chr(97 + number % 26)}{'y' * (number // 26)}": 1 for number in range(500)}
        result = compare(as_json(json.dumps(wide).encode()), as_json(b"{}"), Rules())
        assert len(result.found) == 100
        assert result.more

    @given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(["", "gzip", "deflate", "gzip, deflate"]))
    def test_no_body_raises(self, one: bytes, other: bytes, coding: str) -> None:
        result = compare(as_json(one, ("Content-Encoding", coding)), as_json(other), Rules())
        for difference in result.found:
            assert all(part.isprintable() for part in difference.shown(Mask()))
        assert bool(result.found) or one == other or coding != "" or read_json(one) == read_json(other)
