"""The numbers of section IV-C of the paper, as functions of arrays: one row is one face.

Every error is a fraction (0.03, not 3 %); a report multiplies. Points are landmarks in the image frame: pixels,
x right, y down, z away from the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

YAW_BINS = ("0-30", "30-60", "60-90")
"""The bands of |yaw|, degrees, that AFLW2000-3D is reported in: [0, 30], (30, 60], (60, 90]."""

_YAW_EDGES = (30.0, 60.0)


def nme_2d(pred: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Normalised mean error of each face in the image plane, as Table IV has it for AFLW2000-3D (section IV-C).

    The mean distance in x and y over all N landmarks, divided by sqrt(width * height) of the box of the *true*
    landmarks. Hidden landmarks count; nothing is aligned.

    Args:
        pred: (F, N, 3) or (F, N, 2) predicted landmarks in the image frame, pixels.
        truth: the true ones, of the same shape.

    Returns:
        (F,) fractions; NaN where the prediction is NaN.

    Raises:
        ValueError: the shapes differ or are none of these, or a true face has a box without area.

    Example:
        >>> square = np.array([[[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]]])
        >>> nme_2d(square + [3, 4, 50], square)
        array([0.5])
    """
    p, t = _faces(pred, truth, (2, 3))
    width, height = np.ptp(t[..., :2], axis=1).T
    size = np.sqrt(width * height)
    _refuse_zero(size, "the box of the true landmarks has no area")
    return np.linalg.norm(p[..., :2] - t[..., :2], axis=-1).mean(axis=1) / size


def gte(
    pred: ArrayLike, truth: ArrayLike, interocular: tuple[int, int] = (36, 45), align_z: bool = True
) -> NDArray[np.float64]:
    """Ground truth error of each face in three dimensions (section IV-C, the measure of the 3DFAW challenge).

    The mean 3D distance over all N landmarks, divided by the 3D distance of the true outer eye corners.

    Args:
        pred: (F, N, 3) predicted landmarks in the image frame, pixels.
        truth: (F, N, 3) the true ones.
        interocular: the landmarks of the outer eye corners.
        align_z: first move each prediction in depth so that its mean z is the truth's: one image has no absolute depth.
            False measures z as it stands.

    Returns:
        (F,) fractions; NaN where the prediction is NaN.

    Raises:
        ValueError: the shapes differ or are not (F, N, 3), or a face's true eye corners lie on one spot.

    Example:
        >>> truth = np.array([[[0, 0, 0], [6, 0, 8]]])
        >>> gte(truth + [0, 1, 7], truth, interocular=(0, 1))
        array([0.1])
    """
    p, t = _faces(pred, truth, (3,))
    a, b = interocular
    scale = np.linalg.norm(t[:, a] - t[:, b], axis=-1)
    _refuse_zero(scale, f"the true landmarks {a} and {b}, whose distance normalises the error, lie on one spot")
    error = p - t
    if align_z:
        error[..., 2] -= error[..., 2].mean(axis=1, keepdims=True)
    return np.linalg.norm(error, axis=-1).mean(axis=1) / scale


def yaw_bins(yaw_deg: ArrayLike) -> NDArray[np.intp]:
    """Which of `YAW_BINS` each yaw falls in: [0, 30], (30, 60], (60, 90] of |yaw|.

    The edges are those of the published split of AFLW2000-3D. The few faces turned beyond 90 degrees count with the
    last band, as they do there.

    Args:
        yaw_deg: (F,) yaw of the ground truth, degrees, either sign.

    Returns:
        (F,) indices 0, 1 or 2; -1 where the yaw is NaN, that is unknown.

    Example:
        >>> yaw_bins([-30, 30.1, 60, -95, np.nan])
        array([ 0,  1,  1,  2, -1])
    """
    yaw = np.abs(np.asarray(yaw_deg, dtype=np.float64))
    return np.where(np.isnan(yaw), -1, np.searchsorted(_YAW_EDGES, yaw, side="left"))


@dataclass(frozen=True)
class BinSummary:
    """The mean of an error over yaw bands, as tables of AFLW2000-3D give it; None stands for "no face to average".

    Attributes:
        bins: band's name -> mean over its faces.
        counts: band's name -> number of its faces.
        bin_mean: mean of the bands' means, over the bands that have faces. (A table's "mean": not the mean over faces.)
        bin_std: sample standard deviation (ddof 1) of the bands' means; None with fewer than two bands.
        image_mean: mean over all faces, those of unknown yaw included.
    """

    bins: dict[str, float | None]
    counts: dict[str, int]
    bin_mean: float | None
    bin_std: float | None
    image_mean: float | None


def bin_summary(errors: ArrayLike, bins: ArrayLike, names: tuple[str, ...] = YAW_BINS) -> BinSummary:
    """Averages errors within yaw bands and over them: Table IV's columns, "mean" and "std" included.

    A band without faces has the mean None, and ``bin_mean`` and ``bin_std`` are those of the other bands: so that a
    data set of frontal faces still has a figure. Whoever compares figures looks at ``counts``.

    Args:
        errors: (F,) one error a face, finite.
        bins: (F,) index of each face's band; -1 for none, which counts in ``image_mean`` only.
        names: what the bands are called.

    Raises:
        ValueError: the shapes differ, an error is not finite, or an index has no name.

    Example:
        >>> bin_summary([1.0, 3.0, 5.0], [0, 0, 2]).bin_mean
        3.5
    """
    e, b = np.asarray(errors, dtype=np.float64), np.asarray(bins)
    if e.ndim != 1 or e.shape != b.shape:
        raise ValueError(f"errors and bins must both have the shape (F,), got {e.shape} and {b.shape}")
    if not np.isfinite(e).all():
        raise ValueError(f"{int((~np.isfinite(e)).sum())} of {len(e)} errors are not finite: leave out faces not found")
    if len(b) and (b.min() < -1 or b.max() >= len(names)):
        raise ValueError(f"bins must be -1 or 0..{len(names) - 1} ({', '.join(names)}), got {sorted(set(b.tolist()))}")
    groups = {name: e[b == i] for i, name in enumerate(names)}
    means = [float(g.mean()) for g in groups.values() if len(g)]
    return BinSummary(
        bins={name: float(g.mean()) if len(g) else None for name, g in groups.items()},
        counts={name: len(g) for name, g in groups.items()},
        bin_mean=float(np.mean(means)) if means else None,
        bin_std=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        image_mean=float(e.mean()) if len(e) else None,
    )


def _faces(pred: ArrayLike, truth: ArrayLike, axes: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, t = np.asarray(pred, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.shape != t.shape or t.ndim != 3 or t.shape[-1] not in axes:
        allowed = " or ".join(f"(faces, landmarks, {a})" for a in axes)
        raise ValueError(f"pred and truth must have one shape, {allowed}, got {p.shape} and {t.shape}")
    return p, t


def _refuse_zero(scale: NDArray[np.float64], what: str) -> None:
    if bad := np.flatnonzero(~(scale > 0)).tolist():
        raise ValueError(f"{what}: {len(bad)} of {len(scale)} faces, the first at index {bad[0]}")
