"""A small residual network from images or maps to numbers."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.hourglass import PlainUnit, conv_bn_relu


class ResidualNet(nn.Module):
    """Stages that each halve the maps, with two residual units each; one linear layer reads the last maps (He, 2016).

    Args:
        inputs: channels of the maps, ``side`` wide and high.
        widths: channels of each stage's.
        outputs: how many numbers.
        side: of the maps, cells.

    Raises:
        ValueError: the maps cannot be halved so often.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], outputs: int, side: int) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or side % 2 ** len(widths):
            raise ValueError(f"maps of side {side} cannot be halved by stages of widths {list(widths)}")
        stages = [(conv_bn_relu(a, b, 3, 2), PlainUnit(b), PlainUnit(b)) for a, b in pairwise((inputs, *widths))]
        self.encoder = nn.Sequential(*(layer for stage in stages for layer in stage))
        self.regressor = nn.Linear(widths[-1] * (side >> len(widths)) ** 2, outputs)

    def forward(self, maps: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        """The numbers."""
        features = self.encoder(maps).flatten(1)
        # In bfloat16 they would be rounded to a tenth of a percent of the face.
        with torch.autocast(features.device.type, enabled=False):
            return self.regressor(features.to(self.regressor.weight.dtype))
