"""``jvcr serve``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jvcr.cli.options import Detector, Device, MinFace, Weights

TOKEN_VARIABLE = "JVCR_TOKEN"
"""Environment variable with the token, which a command line would show to everyone on the machine."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_SEVERAL = Parameter(negative=(), show_default=False)


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    weights: Weights = "compact",
    threads: int | None = None,
    detect_size: int | None = None,
    detector: Detector = None,
    device: Device = "cpu",
    min_face: MinFace = None,
    token_file: Path | None = None,
    allow_host: Annotated[tuple[str, ...], _SEVERAL] = (),
    allow_origin: Annotated[tuple[str, ...], _SEVERAL] = (),
    max_bytes: int = 10_000_000,
    max_pixels: int = 25_000_000,
    max_images: int = 16,
    max_faces: int = 100,
    max_waiting: int = 32,
    max_streams: int = 8,
    max_seconds: float = 30.0,
) -> int:
    """Serve landmarks over HTTP, and a page to look at them.

    Open the address that it prints in a browser, or send it a photograph:

        jvcr serve
        curl --data-binary @portrait.jpg -H "Content-Type: image/jpeg" http://127.0.0.1:8000/v1/landmarks

    The routes are described by /openapi.json; /healthz tells that it answers, /metrics what it has done. Ctrl-C
    finishes what has been taken and stops.

    Parameters
    ----------
    host
        Address to listen at. The default is reached from this machine alone; 0.0.0.0 is every network it is in.
    port
        Port to listen at; 0 takes a free one.
    threads
        How many images are worked on at the same time, each by one processor thread; one for each core by default.
    detect_size
        Larger images are reduced to this longer side, in pixels, to look for faces; see `jvcr predict --help`.
    token_file
        File that holds a token, which requests for landmarks must then send as "Authorization: Bearer TOKEN". The
        environment variable JVCR_TOKEN does the same. Without one, whoever reaches the port is served.
    allow_host
        Name by which the service may be addressed, besides localhost, the name of --host and any IP address; may be
        given several times. Others are refused, as a web page could make its own name lead here.
    allow_origin
        Web pages that may use the service besides its own, such as https://example.org; may be given several times.
    max_bytes
        Length of a request at most.
    max_pixels
        Pixels of an image at most.
    max_images
        Images in a request to /v1/landmarks/batch at most; not more than max_waiting.
    max_faces
        Faces of an image or a frame at most, the most certain ones; the others are left out.
    max_waiting
        Images that may wait for a thread; who comes then is told when to come again (503).
    max_streams
        Connections to /v1/stream at the same time.
    max_seconds
        Time for a request to arrive, and again for its answer.
    """
    from jvcr.inference.options import LandmarkerOptions
    from jvcr.inference.session import available_cores
    from jvcr.serve.access import Access
    from jvcr.serve.app import make_app
    from jvcr.serve.limits import Limits
    from jvcr.serve.server import run

    limits = Limits(max_bytes, max_pixels, max_images, max_faces, max_waiting, max_streams, max_seconds)
    access = Access(_token(token_file), (host, *allow_host), allow_origin)
    threads = available_cores() if threads is None else threads
    if threads < 1:
        raise ValueError(f"--threads must be at least 1, got {threads}")
    options = LandmarkerOptions(weights, detector, device, detect_size=detect_size, min_face=min_face)
    landmarker = options.landmarker(threads=1)
    if access.token is None and host not in LOOPBACK:
        print(f"jvcr: anyone who reaches {host}:{port} is served; --token-file asks for a token", file=sys.stderr)
    return run(make_app(landmarker, threads, limits, access), host, port, limits)


def _token(file: Path | None) -> str | None:
    if file is None:
        if TOKEN_VARIABLE not in os.environ:
            return None
        token = os.environ[TOKEN_VARIABLE].strip()
    else:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            token = ""
    if not token or not token.isprintable() or " " in token:
        raise ValueError(f"{file or TOKEN_VARIABLE} must hold the token: one word in one line of text")
    return token
