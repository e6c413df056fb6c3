"""Reading the compact volume: its values at given points, and where its peaks are.

A volume is stored (depth, height, width), that is z, y, x, while points are (x, y, z) in the unit frame; cell i of an
axis with n cells has its centre at unit coordinate (i + 0.5) / n * 2 - 1.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LEAST_SHARE = 1e-3
"""Neighbours of a peak count as at least this share of it, where their logarithm is taken."""


def sample_volume(volume: ArrayLike, points_unit: ArrayLike) -> NDArray[np.float64]:
    """The volume's values at points between its cells, by trilinear interpolation.

    Args:
        volume: (D, H, W), or (B, D, H, W) for a batch.
        points_unit: (N, 3), or (B, N, 3) for a batch: (x, y, z) in the unit frame. A point beyond the outermost cell
            centres reads the nearest of them.

    Returns:
        (N,) or (B, N) values.

    Raises:
        ValueError: the shapes do not belong together, an axis is empty, or a point is not finite.

    Example:
        >>> sample_volume([[[0.0, 1.0]]], [[-0.5, 0, 0], [0, 0, 0], [0.25, 0, 0], [1, 0, 0]]).tolist()
        [0.0, 0.5, 0.75, 1.0]
    """
    values, points = np.asarray(volume), np.asarray(points_unit, dtype=np.float64)
    single = values.ndim == 3
    if single and points.ndim == 2:
        values, points = values[None], points[None]
    if values.ndim != 4 or points.ndim != 3 or points.shape[2] != 3 or len(values) != len(points):
        raise ValueError(
            "expected a volume (D, H, W) with points (N, 3), or (B, D, H, W) with (B, N, 3), "
            f"got {np.shape(volume)} with {np.shape(points_unit)}"
        )
    if 0 in values.shape[1:]:
        raise ValueError(f"the volume has no cells: its shape is {np.shape(volume)}")
    if not np.isfinite(points).all():
        raise ValueError("points_unit holds NaN or infinite values")
    depth, height, width = values.shape[1:]
    cells = np.array([width, height, depth])
    position = np.clip((points + 1) * (cells / 2) - 0.5, 0, cells - 1)
    low = position.astype(np.intp)
    # At the last cell there is no next one; its weight there is 0.
    x, y, z = np.moveaxis(np.stack([low, np.minimum(low + 1, cells - 1)], axis=-1), 2, 0)
    corners = (z[..., :, None, None] * height + y[..., None, :, None]) * width + x[..., None, None, :]
    around = np.take_along_axis(values.reshape(len(values), -1), corners.reshape(len(values), -1), axis=1)
    result = around.reshape(corners.shape)
    # Of the eight corners first the pairs along x, then those along y, then z.
    for share in np.moveaxis(position - low, 2, 0):
        share = share.reshape(*share.shape, *(1,) * (result.ndim - 3))
        result = result[..., 0] * (1 - share) + result[..., 1] * share
    return result[0] if single else result


def find_peaks(
    volume: ArrayLike, threshold: float = 0.2, max_peaks: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The local maxima of a volume, highest first.

    A peak is a cell that none of its 26 neighbours exceeds; of equal neighbours the first in storage order is the peak.
    Its place between the cells is the top of a parabola through the logarithms of the cell and its two neighbours, on
    each axis: for a lone Gaussian of any width, that is its exact centre.

    Args:
        volume: (D, H, W).
        threshold: cells must exceed this value.
        max_peaks: how many to return at the most; None is all.

    Returns:
        points_unit: (n, 3) places (x, y, z) in the unit frame.
        values: (n,) the volume's value at each peak's cell, in falling order.

    Raises:
        ValueError: the volume has not three axes, is empty or not finite, or an argument is negative.
    """
    values = np.asarray(volume, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"expected one volume (D, H, W) with at least one cell, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the volume holds NaN or infinite values")
    if threshold < 0 or (max_peaks is not None and max_peaks < 0):
        raise ValueError(f"threshold and max_peaks must not be negative, got {threshold} and {max_peaks}")
    padded = np.pad(values, 1, constant_values=-np.inf)
    is_peak = values > threshold
    for step in product((-1, 0, 1), repeat=3):
        if step == (0, 0, 0):
            continue
        near = padded[tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, values.shape, strict=True))]
        is_peak &= (values > near) if step < (0, 0, 0) else (values >= near)
    cells = np.argwhere(is_peak)
    heights = values[is_peak]
    order = np.argsort(-heights, kind="stable")[:max_peaks]
    cells, heights = cells[order], heights[order]

    place = cells.astype(np.float64)
    for axis in range(3):
        step = np.eye(3, dtype=np.intp)[axis]
        before, after = (_log_share(padded, cells + 1 + sign * step, heights) for sign in (-1, 1))
        # The parabola through (-1, before), (0, 0) and (1, after) opens downwards, as a peak is there. At the volume's
        # border one of the three is missing, and on a plateau it has no top: the peak stays at the cell's centre.
        has_top = (before + after < 0) & np.isfinite(before + after)
        before, after = before[has_top], after[has_top]
        place[has_top, axis] += np.clip((before - after) / (2 * (before + after)), -0.5, 0.5)
    points = (place + 0.5) * (2 / np.array(values.shape)) - 1
    return points[:, ::-1].copy(), heights


def _log_share(
    padded: NDArray[np.float64], cells: NDArray[np.intp], heights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) logarithm of cell over peak, at most 0; -inf outside of the volume."""
    near = padded[tuple(cells.T)]
    share = np.clip(near / heights, _LEAST_SHARE, 1)
    return np.where(np.isfinite(near), np.log(share), -np.inf)
