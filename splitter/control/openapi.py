"""The description of the admin API for programs: OpenAPI 3.1.

Owns: the document, which says of each path what may be sent and what comes back. Must not know: how anything is answered.
Invariant: what is described is what is done; a test sends thousands of requests made from this document and checks the
answers against it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from splitter import __version__
from splitter.control import bodies, mirror_told, shapes

_REF: Final = "#/components/schemas/{model}"
_REQUESTS: Final = (
    bodies.SetPercent,
    bodies.Rollback,
    bodies.Resume,
    bodies.StartPlan,
    bodies.PromotePlan,
    bodies.SteerPlan,
)
_ANSWERS: Final = (shapes.Status, shapes.Done, shapes.PlanState, shapes.Events, mirror_told.MirrorFindings, shapes.Error)

_ERRORS: Final = {
    "400": "The request is no HTTP or no JSON that could be understood.",
    "401": "The token is missing or wrong. Told later each time.",
    "403": "Asked by a page of another site.",
    "404": "There is no such route.",
    "405": "Another method; `Allow` names the ones there are.",
    "409": "It can't follow what is; nothing was changed.",
    "413": "The body is too large.",
    "415": "The body is not `application/json`.",
    "421": "Called by a name that is not this splitter's (`admin.hosts`).",
    "422": "JSON, but not what is described here; nothing was changed.",
    "429": "Too many attempts with a wrong token.",
    "503": "The state can't be saved; nothing was changed.",
}
_READING_ERRORS: Final = ("400", "403", "405", "421")
_CHANGING_ERRORS: Final = (*_READING_ERRORS, "401", "409", "413", "415", "422", "429", "503")

Json = dict[str, Any]


def _content(schema: Json, media_type: str = "application/json") -> Json:
    return {media_type: {"schema": schema}}


def _error(status: str) -> Json:
    """JSON; but what can't be read as HTTP, or has a line of more than 8190 bytes, is refused before that, in plain text."""
    return _content(_ref("Error")) | (_content({"type": "string"}, "text/plain") if status == "400" else {})


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _answers(description: str, content: Json, errors: tuple[str, ...]) -> Json:
    return {"200": {"description": description, "content": content}} | {
        status: {"$ref": f"#/components/responses/{status}"} for status in sorted(errors)
    }


def _reads(summary: str, name: str, content: Json, *more_errors: str, parameters: tuple[Json, ...] = ()) -> Json:
    operation = {
        "operationId": name,
        "summary": summary,
        "responses": _answers(summary, content, (*_READING_ERRORS, *more_errors)),
    }
    return operation | ({"parameters": list(parameters)} if parameters else {})


def _changes(summary: str, name: str, body: str, *more_errors: str, needs_body: bool) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "description": "Answers when it is saved and in force on every worker.",
        "security": [{"token": []}, {}],
        "parameters": [
            {
                "name": "X-Splitter-Actor",
                "in": "header",
                "description": "Who asks, for the audit list: `cli:NAME`, `console:NAME` or `api:NAME`; else ignored.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {"required": needs_body, "content": _content(_ref(body))},
        "responses": _answers("In force on every worker.", _content(_ref("Done")), (*_CHANGING_ERRORS, *more_errors)),
    }


_LIMIT: Final = {
    "name": "limit",
    "in": "query",
    "description": "How many, the newest first.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
}
_PLACES: Final = (
    {
        "name": "limit",
        "in": "query",
        "description": "How many places, mismatches first.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 2000, "default": 200},
    },
    {"name": "endpoint", "in": "query", "description": "Places of this endpoint only.", "schema": {"type": "string"}},
)
_LAST_EVENT: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The last `id` that was received: what came after it is sent first.",
    "schema": {"type": "string"},
}
_STREAM: Final = (
    "Server-sent events. `status`: the state, at once and after every change; `event`: each new line of the audit list; "
    "`stats`: requests per second, error rate and latencies of both sides, each second."
)


def _paths() -> Json:
    return {
        "/api/v1/rollout": {
            "get": _reads("What is in force, and which layer each value came from.", "status", _content(_ref("Status")))
        },
        "/api/v1/rollout/percent": {
            "put": _changes(
                "Set the percent of clients that go to domain, of all or of a route.",
                "setPercent",
                "SetPercent",
                "404",
                needs_body=True,
            )
        },
        "/api/v1/rollout/rollback": {
            "post": _changes(
                "Send everybody to legacy. Works in every state, also when nothing can be saved, and twice.",
                "rollback",
                "Rollback",
                needs_body=False,
            )
        },
        "/api/v1/rollout/resume": {"post": _changes("Let go of a rollback.", "resume", "Resume", needs_body=False)},
        "/api/v1/rollout/plan": {
            "get": _reads("The plan, where it stands, and what the guardrails say.", "plan", _content(_ref("PlanState")))
        },
        "/api/v1/rollout/plan/start": {
            "post": _changes("Start the plan. Takes nobody back.", "startPlan", "StartPlan", needs_body=False)
        },
        "/api/v1/rollout/plan/promote": {
            "post": _changes("End the stage now: the next one begins.", "promotePlan", "PromotePlan", needs_body=False)
        },
        "/api/v1/rollout/plan/pause": {
            "post": _changes("Stop the clock; the percent stays.", "pausePlan", "SteerPlan", needs_body=False)
        },
        "/api/v1/rollout/plan/continue": {
            "post": _changes(
                "Let the clock run again, or approve the stage that waits for a person.",
                "continuePlan",
                "SteerPlan",
                needs_body=False,
            )
        },
        "/api/v1/rollout/plan/abort": {
            "post": _changes(
                "Give the plan up: what it moved is back on legacy.", "abortPlan", "SteerPlan", needs_body=False
            )
        },
        "/api/v1/rollout/events": {
            "get": _reads("The audit list.", "events", _content(_ref("Events")), "422", parameters=(_LIMIT,))
        },
        "/api/v1/rollout/mirror": {
            "get": _reads(
                "What copies of live requests have shown.",
                "mirror",
                _content(_ref("MirrorFindings")),
                "422",
                parameters=_PLACES,
            )
        },
        "/api/v1/rollout/stream": {
            "get": _reads(
                _STREAM, "stream", _content({"type": "string"}, "text/event-stream"), "503", parameters=(_LAST_EVENT,)
            )
        },
        "/api/v1/openapi.json": {"get": _reads("This document.", "openapi", _content({"type": "object"}))},
    }


@cache
def document() -> Json:
    """The whole document."""
    _, requests = models_json_schema([(model, "validation") for model in _REQUESTS], ref_template=_REF)
    _, answers = models_json_schema([(model, "serialization") for model in _ANSWERS], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "camera-splitter admin API",
            "version": __version__,
            "summary": "Who goes to the rewrite, and back in an instant.",
        },
        "paths": _paths(),
        "components": {
            "schemas": requests["$defs"] | answers["$defs"],
            "responses": {status: {"description": text, "content": _error(status)} for status, text in _ERRORS.items()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "SPLITTER_ADMIN_TOKEN. Where none is set, none is needed, and only this machine can ask.",
                }
            },
        },
    }
