"""The handlers that show a camera: preview, stream, events.

Owns: pictures of running cameras and the news about a camera. Must not know: who changes a camera.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

from aiohttp import web

from camera_data.database import newest_change, timestamp
from camera_data.definition import CameraDefinition
from camera_data.errors import SourceError
from camera_data.live import CLOSE_TIMEOUT_S, HEARTBEAT_S, LAST_PART, STREAM_TYPE, Pace, part, until_first_ends
from camera_data.picture import picture
from camera_data.serve import Ground
from legacy_backend.rows import (
    GROUND,
    ApiError,
    Row,
    no_camera,
    row_of,
    status_document,
    write_change,
    write_log,
    write_row,
)

NO_STORE = {"Cache-Control": "no-store"}


async def preview(request: web.Request) -> web.Response:
    _, jpeg = await shot(request.app[GROUND], request.match_info["camera_id"])
    return web.Response(body=jpeg, content_type="image/jpeg", headers=NO_STORE)


async def shot(ground: Ground, camera_id: str) -> tuple[CameraDefinition, bytes]:
    def running() -> tuple[CameraDefinition, int]:
        cameras, _ = ground.camera_file.read_or_last_good()
        camera = cameras.get(camera_id)
        if camera is None:
            raise no_camera(camera_id)
        with ground.database.reading() as sql:
            row = row_of(sql, camera_id)
        if row["state"] != "running":
            raise ApiError(
                409, "not_running", f"camera {camera_id!r} is {row['state']}: only a running camera has a picture"
            )
        return camera, row["attempt"]

    camera, attempt = await ground.threads.read(running)
    try:
        return camera, await ground.threads.read(picture, camera, ground.camera_file.directory, ground.now())
    except SourceError as error:
        await ground.threads.change(lose_source, ground, camera, attempt, str(error))
        raise ApiError(422, "source_unavailable", f"camera {camera_id!r} has lost its picture: {error}") from None


def lose_source(ground: Ground, camera: CameraDefinition, attempt: int, fault: str) -> None:
    with ground.camera_file.locked(), ground.database.writing() as sql:
        row = row_of(sql, camera.id)
        if row["state"] == "running" and row["attempt"] == attempt:
            row.update(state="error", since=timestamp(ground.now()), last_error=fault)
            write_row(sql, camera, row)
            write_log(ground, sql, camera.id, f"lost its picture: {fault}", "error")
            write_change(ground, sql, camera, "lost", "running", row)


async def stream(request: web.Request) -> web.StreamResponse:
    ground = request.app[GROUND]
    camera_id = request.match_info["camera_id"]
    camera, jpeg = await shot(ground, camera_id)
    response = web.StreamResponse(headers={"Content-Type": STREAM_TYPE, **NO_STORE})
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    pace = Pace(ground.stopping)
    with contextlib.suppress(ConnectionError):  # the client has seen enough
        while True:
            await response.write(part(jpeg))
            if not await pace.wait(camera.fps):
                break
            try:
                camera, jpeg = await shot(ground, camera_id)
            except ApiError:  # it was stopped, or is gone
                break
        await response.write(LAST_PART)
        await response.write_eof()
    return response


async def events(request: web.Request) -> web.StreamResponse:
    ground = request.app[GROUND]
    camera_id = request.match_info["camera_id"]

    def snapshot() -> Row:
        with ground.database.reading() as sql:
            seq = newest_change(sql)
            row = row_of(sql, camera_id)
        cameras, _ = ground.camera_file.read_or_last_good()
        if camera_id not in cameras:
            raise no_camera(camera_id)
        status = status_document(cameras[camera_id], row)
        return {
            "type": "snapshot",
            "seq": seq,
            "time": timestamp(ground.now()),
            "camera_id": camera_id,
            "action": None,
            "previous_state": None,
            "status": status,
        }

    first = await ground.threads.read(snapshot)
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, timeout=CLOSE_TIMEOUT_S)
    if not socket.can_prepare(request):
        headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
        raise ApiError(426, "upgrade_required", "events are sent over a WebSocket", headers)
    await socket.prepare(request)

    async def listen() -> None:
        async for _ in socket:
            pass  # nothing a client says here means anything; the loop ends when it goes

    async def stop() -> None:
        await ground.stopping.wait()
        await socket.close(code=1001, message=b"the service stops")

    await until_first_ends(follow(ground, socket, first), listen(), stop())
    return socket


async def follow(ground: Ground, socket: web.WebSocketResponse, first: Row) -> None:
    camera_id, seq = first["camera_id"], first["seq"]
    await socket.send_json(first)
    while True:
        await ground.changes.beyond(seq)
        oldest, newest, rows = await ground.threads.read(changes_beyond, ground, camera_id, seq)
        if oldest > seq + 1:
            await socket.close(code=1013, message=b"too far behind; connect again for a snapshot")
            return
        for row in rows:
            await socket.send_json(change_document(row))
            if row["state"] is None:
                await socket.close(code=1000, message=b"the camera is gone")
                return
        seq = newest
        await asyncio.sleep(0)


def changes_beyond(ground: Ground, camera_id: str, seq: int) -> tuple[int, int, list[sqlite3.Row]]:
    with ground.database.reading() as sql:
        (oldest,) = sql.execute("SELECT min(seq) FROM changes").fetchone()
        rows = sql.execute("SELECT * FROM changes WHERE camera_id = ? AND seq > ? ORDER BY seq", (camera_id, seq)).fetchall()
        return oldest, newest_change(sql), rows


def change_document(row: sqlite3.Row) -> Row:
    status = {
        "camera_id": row["camera_id"],
        "state": row["state"],
        "active": bool(row["active"]),
        "auto_start": bool(row["auto_start"]),
        "since": row["since"],
        "last_error": row["last_error"],
    }
    return {
        "type": "deleted" if row["state"] is None else "change",
        "seq": row["seq"],
        "time": row["time"],
        "camera_id": row["camera_id"],
        "action": row["action"],
        "previous_state": row["previous_state"],
        "status": None if row["state"] is None else status,
    }
