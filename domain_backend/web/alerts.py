"""Handlers of alert rules.

Owns: their requests and answers. Must not know: which rules make sense.
"""

from __future__ import annotations

from aiohttp import web

from domain_backend.web.bodies import Rule, read
from domain_backend.web.context import CONTEXT
from domain_backend.web.documents import rule_document
from domain_backend.web.paths import RULES

routes = web.RouteTableDef()


@routes.get(RULES)
async def list_rules(request: web.Request) -> web.Response:
    """Every rule."""
    context = request.app[CONTEXT]
    rules = await context.ground.threads.read(context.rules.all)
    return web.json_response({"rules": [rule_document(rule) for rule in rules], "total": len(rules)})


@routes.post(RULES)
async def create(request: web.Request) -> web.Response:
    """One more."""
    context = request.app[CONTEXT]
    body = await read(request, Rule)
    rule = await context.ground.threads.change(context.rules.create, body.terms())
    return web.json_response(rule_document(rule), status=201, headers={"Location": f"{RULES}/{rule.id}"})


@routes.put(RULES + "/{rule_id}")
async def update(request: web.Request) -> web.Response:
    """Other terms for one."""
    context = request.app[CONTEXT]
    body = await read(request, Rule)
    rule = await context.ground.threads.change(context.rules.replace, request.match_info["rule_id"], body.terms())
    return web.json_response(rule_document(rule))
