"""Cutting the pixels of a crop out of an image, and stretching their range."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.geometry.crop import Crop

_LONGEST_REMAP = 32767 // 2
"""OpenCV addresses source pixels with 16 bits when it warps."""


def warp_crop(
    image: NDArray[np.uint8],
    crop: Crop,
    size: int,
    border: int = cv2.BORDER_CONSTANT,
    fill: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> NDArray[np.uint8]:
    """The crop's pixels (size, size, channels), resampled once, of a (height, width, channels) uint8 image.

    A crop smaller than its place in the image is averaged down first: bilinear sampling alone would skip pixels.
    ``border`` is OpenCV's mode for what lies outside of the image, and ``fill`` its colour where that is a constant.
    """
    matrix = crop.crop_to_image_matrix(size)
    # Bilinear sampling every 1.2 to 2.4 pixels comes closest to the mean over each target pixel.
    step = int(crop.side / size / 1.2)
    if step >= 2 or max(image.shape[:2]) > _LONGEST_REMAP:
        image, matrix = _reduced(image, crop, matrix, max(step, 1))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=border, borderValue=fill)
    return np.asarray(warped, dtype=np.uint8).reshape(size, size, image.shape[2])


def stretch_contrast(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop with its range stretched to 0 to 255, over all colours together; one of a single value becomes black.

    For networks trained on such crops (`NetworkConfig.stretch`). The black around the image counts.

    Example:
        >>> stretch_contrast(np.array([[[100], [130], [150]]], np.uint8)).ravel().tolist()
        [0, 153, 255]
    """
    low, high = int(pixels.min()), int(pixels.max())
    table = (np.arange(256) - low) * (255 / max(high - low, 1)) + 0.5
    return table.clip(0, 255).astype(np.uint8)[pixels]


def _reduced(
    image: NDArray[np.uint8], crop: Crop, matrix: NDArray[np.float64], step: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of the image under the crop, averaged over blocks of step x step, and the matrix into it."""
    height, width = image.shape[:2]
    corners = crop.corners_px()
    x0, y0 = (np.floor(corners.min(0)) - step).astype(int)
    x1, y1 = (np.ceil(corners.max(0)) + 1 + step).astype(int)
    x0, y0 = int(np.clip(x0, 0, width - 1)), int(np.clip(y0, 0, height - 1))
    x1, y1 = int(np.clip(x1, x0 + 1, width)), int(np.clip(y1, y0 + 1, height))
    part = image[y0:y1, x0:x1]
    columns, rows = max(1, (x1 - x0) // step), max(1, (y1 - y0) // step)
    small = cv2.resize(np.ascontiguousarray(part), (columns, rows), interpolation=cv2.INTER_AREA)
    small = np.asarray(small, dtype=np.uint8).reshape(rows, columns, image.shape[2])
    scale = np.array([columns / (x1 - x0), rows / (y1 - y0)])
    # Pixel centres: the edge of the part is at x0 - 0.5, that of the small image at -0.5.
    matrix = matrix * scale[:, None]
    matrix[:, 2] += 0.5 * scale - 0.5 - scale * (x0, y0)
    return small, matrix
