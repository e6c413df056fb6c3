"""Reading whatever an image comes as into one form: (height, width, 3) RGB, 8 bits."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

# Pillow is imported where it is used: someone who hands in arrays does not wait for it.
if TYPE_CHECKING:
    from PIL import Image

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[np.generic]"
"""What `read_image` takes."""

FORMATS: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heics", ".heif", ".heifs", ".hif"),
    "JPEG2000": (".jp2", ".j2c", ".j2k", ".jpc", ".jpf", ".jpx"),
    "DDS": (".dds",),
    "DIB": (".dib",),
    "ICNS": (".icns",),
    "ICO": (".ico",),
    "PCD": (".pcd",),
    "PCX": (".pcx",),
    "PSD": (".psd",),
    "QOI": (".qoi",),
    "SGI": (".bw", ".rgb", ".rgba", ".sgi"),
    "SUN": (".ras",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
}
"""The formats of files that are read, by Pillow's names, and their suffixes. Anyone may have made a file: only formats
are here that Pillow decodes itself (HEIF: pillow-heif), not those that it hands to Ghostscript and other programs."""

IMAGE_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""What counts as an image in a folder; a file that is named itself is read whatever its suffix."""

# fmt: off
OTHER_PHOTOGRAPHS = frozenset([
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".exr", ".fff", ".gpr", ".hdr", ".iiq", ".jxl",
    ".jxr", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".psb", ".raf", ".raw", ".rw2", ".rwl",
    ".sr2", ".srf", ".srw", ".x3f", ".xcf"
])
# fmt: on
"""Suffixes of photographs that are not read, most of them of cameras' raw formats."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")

MAX_PIXELS = 100_000_000
"""Files of more pixels are refused; their header tells before anything is decoded."""


class ImageError(ValueError):
    """What was given is not an image that can be used; the message says which one, why, and what helps."""


class TooManyPixelsError(ImageError):
    """It has more pixels than are decoded."""


def read_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The upright RGB pixels of an image.

    Files of the `FORMATS` are read by Pillow and made 8 bit RGB: the EXIF orientation is applied; grey becomes three
    equal channels; 16 bits are scaled from their full range (0-65535); transparent parts are laid on white, as a web
    page shows them; CMYK, palettes and the like are converted without their colour profile; of several frames or pages
    the first is taken.

    Args:
        source: a path, the bytes of an image file, a PIL image, or an array: uint8 of shape (h, w, 3) RGB, which comes
            back itself, (h, w) or (h, w, 1) grey, or (h, w, 4) RGB with alpha.
        max_pixels: refuse files with more pixels than this, before decoding them.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: the path is a folder.
        ImageError: empty, not an image, cut short, too large (`TooManyPixelsError`); or an array of another shape or
            type.
        TypeError: the source is none of the kinds above.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)

    from PIL import Image

    if isinstance(source, Image.Image):
        return _from_pil(source, "the PIL image", max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(source), "the image given as bytes", max_pixels)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder, where an image file is expected", str(path))
        if path.exists() and not path.is_file():
            raise ImageError(f"{path} is a pipe or a device, not an image file")
        # An OSError of open() (no such file, no permission) names the path itself.
        with path.open("rb") as file:
            return _from_file(file, str(path), max_pixels)
    raise TypeError(
        f"an image is a path, the bytes of a file, a PIL image or a NumPy array, got {type(source).__name__}; "
        "convert it to one of these, such as numpy.asarray(image)"
    )


def _from_array(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise ImageError(
            f"an image array must be uint8 with values 0-255, got {array.dtype}: scale it yourself, for values in "
            "0-1 by (image * 255).round().astype(numpy.uint8)"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"an image array must have the shape (h, w, 3) RGB, (h, w) or (h, w, 1) grey, or (h, w, 4) RGB with alpha, "
            f"got {array.shape}; move the channels last, and call once for each image of a batch"
        )
    if 0 in array.shape:
        raise ImageError(f"the image array holds no pixels: its shape is {array.shape}")
    pixels = cast(NDArray[np.uint8], array)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.shape[2] == 4:
        return _on_white(pixels)
    return np.ascontiguousarray(pixels)


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 4) laid on a white ground, (h, w, 3)."""
    alpha = rgba[:, :, 3:].astype(np.uint16)
    blended = rgba[:, :, :3] * alpha + 255 * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)


