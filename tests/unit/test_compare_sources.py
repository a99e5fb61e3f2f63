"""What `splitter compare` reads requests from: lists, OpenAPI documents, HAR files, access logs; faults with their lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from splitter.cli.compare.recorded import Choice
from splitter.cli.compare.request_list import read_request_list
from splitter.cli.compare.source import read_plan
from splitter.cli.compare.steps import NO_JSON, Format, Plan, Step, fill, fill_json
from splitter.compare import EndpointNames, Rules
from splitter.errors import ConfigError

ROOT = Path(__file__).parents[2]


def choice(*, unsafe: bool = False, most: int = 100, repeat: int | None = None) -> Choice:
    return Choice(unsafe, most, repeat, Rules(), EndpointNames())


def read(folder: Path, text: str, kind: Format | None = None, given: dict[str, str] | None = None, **options: Any) -> Plan:
    file = folder / "source"
    file.write_text(text, "utf-8")
    return read_plan(file, kind, choice(**options), given or {})


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read_request_list(text, "l.yaml")
    return [str(fault).removeprefix("l.yaml:") for fault in refused.value.faults]


def steps(plan: Plan) -> list[Step]:
    return [step for scenario in plan.scenarios for step in (*scenario.setup, *scenario.requests, *scenario.cleanup)]


class TestFilling:
    def test_variables(self) -> None:
        assert fill("/a/{x}?y={y}", {"x": "1", "y": "2"}) == "/a/1?y=2"
        assert fill('{{"a": {x}}}', {"x": "1"}) == '{"a": 1}'
        assert fill("{not one} {", {}) == "{not one} {"
        with pytest.raises(KeyError):
            fill("{x}", {})

    def test_json(self) -> None:
        value = {"{x}": ["{x}", 5, None, {"a": "-{x}-"}]}
        assert fill_json(value, {"x": "1"}) == {"1": ["1", 5, None, {"a": "-1-"}]}


class TestList:
    def test_a_small_one(self) -> None:
        plan = read_request_list("requests: [{request: GET /a}]", "l.yaml")
        (step,) = steps(plan)
        assert (plan.title, step.title, step.method, step.target, step.repeat) == ("l.yaml", "GET /a", "GET", "/a", 1)
        assert step.json is NO_JSON

    def test_repeat_is_for_safe_requests(self) -> None:
        text = """
        repeat: 5
        setup: [{request: GET /s}]
        requests:
        - {request: GET /a}
        - {request: POST /a}
        - {request: GET /b, repeat: 2}
        - {request: GET /c, stream: true}
        - {request: GET /d, capture: {x: $.x}}
        """
        assert [step.repeat for step in steps(read_request_list(text, "l"))] == [1, 5, 1, 2, 1, 1]
        assert [step.repeat for step in steps(read_request_list(text, "l", 7))] == [1, 7, 1, 2, 1, 1]

    def test_the_shipped_one_covers_the_camera_api(self) -> None:
        plan = read_request_list((ROOT / "config" / "compare" / "camera_api.yaml").read_text("utf-8"), "camera_api.yaml")
        endpoints = {step.endpoint for step in steps(plan)}
        camera = "/api/v1/cameras/{camera_id}"
        thirteen = {
            *(f"POST {camera}/{move}" for move in ("start", "stop", "restart", "activate", "deactivate")),
            *(f"GET {camera}/{what}" for what in ("status", "preview", "logs")),
            f"PUT {camera}/auto-start", "POST /api/v1/cameras/batch-status", "POST /api/v1/cameras/refresh",
            "POST /api/v1/alerts/rules", "PUT /api/v1/alerts/rules/{rule_id}",
        }  # fmt: skip
        around = {
            "GET /api/v1/cameras", "POST /api/v1/cameras", f"GET {camera}", f"PUT {camera}", f"DELETE {camera}",
            "GET /api/v1/alerts/rules", f"GET {camera}/stream", f"GET {camera}/events", "GET /health",
        }  # fmt: skip
        assert len(thirteen) == 13
        assert thirteen | around <= endpoints

    def test_every_fault_has_its_line(self) -> None:
        text = """\
titel: X
repeat: 0
ignore: [timestamp]
variables: {run: mine, a: "{b}"}
setup:
- {request: "GET a"}
- {request: GET}
requests:
- {name: without}
- {request: "get /a", expect: 999}
- {request: "GET /a b"}
- {request: GET /a, capture: {x: "$..x"}, send_headers: {A: 5}}
- request: GET /a
  websocket: yes
  unknown: 1
