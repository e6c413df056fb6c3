"""Encoded images from anyone into pixels, at a bounded cost."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from jvcr.inference.image import ImageError, TooManyPixelsError, read_image
from jvcr.serve.limits import Limits, RefusedError

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""What browsers and cameras give. Pillow reads more, some of it by other programs or decoders that are rarely tried."""

MOST_SCANS: Final = 100
"""Passes over the pixels of a JPEG file; a progressive one has about ten. Each takes time for all pixels, but need not
take more than some 40 bytes of the file."""

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
"""A JPEG marker that a length follows, or the end of the image. Of the fill bytes before it, 0xff like its own first
one, none is matched: a pattern that tried them all at each of them would take hours for a file full of them."""


def decoded(encoded: bytes, limits: Limits) -> NDArray[np.uint8]:
    """The upright RGB pixels (h, w, 3) of an encoded image.

    Messages are of this module: those of the decoders may quote what is in the file.

    Raises:
        RefusedError: 400, it is not an image, or damaged; 413, it has too many pixels.
    """
    if not encoded:
        raise RefusedError(400, "the image is empty (0 bytes)")
    if _has_too_many_scans(encoded):
        raise RefusedError(400, f"the JPEG file goes over its pixels more than {MOST_SCANS} times; save it again")
    try:
        return read_image(encoded, limits.max_pixels, FORMATS)
    except TooManyPixelsError:
        raise RefusedError(
            413, f"the image has more than the {limits.max_pixels:,} pixels that are taken; make it smaller"
        ) from None
    except ImageError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise RefusedError(
                400, "not an image in a format that is read (JPEG, PNG, WebP, GIF, BMP), or its first bytes are damaged"
            ) from None
        raise RefusedError(
            400, "the image is damaged, cut short or has pixels of an unusual kind; save it as an 8 bit JPEG or PNG"
        ) from None


def _has_too_many_scans(encoded: bytes) -> bool:
    if not encoded.startswith(b"\xff\xd8"):
        return False
    scans, at = 0, 2
    while scans <= MOST_SCANS:
        marker = _MARKER.search(encoded, at)
        if marker is None or marker[1] == b"\xd9":  # after the image's end some cameras put a film
            return False
        at = marker.end()
        scans += marker[1] == b"\xda"
        # Lengths count their own two bytes; some segments hold a thumbnail, whose markers are none of the image's.
        at += max(2, int.from_bytes(encoded[at : at + 2], "big"))
    return True
