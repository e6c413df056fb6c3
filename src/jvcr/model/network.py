"""The subnetworks joined."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.config import NetworkConfig
from jvcr.model.coordinates import CoordinateNet
from jvcr.model.hourglass import VoxelNet
from jvcr.model.refinement import RefinementNet


class JVCR(nn.Module):
    """Joint voxel and coordinate regression: an image to volumes, the last volume to landmarks (Fig. 1).

    Where the configuration has a refinement subnetwork, it moves these landmarks by what the image's first features
    show around them.

    Example:
        >>> import torch
        >>> volumes, points = JVCR(COMPACT)(torch.zeros(2, 3, 128, 128))
        >>> [tuple(v.shape) for v in volumes], tuple(points.shape)
        ([(2, 1, 32, 32), (2, 4, 32, 32), (2, 32, 32, 32)], (2, 68, 3))
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.voxel = VoxelNet(config.voxel)
        self.coordinate = CoordinateNet(config)
        self.refinement = RefinementNet(config) if config.refinement.windows else None

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> tuple[list[Tensor], Float[Tensor, "batch points 3"]]:
        """Volumes of all stacks, coarse to fine, and the landmarks.

        Args:
            image: RGB in [0, 1], of the side the configuration names.

        Returns:
            A list of (batch, depth, height, width) volumes, and the landmarks (x, y, z) in the unit frame.
        """
        maps = self.voxel.stem_maps(image)
        volumes = self.voxel.volumes(maps[-1])
        points = self.coordinate(volumes[-1])
        return volumes, points if self.refinement is None else self.refinement(maps, points)
