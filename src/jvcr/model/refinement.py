"""The refinement subnetwork R, not in the paper: landmarks moved by what the image's first features show around them.

A cell of the last volume is four pixels wide, and two closed lids are half a cell apart: what tells an open eye from a
closed one is hardly in the volume. R reads the stem's maps, the first of which has cells of two pixels, around the
landmarks that P has found: one step of cascaded regression with shape-indexed features (Cao et al., Face alignment by
explicit shape regression, CVPR 2012).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.config import NetworkConfig

_STEP = 0.05
"""Times what R's last layer gives, a move in the unit frame: outputs near 1 suit the learning rate of G and P."""


class RefinementNet(nn.Module):
    """Patches around all landmarks to a move of each.

    A landmark's patches pass a matrix of that landmark alone, since a lid shows other things than a lip; one hidden
    layer then sees all landmarks. A new network moves nothing.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        shape = config.refinement
        widths = config.voxel.stem_channels[: len(shape.patches)]
        inputs = sum(w * w * c for w, c in zip(shape.patches, widths, strict=True))
        self.num_landmarks, self.patches = config.num_landmarks, shape.patches
        # For each landmark a matrix; the biases are one vector, like all others, which weight decay leaves alone.
        self.local = nn.Parameter(torch.randn(config.num_landmarks, inputs, shape.channels) * (2 / inputs) ** 0.5)
        self.local_bias = nn.Parameter(torch.zeros(config.num_landmarks * shape.channels))
        self.joint = nn.Linear(config.num_landmarks * shape.channels, shape.features)
        self.moves = nn.Linear(shape.features, 3 * config.num_landmarks)
        nn.init.zeros_(self.moves.weight)
        nn.init.zeros_(self.moves.bias)

    def forward(
        self, maps: Sequence[Tensor], points_unit: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points 3"]:
        """The landmarks, moved; no gradient runs back into ``points_unit`` (P's): P learns by its own error.

        ``maps`` are the stem's, finest first, each (batch, channels, height, width).
        """
        points_unit = points_unit.detach()
        # In bfloat16 a place would be rounded to a tenth of a percent of the face.
        with torch.autocast(points_unit.device.type, enabled=False):
            places = points_unit[..., :2].to(self.local.dtype)
            seen = [patches(m, places, side) for m, side in zip(maps, self.patches, strict=False)]
            local = torch.matmul(torch.cat(seen, dim=2).transpose(0, 1), self.local).transpose(0, 1).flatten(1)
            joint = F.relu(self.joint(F.relu(local + self.local_bias)))
            return points_unit + _STEP * self.moves(joint).view(-1, self.num_landmarks, 3)


def patches(
    features: Float[Tensor, "batch channels height width"], points_unit: Float[Tensor, "batch points 2"], side: int
) -> Float[Tensor, "batch points values"]:
    """Square patches of a map around points (x, y) in the unit frame, by bilinear interpolation; 0 beyond the map.

    Returns:
        side * side * channels values for each point: rows from top to bottom, in them cells from left to right,
        channels innermost. ``side`` is odd.
    """
    height, width = features.shape[2:]
    cells = torch.arange(side, device=points_unit.device, dtype=points_unit.dtype) - side // 2
    y, x = torch.meshgrid(cells * (2 / height), cells * (2 / width), indexing="ij")
    places = points_unit[:, :, None] + torch.stack([x, y], dim=-1).view(1, 1, -1, 2)
    # Other paddings take ONNX Runtime five times as long.
    seen = F.grid_sample(features.to(places.dtype), places, padding_mode="zeros", align_corners=False)
    return seen.permute(0, 2, 3, 1).flatten(2)
