"""What is minimised in each stage (section III-B, Eq. 3-5)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.network import JVCR
from jvcr.model.volume import draw_volume
from jvcr.training.openings import OpeningLoss
from jvcr.training.recipe import LossRecipe

Stage = Literal["separate", "joint"]


class Losses(NamedTuple):
    """Mean over the batch's faces.

    Attributes:
        total: what is minimised: ``voxel + lambda * coordinate``.
        voxel: L_vox (Eq. 3), with the recipe's reduction.
        coordinate: L_coord (Eq. 4), with the recipe's reduction; with R, of P's landmarks and of R's. The error across
            openings is in it, if the recipe counts that.
    """

    total: Tensor
    voxel: Tensor
    coordinate: Tensor


class Objective(nn.Module):
    """The losses of a batch, for either stage.

    In the separate stage G learns volumes from images and P learns landmarks from *ground-truth* volumes: no gradient
    and no batch-norm statistics of G's volumes reach P. These losses share no weight, so one sum trains both. In the
    joint stage P reads G's last volume and the gradient of its error runs on into G. R, where there is one, moves P's
    landmarks in both stages; its own error trains R and the stem whose maps it reads.

    Args:
        network: G, P and, if it has one, R.
        recipe: which losses.
        openings: the error across openings, where it counts beside that of the landmarks.
    """

    def __init__(self, network: JVCR, recipe: LossRecipe, openings: OpeningLoss | None = None) -> None:
        super().__init__()
        self.network, self.recipe, self.openings = network, recipe, openings

    def forward(
        self,
        image: Float[Tensor, "batch 3 size size"],
        points_unit: Float[Tensor, "batch points 3"],
        stage: Stage,
        counted: Float[Tensor, " batch"] | None = None,
    ) -> Losses:
        """The losses of one batch.

        Args:
            image: as the network takes them.
            points_unit: the true landmarks, unit frame.
            stage: which of the two.
            counted: how much each face's openings count beside the recipe's weight; None is 1 for all.
        """
        config, recipe, network = self.network.config, self.recipe, self.network
        truths = [draw_volume(points_unit, s, config.sigma, recipe.peak, recipe.centre) for s in config.volume_shapes()]
        maps = network.voxel.stem_maps(image)
        volumes = [v.to(points_unit.dtype) for v in network.voxel.volumes(maps[-1])]
        voxel = sum(
            (voxel_loss(v, t, config.points, recipe) for v, t in zip(volumes, truths, strict=True)),
            start=points_unit.new_zeros(()),
        )
        seen_by_p = truths[-1] if stage == "separate" else volumes[-1]
        points = network.coordinate(seen_by_p)
        coordinate = points_unit.new_zeros(())
        if network.refinement is not None:
            coordinate = coordinate_loss(points, points_unit, recipe)
            points = network.refinement(maps, points)
        coordinate = coordinate + coordinate_loss(points, points_unit, recipe)
        if self.openings is not None:
            counted = points_unit.new_ones(len(points)) if counted is None else counted
            coordinate = coordinate + recipe.opening_weight * self.openings(points, points_unit, counted)
        return Losses(voxel + recipe.coordinate_weight * coordinate, voxel, coordinate)


def voxel_loss(volume: Tensor, truth: Tensor, points: int, recipe: LossRecipe) -> Tensor:
    """Squared error of one stack's volumes, (batch, depth, height, width) each (one term of Eq. 3)."""
    if recipe.voxel == "mean":
        return F.mse_loss(volume, truth)
    return F.mse_loss(volume, truth, reduction="sum") / (len(volume) * points)


def coordinate_loss(points_unit: Tensor, truth_unit: Tensor, recipe: LossRecipe) -> Tensor:
    """Error of the landmarks, (batch, N, 3) each, averaged over faces, landmarks and axes (Eq. 4)."""
    return F.mse_loss(points_unit, truth_unit) if recipe.coordinate == "l2" else F.l1_loss(points_unit, truth_unit)
