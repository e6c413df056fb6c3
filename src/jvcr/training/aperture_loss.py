"""Eyes and mouths in training: few faces have them shut, and not all labels tell.

A network that learns from all faces alike finds every eye about as open as the usual one. So faces with rare apertures
can be drawn more often (`rare_apertures`), and the error across an aperture can count beside that of the landmarks,
more where the aperture is rare (`ApertureLoss`). Where people labelled the whole of a contour, it is their aperture
that counts: a fitted face model hardly closes an eye. Their labels have no depth, but to an image taken from afar the
vectors across an aperture are the same whichever way the face looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from jvcr.geometry.aperture import contour_aperture, contour_width
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


def labelled_apertures(
    points: NDArray[np.floating], hand: NDArray[np.floating] | None, contour: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """One aperture of all faces, and where it is that of labels by hand.

    Args:
        points: (F, N, 3) landmarks in any frame of equal axes; their apertures are those in space.
        hand: (F, N, 2) labels by hand in the same frame, NaN where there are none; None without any. Where the whole
            contour is labelled, its mean width across is theirs, over the distance of the corners in space.
        contour: the landmarks around the aperture, in order, from one corner over the other one.

    Returns:
        (F,) ratios, 0 is closed; and (F,) whether they are the hand labels'.
    """
    contour, half = list(contour), len(contour) // 2
    aperture = contour_aperture(points[:, contour])
    if hand is None:
        return aperture, np.zeros(len(points), bool)
    across = np.linalg.norm(hand[:, contour[1:half]] - hand[:, contour[:half:-1]], axis=-1).mean(axis=1)
    width = contour_width(points[:, contour])
    labelled = np.isfinite(hand[:, contour]).all(axis=(1, 2)) & (width > 0)
    return np.where(labelled, across / np.where(width > 0, width, 1), aperture), labelled


def rare_apertures(
    points_px: NDArray[np.floating], scheme: LandmarkScheme, hand_px: NDArray[np.floating] | None = None
) -> NDArray[np.bool_]:
    """(F,) faces that one of the scheme's apertures sets apart: among the `RARE` narrowest or widest of all.

    Labels as in `labelled_apertures`. A scheme without `contours` has no rare faces.
    """
    rare = np.zeros(len(points_px), bool)
    for contour in scheme.contours:
        aperture, _ = labelled_apertures(points_px, hand_px, contour)
        low, high = np.nanquantile(aperture, (RARE, 1 - RARE))
        rare |= (aperture < low) | (aperture > high)
    return rare


class ApertureLoss(nn.Module):
    """Error of the vectors between landmarks that face each other across an aperture, such as upper and lower lid.

    An aperture counts the more, the fewer faces have one like it: by its frequency to the power of ``-balance``, the
    frequencies smoothed (Yang et al., Delving into deep imbalanced regression, ICML 2021). Over the faces given, the
    weights have a mean of 1, but for the greatest ones, which are cut. That `rare_apertures` may be drawn more often is
    on top of it.

    Args:
        scheme: its `contours` have the apertures.
        recipe: L1 or squared, the balance, and what fitted apertures count.
        points: (F, N, 3) landmarks of the training faces, in any frame of equal axes.
        hand: (F, N, 2) their labels by hand in the same frame, NaN where there are none; None without any.
    """

    weights: Tensor  # (C, BINS) how much apertures of each contour count
    widest: Tensor  # (C,) the upper end of the bins' range
    pairs: Tensor  # (2, P) landmarks that face each other, of all contours
    corners: Tensor  # (2, C) landmarks at each contour's corners
    of_contour: Tensor  # (P,) the contour of each pair
    mean: Tensor  # (P, C) each pair's part of its contour's mean

    def __init__(
        self,
        scheme: LandmarkScheme,
        recipe: LossRecipe,
        points: NDArray[np.floating],
        hand: NDArray[np.floating] | None = None,
    ) -> None:
        super().__init__()
        self.squared, self.fitted = recipe.coordinate == "l2", recipe.aperture_fitted
        tables = []
        for contour in scheme.contours:
            aperture, by_hand = labelled_apertures(points, hand, contour)
            known = np.isfinite(aperture) & (by_hand | (self.fitted > 0))
            tables.append(inverse_frequency_weights(aperture[known], recipe.aperture_balance))
        halves = [len(contour) // 2 for contour in scheme.contours]
        pairs = [torch.tensor([c[1:h], c[:h:-1]]) for c, h in zip(scheme.contours, halves, strict=True)]
        of_contour = torch.repeat_interleave(torch.arange(len(pairs)), torch.tensor([p.shape[1] for p in pairs]))
        share = F.one_hot(of_contour).to(torch.float32)
        buffers = {
            "weights": torch.tensor(np.array([w for _, w in tables])),
            "widest": torch.tensor([widest for widest, _ in tables]),
            "pairs": torch.cat(pairs, dim=1),
            "corners": torch.tensor([[c[0], c[h]] for c, h in zip(scheme.contours, halves, strict=True)]).T,
            "of_contour": of_contour,
            "mean": share / share.sum(dim=0),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(
        self,
        points_unit: Float[Tensor, "batch points 3"],
        truth_unit: Float[Tensor, "batch points 3"],
        hand_unit: Float[Tensor, "batch points 2"] | None = None,
    ) -> Float[Tensor, ""]:
        """The error, averaged over all faces of the batch, pairs and axes.

        Args:
            points_unit: the network's landmarks.
            truth_unit: the true ones.
            hand_unit: the labels by hand, NaN where there are none: where all of a contour is labelled they are the
                truth in x and y.
        """
        error = F.mse_loss if self.squared else F.l1_loss
        across, truth = (p[:, self.pairs[0]] - p[:, self.pairs[1]] for p in (points_unit, truth_unit))
        width = (truth_unit[:, self.corners[0]] - truth_unit[:, self.corners[1]]).norm(dim=-1).clamp(min=1e-6)
        of_pairs = error(across, truth, reduction="none").mean(dim=-1)
        weight = self._rare(truth, width) * self.fitted
        if hand_unit is not None:
            drawn = hand_unit[:, self.pairs[0]] - hand_unit[:, self.pairs[1]]
            known = hand_unit.isfinite().all(dim=-1)
            unknown = (~known[:, self.pairs].all(dim=1)).to(self.mean.dtype) @ self.mean  # of each contour, a share
            by_hand = ((unknown == 0) & known[:, self.corners].all(dim=1))[:, self.of_contour]
            drawn = drawn.where(by_hand[..., None], 0.0)  # a NaN would pass through what it is multiplied by
            of_pairs = torch.where(by_hand, error(across[..., :2], drawn, reduction="none").mean(dim=-1), of_pairs)
            weight = torch.where(by_hand, self._rare(drawn, width), weight)
        return (of_pairs * weight).mean()

    def _rare(self, across: Tensor, width: Tensor) -> Tensor:
        """(batch, P) how much each pair counts by how rare its contour's aperture is."""
        aperture = across.norm(dim=-1) @ self.mean.to(across.dtype) / width
        bins = (aperture / self.widest.to(across.dtype) * BINS).long().clamp(0, BINS - 1)
        return self.weights.gather(1, bins.T).T[:, self.of_contour]


def inverse_frequency_weights(apertures: NDArray[np.floating], balance: float) -> tuple[float, NDArray[np.float32]]:
    """The upper end of the range of (F,) apertures, and (`BINS`,) weights of equal parts of it from 0 on.

    Wider apertures have the last weight. A balance of 0 counts all alike, 1 all parts of the range alike.
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
