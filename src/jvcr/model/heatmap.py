"""The compact volumetric representation: all landmarks of an object in one volume (section III-A, Eq. 1-2)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Centre = Literal["exact", "towards-origin"]
"""Where Gaussians lie, see `gaussian_volume`."""

KERNEL_REACH = 4.0
"""The Gaussian is drawn out to this many sigma at least; what is left out is below exp(-8) = 0.00034 of the peak."""


def gaussian_volume(
    points_unit: Float[Tensor, "batch points 3"],
    shape: tuple[int, int, int],
    sigma: float = 1.0,
    peak: float = 1.0,
    centre: Centre = "exact",
) -> Float[Tensor, "batch depth height width"]:
    """Draws the landmarks of each object into one volume: the maximum over landmarks of a Gaussian each (Eq. 1-2).

    Voxel (k, j, i) holds max over n of peak * exp(-|c - x_n|^2 / (2 sigma^2)) with distances in voxels, the Gaussian's
    centre at the exact landmark. A coarse volume has the same kernel in *its* voxels: with d = 1 all landmarks lie
    within half a slice of the only one, which then hardly tells their depth; with d = 2 or 4 it tells front from back.
    Only the voxels within `KERNEL_REACH` sigma of a landmark are visited, the others stay 0.

    Args:
        points_unit: (x, y, z) in the unit frame. A landmark outside of the cube leaves there what tail falls inside.
        shape: depth, height and width of the volume, voxels.
        sigma: size of the Gaussian, voxels of this volume.
        peak: the Gaussian's height. Eq. 1 writes 1 / (2 pi sigma^2), which only rescales the volume.
        centre: "exact" draws each Gaussian at its landmark; "towards-origin" along each axis one voxel before the
            last voxel centre that the landmark has passed, one to two voxels off, as the authors' released code does.

    Returns:
        The volumes, in the points' type and on their device.

    Raises:
        ValueError: the shape or sigma is not positive.
    """
    if min(shape) < 1 or sigma <= 0:
        raise ValueError(f"shape must be positive and sigma above 0, got {shape} and {sigma}")
    batch = len(points_unit)
    span = 2 * math.ceil(KERNEL_REACH * sigma) + 2
    flat = torch.zeros((), dtype=torch.long, device=points_unit.device)
    values = torch.ones((), dtype=points_unit.dtype, device=points_unit.device)
    for axis, cells in zip((2, 1, 0), shape, strict=True):
        # Cell i has its centre at (i + 0.5) / cells * 2 - 1.
        place = (points_unit[:, :, axis] + 1) * (cells / 2) - 0.5
        if centre == "towards-origin":
            place = place.floor() - 1
        window = min(span, cells)
        first = (place.floor() - (span // 2 - 1)).clamp(0, cells - window)
        index = first[..., None] + torch.arange(window, device=place.device, dtype=place.dtype)
        gauss = torch.exp((index - place[..., None]) ** 2 * (-0.5 / sigma**2))
        flat = flat[..., None] * cells + _expand(index.long(), flat.dim())
        values = values[..., None] * _expand(gauss, values.dim())
    volume = points_unit.new_zeros(batch, math.prod(shape))
    volume.scatter_reduce_(1, flat.reshape(batch, -1), values.reshape(batch, -1), reduce="amax")
    if peak != 1:
        volume *= peak
    return volume.view(batch, *shape)


def _expand(window: Tensor, dims: int) -> Tensor:
    """(batch, points, k) with axes put in before the last, to broadcast against ``dims`` axes and a new one."""
    return window if dims == 0 else window.view(*window.shape[:2], *(1,) * (dims - 2), window.shape[2])