"""
        assert faults(text) == [
            "1: titel: unknown key; did you mean title?",
            "2: repeat: must be a whole number from 1 to 10000, not 0",
            '3: ignore[0]: must be a JSON path such as $.timestamp, or header:NAME, status or body, not "timestamp"; '
            "did you mean $.timestamp?",
            '6: setup[0].request: must be a method and a path, such as GET /api/v1/cameras, not "GET a"',
            '7: setup[1].request: must be a method and a path, such as GET /api/v1/cameras, not "GET"',
            "9: requests[0].request: is required",
            '10: requests[1].request: methods are in capitals: GET, not "get"',
            "10: requests[1].expect: must be a whole number from 100 to 599, not 999",
            '11: requests[2].request: has characters that no target has; percent-encode them: "/a b"',
            '12: requests[3].send_headers.A: must be text, not 5: put it in quotes, "5"',
            '14: requests[4].websocket: must be a whole number from 1 to 100, not "yes"',
            "15: requests[4].unknown: unknown key; known here: request, name, send_headers, json, body, expect, capture, "
            "repeat, compare, shared, stream, websocket, ignore, unordered, tolerance",
        ]  # fmt: skip

    def test_what_must_hold_between_values(self) -> None:
        text = """\
variables: {run: mine, a: "{b}", b: x}
requests:
- {request: "GET /{c}"}
- {request: POST /a, json: {"{d}": 1}, body: "{e}"}
- {request: POST /a, websocket: 1}
- {request: GET /a, capture: {c: "$.list[*]"}}
- {request: "GET /{c}/{a}/{run}/{side}"}
"""
        told = "for a brace that is one write {{"
        assert faults(text) == [
            "1: variables.run: run is always there, with a value of its own",
            f"1: variables.a: there is no variable b here; {told}",
            f"3: requests[0].request: there is no variable c here; {told}",
            f"4: requests[1].body: there is no variable e here; {told}",
            f"4: requests[1].json: there is no variable d here; {told}",
            "4: requests[1].body: is there beside json: a request has one body",
            "5: requests[2].websocket: begins with GET, not POST",
            "6: requests[3].capture: c must be one place, and $.list[*] can be many",
        ]

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", "1: requests: is required"),
            ("requests: []", "1: requests: must not be empty"),
            ("requests: GET /", '1: requests: must be a list, not "GET /"'),
            ("- a", "1: must be a mapping, with lines such as `requests: ...`, not a list"),
            ("requests: [GET /]", '1: requests[0]: must be a mapping, such as {request: ...}, not "GET /"'),
        ],
    )
    def test_other_things(self, text: str, fault: str) -> None:
        assert faults(text)[0] == fault


LOG = [
    {"event": "serving", "listen": "x"},
    {"event": "request", "method": "GET", "path": "/a/5", "status": 200},
    {"event": "request", "method": "POST", "path": "/a", "status": 201},
    {"event": "request", "method": "POST", "path": "/a", "status": 201},
    {"event": "request", "method": "GET", "path": "nonsense"},
    {"event": "refused", "status": 400},
]


class TestAccessLog:
    def test_safe_requests_of_it(self, tmp_path: Path) -> None:
        text = "\n".join(json.dumps(line) for line in LOG) + "\nnot json\n"
        plan = read(tmp_path, text, repeat=3)
        assert [(step.method, step.target, step.endpoint, step.repeat, step.literal) for step in steps(plan)] == [
            ("GET", "/a/5", "GET /a/{id}", 3, True)
        ]
        assert plan.skipped == (
            ("POST /a (2 times)", "changes something: --unsafe sends it too"),
            ("an entry", "has no method or path"),
            ("an entry", "is no line of JSON"),
        )

    def test_all_of_it(self, tmp_path: Path) -> None:
        text = "\n".join(json.dumps(line) for line in LOG)
        plan = read(tmp_path, text, unsafe=True, most=2)
        assert [step.method for step in steps(plan)] == ["GET", "POST"]
        assert ("POST /a", "comes after the first 2: --limit takes more") in plan.skipped

    def test_without_anything_to_send(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="has nothing that could be sent: changes something"):
            read(tmp_path, json.dumps(LOG[2]))
        with pytest.raises(ConfigError, match="it has no requests"):
            read(tmp_path, json.dumps(LOG[0]))


def har(*requests: dict[str, Any]) -> str:
    return json.dumps({"log": {"version": "1.2", "entries": [{"request": request} for request in requests]}})


class TestHar:
    def test_what_a_browser_sent(self, tmp_path: Path) -> None:
        headers = [{"name": name, "value": "v"} for name in ("Accept", ":path", "Host", "Cookie", "Accept-Encoding")]
        text = har(
            {"method": "GET", "url": "https://a.example/x/1?q=%20#f", "headers": headers},
            {"method": "GET", "url": "https://other.example/pixel"},
            {"method": "POST", "url": "https://a.example/x", "postData": {"text": '{"a": "{b}"}'}},
            {"method": "POST", "url": "https://a.example/y", "postData": {"text": "AAE=", "encoding": "base64"}},
            {"method": "GET", "url": "data:text/plain,x"},
            {"method": "GET", "url": "https://a.example/\ud800"},
        )
        plan = read(tmp_path, text)
        (step,) = steps(plan)
        assert (step.target, step.endpoint) == ("/x/1?q=%20", "GET /x/{id}")
        assert step.headers == (("Accept", "v"), ("Cookie", "v"))
        assert plan.skipped == (
            ("GET /pixel", "went elsewhere than to https://a.example"),
            ("POST /x", "changes something: --unsafe sends it too"),
            ("POST /y", "changes something: --unsafe sends it too"),
            ("GET data:text/plain,x", "is neither http nor https"),
            ("GET /\N{REPLACEMENT CHARACTER}", "has characters that no request has"),
        )
        assert [step.body for step in steps(read(tmp_path, text, unsafe=True))] == [b"", b'{"a": "{b}"}', b"\x00\x01"]

    @pytest.mark.parametrize("text", ['{"log": {"entries": 5}}', '{"log": {"entries": []}}', '{"log": {"entries": [5]}}'])
    def test_none(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError):
            read(tmp_path, text)


OPENAPI = """
openapi: 3.0.3
info: {title: Cameras, version: "1"}
servers: [{url: "https://api.example/v2/"}]
paths:
  /cameras:
    get:
      summary: list
      parameters:
      - {name: limit, in: query, schema: {type: integer, default: 5}}
      - {name: state, in: query}
      - {name: X-Tenant, in: header, required: true, example: a b}
    post: {requestBody: {required: true, content: {application/json: {example: {id: new}}}}}
  /cameras/{id}:
    parameters: [{$ref: "#/components/parameters/Id"}]
    get: {}
    put: {requestBody: {required: true, content: {application/json: {schema: {type: object}}}}}
  /rules/{rule}:
    get: {parameters: [{name: rule, in: path, required: true, schema: {type: string}}]}
  /odd/{undescribed}:
    get: {}
  /loop/{id}:
    get: {parameters: [{$ref: "#/components/parameters/Loop"}]}
