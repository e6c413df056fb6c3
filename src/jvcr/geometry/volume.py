"""Reading the compact volume: its values at given points.

A volume is stored (depth, height, width), that is z, y, x, while points are (x, y, z) in the unit frame; cell i of an
axis with n cells has its centre at unit coordinate (i + 0.5) / n * 2 - 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def sample_volume(volume: ArrayLike, points_unit: ArrayLike) -> NDArray[np.float64]:
    """(N,) values of a volume (D, H, W) at points (N, 3) of the unit frame, by trilinear interpolation.

    A batch of (B, D, H, W) at (B, N, 3) gives (B, N). A point beyond the outermost cell centres reads the nearest; a
    ValueError for shapes that do not belong together, an empty axis or points that are not finite.

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
