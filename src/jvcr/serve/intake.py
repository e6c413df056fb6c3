"""Encoded images out of the bodies of requests, at a bounded cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from jvcr.serve.limits import Limits, RefusedError

RAW_TYPES: Final = ("image/", "application/octet-stream")

_MOST_FIELDS = 8
_FIELD_BYTES = 1024
"""Of a form's texts, which it should have none of; such a form is told what is wrong with it."""


class Intake:
    """Reads bodies, and counts the bytes of all that are arriving: many slow senders may come at the same time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._held = 0

    async def read_images(self, request: Request, field: str, most: int) -> list[bytes]:
        """The encoded images of a request: its raw body, or the files of a multipart form.

        Args:
            request: its body is read here.
            field: name of the form's field.
            most: how many images there may be; there is at least one, and none is empty.

        Raises:
            RefusedError: 400, 408, 413, 415, 422 or 503, and why.
        """
        kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
        multipart = kind == "multipart/form-data"
        if not multipart and not kind.startswith(RAW_TYPES):
            raise RefusedError(
                415, "send an image as the body (Content-Type image/jpeg, image/png, ...) or in a multipart/form-data"
            )
        try:
            body = await asyncio.wait_for(self._read(request), self.limits.max_seconds)
        except TimeoutError:
            raise RefusedError(408, f"the body did not arrive within {self.limits.max_seconds:g} s") from None
        except ClientDisconnect:
            raise RefusedError(400, "the body is cut short") from None
        images = await _form_files(request, body, field, most) if multipart else [body]
        if not images or not all(images):
            where = f"the form needs a file as its field {field!r}, not an empty one" if multipart else "it is empty"
            raise RefusedError(400, f"no image was sent: {where}")
        return images

    async def _read(self, request: Request) -> bytes:
        limits = self.limits
        too_long = RefusedError(413, f"the body is longer than the {limits.max_bytes:,} bytes that are taken")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limits.max_bytes:
            raise too_long
        parts: list[bytes] = []
        size = 0
        try:
            async for part in request.stream():
                size += len(part)
                self._held += len(part)
                if size > limits.max_bytes:
                    raise too_long
                if self._held > limits.max_held_bytes:
                    raise RefusedError(503, "too many bodies are arriving; come again in 1 s", retry_after=1)
                parts.append(part)
            return b"".join(parts)
        finally:
            self._held -= size


async def _form_files(request: Request, body: bytes, field: str, most: int) -> list[bytes]:
    async def parts() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, parts(), max_files=most, max_fields=_MOST_FIELDS)
    parser.spool_max_size = len(body) + 1  # no image goes to the disk
    parser.max_part_size = _FIELD_BYTES
    try:
        form = await parser.parse()
    except MultiPartException as error:  # its messages name what is wrong with the form, and quote nothing
        if error.message.startswith("Too many files"):
            raise RefusedError(422, f"too many images: a request may have {most}") from None
        raise RefusedError(400, f"the form cannot be read: {error.message}") from None
    except (LookupError, ValueError):
        raise RefusedError(400, "the form cannot be read: it is damaged") from None
    try:
        files = [value for name, value in form.multi_items() if name == field and isinstance(value, UploadFile)]
        if len(files) < len(form.multi_items()):
            raise RefusedError(400, f"the form may have the field {field!r} alone, and it must be a file")
        return [await file.read() for file in files]
    finally:
        await form.close()
