"""How findings are told: sentences, JUnit XML, the page; and what `splitter compare` refuses."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from splitter.cli import main
from splitter.cli.compare.findings import Findings, Verdict
from splitter.cli.compare.junit import junit_xml
from splitter.cli.compare.own_names import OwnNames
from splitter.cli.compare.page import page
from splitter.cli.compare.side import Side
from splitter.cli.compare.steps import Plan
from splitter.cli.compare.told import Told
from splitter.compare import Context, Difference, Differences, Kind, Mask, Observation

HOSTILE = "<script>alert(1)</script>&\"'\x00\ud800]]>"


def told(findings: Findings, *skipped: tuple[str, str], noise_asked: bool = True) -> Told:
    sides = Side("legacy", "http://a:1"), Side("domain", "http://b:2")
    return Told(Plan("A list", (), skipped), *sides, findings, 1.25, "2026-11-24T10:00:00Z", noise_asked)


def record(findings: Findings, title: str, endpoint: str, *differences: Difference) -> None:
    found = Differences(tuple(differences))
    context = Context(f"{endpoint}?x={HOSTILE}", "id-1", 5.0)
    findings.report.record(endpoint, found, Differences(), context, Mask())
    result = findings.step(title, endpoint)
    result.compared += 1
    for each in differences:
        result.places[each.place] = result.places.get(each.place, 0) + 1


def some() -> Findings:
    findings = Findings(warm_up=1)
    record(findings, "list", "GET /a")
    record(findings, "show", "GET /b", Difference("$.state", Kind.RENAMED, {"state": 1}, {"status": HOSTILE}, ("state",)))
    record(findings, HOSTILE, "GET /c", Difference("$.x.state", Kind.RENAMED, {"state": 1}, {"status": 1}, ("x", "state")))
    record(findings, "head", "GET /c", Difference("header:location", Kind.MISSING, "/x", "y"))
    findings.fail(findings.step("broken", "GET /d"), "legacy: timed out after 5 s")
    findings.add_problem("create: legacy was to answer 201, not 500")
    for _ in range(9):
        findings.add_pair("GET /a", 0.010, 0.020)
    findings.add_pair("GET /b", 0.010, 0.001)
    return findings


class TestSentences:
    def test_all_is_well(self) -> None:
        findings = Findings(0)
        record(findings, "list", "GET /a")
        assert findings.verdict is Verdict.MATCH
        assert told(findings).headline == "domain and legacy answer alike"
        assert told(findings).extent == "1 request compared at 1 endpoint, legacy asked twice for each, in 1.2 s"

    def test_differences_of_one_field_are_one(self) -> None:
        findings = some()
        assert findings.verdict is Verdict.MISMATCH
        assert told(findings).headline == "domain differs from legacy: 2 differences at 2 endpoints"
        assert [[row.endpoint for row in rows] for rows in told(findings).grouped(findings.mismatches())] == [
            ["GET /b", "GET /c"],
            ["GET /c"],
        ]

    def test_nothing_compared_is_no_match(self) -> None:
        assert Findings(0).verdict is Verdict.FAILED
        assert told(Findings(0)).headline == "domain and legacy could not be compared as planned"

    @pytest.mark.parametrize(
        ("path", "field"),
        [
            ("$", "the whole answer"), ("$.a", "a"), ("$.a[*]", "a[*]"), ("$.a[*].b", "b"), ("$['x.y'][*]", "x.y[*]"),
            ("$[*]", "an item of the answer"), ("status", "status"), ("header:location", "header:location"),
        ],
    )  # fmt: skip
    def test_the_field_of_a_place(self, path: str, field: str) -> None:
        assert Told.field(path) == field

    def test_times_of_the_warm_up_are_left_out(self) -> None:
        findings = some()
        latencies = findings.latencies()
        assert (latencies["GET /a"].pairs, latencies["GET /b"].pairs) == (8, 1)
        assert findings.is_slower_than(1.5)
        assert not findings.is_slower_than(3)


class TestJUnit:
    def test_cases(self) -> None:
        root = ElementTree.fromstring(junit_xml(told(some(), ("POST /z", "changes something"))))
        suite = root[0]
        assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
            "tests": "7", "failures": "3", "errors": "2", "skipped": "1"
        }  # fmt: skip
        assert len(suite) == 7
        cases = {case.get("name"): case for case in suite}
        failure = cases["show"].find("failure")
        assert failure is not None
        assert failure.get("message") == "$.state has another name in domain"
        assert (failure.text or "").startswith(
            'GET /b: $.state has another name in domain (1 of 1): legacy {"state": 1}, domain'
        )
        assert cases["list"].find("failure") is None
        assert cases["broken"].find("error") is not None
        assert cases["POST /z"].find("skipped") is not None

    def test_all_is_well(self) -> None:
        findings = Findings(0)
        record(findings, "list", "GET /a")
        suite = ElementTree.fromstring(junit_xml(told(findings)))[0]
        assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "0")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.wrong: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "action"} or name.startswith("on")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


class TestPage:
    def test_it_is_one_well_formed_file(self) -> None:
        text = page(told(some(), ("POST /z", HOSTILE))).decode()
        tags = _Tags()
        tags.feed(re.sub(r"<(line|circle)([^>]*)/>", r"<\1\2></\1>", text))
        assert (tags.open, tags.wrong, tags.links) == ([], [], [])
        assert "script" not in tags.seen
        assert 'http-equiv="Content-Security-Policy" content="default-src &#x27;none&#x27;;' in text
        assert "url(" not in text
        assert "@import" not in text

    def test_what_a_manager_looks_for_comes_first(self) -> None:
        text = page(told(some())).decode()
        words = re.sub(r"<[^>]+>", " ", text[text.index("<body>") :])
        order = [
            "Domain differs from legacy: 2 differences at 2 endpoints.",
            "1 of 4",
            "What differs",
            "Endpoints",
            "Left out",
        ]
        places = [words.index(part) for part in order]
        assert places == sorted(places)
        assert "state" in words
        assert "has another name in domain" in words

    def test_without_noise_and_times(self) -> None:
        findings = Findings(0)
        record(findings, "list", "GET /a")
        text = page(told(findings, noise_asked=False)).decode()
        assert "Legacy was asked once: what is noise is not known." in text
        assert "no times were measured" in text.lower()
        assert "What differs" not in text


class TestOwnNames:
    NAMES = OwnNames({"camera": "cmp-1-a", "side": "a", "run": "cmp", "rule": "rule-7"}, "http://h:1")

    def put_back(self, body: bytes, *headers: tuple[str, str]) -> Observation:
        return self.NAMES.put_back(Observation(200, headers, body))

    def test_they_become_what_they_stand_for(self) -> None:
        text = b'{"id": "cmp-1-a", "a": "a", "cmp": "rule-7 of cmp-1-a; rule-77", "url": "http://h:1/x"}'
        assert (
            self.put_back(text).body
            == b'{"id": "{camera}", "a": "a", "cmp": "{rule} of {camera}; rule-77", "url": "{url}/x"}'
        )

    def test_in_headers_too(self) -> None:
        assert self.put_back(b"", ("Location", "/c/cmp-1-a")).headers == (("Location", "/c/{camera}"),)

    def test_bodies_that_are_no_text_stay(self) -> None:
        assert self.put_back(b"\xff cmp-1-a").body == b"\xff cmp-1-a"
        large = Observation(200, (), b"", size_bytes=5, digest="x")
        assert self.NAMES.put_back(large) == large


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", *arguments], env={"SPLITTER_ADMIN_TOKEN": ""})


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "told_"),
        [
            ([], "Missing argument 'SOURCE'"),
            (["l.yaml"], "give --control URL and --candidate URL, or --via URL"),
            (["l.yaml", "--control", "http://a"], "give --control URL and --candidate URL"),
            (["l.yaml", "--via", "http://a", "--control", "http://a"], "give either --via"),
            (["l.yaml", "--via", "localhost:8000"], "--via must be a URL such as"),
            (["l.yaml", "--via", "http://a:x"], "--via must be a URL such as"),
            (["l.yaml", "--via", "http://a", "-H", "nonsense"], "--header must look like NAME:VALUE"),
            (["l.yaml", "--via", "http://a", "--set", "x"], "--set must look like NAME=VALUE"),
            (["l.yaml", "--via", "http://a", "--timeout", "5"], "must be a duration such as 500ms"),
            (["l.yaml", "--via", "http://a", "--max-body", "5MB"], "must be a size in units of 1024: 5MiB"),
            (["l.yaml", "--via", "http://a", "--json", "l.yaml"], "--json would write over l.yaml"),
            (["l.yaml", "--via", "http://a", "--html", "no/such/x.html"], "--html can't write no/such/x.html"),
            (["--via", "http://a", "--json", "l.yaml"], "Missing argument 'SOURCE'"),
            (["l.yaml", "--via", "http://a", "--format", "csv"], "'csv' is not one of"),
        ],
    )
    def test_what_can_t_be_meant(
        self, arguments: list[str], told_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("l.yaml").write_text("requests: [{request: GET /}]")
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert told_ in result.stderr
        assert Path("l.yaml").read_text() == "requests: [{request: GET /}]"

    def test_faults_of_the_source(self, tmp_path: Path) -> None:
        file = tmp_path / "l.yaml"
        file.write_text("requests:\n- {request: nonsense}\n")
        result = invoke(str(file), "--via", "http://127.0.0.1:9")
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{file}:2: requests[0].request: must be a method and a path" in result.stderr
        assert "1 fault: not usable" in result.stderr
