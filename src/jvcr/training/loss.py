"""What is minimised in each stage (section III-B, Eq. 3-5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.method import Method
from jvcr.scheme import LandmarkScheme
from jvcr.training.aperture_loss import ApertureLoss
from jvcr.training.recipe import LossRecipe

Stage = Literal["separate", "joint"]


class Losses(NamedTuple):
    """Mean over the batch's faces.

    Attributes:
        total: what is minimised: ``voxel + lambda * coordinate``.
        voxel: L_vox (Eq. 3), with the recipe's reduction.
        coordinate: L_coord (Eq. 4), with the recipe's reduction: the sum of the terms below, weighted as it says.
        coarse: of the landmarks before refinement; refined: of R's; apertures: across apertures; hand: against labels
            by hand. 0 for what there is not.
    """

    total: Tensor
    voxel: Tensor
    coordinate: Tensor
    coarse: Tensor
    refined: Tensor
    apertures: Tensor
    hand: Tensor


class JVCRLoss(nn.Module):
    """The losses of a batch, for either stage.

    In the separate stage G learns volumes from images and P learns landmarks from *ground-truth* volumes: no gradient
    and no batch-norm statistics of G's volumes reach P. These losses share no weight, so one sum trains both. In the
    joint stage P reads G's last volume and the gradient of its error runs on into G. R, where there is one, moves P's
    landmarks in both stages; its own error trains R and the stem whose maps it reads.

    Args:
        network: G, P and, if it has one, R.
        recipe: which losses.
        apertures: the error across apertures, where it counts beside that of the landmarks.
        outline: landmarks that people label elsewhere than they are in space: labels by hand say nothing of them.
    """

    inner: Tensor  # (N,) the other landmarks

    def __init__(
        self, network: Method, recipe: LossRecipe, apertures: ApertureLoss | None = None, outline: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.network, self.recipe, self.apertures = network, recipe, apertures
        inner = torch.ones(network.config.num_landmarks, dtype=torch.bool)
        inner[list(outline)] = False
        self.register_buffer("inner", inner, persistent=False)

    def forward(
        self,
        image: Float[Tensor, "batch 3 size size"],
        points_unit: Float[Tensor, "batch points 3"],
        stage: Stage,
        hand_unit: Float[Tensor, "batch points 2"] | None = None,
    ) -> Losses:
        """The losses of one batch.

        Args:
            image: as the network takes them.
            points_unit: the true landmarks.
            stage: which of the two.
            hand_unit: labels by hand of what could be seen, unit frame, NaN where there are none; None without any.
        """
        recipe, landmarks = self.recipe, points_unit.shape[1]
        truths = self.network.targets(points_unit, recipe.peak, recipe.centre)
        output = self.network(image, truths[-1] if truths and stage == "separate" else None)
        voxel = sum(
            (
                voxel_loss(v.to(points_unit.dtype), t, landmarks, recipe)
                for v, t in zip(output.volumes, truths, strict=True)
            ),
            start=points_unit.new_zeros(()),
        )
        coarse = coordinate_loss(output.coarse_points, points_unit, recipe)
        refined = apertures = hand = torch.zeros_like(coarse)
        if output.coarse_points is not output.points:
            refined = coordinate_loss(output.points, points_unit, recipe)
        if self.apertures is not None:
            apertures = self.apertures(output.points, points_unit, hand_unit)
        if recipe.hand_weight and hand_unit is not None:
            hand = hand_loss(output.points, hand_unit, self.inner, recipe)
        coordinate = coarse + refined + recipe.aperture_weight * apertures + recipe.hand_weight * hand
        total = voxel + recipe.coordinate_weight * coordinate
        return Losses(total, voxel, coordinate, coarse, refined, apertures, hand)


def outline(scheme: LandmarkScheme) -> tuple[int, ...]:
    """The landmarks along the jaw: people label them where they see the face's edge, not where they are in space."""
    return tuple(sorted(i for name, group in scheme.groups.items() if "jaw" in name.split("_") for i in group))


def hand_loss(points_unit: Tensor, hand_unit: Tensor, inner: Tensor, recipe: LossRecipe) -> Tensor:
    """Error against the labels by hand, (batch, N, 2), NaN where there are none; averaged over all inner landmarks.

    Those without a label have no error: the fewer are labelled, the less they count.
    """
    labelled = hand_unit.isfinite().all(dim=-1, keepdim=True) & inner[:, None]
    error = F.mse_loss if recipe.coordinate == "l2" else F.l1_loss
    # A NaN would pass through what it is multiplied by.
    sizes = error(points_unit[..., :2], hand_unit.where(labelled, 0.0), reduction="none") * labelled
    return sizes.sum() / (2 * len(sizes) * inner.sum())


def voxel_loss(volume: Tensor, truth: Tensor, points: int, recipe: LossRecipe) -> Tensor:
    """Squared error of one stack's volumes, (batch, depth, height, width) each (one term of Eq. 3)."""
    if recipe.voxel == "mean":
        return F.mse_loss(volume, truth)
    return F.mse_loss(volume, truth, reduction="sum") / (len(volume) * points)


def coordinate_loss(points_unit: Tensor, truth_unit: Tensor, recipe: LossRecipe) -> Tensor:
    """Error of the landmarks, (batch, N, 3) each, averaged over faces, landmarks and axes (Eq. 4)."""
    return F.mse_loss(points_unit, truth_unit) if recipe.coordinate == "l2" else F.l1_loss(points_unit, truth_unit)
