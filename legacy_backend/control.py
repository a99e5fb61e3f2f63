"""The handlers that move a camera: start, stop, restart, activate, deactivate, auto-start.

Owns: when a move is allowed, and what it does. Must not know: pictures beyond "does the source give one".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from aiohttp import web

from camera_data.database import timestamp
from camera_data.definition import CameraDefinition
from camera_data.errors import SourceError
from camera_data.picture import check_source
from camera_data.serve import Ground
from camera_data.wire import object_of
from legacy_backend.checks import check_auto_start, check_empty
from legacy_backend.rows import (
    GROUND,
    ApiError,
    Row,
    no_camera,
    refused,
    row_of,
    status_document,
    write_change,
    write_log,
    write_row,
)

INTERRUPTED_AFTER_S = 10.0  # a start takes milliseconds; who needs longer was killed meanwhile


async def start(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    check_empty(object_of(await request.read()))
    return web.json_response(await ground.threads.change(start_work, ground, request.match_info["camera_id"], "start"))


async def restart(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    check_empty(object_of(await request.read()))
    return web.json_response(await ground.threads.change(start_work, ground, request.match_info["camera_id"], "restart"))


def start_work(ground: Ground, camera_id: str, action: str) -> Row:
    with ground.camera_file.locked() as file, ground.database.writing() as sql:
        camera = file.cameras.get(camera_id)
        if camera is None:
            raise no_camera(camera_id)
        row = row_of(sql, camera_id)
        previous = row["state"]
        if not camera.active or (action == "start" and previous in {"starting", "running"}):
            raise refused(camera, previous, f"{action}ed")
        attempt = row["attempt"] + 1
        row = {"state": "starting", "since": timestamp(ground.now()), "last_error": None, "attempt": attempt}
        write_row(sql, camera, row)
        write_log(ground, sql, camera_id, f"{action} from {previous}")
        write_change(ground, sql, camera, action, previous, row)
    fault = None
    try:
        check_source(camera, ground.camera_file.directory)  # outside the locks: it reads a file that may be large
    except SourceError as error:
        fault = str(error)
    camera, row = finish_start(ground, camera_id, attempt, action, fault)
    if fault:
        raise ApiError(422, "source_unavailable", f"camera {camera_id!r} can't be {action}ed: {fault}")
    return {"action": action, "previous_state": previous, **status_document(camera, row)}


def finish_start(
    ground: Ground, camera_id: str, attempt: int, action: str, fault: str | None
) -> tuple[CameraDefinition, Row]:
    with ground.camera_file.locked() as file, ground.database.writing() as sql:
        camera = file.cameras.get(camera_id)
        if camera is None:
            raise no_camera(camera_id)
        row = row_of(sql, camera_id)
        if row["state"] != "starting" or row["attempt"] != attempt:
            message = f"camera {camera_id!r} was moved by somebody else while it was starting; it is {row['state']} now"
            raise ApiError(409, "illegal_move", message)
        row["state"] = "error" if fault else "running"
        row["since"] = timestamp(ground.now())
        row["last_error"] = fault
        write_row(sql, camera, row)
        write_log(ground, sql, camera_id, f"{action} failed: {fault}" if fault else "running", "error" if fault else "info")
        write_change(ground, sql, camera, action, "starting", row)
        return camera, row


async def stop(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    camera_id = request.match_info["camera_id"]
    check_empty(object_of(await request.read()))

    def work() -> Row:
        with ground.camera_file.locked() as file, ground.database.writing() as sql:
            camera = file.cameras.get(camera_id)
            if camera is None:
                raise no_camera(camera_id)
            row = row_of(sql, camera_id)
            previous = row["state"]
            if previous == "stopped":
                raise refused(camera, previous, "stopped")
            row.update(state="stopped", since=timestamp(ground.now()), last_error=None)
            write_row(sql, camera, row)
            write_log(ground, sql, camera_id, f"stop from {previous}")
            write_change(ground, sql, camera, "stop", previous, row)
        return {"action": "stop", "previous_state": previous, **status_document(camera, row)}

    return web.json_response(await ground.threads.change(work))


async def activate(request: web.Request) -> web.Response:
    check_empty(object_of(await request.read()))
    return await setting(request, "activate", active=True)


async def deactivate(request: web.Request) -> web.Response:
    check_empty(object_of(await request.read()))
    return await setting(request, "deactivate", active=False)


async def auto_start(request: web.Request) -> web.Response:
    body = object_of(await request.read())
    check_auto_start(body)
    return await setting(request, "auto-start", auto_start=body["enabled"])


async def setting(request: web.Request, action: str, **fields: bool) -> web.Response:
    ground = request.app[GROUND]
    camera_id = request.match_info["camera_id"]

    def work() -> Row:
        with ground.camera_file.locked() as file, ground.database.writing() as sql:
            old = file.cameras.get(camera_id)
            if old is None:
                raise no_camera(camera_id)
            camera = replace(
                old, active=fields.get("active", old.active), auto_start=fields.get("auto_start", old.auto_start)
            )
            row = row_of(sql, camera_id)
            previous = row["state"]
            stops = action == "deactivate" and previous != "stopped"
            if stops:
                row.update(state="stopped", since=timestamp(ground.now()), last_error=None)
            if stops or camera != old:
                write_row(sql, camera, row)
                text = f"{action} {'on' if camera.auto_start else 'off'}" if action == "auto-start" else action
                write_log(ground, sql, camera_id, f"{text} in {previous}")
                write_change(ground, sql, camera, action, previous, row)
                file.put(camera)
        return {"action": action, "previous_state": previous, **status_document(camera, row)}

    return web.json_response(await ground.threads.change(work))


def auto_start_all(ground: Ground) -> None:
    """At the start of the service. The other service may do the same at this moment: one of the two finds it running."""
    latest = timestamp(ground.now() - timedelta(seconds=INTERRUPTED_AFTER_S))
    cameras, _ = ground.camera_file.read_or_last_good()
    for camera in cameras.values():
        with ground.database.reading() as sql:
            row = row_of(sql, camera.id)
        try:
            if row["state"] == "starting" and row["since"] < latest:
                finish_start(ground, camera.id, row["attempt"], "start", "the start was interrupted")
                row["state"] = "error"
            if camera.active and camera.auto_start and row["state"] in {"stopped", "error"}:
                start_work(ground, camera.id, "start")
        except ApiError:
            continue  # the camera's own log has the reason
