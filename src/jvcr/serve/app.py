"""The routes of the service."""

from __future__ import annotations

import base64
import copy
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from numpy.typing import NDArray
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jvcr.geometry.crop import Crop
from jvcr.inference.face_detector import FaceDetector
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.session import OnnxNetwork
from jvcr.inference.tracker import DETECT_LONG_SIDE
from jvcr.serve.access import Access
from jvcr.serve.intake import Intake
from jvcr.serve.limits import Limits, RefusedError
from jvcr.serve.metrics import Metrics
from jvcr.serve.schema import BatchAnswer, Health, ImageAnswer, Problem
from jvcr.serve.stream import serve_stream
from jvcr.serve.workers import Workers
from jvcr.web.page import MANIFEST, WEIGHTS, manifest, page_files
from jvcr.web.runtime import find_runtime

LOG = logging.getLogger("jvcr.serve")

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".onnx": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
}
"""Of the page's files, by their suffix."""

_Passes = Annotated[
    int, Query(ge=1, le=2, description="2 looks at each face again: a little more exact, twice the time.")
]
_Volume = Annotated[bool, Query(description="Give the estimated volume of each face, too.")]

_PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    # The page is made of its own files alone; pictures and the camera stay in the browser (blob:).
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
}

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "Not an image, damaged, or none was sent.",
        401: "The token is missing or wrong.",
        403: "Host or Origin is not one that is served.",
        408: "The body did not arrive in time.",
        413: "Too many bytes or pixels.",
        415: "Neither an image nor a form.",
        422: "A parameter is out of its range, or there are too many images.",
        431: "The head is too long.",
        503: "Too many images are waiting; Retry-After says when to come again.",
        504: "It was not done in time.",
    }.items()
}


def _accepts(field: str, most: int | None = None) -> dict[str, Any]:
    """The request's body, for the OpenAPI document: one file, or at most so many."""
    file = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": file, "minItems": 1, "maxItems": most}
    form = {
        "schema": {
            "type": "object",
            "properties": {field: file if most is None else files},
            "required": [field],
            "additionalProperties": False,
        }
    }
    raw = {"schema": file}
    content = {"multipart/form-data": form, "image/*": raw, "application/octet-stream": raw}
    return {"requestBody": {"required": True, "content": content}}


