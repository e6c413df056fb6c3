"""The subnetworks joined."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from jvcr.model.config import NetworkConfig
from jvcr.model.coordinate import CoordinateNet
from jvcr.model.heatmap import Centre, gaussian_volume
from jvcr.model.hourglass import VoxelNet
from jvcr.model.method import Method, Output
from jvcr.model.refinement import RefinementNet


class JVCR(Method):
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
        super().__init__(config)
        self.voxel = VoxelNet(config.voxel)
        self.coordinate = CoordinateNet(config)
        self.refinement = RefinementNet(config) if config.refinement.patches else None

    def forward(
        self,
        image: Float[Tensor, "batch 3 height width"],
        truth: Float[Tensor, "batch depth rows columns"] | None = None,
    ) -> Output:
        """Volumes of all stacks and landmarks of RGB in [0, 1].

        P reads ``truth`` in place of G's last volume in the first stage of training: then no gradient of the
        landmarks reaches G's volumes.
        """
        maps = self.voxel.stem_maps(image)
        volumes = self.voxel.volumes(maps[-1])
        coarse = self.coordinate(volumes[-1] if truth is None else truth)
        points = coarse if self.refinement is None else self.refinement(maps, coarse)
        return Output(volumes, coarse, points, volumes[-1])

    def targets(self, points_unit: Tensor, peak: float = 1.0, centre: Centre = "exact") -> list[Tensor]:
        """All landmarks in one volume for each stack (Eq. 2)."""
        shapes = self.config.volume_shapes()
        return [gaussian_volume(points_unit, shape, self.config.sigma, peak, centre) for shape in shapes]


METHOD = JVCR
