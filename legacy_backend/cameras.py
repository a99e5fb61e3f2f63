"""The handlers about cameras as things: list, create, get, change, delete, status, logs, batch, refresh.

Owns: what they answer. Must not know: how a camera is started.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

from aiohttp import web

from camera_data.database import timestamp
from camera_data.definition import CameraDefinition
from camera_data.serve import Ground
from camera_data.wire import object_of
from legacy_backend.checks import check_batch, check_camera, check_empty, check_page
from legacy_backend.rows import (
    GROUND,
    ApiError,
    Row,
    camera_document,
    no_camera,
    refused,
    row_of,
    status_document,
    write_change,
    write_log,
    write_row,
)


async def list_cameras(request: web.Request) -> web.Response:
    ground = request.app[GROUND]

    def work() -> list[Row]:
        cameras, _ = ground.camera_file.read_or_last_good()
        with ground.database.reading() as sql:
            return [camera_document(camera, row_of(sql, camera.id)) for camera in cameras.values()]

    found = await ground.threads.read(work)
    return web.json_response({"cameras": found, "total": len(found)})


async def get(request: web.Request) -> web.Response:
    camera, row = await one(request)
    return web.json_response(camera_document(camera, row))


async def status(request: web.Request) -> web.Response:
    camera, row = await one(request)
    return web.json_response(status_document(camera, row))


async def one(request: web.Request) -> tuple[CameraDefinition, Row]:
    ground = request.app[GROUND]
    camera_id = request.match_info["camera_id"]

    def work() -> tuple[CameraDefinition, Row]:
        cameras, _ = ground.camera_file.read_or_last_good()
        camera = cameras.get(camera_id)
        if camera is None:
            raise no_camera(camera_id)
        with ground.database.reading() as sql:
            return camera, row_of(sql, camera_id)

    return await ground.threads.read(work)


async def create(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    body = object_of(await request.read())
    check_camera(body)
    camera = CameraDefinition(**body)

    def work() -> Row:
        with ground.camera_file.locked() as file, ground.database.writing() as sql:
            if camera.id in file.cameras:
                raise ApiError(409, "duplicate", f"there is a camera {camera.id!r} already")
            row = {"state": "stopped", "since": timestamp(ground.now()), "last_error": None, "attempt": 0}
            write_row(sql, camera, row)
            write_log(ground, sql, camera.id, "created")
            write_change(ground, sql, camera, "create", None, row)
            file.put(camera)
        return camera_document(camera, row)

    document = await ground.threads.change(work)
    return web.json_response(document, status=201, headers={"Location": f"/api/v1/cameras/{camera.id}"})


async def update(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    camera_id = request.match_info["camera_id"]
    body = object_of(await request.read())
    check_camera(body, camera_id)

    def work() -> Row:
        with ground.camera_file.locked() as file, ground.database.writing() as sql:
            old = file.cameras.get(camera_id)
            if old is None:
                raise no_camera(camera_id)
            camera = replace(old, **body)
            row = row_of(sql, camera_id)
            previous = row["state"]
            if camera != old:
                if not camera.active and previous != "stopped":
                    row.update(state="stopped", since=timestamp(ground.now()), last_error=None)
                write_row(sql, camera, row)
                write_log(ground, sql, camera_id, f"updated in {previous}")
                write_change(ground, sql, camera, "update", previous, row)
                file.put(camera)
        return camera_document(camera, row)

    return web.json_response(await ground.threads.change(work))


async def delete(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    camera_id = request.match_info["camera_id"]
    check_empty(object_of(await request.read()))

    def work() -> None:
        with ground.camera_file.locked() as file, ground.database.writing() as sql:
            camera = file.cameras.get(camera_id)
            if camera is None:
                raise no_camera(camera_id)
            row = row_of(sql, camera_id)
            if row["state"] in {"starting", "running"}:
                raise refused(camera, row["state"], "deleted")
            forget(ground, sql, camera, "delete", row["state"])
            file.remove(camera_id)

    await ground.threads.change(work)
    return web.Response(status=204)


def forget(ground: Ground, sql: sqlite3.Connection, camera: CameraDefinition, action: str, previous: str) -> None:
    sql.execute("DELETE FROM run_state WHERE camera_id = ?", (camera.id,))
    sql.execute("DELETE FROM logs WHERE camera_id = ?", (camera.id,))
    sql.execute(
        "UPDATE alert_rules SET enabled = 0, updated_at = ? WHERE camera_id = ? AND enabled = 1",
        (timestamp(ground.now()), camera.id),
    )
    write_change(ground, sql, camera, action, previous, {"state": None, "since": None, "last_error": None})


async def batch_status(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    body = object_of(await request.read())
    check_batch(body)
    wanted = list(dict.fromkeys(body["camera_ids"]))

    def work() -> tuple[list[Row], list[str]]:
        cameras, _ = ground.camera_file.read_or_last_good()
        with ground.database.reading() as sql:
            found = [status_document(cameras[name], row_of(sql, name)) for name in wanted if name in cameras]
        return found, [name for name in wanted if name not in cameras]

    found, unknown = await ground.threads.read(work)
    return web.json_response({"statuses": found, "unknown": unknown, "total": len(found)})


async def logs(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    camera_id = request.match_info["camera_id"]
    limit, offset = check_page(request.query)

    def work() -> tuple[list[Row], int]:
        cameras, _ = ground.camera_file.read_or_last_good()
        if camera_id not in cameras:
            raise no_camera(camera_id)
        with ground.database.reading() as sql:
            (total,) = sql.execute("SELECT count(*) FROM logs WHERE camera_id = ?", (camera_id,)).fetchone()
            rows = sql.execute(
                "SELECT id, time, level, message FROM logs WHERE camera_id = ? ORDER BY id DESC LIMIT ? OFFSET ?",
                (camera_id, limit, offset),
            )
            return [dict(row) for row in rows], total

    lines, total = await ground.threads.read(work)
    return web.json_response({"camera_id": camera_id, "logs": lines, "total": total, "limit": limit, "offset": offset})


async def refresh(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    check_empty(object_of(await request.read()))
    return web.json_response(await ground.threads.change(refresh_work, ground))


def refresh_work(ground: Ground) -> Row:
    """What was edited by hand since the services last looked, and the run state brought into line with it."""
    with ground.camera_file.locked() as file, ground.database.writing() as sql:
        file.check()
        rows = sql.execute("SELECT camera_id, definition FROM run_state").fetchall()
        known = {row["camera_id"]: CameraDefinition(**json.loads(row["definition"])) for row in rows}
        added = [name for name in file.cameras if name not in known]
        removed = [name for name in known if name not in file.cameras]
        changed = [name for name, camera in file.cameras.items() if name in known and known[name] != camera]
        for name in removed:
            forget(ground, sql, known[name], "refresh", row_of(sql, name)["state"])
        for name in added + changed:
            camera, row = file.cameras[name], row_of(sql, name)
            previous = row["state"] if name in known else None
            if name in added or (not camera.active and previous != "stopped"):
                row.update(state="stopped", since=timestamp(ground.now()), last_error=None)
            write_row(sql, camera, row)
            write_log(ground, sql, name, "found in the camera file" if name in added else "changed in the camera file")
            write_change(ground, sql, camera, "refresh", previous, row)
        return {"added": added, "removed": removed, "changed": changed, "total": len(file.cameras)}


def health_work(ground: Ground) -> tuple[int, int, str | None]:
    cameras, fault = ground.camera_file.read_or_last_good()
    with ground.database.reading() as sql:
        rows = sql.execute("SELECT camera_id FROM run_state WHERE state = 'running'").fetchall()
    return len(cameras), sum(row["camera_id"] in cameras for row in rows), fault
