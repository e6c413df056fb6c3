"""Two steps, as FAN + Depth (Bulat and Tzimiropoulos, 2017): 2D heat maps, then depth from image and heat maps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.config import STRICT, NetworkConfig
from jvcr.model.heatmap import Centre, gaussian_volume
from jvcr.model.hourglass import VoxelNet, conv_bn_relu
from jvcr.model.method import Method, Output
from jvcr.model.residual import ResidualNet


@dataclass(frozen=True)
class TwoStepOptions:
    """Of the depth network: channels of what it sees of the image beside the heat maps, and of its residual stages."""

    __pydantic_config__: ClassVar = STRICT

    image_channels: int = 32
    widths: tuple[int, ...] = (64, 96)


class TwoStep(Method):
    """Hourglasses to one heat map a landmark, and a residual network to the depths.

    As many hourglasses as JVCR has, each supervised. x and y are read off the last heat maps, and learn nothing from
    coordinates; no gradient of the depths reaches the first step. In the first stage of training the depth network
    reads the true heat maps.
    """

    Options = TwoStepOptions

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        shape, count, seen = config.voxel, config.num_landmarks, self.options.image_channels
        self.voxel = VoxelNet(replace(shape, depths=(count,) * len(shape.depths)))
        self.look = nn.Sequential(conv_bn_relu(3, seen, 3, 2), conv_bn_relu(seen, seen, 3, 2))
        self.depth = ResidualNet(seen + count, self.options.widths, count, shape.map_size)

    def forward(
        self,
        image: Float[Tensor, "batch 3 height width"],
        truth: Float[Tensor, "batch points rows columns"] | None = None,
    ) -> Output:
        """Heat maps of all stacks and landmarks of RGB in [0, 1]; the depths are read off true heat maps if given."""
        maps = self.voxel(image)
        places = centroids(maps[-1].detach().float(), self.config.sigma)
        look = self.look(image - self.config.voxel.image_mean)
        depth = self.depth(torch.cat([look, (maps[-1].detach() if truth is None else truth).to(look.dtype)], dim=1))
        points = torch.cat([places.to(depth.dtype), depth[..., None]], dim=-1)
        return Output(maps, points, points, maps[-1].detach().amax(dim=1, keepdim=True))

    def targets(self, points_unit: Tensor, peak: float = 1.0, centre: Centre = "exact") -> list[Tensor]:
        """The heat maps of the landmarks' x and y, for each stack."""
        side, flat = self.config.voxel.map_size, F.pad(points_unit[..., :2], (0, 1))
        maps = gaussian_volume(flat.reshape(-1, 1, 3), (1, side, side), self.config.sigma, peak, centre)
        return [maps.view(*points_unit.shape[:2], side, side)] * len(self.config.voxel.depths)


def centroids(maps: Float[Tensor, "batch points height width"], sigma: float) -> Float[Tensor, "batch points 2"]:
    """(x, y) in the unit frame: the centroid of the cells around each map's greatest one.

    They reach as far as a Gaussian of that sigma does, in cells: those next to it alone would draw it to its centre.
    """
    height, width = maps.shape[2:]
    reach = math.ceil(2 * sigma) + 1
    greatest = maps.flatten(2).argmax(dim=-1)
    rows, columns = (torch.arange(n, device=maps.device) for n in (height, width))
    near_rows = (rows - (greatest // width)[..., None]).abs() <= reach
    near_columns = (columns - (greatest % width)[..., None]).abs() <= reach
    weight = maps.clamp(min=1e-6) * near_rows[..., None] * near_columns[..., None, :]
    weight = weight / weight.sum(dim=(2, 3), keepdim=True)
    x = (weight.sum(dim=2) * ((columns + 0.5) / width * 2 - 1)).sum(dim=-1)
    y = (weight.sum(dim=3) * ((rows + 0.5) / height * 2 - 1)).sum(dim=-1)
    return torch.stack([x, y], dim=-1)


METHOD = TwoStep
