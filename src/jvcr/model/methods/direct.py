"""Direct regression: the coordinates by a small residual network, without any volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from jvcr.model.config import STRICT, NetworkConfig
from jvcr.model.heatmap import Centre
from jvcr.model.method import Method, Output
from jvcr.model.residual import ResidualNet


@dataclass(frozen=True)
class DirectOptions:
    """``widths`` are the channels of the residual network's stages, each of which halves the maps."""

    __pydantic_config__: ClassVar = STRICT

    widths: tuple[int, ...] = (32, 48, 96, 192)


class Direct(Method):
    """An image to landmarks. It has nothing to tell how sure they are by: its volume is 1 everywhere."""

    Options = DirectOptions

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        size, count = config.voxel.image_size, 3 * config.num_landmarks
        self.coordinate = ResidualNet(3, self.options.widths, count, size)

    def forward(self, image: Float[Tensor, "batch 3 height width"], truth: Tensor | None = None) -> Output:
        """The landmarks of RGB in [0, 1]; ``truth`` is of no use here."""
        points = self.coordinate(image - self.config.voxel.image_mean).unflatten(1, (-1, 3))
        return Output([], points, points, torch.ones_like(points[:, :1, :1, None]))

    def targets(self, points_unit: Tensor, peak: float = 1.0, centre: Centre = "exact") -> list[Tensor]:
        """None."""
        return []


METHOD = Direct
