"""Running the service: uvicorn, with its limits and without its traces."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import math
import signal
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.http11 import Response

from jvcr.serve.limits import Limits

MOST_CONNECTIONS = 500
HEAD_SECONDS = 10.0
"""For a request's head to arrive, and for the rest of a body that was answered before its end."""


def _plain_answer(status: HTTPStatus, detail: str, *headers: str) -> bytes:
    """The bytes of an answer that no application gives, of the documented shape."""
    body = json.dumps({"detail": detail})
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *headers,
    ]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


class _Alarm:
    """Calls a function once, some seconds after the first start."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, function)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _PatientProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on who keeps it waiting: connections are few."""

    def __init__(self, *, limits: Limits, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._is_websocket = False
        self._head = _Alarm(min(HEAD_SECONDS, limits.max_seconds))
        self._answer = _Alarm(limits.max_seconds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            full = _plain_answer(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; come again in 1 s", "Retry-After: 1"
            )
            transport.write(full)
            transport.close()
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)
            self._expect_head()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(_plain_answer(HTTPStatus.BAD_REQUEST, msg))
        self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_head()

    def handle_websocket_upgrade(self, event: Any) -> None:
        super().handle_websocket_upgrade(event)
        self._is_websocket = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop()
        self._answer.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer.start(self.loop, self.transport.abort)

    def resume_writing(self) -> None:
        self._answer.stop()
        super().resume_writing()

    def _expect_head(self) -> None:
        """Begins to wait for a request's head where the one before has been answered, and ends it where it is there.

        The time runs from the last answer, or the beginning, whatever trickles in; uvicorn's own, shorter one is for
        connections on which nothing does.
        """
        if self._is_websocket or (self.cycle is not None and not self.cycle.response_complete):
            self._head.stop()
        elif not self.transport.is_closing():
            self._head.start(self.loop, self.transport.close)


class _Handshake(WebSocketsSansIOProtocol):
    """WebSockets whose refused handshakes are answered as any other request."""

    def __init__(self, *arguments: Any, **kwargs: Any) -> None:
        super().__init__(*arguments, **kwargs)
        self.conn.reject = self._reject  # type: ignore[method-assign]

    def _reject(self, status: int, text: str) -> Response:
        """As `websockets.server.ServerProtocol.reject`."""
        body = json.dumps({"detail": text.strip() or HTTPStatus(status).phrase}).encode()
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body))})
        headers.update({"X-Content-Type-Options": "nosniff", "Connection": "close"})
        return Response(status, HTTPStatus(status).phrase, headers, body)


class _Terse(logging.Formatter):
    """One line for each record; of an error what kind it is, not its trace: that shows paths."""

    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        text = " ".join(record.getMessage().split()) if record.name.startswith(("jvcr", "uvicorn")) else "failed"
        return f"{record.levelname.lower()}: {record.name}: {text}{f' ({kind.__name__})' if kind else ''}"


def make_server(app: FastAPI, limits: Limits) -> uvicorn.Server:
    """A server that holds the limits on time and connections; its ``run`` takes the sockets to listen at."""
    config = uvicorn.Config(
        app,
        http=functools.partial(_PatientProtocol, limits=limits),  # type: ignore[arg-type]
        ws=_Handshake,
        ws_max_size=limits.max_bytes,
        ws_per_message_deflate=False,  # images do not get smaller, and bombs do not get in
        log_config=None,
        log_level="error",  # a warning for each damaged request would fill the disk
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=limits.HEAD_BYTES,
        timeout_graceful_shutdown=math.ceil(2 * limits.max_seconds) + 1,
    )
    return uvicorn.Server(config)


def run(app: FastAPI, host: str, port: int, limits: Limits) -> int:
    """Serves until it is interrupted or asked to end; what has been taken is finished. Gives the exit code.

    Raises:
        OSError: the address cannot be listened at.
        ValueError: the port is none.
    """
    listening = _listening(host, port)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Terse())
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    logging.captureWarnings(True)  # as those of Pillow about damaged files, whose text has a path: none is printed
    server = make_server(app, limits)

    def end(*_: object) -> None:
        server.should_exit = True

    # uvicorn's own handlers do the same, from when it has started; when it has ended, it raises the signals again.
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        address = f"[{host}]" if ":" in host else host
        print(f"jvcr serves at http://{address}:{listening.getsockname()[1]}/ (Ctrl-C stops it)", flush=True)
        server.run([listening])
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
        listening.close()
    return 0


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ValueError(f"--port must be from 0 to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        why = error.strerror or "it is no address of this machine"
        raise OSError(f"cannot listen at {host}:{port} ({why}); choose another --port or --host") from error
    return listening
