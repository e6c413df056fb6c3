"""What is minimised in each stage (section III-B, Eq. 3-5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.network import JVCR
from jvcr.model.volume import draw_volume
from jvcr.training.recipe import LossRecipe

Stage = Literal["separate", "joint"]


class Losses(NamedTuple):
    """Mean over the batch's faces.

    Attributes:
        total: what is minimised: ``voxel + lambda * coordinate``.
        voxel: L_vox (Eq. 3), with the recipe's reduction.
        coordinate: L_coord (Eq. 4), with the recipe's reduction.
    """

    total: Tensor
    voxel: Tensor
    coordinate: Tensor


class Objective(nn.Module):
    """The losses of a batch, for either stage.

    In the separate stage G learns volumes from images and P learns landmarks from *ground-truth* volumes: no gradient
    and no batch-norm statistics of G's volumes reach P. The two losses share no weight, so one sum trains both. In the
    joint stage P reads G's last volume and the gradient of its error runs on into G.

    Args:
        network: G and P.
        recipe: which losses.
        facing: pairs of landmarks that face each other across an opening (`LandmarkScheme.facing`).
    """

    def __init__(self, network: JVCR, recipe: LossRecipe, facing: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        self.network, self.recipe, self.facing = network, recipe, facing

    def forward(
        self, image: Float[Tensor, "batch 3 size size"], points_unit: Float[Tensor, "batch points 3"], stage: Stage
    ) -> Losses:
        """The losses of one batch; images as the network takes them, landmarks in the unit frame."""
        config, recipe = self.network.config, self.recipe
        truths = [draw_volume(points_unit, s, config.sigma, recipe.peak, recipe.centre) for s in config.volume_shapes()]
        volumes = [v.to(points_unit.dtype) for v in self.network.voxel(image)]
        voxel = sum(
            (voxel_loss(v, t, config.points, recipe) for v, t in zip(volumes, truths, strict=True)),
            start=points_unit.new_zeros(()),
        )
        seen_by_p = truths[-1] if stage == "separate" else volumes[-1]
        coordinate = coordinate_loss(self.network.coordinate(seen_by_p), points_unit, recipe, self.facing)
        return Losses(voxel + recipe.coordinate_weight * coordinate, voxel, coordinate)


def voxel_loss(volume: Tensor, truth: Tensor, points: int, recipe: LossRecipe) -> Tensor:
    """Squared error of one stack's volumes, (batch, depth, height, width) each (one term of Eq. 3)."""
    if recipe.voxel == "mean":
        return F.mse_loss(volume, truth)
    return F.mse_loss(volume, truth, reduction="sum") / (len(volume) * points)


def coordinate_loss(
    points_unit: Tensor, truth_unit: Tensor, recipe: LossRecipe, facing: Sequence[tuple[int, int]] = ()
) -> Tensor:
    """Error of the landmarks, (batch, N, 3) each, averaged over faces, landmarks and axes (Eq. 4).

    With an ``opening_weight``, the same of the vectors between the landmarks of each pair of ``facing`` is added.
    """
    error = F.mse_loss if recipe.coordinate == "l2" else F.l1_loss
    loss = error(points_unit, truth_unit)
    if recipe.opening_weight and facing:
        upper, lower = (list(side) for side in zip(*facing, strict=True))
        across, truth = (p[:, upper] - p[:, lower] for p in (points_unit, truth_unit))
        loss = loss + recipe.opening_weight * error(across, truth)
    return loss
