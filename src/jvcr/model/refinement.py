"""The refinement subnetwork R: landmarks moved by what the image's first features show around them.

It is not in the paper. A cell of the last volume is four pixels wide, and two lids that are closed are half a cell
apart: what tells an open eye from a closed one is in the image, and hardly in the volume. R reads the maps of G's
stem, which are finer, in windows around the landmarks that P has found: one step of cascaded regression with
shape-indexed features (Cao et al., Face alignment by explicit shape regression, CVPR 2012).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.config import NetworkConfig

_STEP = 0.05
"""A move of 1 before scaling, unit frame. Moves are small: with outputs of the size of 1, learning rates that suit G
and P suit R."""


class RefinementNet(nn.Module):
    """Windows around all landmarks to a move of each.

    A landmark's windows, one on each map, pass a matrix that belongs to that landmark alone, since what is to be seen
    at a lid is not what is to be seen at a lip; one hidden layer then sees all landmarks. A new network moves nothing.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        shape = config.refinement
        widths = config.voxel.stem_channels[: len(shape.windows)]
        inputs = sum(w * w * c for w, c in zip(shape.windows, widths, strict=True))
        self.points, self.windows = config.points, shape.windows
        # For each landmark a matrix; the biases are one vector, like all others, which weight decay leaves alone.
        self.local = nn.Parameter(torch.randn(config.points, inputs, shape.channels) * (2 / inputs) ** 0.5)
        self.local_bias = nn.Parameter(torch.zeros(config.points * shape.channels))
        self.joint = nn.Linear(config.points * shape.channels, shape.features)
        self.moves = nn.Linear(shape.features, 3 * config.points)
        nn.init.zeros_(self.moves.weight)
        nn.init.zeros_(self.moves.bias)

    def forward(
        self, maps: Sequence[Tensor], points_unit: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points 3"]:
        """The landmarks, moved.

        Args:
            maps: of the stem, finest first, each (batch, channels, height, width); R reads as many as it has windows.
            points_unit: P's landmarks in the unit frame. No gradient runs back into them: P learns by its own error.
        """
        points_unit = points_unit.detach()
        # In bfloat16 a place would be rounded to a tenth of a percent of the face.
        with torch.autocast(points_unit.device.type, enabled=False):
            seen = [
                windows(m, points_unit[..., :2], side).to(self.local.dtype)
                for m, side in zip(maps, self.windows, strict=False)
            ]
            local = torch.matmul(torch.cat(seen, dim=2).transpose(0, 1), self.local).transpose(0, 1).flatten(1)
            joint = F.relu(self.joint(F.relu(local + self.local_bias)))
            return points_unit + _STEP * self.moves(joint).view(-1, self.points, 3)


def windows(
    features: Float[Tensor, "batch channels height width"], points_unit: Float[Tensor, "batch points 2"], side: int
) -> Float[Tensor, "batch points values"]:
    """Square windows of a map around points, by bilinear interpolation; beyond its border the map is 0.

    A point further out than half a cell sees what it would half a cell beyond the border.

    All cells of a window lie at the same fraction of a cell, so it is blended of four windows of whole cells. This is
    what `torch.nn.functional.grid_sample` gives, at a third of its time on a CPU.

    Args:
        features: a map that covers the crop.
        points_unit: (x, y) in the unit frame: -1 and 1 are the crop's edges.
        side: cells along each side of a window, an odd number.

    Returns:
        side * side * channels values for each point: rows from top to bottom, in them cells from left to right,
        channels innermost.
    """
    batch, channels, height, width = features.shape
    margin = side // 2 + 1
    rows = F.pad(features, (margin,) * 4).permute(0, 2, 3, 1).reshape(-1, channels)
    across, down = width + 2 * margin, height + 2 * margin
    place = [(points_unit[..., i] + 1) * (n / 2) - 0.5 for i, n in enumerate((width, height))]
    # Clamped as whole numbers: NaN, of weights that have gone wrong, must come out again and not be an index.
    low = [p.floor().long().clamp(-1, n - 1) for p, n in zip(place, (width, height), strict=True)]
    x, y = ((p - q).clamp(0, 1)[..., None, None].to(features.dtype) for p, q in zip(place, low, strict=True))
    # The margin is one cell more than half a window: a window's first cell in the padded map is one from its point's.
    first = (low[1] + 1) * across + low[0] + 1
    # The batch's images by number; of an arange, ONNX's shape inference could not tell the length.
    image = (first[:, :1] * 0 + 1).cumsum(0) - 1
    first = first + across * down * image
    cells = torch.arange(side + 1, device=features.device)
    taken = first[..., None] + (cells[:, None] * across + cells).flatten()
    seen = rows.index_select(0, taken.flatten()).view(batch, -1, side + 1, (side + 1) * channels)
    seen = seen[:, :, :-1] + y * (seen[:, :, 1:] - seen[:, :, :-1])
    seen = seen[..., :-channels] + x * (seen[..., channels:] - seen[..., :-channels])
    return seen.flatten(2)
