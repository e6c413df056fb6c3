"""Eyes and mouths in training: few faces have them shut, and not all labels tell.

A network that learns from all faces alike finds every eye about as open as the usual one. So faces with rare apertures
can be drawn more often (`rare_apertures`), and the error across an aperture can count beside that of the landmarks,
more where the aperture is rare, and only where it was labelled by hand (`ApertureLoss`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.sampler import check_sources
from jvcr.geometry.aperture import contour_aperture
from jvcr.scheme import LandmarkScheme
from jvcr.training.recipe import LossRecipe

RARE = 0.02
"""Share of all faces at either end of an aperture that counts as rare: in faces3d, eyes that are nearly closed."""

BINS = 32
"""Of the histogram that says how rare an aperture is, from 0 to the 99th percentile."""

SMOOTHED = 5
"""Bins that the histogram is averaged over."""

MOST = 20.0
"""No weight is greater than this."""


def rare_apertures(points_px: NDArray[np.floating], scheme: LandmarkScheme) -> NDArray[np.bool_]:
    """Faces that one of the scheme's apertures sets apart: among the `RARE` narrowest or widest of all.

    Args:
        points_px: (F, N, 3) landmarks; apertures are those in space, whichever way a face looks.
        scheme: its `contours` have the apertures; without any, no face is rare.

    Returns:
        (F,)
    """
    rare = np.zeros(len(points_px), bool)
    for contour in scheme.contours:
        aperture = contour_aperture(points_px[:, list(contour)])
        low, high = np.nanquantile(aperture, (RARE, 1 - RARE))
        rare |= (aperture < low) | (aperture > high)
    return rare


def weighted_faces(faces: LandmarkDataset, sources: Sequence[str]) -> NDArray[np.bool_]:
    """(F,) whose apertures count: the faces of the sources named, or all if none is.

    Raises:
        ValueError: the faces have no such source.
    """
    if not sources:
        return np.ones(len(faces), bool)
    remedy = "--set 'loss.aperture_sources=[]' counts the apertures of all"
    check_sources("aperture_sources", sources, faces.sources, remedy)
    return np.isin(faces.sources, list(sources))


class ApertureLoss(nn.Module):
    """Error of the vectors between landmarks that face each other across an aperture, such as upper and lower lid.

    An aperture counts the more, the fewer faces have one like it: by its frequency to the power of ``-balance``, the
    frequencies smoothed (Yang et al., Delving into deep imbalanced regression, ICML 2021). Over the faces given, the
    weights have a mean of 1, but for the greatest ones, which are cut. That `rare_apertures` may be drawn more often is
    on top of it.

    Args:
        scheme: its `contours` have the apertures.
        recipe: L1 or squared, and the balance.
        points: (F, N, 3) landmarks of the training faces whose apertures count, in any frame of equal axes.
    """

    def __init__(self, scheme: LandmarkScheme, recipe: LossRecipe, points: NDArray[np.floating]) -> None:
        super().__init__()
        self.contours, self.squared = scheme.contours, recipe.coordinate == "l2"
        apertures = [contour_aperture(points[:, list(contour)]) for contour in self.contours]
        tables = [
            inverse_frequency_weights(aperture[np.isfinite(aperture)], recipe.aperture_balance)
            for aperture in apertures
        ]
        self.widest = [widest for widest, _ in tables]
        self.weights: Tensor
        self.register_buffer("weights", torch.tensor(np.array([w for _, w in tables])), persistent=False)

    def forward(
        self,
        points_unit: Float[Tensor, "batch points 3"],
        truth_unit: Float[Tensor, "batch points 3"],
        sample_weight: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """The error, averaged over all faces of the batch, pairs and axes.

        Args:
            points_unit: the network's landmarks.
            truth_unit: the true ones.
            sample_weight: how much each face counts, 0 for one that does not: the fewer do, the less they change.
        """
        error = F.mse_loss if self.squared else F.l1_loss
        of_pairs = []
        for contour, widest, weights in zip(self.contours, self.widest, self.weights, strict=True):
            half = len(contour) // 2
            across, truth = (p[:, contour[1:half]] - p[:, contour[:half:-1]] for p in (points_unit, truth_unit))
            width = (truth_unit[:, contour[0]] - truth_unit[:, contour[half]]).norm(dim=-1)
            aperture = truth.norm(dim=-1).mean(dim=1) / width.clamp(min=1e-6)
            weight = weights[(aperture / widest * BINS).long().clamp(0, BINS - 1)] * sample_weight
            of_pairs.append(error(across, truth, reduction="none").mean(dim=-1) * weight[:, None])
        return torch.cat(of_pairs, dim=1).mean()


def inverse_frequency_weights(apertures: NDArray[np.floating], balance: float) -> tuple[float, NDArray[np.float32]]:
    """How much apertures count by how rare they are.

    Args:
        apertures: (F,) of the training faces.
        balance: 0 counts all alike, 1 all parts of the range alike.

    Returns:
        The upper end of the range, whose lower end is 0; and (`BINS`,) weights of equal parts of it. Wider apertures
        have the last one.
    """
    if not len(apertures) or not (widest := float(np.quantile(apertures, 0.99))) > 0:
        return 1.0, np.ones(BINS, np.float32)
    bins = np.clip(apertures / widest * BINS, 0, BINS - 1).astype(int)
    # Those beyond the range are left out: all in its last part, they would pass for usual.
    counts = np.bincount(bins[apertures <= widest], minlength=BINS).astype(np.float64)
    # Averaged over as many parts as there are: at either end of the range there are fewer.
    around = np.ones(SMOOTHED)
    smooth = np.convolve(counts, around, "same") / np.convolve(np.ones(BINS), around, "same")
    weights = np.maximum(smooth, 1 / SMOOTHED) ** -balance
    return widest, np.minimum(weights / weights[bins].mean(), MOST).astype(np.float32)
