"""Frames over a WebSocket: each is answered with the faces that are followed from frame to frame."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from jvcr.inference.landmarker import Landmarker
from jvcr.inference.tracker import Tracker
from jvcr.serve.access import Access
from jvcr.serve.limits import Limits, RefusedError
from jvcr.serve.metrics import Metrics
from jvcr.serve.workers import Workers

LOG = logging.getLogger("jvcr.serve")

WRONG_TOKEN = 4401
FULL = 1013
SILENT = 1001
FAILED = 1011

TOKEN_SECONDS = 10.0
"""For the token to arrive; who has not sent it is not counted among the connections."""

_AGAIN_SECONDS = 0.05


async def serve_stream(
    socket: WebSocket,
    landmarker: Landmarker,
    workers: Workers,
    metrics: Metrics,
    limits: Limits,
    access: Access,
) -> None:
    """Answers the frames of one connection until it ends; one frame is in work at a time.

    Args:
        socket: not accepted yet. Refused connections are accepted, too: browsers show the code and the reason of a
            closing frame, but nothing of a refused handshake.
        landmarker: finds the faces and their landmarks.
        workers: their threads do it.
        metrics: count frames and faces.
        limits: for the frames, their time, and how many connections there are.
        access: its token must be in the header Authorization or in the first message, as ``{"token": TOKEN}``.
    """
    await socket.accept()
    try:
        if not (access.has_token(socket.scope) or await _sends_token(socket, access, limits)):
            await socket.close(WRONG_TOKEN, 'send the service\'s token first: {"token": "..."}')
        elif workers.streams >= limits.max_streams:
            await socket.close(FULL, f"all {limits.max_streams} connections are taken; come again later")
        else:
            workers.streams += 1
            metrics.streams.inc()
            try:
                tracker = Tracker(landmarker, landmarker.detect, max_faces=limits.max_faces)
                await _answer_frames(socket, tracker, workers, metrics, limits)
            finally:
                workers.streams -= 1
                metrics.streams.dec()
    except WebSocketDisconnect:
        pass
    except TimeoutError:
        await _close(socket, SILENT, f"no frame arrived, or no answer was taken, within {limits.max_seconds:g} s")
    except Exception as error:
        LOG.error("a stream failed: %s", type(error).__name__)
        await _close(socket, FAILED, "the service failed")


async def _sends_token(socket: WebSocket, access: Access, limits: Limits) -> bool:
    try:
        message = await _received(socket, min(TOKEN_SECONDS, limits.max_seconds))
    except TimeoutError:
        return False
    return access.is_token(_token_in(message).encode(errors="replace"))


def _token_in(message: Message) -> str:
    """The token of a message; an empty text if it holds none, or is longer than any."""
    text = message.get("text") or ""
    if len(text) > Limits.HEAD_BYTES:  # to read megabytes of it would keep everyone waiting
        return ""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    token = content.get("token") if isinstance(content, dict) else None
    return token if isinstance(token, str) else ""


async def _answer_frames(
    socket: WebSocket, tracker: Tracker, workers: Workers, metrics: Metrics, limits: Limits
) -> None:
    def look(encoded: bytes) -> dict[str, Any]:
        if len(encoded) > limits.max_bytes:
            raise RefusedError(413, f"the frame is longer than the {limits.max_bytes:,} bytes that are taken")
        image = workers.decode(encoded)
        metrics.images.inc()
        faces = tracker(image, time.perf_counter())
        metrics.faces.inc(len(faces))
        height, width = image.shape[:2]
        return {"width": width, "height": height, "faces": [face.to_dict() for face in faces]}

    until = time.monotonic() + limits.max_seconds
    while True:
        message = await _received(socket, until - time.monotonic())
        encoded = message.get("bytes")
        if encoded is None:
            if not _token_in(message):  # of a client that does not know whether one is asked for
                await _send(socket, {"detail": "send each frame as a binary message: an encoded image"}, limits)
            continue
        try:
            answer = await _worked_on(workers, partial(look, encoded), limits)
        except RefusedError as error:
            if error.status == 504:  # a thread may still be at it, and two frames are never in work
                await _close(socket, FULL, error.detail)
                return
            answer = {"detail": error.detail}
        await _send(socket, answer, limits)
        until = time.monotonic() + limits.max_seconds


async def _worked_on(workers: Workers, look: Callable[[], dict[str, Any]], limits: Limits) -> dict[str, Any]:
    """The answer to a frame. Where the queue is full it waits for room: the client has nothing else to send."""
    until = time.monotonic() + limits.max_seconds
    while True:
        try:
            return await workers.run(look)
        except RefusedError as error:
            if error.status != 503 or time.monotonic() > until:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)


async def _received(socket: WebSocket, seconds: float) -> Message:
    message = await asyncio.wait_for(socket.receive(), seconds)
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message


async def _send(socket: WebSocket, answer: dict[str, Any], limits: Limits) -> None:
    await asyncio.wait_for(socket.send_text(json.dumps(answer, separators=(",", ":"))), limits.max_seconds)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    # It may be closed already, or nothing be read there.
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):
        await asyncio.wait_for(socket.close(code, reason), 1)