def _from_file(file: io.BytesIO | io.BufferedReader, name: str, max_pixels: int) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    head = file.read(12)
    file.seek(0)
    if not head:
        raise ImageError(f"{name} is empty (0 bytes): fetch or export it again")
    is_heif = head[4:8] == b"ftyp" and head[8:] in _HEIF_BRANDS
    try:
        image = Image.open(file, formats=_formats(is_heif))
    except UnidentifiedImageError as error:
        if is_heif and "HEIF" not in Image.OPEN:
            raise ImageError(f'{name} is a HEIC or HEIF photograph: to read these, pip install "jvcr[heif]"') from error
        raise ImageError(
            f"{name} is not an image in a format that is read (JPEG, PNG, WebP, TIFF, HEIC, ...), or its first bytes "
            "are damaged; open it in a picture viewer, and save it as JPEG or PNG"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, str(error), max_pixels) from error
    except Exception as error:  # the readers of damaged headers raise what happens to go wrong in them
        raise _damaged(name, error) from error
    with image:
        return _from_pil(image, name, max_pixels)


@functools.cache
def _formats(with_heif: bool) -> tuple[str, ...]:
    """The names of the formats that can be read here."""
    from PIL import Image, _imaging

    if with_heif:
        with contextlib.suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener(thumbnails=False)
    Image.init()
    # libtiff writes to stderr, whoever that belongs to, what it finds wrong with a file; Pillow raises it as well.
    with contextlib.suppress(OSError, AttributeError):
        libtiff = ctypes.CDLL(_imaging.__file__)
        libtiff.TIFFSetErrorHandler(None)
        libtiff.TIFFSetWarningHandler(None)
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _from_pil(image: Image.Image, name: str, max_pixels: int) -> NDArray[np.uint8]:
    from PIL import ImageOps

    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name} holds no pixels: it is {width} x {height}")
    if width * height > max_pixels:
        raise _too_large(name, f"{width} x {height} pixels", max_pixels)
    try:
        image.load()
    except Exception as error:  # as above: OSError, SyntaxError, ValueError, zlib.error, ...
        raise _damaged(name, error) from error
    # Where the note about the orientation is damaged, the picture itself is still whole: take it as it lies.
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    try:
        return _to_rgb(image, name)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(
            f"{name} has pixels of the kind {image.mode!r}, which Pillow does not convert to RGB ({error}); "
            "save it as an 8 bit RGB JPEG or PNG"
        ) from error


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """A loaded PIL image of any mode as (h, w, 3) uint8."""
    if image.mode.startswith("I"):  # I;16 and its byte orders; I is how some versions open a 16 bit PNG
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ImageError(
                f"{name} has 32 bit pixels from {grey.min()} to {grey.max()}, of which it is unknown what is white; "
                "scale it to 8 or 16 bits"
            )
        # 65535 = 255 * 257, so that black stays 0 and white 255.
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ImageError(f"{name} has floating point pixels, of which it is unknown what is white; save it as 8 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _on_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _too_large(name: str, size: str, max_pixels: int) -> TooManyPixelsError:
    return TooManyPixelsError(
        f"{name} is too large ({size}): images of more than {max_pixels:,} pixels are not decoded; make it "
        "smaller, or, if you trust it, call read_image with a larger max_pixels (and raise PIL.Image.MAX_IMAGE_PIXELS)"
    )


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name} is damaged or cut short: {error}; fetch or export it again")
