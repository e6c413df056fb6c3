"""Images from anyone into pixels, in processes that can be ended: no check of a file bounds what decoding it costs."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from jvcr.inference.image import ImageError, TooManyPixelsError, read_image
from jvcr.serve.limits import Limits, RefusedError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

LOG = logging.getLogger("jvcr.serve")

PIXELS_PER_SECOND: Final = 15_000_000
ENCODED_BYTES_PER_SECOND: Final = 2_000_000
"""What is allowed for; a core of 2022 decodes 25 million pixels from 8 MB of progressive JPEG in 1 s, from 4 MB of JPEG
2000 in 2.3 s."""

BYTES_PER_PIXEL: Final = 64
"""Decoding takes 40 at most: pixels of 16 bits, or with transparent parts."""

PIPE_BYTES: Final = 2**20

_START_SECONDS = 60.0


class Decoders:
    """Processes that decode images: as many as threads ask at the same time. One that takes too long is ended.

    An image may take `cpu_seconds` of processor time, where the system limits that, and ``max_seconds`` in all. As
    processes of Python they need ``if __name__ == "__main__":`` in a script that calls `make_app`.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: list[_Decoder] = []
        self._all: set[_Decoder] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __call__(self, encoded: bytes) -> NDArray[np.uint8]:
        """The upright RGB pixels (h, w, 3) of an encoded image.

        Raises:
            RefusedError: 400, it is not an image, or damaged, or takes too long; 413, it has too many pixels; 503, the
                service ends.
        """
        decoder = self._take()
        try:
            image = decoder.decode(encoded, self._limits.max_seconds)
        except (EOFError, OSError) as error:
            exit_code = self._end(decoder)
            if self._closed:
                raise RefusedError(503, "the service ends", retry_after=1) from None
            if not isinstance(error, TimeoutError) and exit_code != -getattr(signal, "SIGXCPU", 0):
                LOG.error("a process that decoded an image has ended (%s)", exit_code)
            raise RefusedError(400, "the image takes too long to decode; save it as a plain JPEG or PNG") from None
        except RefusedError:
            self._idle.append(decoder)
            raise
        self._idle.append(decoder)
        return image

    def warm_up(self) -> None:
        """Starts the first one, so that the first image does not wait for it."""
        with contextlib.suppress(RefusedError):
            self(b"")

    def close(self) -> None:
        """Ends all of them at once; who waits for one is told (503)."""
        with self._lock:
            self._closed = True
            for decoder in self._all:
                decoder.process.kill()
        while self._idle:
            self._end(self._idle.pop())

    def _take(self) -> _Decoder:
        """An idle one, or a new one."""
        with self._lock:
            if self._closed:
                raise RefusedError(503, "the service ends", retry_after=1)
            decoder = self._idle.pop() if self._idle else None
            if decoder and decoder.process.is_alive():
                return decoder
            new = _Decoder(self._limits)
            self._all.add(new)
        if decoder:
            self._end(decoder)
        return new

    def _end(self, decoder: _Decoder) -> int | None:
        with self._lock:
            self._all.discard(decoder)
        return decoder.end()


class _Decoder:
    """One process, and the pipes to it and back."""

    def __init__(self, limits: Limits) -> None:
        # Forked from a process that has imported what is needed and has no threads, where the system can.
        has_server = "forkserver" in multiprocessing.get_all_start_methods()
        get = multiprocessing.get_context
        context: ForkServerContext | SpawnContext = get("forkserver") if has_server else get("spawn")
        context.set_forkserver_preload([__name__])
        (theirs, self._send), (self._receive, back) = context.Pipe(duplex=False), context.Pipe(duplex=False)
        for pipe in (self._send, back):
            with contextlib.suppress(ImportError, AttributeError, OSError):  # on Linux a usual image fits in
                import fcntl

                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.process = context.Process(target=_serve, args=(theirs, back, limits), daemon=True)
        self.process.start()
        theirs.close()
        back.close()
        self._ready = False

    def decode(self, encoded: bytes, seconds: float) -> NDArray[np.uint8]:
        if not self._ready:
            self._wait(_START_SECONDS)
            self._ready = True
        self._send.send_bytes(encoded)
        answer = json.loads(self._wait(seconds))
        if "status" in answer:
            raise RefusedError(answer["status"], answer["detail"])
        return np.frombuffer(self._receive.recv_bytes(), np.uint8).reshape(answer["shape"])

    def end(self) -> int | None:
        """Its exit code."""
        self.process.kill()
        self.process.join()
        self._send.close()
        self._receive.close()
        return self.process.exitcode

    def _wait(self, seconds: float) -> bytes:
        if not self._receive.poll(seconds):
            raise TimeoutError
        return self._receive.recv_bytes()


def cpu_seconds(encoded: bytes, limits: Limits) -> float:
    """Processor time that decoding an image may take: little for a short file, whatever is in it."""
    return 1 + limits.max_pixels / PIXELS_PER_SECOND + len(encoded) / ENCODED_BYTES_PER_SECOND


def _serve(receive: Connection, send: Connection, limits: Limits) -> None:
    """What such a process does, until its parent has closed the pipe or ended."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a group; the parent ends this one
        signal.signal(number, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries write there what is wrong with a file
    warnings.simplefilter("ignore")
    _limit_memory(limits.max_pixels * BYTES_PER_PIXEL)
    send.send_bytes(b"ready")
    with contextlib.suppress(EOFError, OSError):
        while True:
            encoded = receive.recv_bytes()
            _limit_cpu(cpu_seconds(encoded, limits))
            try:
                image = decoded(encoded, limits)
            except RefusedError as error:
                send.send_bytes(json.dumps({"status": error.status, "detail": error.detail}).encode())
            else:
                send.send_bytes(json.dumps({"shape": image.shape}).encode())
                send.send_bytes(image.reshape(-1).data)
                del image


def _limit_memory(more: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # elsewhere than on Linux memory is not limited
        import resource

        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more + 100_000_000, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _limit_cpu(more: float) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows
        import resource

        end = math.ceil(time.process_time() + more)
        resource.setrlimit(resource.RLIMIT_CPU, (end, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def decoded(encoded: bytes, limits: Limits) -> NDArray[np.uint8]:
    """The upright RGB pixels (h, w, 3) of an encoded image, in this process.

    Messages are of this module: those of the decoders may quote what is in the file.

    Raises:
        RefusedError: 400, it is not an image, or damaged; 413, it has too many pixels.
    """
    from PIL import UnidentifiedImageError

    if not encoded:
        raise RefusedError(400, "the image is empty (0 bytes)")
    try:
        return read_image(encoded, limits.max_pixels)
    except TooManyPixelsError:
        raise RefusedError(
            413, f"the image has more than the {limits.max_pixels:,} pixels that are taken; make it smaller"
        ) from None
    except ImageError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise RefusedError(
                400, "not an image in a format that is read here (JPEG, PNG, WebP, ...), or its first bytes are damaged"
            ) from None
        raise RefusedError(
            400, "the image is damaged, cut short or has pixels of an unusual kind; save it as an 8 bit JPEG or PNG"
        ) from None
