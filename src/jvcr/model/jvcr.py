"""The subnetworks joined."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.config import NetworkConfig
from jvcr.model.coordinate import CoordinateNet
from jvcr.model.hourglass import VoxelNet
from jvcr.model.refinement import RefinementNet


class JVCROutput(NamedTuple):
    """What the network gives for a batch of images.

    Attributes:
        volumes: of each stack, coarse to fine, (batch, depth, height, width).
        coarse_points: (batch, N, 3) landmarks (x, y, z) as P reads them off the volume, unit frame.
        points: (batch, N, 3) those that R has moved, or the very ``coarse_points`` without R.
    """

    volumes: list[Tensor]
    coarse_points: Float[Tensor, "batch points 3"]
    points: Float[Tensor, "batch points 3"]


class JVCR(nn.Module):
    """Joint voxel and coordinate regression: an image to volumes, the last volume to landmarks (Fig. 1).

    With a refinement subnetwork, the image's first features around these landmarks move them.

    Example:
        >>> import torch
        >>> from jvcr.model.config import COMPACT
        >>> output = JVCR(COMPACT)(torch.zeros(2, 3, 128, 128))
        >>> [tuple(v.shape) for v in output.volumes], tuple(output.points.shape)
        ([(2, 1, 32, 32), (2, 4, 32, 32), (2, 32, 32, 32)], (2, 68, 3))
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.voxel = VoxelNet(config.voxel)
        self.coordinate = CoordinateNet(config)
        self.refinement = RefinementNet(config) if config.refinement.patches else None

    def forward(
        self,
        image: Float[Tensor, "batch 3 height width"],
        true_volume: Float[Tensor, "batch depth rows columns"] | None = None,
    ) -> JVCROutput:
        """Volumes of all stacks and landmarks of RGB in [0, 1].

        P reads ``true_volume`` in place of G's last volume in the first stage of training: then no gradient of the
        landmarks reaches G's volumes.
        """
        maps = self.voxel.stem_maps(image)
        volumes = self.voxel.volumes(maps[-1])
        coarse = self.coordinate(volumes[-1] if true_volume is None else true_volume)
        return JVCROutput(volumes, coarse, coarse if self.refinement is None else self.refinement(maps, coarse))
