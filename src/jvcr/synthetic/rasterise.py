"""A z-buffer in numpy: which triangle of a mesh is seen at each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Surface:
    """What is seen at each pixel."""

    triangle: NDArray[np.int32]  # (height, width) index of the nearest triangle, -1 where there is none
    depth: NDArray[np.float32]  # (height, width) its z, larger is nearer; -inf where there is none
    weights: NDArray[np.float32]  # (height, width, 3) barycentric coordinates of the pixel's centre in that triangle


def rasterise(
    points_px: NDArray[np.floating],
    triangles: NDArray[np.intp],
    width: int,
    height: int,
    two_sided: NDArray[np.bool_] | None = None,
) -> Surface:
    """The nearest triangle at each pixel of an image: a z-buffer.

    A triangle covers the pixels whose centres lie in it, its border included; of two at the same depth the later wins.
    Vertices have x right and y down in pixels, integer = pixel centre, and z towards the camera; triangles are
    counter-clockwise from their front (in a frame with y up), and ``two_sided`` ones are seen from behind, too.
    """
    corners = points_px.astype(np.float64)[triangles]
    x, y, z = corners.transpose(2, 1, 0)
    # Twice the signed area; y down turns the winding, so that fronts are negative.
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    drawn = area < -1e-9
    if two_sided is not None:
        drawn |= two_sided & (area > 1e-9)
    first = np.maximum(np.ceil(y.min(0)), 0)
    last = np.minimum(np.floor(y.max(0)), height - 1)
    drawn &= (last >= first) & (x.max(0) >= 0) & (x.min(0) <= width - 1)
    numbers = np.flatnonzero(drawn)
    x, y, z, area = x[:, numbers], y[:, numbers], z[:, numbers], area[numbers]
    # Barycentric coordinate i = gx[i] * px + gy[i] * py + g[i].
    after, before = [1, 2, 0], [2, 0, 1]
    gx = (y[after] - y[before]) / area
    gy = (x[before] - x[after]) / area
    g = (x[after] * y[before] - x[before] * y[after]) / area

    of, row, column = _covered_pixels(gx, gy, g, first[numbers], last[numbers], width)
    plane = (gx * z).sum(0), (gy * z).sum(0), (g * z).sum(0)
    near = plane[0][of] * column + plane[1][of] * row + plane[2][of]
    low, high = (float(z.min()), float(z.max())) if len(numbers) else (0.0, 1.0)
    steps = np.clip((near - low) / max(high - low, 1e-12), 0, 1) * (2**31 - 2)
    key = ((steps.astype(np.int64) + 1) << 32) | of
    buffer = np.zeros(width * height, np.int64)
    np.maximum.at(buffer, row * width + column, key)

    seen = np.flatnonzero(buffer)
    winner = (buffer[seen] & 0xFFFFFFFF).astype(np.intp)
    py, px = np.divmod(seen, width)
    weights = np.zeros((height * width, 3), np.float32)
    weights[seen] = (gx[:, winner] * px + gy[:, winner] * py + g[:, winner]).T
    triangle = np.full(height * width, -1, np.int32)
    triangle[seen] = numbers[winner]
    depth = np.full(height * width, -np.inf, np.float32)
    depth[seen] = plane[0][winner] * px + plane[1][winner] * py + plane[2][winner]
    return Surface(triangle.reshape(height, width), depth.reshape(height, width), weights.reshape(height, width, 3))


def _covered_pixels(
    gx: NDArray[np.float64],
    gy: NDArray[np.float64],
    g: NDArray[np.float64],
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    width: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Triangle, row and column of each pixel within each triangle, whose rows are ``first`` to ``last``."""
    # One entry for each row of pixels that a triangle crosses ...
    rows = (last - first).astype(np.intp) + 1
    of = np.repeat(np.arange(len(rows)), rows)
    row = _counting(rows) + first.astype(np.intp)[of]
    left, right = np.zeros(len(of)), np.full(len(of), width - 1.0)
    for i in range(3):
        slope, rest = gx[i, of], gy[i, of] * row + g[i, of]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = -rest / slope
        left = np.where(slope > 0, np.maximum(left, crossing), left)
        right = np.where(slope < 0, np.minimum(right, crossing), right)
        right = np.where((slope == 0) & (rest < 0), -1, right)
    start = np.ceil(left - 1e-9)
    lengths = np.maximum(np.floor(right + 1e-9) - start + 1, 0).astype(np.intp)
    # ... and one for each pixel of these.
    span = np.repeat(np.arange(len(of)), lengths)
    return of[span], row[span], _counting(lengths) + start.astype(np.intp)[span]


def _counting(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """0, 1 ... n - 1 for each n of ``lengths``, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