components:
  parameters:
    Id: {name: id, in: path, required: true, examples: {one: {value: a/b}}}
    Loop: {$ref: "#/components/parameters/Loop"}
"""


class TestOpenApi:
    def test_operations_with_values(self, tmp_path: Path) -> None:
        plan = read(tmp_path, OPENAPI)
        assert plan.title == "Cameras"
        assert [(step.title, step.target, step.endpoint, step.headers) for step in steps(plan)] == [
            ("list", "/v2/cameras?limit=5", "GET /v2/cameras", (("X-Tenant", "a b"),)),
            ("GET /cameras/{id}", "/v2/cameras/a%2Fb", "GET /v2/cameras/{id}", ()),
        ]
        unsafe = "changes something: --unsafe sends it too"
        assert plan.skipped == (
            ("POST /cameras", unsafe),
            ("PUT /cameras/{id}", unsafe),
            ("GET /rules/{rule}", "path parameter rule has no example: give it with --set rule=VALUE"),
            ("GET /odd/{undescribed}", "its path has parameters that it does not describe"),
            ("GET /loop/{id}", "its path has parameters that it does not describe"),
        )

    def test_given_values_and_bodies(self, tmp_path: Path) -> None:
        plan = read(tmp_path, OPENAPI, given={"rule": "r 1", "state": "on", "id": "x"}, unsafe=True)
        found = {f"{step.method} {step.target}": step.json for step in steps(plan)}
        assert found == {
            "GET /v2/cameras?limit=5&state=on": NO_JSON,
            "POST /v2/cameras": {"id": "new"},
            "GET /v2/cameras/x": NO_JSON,
            "GET /v2/rules/r%201": NO_JSON,
        }
        assert ("PUT /cameras/{id}", "its body has no example") in plan.skipped

    def test_json_is_fine_and_swagger_too(self, tmp_path: Path) -> None:
        document = {"swagger": "2.0", "basePath": "/v1", "paths": {"/a": {"get": {}}}}
        assert [step.target for step in steps(read(tmp_path, json.dumps(document)))] == ["/v1/a"]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("openapi: 3.0.0\npaths: 5", "paths: must be a mapping"),
            ("openapi: 3.0.0\npaths: {}", "it has no operations"),
            ("openapi: [", "is neither YAML nor JSON"),
            ("openapi: 3.0.0\npaths: {'/a/{x}': {get: {}}}", "does not describe"),
        ],
    )
    def test_what_can_t_be_used(self, tmp_path: Path, text: str, told: str) -> None:
        with pytest.raises(ConfigError, match=told):
            read(tmp_path, text, Format.OPENAPI)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        read_plan(tmp_path / "nothing", None, choice(), {})
