"""Parts of a face for themselves: the error of lids, lips, brows, nose and jaw, and how far eyes and mouth are open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.evaluation.statistics import pearson, roc_auc
from jvcr.geometry.aperture import contour_aperture, contour_width
from jvcr.scheme import LandmarkScheme

_SIDES = frozenset({"left", "right", "inner", "outer", "upper", "lower"})

MOST_YAW_DEG = 45.0
"""Apertures are measured up to this |yaw|: beyond it foreshortening decides their ratio, and fitted labels guess."""


def regions(scheme: LandmarkScheme) -> dict[str, tuple[int, ...]]:
    """The parts of an object and their landmarks: "right_eye" and "left_eye" make "eye", "nose_bridge" "nose".

    A part is called by the first word of its groups' names that is no side.

    Example:
        >>> from jvcr.scheme import FACE68
        >>> {name: len(landmarks) for name, landmarks in regions(FACE68).items()}
        {'jaw': 17, 'brow': 10, 'nose': 9, 'eye': 12, 'lips': 20}
    """
    parts: dict[str, set[int]] = {}
    for group, landmarks in scheme.groups.items():
        name = next((word for word in group.split("_") if word not in _SIDES), group)
        parts.setdefault(name, set()).update(landmarks)
    return {name: tuple(sorted(landmarks)) for name, landmarks in parts.items()}


@dataclass(frozen=True)
class ApertureKind:
    """Faces with closed eyes, or an open mouth; the contour widest in the label, such as the nearer eye, counts."""

    region: str  # of `regions`, whose error counts on these faces
    contours: tuple[str, ...]  # the scheme's groups that open
    landmarks: int  # of each
    threshold: float  # of `contour_aperture`
    below: bool  # whether these faces are below the threshold, or above it


APERTURES = {
    "closed_eyes": ApertureKind("eye", ("right_eye", "left_eye"), 6, 0.165, True),
    "open_mouth": ApertureKind("lips", ("inner_lips",), 8, 0.25, False),
}
"""The thresholds come from the labels of ``faces3d``'s *training* part up to 45 degrees: 2 of 100 faces have eyes
narrower than the first (0.164), 10 of 100 a mouth wider than the second (0.251). Most of these eyes are closed or
nearly so; up to the 5th percentile (0.192) about half of them are only screwed up."""


@dataclass(frozen=True)
class ApertureFigures:
    """How well closed eyes, or open mouths, are recognised; None for a figure that has no face to rest on.

    The aperture is the distance of facing landmarks over the distance of the corners: `contour_aperture`.
    """

    threshold: float
    """Closed eyes are below it, open mouths above."""
    faces: int
    """Faces measured: detected, and of a known yaw up to 45 degrees."""
    chosen: int
    """Of these, closed eyes or open mouths by the label."""
    correlation: float | None
    """Pearson's, of predicted and true aperture over all faces measured."""
    auc: float | None
    """How often the prediction of a chosen face is further on its side than that of another one, drawn at random."""
    sensitivity: float | None
    """Share of the chosen that the prediction puts on their side of the threshold."""
    specificity: float | None
    """Share of the others that it puts on the other side."""
    truth: float | None
    """Mean aperture of the chosen in the labels."""
    predicted: float | None
    """Mean aperture of the chosen in the predictions."""
    error: float | None
    """Mean error of the eyes' or lips' landmarks on the chosen, percent."""
    others_error: float | None
    """The same on the others, percent."""


def apertures(
    points: ArrayLike, contours: Sequence[tuple[int, ...]], labels: ArrayLike | None = None
) -> NDArray[np.float64]:
    """(F,) `contour_aperture` of each face's widest contour (the nearer eye); with ``labels``, the widest in these."""
    p = np.asarray(points, dtype=np.float64)[..., :2]
    t = p if labels is None else np.asarray(labels, dtype=np.float64)[..., :2]
    widest = np.stack([contour_width(t[:, list(contour)]) for contour in contours]).argmax(axis=0)
    return np.stack([contour_aperture(p[:, list(contour)]) for contour in contours])[widest, np.arange(len(p))]


def aperture_figures(
    kind: ApertureKind,
    scheme: LandmarkScheme,
    predicted: ArrayLike,
    truth: ArrayLike,
    yaw_deg: ArrayLike,
    errors: ArrayLike,
) -> ApertureFigures | None:
    """How well closed eyes, or open mouths, are recognised; None where the scheme has no such contours.

    Landmarks are (F, N, 3), NaN where not detected; faces of unknown yaw are left out; ``errors`` (F, N), percent.
    """
    contours = [scheme.groups.get(name, ()) for name in kind.contours]
    if any(len(contour) != kind.landmarks for contour in contours):
        return None
    t, p = apertures(truth, contours), apertures(predicted, contours, truth)
    measured = (np.abs(np.asarray(yaw_deg)) <= MOST_YAW_DEG) & np.isfinite(t) & np.isfinite(p)
    t, p = t[measured], p[measured]
    region = np.asarray(errors, dtype=np.float64)[measured][:, list(regions(scheme)[kind.region])].mean(axis=1)
    sign = -1 if kind.below else 1
    chosen, positive = (sign * values > sign * kind.threshold for values in (t, p))
    return ApertureFigures(
        threshold=kind.threshold,
        faces=len(t),
        chosen=int(chosen.sum()),
        correlation=pearson(t, p),
        auc=roc_auc(sign * p, chosen),
        sensitivity=_mean(positive[chosen]),
        specificity=_mean(~positive[~chosen]),
        truth=_mean(t[chosen]),
        predicted=_mean(p[chosen]),
        error=_mean(region[chosen]),
        others_error=_mean(region[~chosen]),
    )


def _mean(values: NDArray[np.bool_] | NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
