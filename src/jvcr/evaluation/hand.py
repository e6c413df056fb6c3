"""Against what people labelled, where a data set has it beside its fitted landmarks: a second kind of truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset, by_source
from jvcr.evaluation.metrics import box_size
from jvcr.evaluation.regions import APERTURES, MOST_YAW_DEG, regions
from jvcr.geometry.aperture import contour_aperture

CLOSED_BELOW = 0.13
"""Aperture by hand labels of a closed eye. Labels by hand close eyes further than a fitted model does."""

SPECIFICITIES = (0.95, 0.99)


@dataclass(frozen=True)
class ClosedEyes:
    """How well closed eyes are recognised, of the eyes whose landmarks are all labelled by hand, up to 45 degrees."""

    eyes: int
    closed: int
    """Eyes whose aperture is below 0.13 by the labels."""
    sensitivity: dict[str, float]
    """Specificity, percent -> share of the closed eyes whose predicted aperture is below the one that this share of
    the open eyes exceeds."""


@dataclass(frozen=True)
class HandLabels:
    """Errors against the labels by hand of landmarks that can be seen, without the jaw."""

    nme: dict[str, float]
    """Part of the data set, or "all" -> mean over its faces of the mean 2D error, percent of sqrt(width * height) of
    the box of the data set's true landmarks."""
    faces: dict[str, int]
    """Faces detected that have such labels."""
    closed_eyes: ClosedEyes | None
    """None without eyes of either kind."""


def hand_labels(dataset: LandmarkDataset, predicted: NDArray[np.floating]) -> HandLabels | None:
    """The figures for predicted (F, N, 3) landmarks, NaN where not detected; None without labels by hand to compare."""
    hand = dataset.seen_by_hand()
    if hand is None:
        return None
    apart = np.linalg.norm(predicted[..., :2].astype(np.float64) - hand, axis=-1)
    apart[:, list(regions(dataset.scheme).get("jaw", ()))] = np.nan
    labelled = np.isfinite(apart)
    known = labelled.any(axis=1)
    if not known.any():
        return None
    errors = 100 * np.nanmean(apart[known], axis=1) / box_size(dataset.points_px[known].astype(np.float64))
    parts = {"all": np.ones(len(errors), bool)} | by_source(dataset.sources[known])
    return HandLabels(
        nme={name: float(errors[part].mean()) for name, part in parts.items()},
        faces={name: int(part.sum()) for name, part in parts.items()},
        closed_eyes=_closed_eyes(dataset, predicted, hand),
    )


def _closed_eyes(
    dataset: LandmarkDataset, predicted: NDArray[np.floating], hand: NDArray[np.float32]
) -> ClosedEyes | None:
    kind, groups = APERTURES["closed_eyes"], dataset.scheme.groups
    contours = [list(groups[name]) for name in kind.contours if len(groups.get(name, ())) == kind.landmarks]
    pairs = [(contour_aperture(hand[:, c]), contour_aperture(predicted[:, c, :2])) for c in contours]
    turned_little = np.abs(dataset.yaw_deg) <= MOST_YAW_DEG
    measured = [np.isfinite(truth + made) & turned_little for truth, made in pairs]
    truth, made = (
        np.concatenate([pair[i][m] for pair, m in zip(pairs, measured, strict=True)] or [np.zeros(0)]) for i in (0, 1)
    )
    closed = truth < CLOSED_BELOW
    if not closed.any() or closed.all():
        return None
    below = {f"{100 * share:g}": np.quantile(made[~closed], 1 - share) for share in SPECIFICITIES}
    shares = {name: float((made[closed] < limit).mean()) for name, limit in below.items()}
    return ClosedEyes(len(truth), int(closed.sum()), shares)