def make_app(
    landmarker: Landmarker, threads: int = 1, limits: Limits | None = None, access: Access | None = None
) -> FastAPI:
    """The service as an ASGI application. It starts processes (`Decoders`).

    Args:
        landmarker: finds the faces; made for one thread, as each image has a thread of its own.
        threads: how many images are worked on at the same time.
        limits: what is taken at most.
        access: whose requests are served; without a token and under this machine's own names if None.
    """
    bounds, access = limits or Limits(), access or Access()
    intake = Intake(bounds)
    version = metadata.version("jvcr")
    workers = Workers(threads, bounds)
    metrics = Metrics(lambda: workers.waiting)
    landmarker = copy.copy(landmarker)  # the caller's goes on finding all faces
    landmarker.max_faces = bounds.max_faces
    frames = copy.copy(landmarker)
    if isinstance(landmarker.detector, FaceDetector):  # frames are looked at in less detail, as `Tracker` does
        frames.detector = landmarker.detector.at(DETECT_LONG_SIDE)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        workers.warm_up()
        try:
            yield
        finally:
            workers.close()

    app = FastAPI(
        title="jvcr",
        description="3D facial landmarks of the faces in photographs, by Joint Voxel and Coordinate Regression.",
        version=version,
        docs_url=None,  # they load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # they would lead to wherever the request's Host says
        lifespan=lifespan,
    )
    app.add_middleware(_Watched, metrics=metrics, access=access)

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        if error.status == 408:
            headers["Connection"] = "close"  # the rest of the body may never come
        return JSONResponse({"detail": error.detail}, error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        skipped = [f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()]  # without the values sent
        return JSONResponse({"detail": "; ".join(skipped)}, 422)

    def look(encoded: bytes, passes: int, volume: bool) -> dict[str, Any]:
        image = workers.decode(encoded)
        metrics.images.inc()
        height, width = image.shape[:2]
        answer: dict[str, Any] = {"width": width, "height": height}
        if volume:
            faces, volumes, crops = landmarker.volumes(image, passes=passes)
            answer["volumes"] = [packed_volume(v, crop) for v, crop in zip(volumes, crops, strict=True)]
        else:
            faces = landmarker(image, passes=passes)
        metrics.faces.inc(len(faces))
        answer["faces"] = [face.to_dict() for face in faces]
        return answer

    def attempt(encoded: bytes, passes: int) -> dict[str, Any]:
        try:
            return {"result": look(encoded, passes, False), "problem": None}
        except RefusedError as error:
            return {"result": None, "problem": error.detail}

    @app.post(
        "/v1/landmarks",
        response_model=ImageAnswer,
        responses=_PROBLEMS,
        openapi_extra=_accepts("image"),
        summary="The faces of an image",
    )
    async def landmarks(
        request: Request,
        passes: _Passes = 1,
        volume: _Volume = False,
    ) -> Response:
        """Send the image as the body, or as the file `image` of a form."""
        workers.check_room()
        (encoded,) = await intake.read_images(request, "image", 1)
        return JSONResponse(await workers.run(partial(look, encoded, passes, volume)))

    @app.post(
        "/v1/landmarks/batch",
        response_model=BatchAnswer,
        responses=_PROBLEMS,
        openapi_extra=_accepts("images", bounds.max_images),
        summary="The faces of several images",
    )
    async def batch(request: Request, passes: _Passes = 1) -> Response:
        """Send the images as files `images` of a form. One that cannot be used does not keep the others back."""
        workers.check_room()
        images = await intake.read_images(request, "images", bounds.max_images)
        results = await workers.run_all([partial(attempt, encoded, passes) for encoded in images])
        return JSONResponse({"results": results})

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await serve_stream(socket, frames, workers, metrics, bounds, access)

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", response_model=Health, summary="Whether the service answers")
    async def health() -> Health:
        landmarks = landmarker.scheme.num_landmarks
        return Health(status="ok", version=version, weights=landmarker.weights, num_landmarks=landmarks)

    @app.get("/v1/scheme", summary="What the landmarks are: their lines, names and groups")
    async def scheme() -> JSONResponse:
        return JSONResponse(landmarker.scheme.to_dict())

    @app.get("/metrics", response_class=Response, summary="Counters, as Prometheus reads them")
    async def counters() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    networks = [landmarker.network]
    if landmarker.network.info.name == WEIGHTS[0]:
        networks = [landmarker.network, *(OnnxNetwork(name, threads=1) for name in WEIGHTS[1:])]
    for route, file in page_files(networks).items():
        app.add_api_route(
            "/" if route == "index.html" else f"/{route}",
            _page(file, _TYPES[Path(route).suffix]),
            methods=["GET", "HEAD"],
            include_in_schema=False,
        )
    if find_runtime() is not None:
        described = manifest(networks)

        @app.api_route(f"/{MANIFEST}", methods=["GET", "HEAD"], include_in_schema=False)
        async def page_manifest() -> JSONResponse:
            return JSONResponse(described, headers=_PAGE_HEADERS)

    return app


def packed_volume(volume: NDArray[np.float32], crop: Crop) -> dict[str, Any]:
    """A volume (D, H, W) as `VolumeAnswer`."""
    depth, height, width = volume.shape
    cells = np.array([width, height, depth])
    # From indices to the unit frame: (i + 0.5) * 2 / n - 1.
    origin = crop.to_image(1 / cells - 1)
    axes = crop.to_image(np.diag(2 / cells) + 1 / cells - 1) - origin
    values = np.rint(volume.clip(0, 1) * 255).astype(np.uint8)
    return {
        "shape": [depth, height, width],
        "data": base64.b64encode(values.tobytes()).decode("ascii"),
        "to_image": np.column_stack([axes.T, origin]).round(4).tolist(),
    }


def _page(file: Path, media_type: str) -> Callable[[], FileResponse]:
    def answer() -> FileResponse:
        return FileResponse(file, media_type=media_type, headers=_PAGE_HEADERS)

    return answer


def _route_path(scope: Scope) -> str:
    """The path as the routes have it: without the prefix under which a server or another application has put them."""
    path, prefix = scope["path"], scope.get("root_path", "")
    return path[len(prefix) :] if path.startswith(f"{prefix}/") else path


class _Watched:
    """Counts requests, asks by whom they are made, and lets no error say more than that there was one."""

    def __init__(self, app: ASGIApp, metrics: Metrics, access: Access) -> None:
        self.app, self.metrics, self.access = app, metrics, access
        self.inner: ASGIApp = self._ask_for_token
        if access.origins:
            headers = ["Authorization", "Content-Type"]
            self.inner = CORSMiddleware(
                self.inner, access.origins, allow_methods=["GET", "POST"], allow_headers=headers
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request as ASGI asks for."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "websocket.close" and not status:  # no such route
                await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, watch)
                return
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await (self._refusal(scope) or self.inner)(scope, receive, watch)
        except Exception as error:  # a trace would show paths; what happened is named, and nothing of the request
            LOG.error("a request failed: %s", type(error).__name__)
            if not status:
                await JSONResponse({"detail": "the service failed"}, 500)(scope, receive, watch)
        finally:
            if scope["type"] == "http":
                route = getattr(scope.get("route"), "path", "other")
                self.metrics.requests.labels(route, str(status or 500)).inc()
                self.metrics.seconds.labels(route).observe(time.perf_counter() - start)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """The answer to a request that no route needs to see."""
        head = sum(len(part) for pair in scope["headers"] for part in pair) + len(scope["path"])
        # A head that arrives in one piece is past the server's own bound.
        if head + len(scope["query_string"]) > Limits.HEAD_BYTES:
            return JSONResponse({"detail": f"the head is longer than {Limits.HEAD_BYTES:,} bytes"}, 431)
        if problem := self.access.problem(scope):
            return JSONResponse({"detail": problem}, 403)
        return None

    async def _ask_for_token(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self.app
        # A stream may send it later.
        if scope["type"] == "http" and _route_path(scope).startswith("/v1/") and not self.access.has_token(scope):
            detail = "send the service's token as 'Authorization: Bearer TOKEN'"
            answer = JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})
        await answer(scope, receive, send)
