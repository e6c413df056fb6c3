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
"""Words in the name of a group that say which of several alike it is."""

MOST_YAW_DEG = 45.0
"""Openings are measured up to this |yaw|. Beyond it the line between the corners of eye or mouth is so foreshortened
that their ratio says more about the head's pose, and labels made by fitting a face model are guesses there."""


def regions(scheme: LandmarkScheme) -> dict[str, tuple[int, ...]]:
    """The parts of an object that its scheme's groups make up, and their landmarks.

    A part is called by the first word of its groups' names that is no side, and has the landmarks of all of these:
    "right_eye" and "left_eye" make "eye", "nose_bridge" and "nose_base" make "nose".

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
    """Faces that an opening of theirs sets apart: those whose eyes are closed, or whose mouth is open.

    Attributes:
        region: of `regions`, whose error counts on these faces.
        contours: the scheme's groups that open, each of ``landmarks`` landmarks. Where there are several, as two eyes,
            a face is measured at the one that is widest in its label: the eye nearer to the camera.
        landmarks: of a ring.
        threshold: of `contour_aperture`.
        below: whether these faces have openings below the threshold, or above it.
    """

    region: str
    contours: tuple[str, ...]
    landmarks: int
    threshold: float
    below: bool


APERTURES = {
    "closed_eyes": ApertureKind("eye", ("right_eye", "left_eye"), 6, 0.165, True),
    "open_mouth": ApertureKind("lips", ("inner_lips",), 8, 0.25, False),
}
"""What is looked at. The thresholds come from the labels of ``faces3d``'s *training* part up to 45 degrees: 2 of 100
faces have eyes narrower than the first (0.164), 10 of 100 a mouth wider than the second (0.251). Looked at, most of
these eyes are closed or nearly so; up to the 5th percentile (0.192) about half of them are only screwed up."""


@dataclass(frozen=True)
class ApertureFigures:
    """How well an opening is found; None for a figure that has no face to rest on.

    Attributes:
        faces: that were measured: found, and of a known yaw up to `MOST_YAW_DEG`.
        chosen: of these, those that the *labels* set apart.
        correlation: Pearson's, of predicted and true opening, over all of ``faces``.
        auc: how well the predicted opening tells the chosen from the others, whatever the threshold: `roc_auc`.
        told: share of the chosen that the prediction, too, puts on that side of the threshold: the sensitivity.
        others_told: share of the others that the prediction puts on the other side: the specificity.
        truth: mean true opening of the chosen.
        predicted: mean predicted opening of the chosen.
        error: mean error of the region on the chosen, in the unit of the errors given.
        others_error: mean error of the region on the others.
    """

    faces: int
    chosen: int
    correlation: float | None
    auc: float | None
    told: float | None
    others_told: float | None
    truth: float | None
    predicted: float | None
    error: float | None
    others_error: float | None


def apertures(
    points: ArrayLike, contours: Sequence[tuple[int, ...]], labels: ArrayLike | None = None
) -> NDArray[np.float64]:
    """How far each face is open, in the image plane: `contour_aperture` of its widest ring.

    Args:
        points: (F, N, 2 or 3) landmarks in the image frame, pixels; x and y count.
        contours: landmarks of the rings, such as those of both eyes.
        labels: (F, N, 2 or 3) where rings are compared in width; ``points`` if None. With it, predictions are measured
            at the very eye that the labels are.

    Returns:
        (F,) ratios; NaN as `contour_aperture`.
    """
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
    """How well the opening of eyes or mouth is found.

    Args:
        kind: which opening, see `OPENINGS`.
        scheme: the landmarks.
        predicted: (F, N, 3) landmarks in the image frame; NaN where a face was not found.
        truth: (F, N, 3) the true ones.
        yaw_deg: (F,) of the truth, degrees; faces with NaN are left out.
        errors: (F, N) error of each landmark.

    Returns:
        The figures; None where the scheme has no such rings.
    """
    contours = [scheme.groups.get(name, ()) for name in kind.contours]
    if any(len(contour) != kind.landmarks for contour in contours):
        return None
    t, p = apertures(truth, contours), apertures(predicted, contours, truth)
    measured = (np.abs(np.asarray(yaw_deg)) <= MOST_YAW_DEG) & np.isfinite(t) & np.isfinite(p)
    t, p = t[measured], p[measured]
    region = np.asarray(errors, dtype=np.float64)[measured][:, list(regions(scheme)[kind.region])].mean(axis=1)
    sign = -1 if kind.below else 1
    chosen, told = (sign * values > sign * kind.threshold for values in (t, p))
    return ApertureFigures(
        faces=len(t),
        chosen=int(chosen.sum()),
        correlation=pearson(t, p),
        auc=roc_auc(sign * p, chosen),
        told=_mean(told[chosen]),
        others_told=_mean(~told[~chosen]),
        truth=_mean(t[chosen]),
        predicted=_mean(p[chosen]),
        error=_mean(region[chosen]),
        others_error=_mean(region[~chosen]),
    )


def _mean(values: NDArray[np.bool_] | NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
