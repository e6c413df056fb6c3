"""One volume per landmark, coarse to fine (Pavlakos et al., 2017), read by its integral (Sun et al., 2018)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from jvcr.model.config import NetworkConfig
from jvcr.model.heatmap import Centre, gaussian_volume
from jvcr.model.hourglass import VoxelNet
from jvcr.model.method import Method, Output


class Volumes(Method):
    """Hourglasses to N volumes; the last ones, as probabilities, have each landmark as their mean (soft-argmax).

    The coarse stacks learn Gaussians, the last learns from the coordinates alone. There is one part: both stages of
    training are the same.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        depths = tuple(config.num_landmarks * d for d in config.voxel.depths)
        self.voxel = VoxelNet(replace(config.voxel, depths=depths))

    def forward(self, image: Float[Tensor, "batch 3 height width"], truth: Tensor | None = None) -> Output:
        """Coarse volumes, (batch, N, depth, height, width), and landmarks of RGB in [0, 1]."""
        *coarse, last = (v.unflatten(1, (self.config.num_landmarks, -1)) for v in self.voxel(image))
        share = last.float().flatten(2).softmax(dim=-1).view_as(last)
        along = [share.sum(dim=tuple(axis for axis in (2, 3, 4) if axis != kept)) for kept in (4, 3, 2)]
        points = torch.stack([(p * _centres(p)).sum(dim=-1) for p in along], dim=-1)
        # As shares of what the highest cell of a Gaussian of that sigma would have.
        highest = (2 * math.pi) ** -1.5 * self.config.sigma**-3
        volume = (share.detach().amax(dim=1) / highest).clamp(max=1)
        return Output(coarse, points, points, volume)

    def targets(self, points_unit: Tensor, peak: float = 1.0, centre: Centre = "exact") -> list[Tensor]:
        """The coarse stacks' volumes, one Gaussian in each."""
        each = points_unit.reshape(-1, 1, 3)
        volumes = (gaussian_volume(each, s, self.config.sigma, peak, centre) for s in self.config.volume_shapes()[:-1])
        return [v.view(*points_unit.shape[:2], *v.shape[1:]) for v in volumes]


def _centres(cells: Tensor) -> Tensor:
    """Unit coordinates of the cells along the last axis."""
    count = cells.shape[-1]
    return (torch.arange(count, device=cells.device, dtype=cells.dtype) + 0.5) * (2 / count) - 1


METHOD = Volumes
