"""The numbers of section IV-C of the paper, as functions of arrays: one row is one face.

Every error is a fraction (0.03, not 3 %). Points are landmarks in the image frame: pixels, x right, y down, z away from
the camera. Where nothing else is said,

- ``pred`` and ``truth`` are (F, N, 3), or (F, N, 2) for errors in the image plane, landmarks of one shape;
- the result is (F,) errors, NaN where the prediction is NaN;
- ``normalizer`` are the two landmarks whose distance normalises: of a face the outer eye corners;
- a ValueError says that the shapes differ or are none of these, or of which faces the length that normalises is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.geometry.pose import HeadPose, euler_to_rotation, geodesic_deg, rotations_and_scales

YAW_BINS = ("0-30", "30-60", "60-90")
"""The bands of |yaw|, degrees, that AFLW2000-3D is reported in: [0, 30], (30, 60], (60, 90]."""

_YAW_EDGES = (30.0, 60.0)

POSE_LIMIT_DEG = 99.0
"""Faces with an angle beyond this, either way, are left out of head pose errors, as is common: 31 of AFLW2000-3D."""


def nme_2d(pred: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Normalised mean error of each face in the image plane, as Table IV has it for AFLW2000-3D (section IV-C).

    The mean distance in x and y over all N landmarks, hidden ones included, divided by sqrt(width * height) of the box
    of the *true* landmarks; nothing is aligned.

    Example:
        >>> square = np.array([[[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]]])
        >>> nme_2d(square + [3, 4, 50], square)
        array([0.5])
    """
    return landmark_errors(pred, truth).mean(axis=1)


def landmark_errors(pred: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """(F, N) error of each landmark in the image plane: its mean over a face is that face's `nme_2d`."""
    p, t = _faces(pred, truth, (2, 3))
    return np.linalg.norm(p[..., :2] - t[..., :2], axis=-1) / box_size(t)[:, None]


def nme_3d(pred: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Mean 3D distance over all landmarks, mean z moved to the truth's, over sqrt(width * height) of the true box.

    "3D NME" has no common definition: compare it only with figures that say these two things.
    """
    return mpjpe(pred, truth) / box_size(np.asarray(truth, dtype=np.float64))


def mpjpe(pred: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Mean per joint position error of each object: the mean 3D distance, mean z moved to the truth's, in pixels.

    The measure of human and hand pose (Ionescu et al., 2014), there in millimetres and with one joint at the origin.

    Example:
        >>> truth = np.array([[[0, 0, 0], [6, 0, 8]]])
        >>> mpjpe(truth + [3, 4, 7], truth)
        array([5.])
    """
    p, t = _faces(pred, truth, (3,))
    return np.linalg.norm(_z_aligned(p - t), axis=-1).mean(axis=1)


def pck(pred: ArrayLike, truth: ArrayLike, threshold: float) -> NDArray[np.float64]:
    """Share of each object's landmarks that are off by at most a share of its size: correct keypoints.

    Distance in x and y for landmarks (F, N, 2), in three dimensions with mean z aligned for (F, N, 3); the size is
    sqrt(width * height) of the true landmarks' box, as in the NME (Yang and Ramanan, 2013, take the longer side). NaN
    where the prediction is NaN.

    Example:
        >>> square = np.array([[[0, 0], [10, 0], [10, 10], [0, 10]]])
        >>> pck(square + [[0, 0.5], [0, 0], [3, 4], [0, 1]], square, 0.1)
        array([0.75])
    """
    p, t = _faces(pred, truth, (2, 3))
    error = _z_aligned(p - t) if t.shape[-1] == 3 else p - t
    errors = np.linalg.norm(error, axis=-1) / box_size(t)[:, None]
    return np.where(np.isfinite(errors).all(axis=1), (errors <= threshold).mean(axis=1), np.nan)


def nme_interocular(pred: ArrayLike, truth: ArrayLike, normalizer: tuple[int, int] = (36, 45)) -> NDArray[np.float64]:
    """2D normalised mean error, over the outer eye corners' distance in the image (300-W); of little use in profiles.

    Example:
        >>> truth = np.array([[[0, 0, 5], [6, 8, 90]]])
        >>> nme_interocular(truth + [3, 4, 7], truth, normalizer=(0, 1))
        array([0.5])
    """
    p, t = _faces(pred, truth, (2, 3))
    a, b = normalizer
    scale = np.linalg.norm(t[:, a, :2] - t[:, b, :2], axis=-1)
    _refuse_zero(scale, f"the true landmarks {a} and {b} lie on one spot of the image, and their distance normalises")
    return np.linalg.norm(p[..., :2] - t[..., :2], axis=-1).mean(axis=1) / scale


def gte(
    pred: ArrayLike, truth: ArrayLike, normalizer: tuple[int, int] = (36, 45), align_z: bool = True
) -> NDArray[np.float64]:
    """Ground truth error of each face in three dimensions (section IV-C, the measure of the 3DFAW challenge).

    The mean 3D distance over all N landmarks, divided by the 3D distance of the true outer eye corners. ``align_z``
    first moves each prediction in depth so that its mean z is the truth's: one image has no absolute depth.

    Example:
        >>> truth = np.array([[[0, 0, 0], [6, 0, 8]]])
        >>> gte(truth + [0, 1, 7], truth, normalizer=(0, 1))
        array([0.1])
    """
    p, t = _faces(pred, truth, (3,))
    a, b = normalizer
    scale = np.linalg.norm(t[:, a] - t[:, b], axis=-1)
    _refuse_zero(scale, f"the true landmarks {a} and {b}, whose distance normalises the error, lie on one spot")
    error = _z_aligned(p - t) if align_z else p - t
    return np.linalg.norm(error, axis=-1).mean(axis=1) / scale


def similarity_aligned(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """(F, N, 3) sources, each moved onto its target by the similarity of least squared error (Umeyama, 1991).

    Never a reflection. NaN where a source or target is NaN; a ValueError where a face's source points lie on one spot.
    """
    a, b = _faces(source, target, (3,))
    mean_a, mean_b = a.mean(axis=1, keepdims=True), b.mean(axis=1, keepdims=True)
    usable = np.isfinite(mean_a + mean_b).all(axis=(1, 2))
    da, db = (np.where(usable[:, None, None], points, 0) for points in (a - mean_a, b - mean_b))
    _refuse_zero(np.where(usable, (da**2).sum(axis=(1, 2)), 1), "the points to align all lie on one spot")
    rotation, scale = rotations_and_scales(da, db)
    return scale[:, None, None] * (da @ rotation.swapaxes(1, 2)) + mean_b


def gte_similarity(pred: ArrayLike, truth: ArrayLike, normalizer: tuple[int, int] = (36, 45)) -> NDArray[np.float64]:
    """`gte` after each prediction was moved onto the truth by the best similarity: the error of shape alone."""
    return gte(similarity_aligned(pred, truth), truth, normalizer, align_z=False)


def view_pairs(subjects: ArrayLike) -> NDArray[np.intp]:
    """(P, 2) ordered pairs (i, j) and (j, i) of different views of one face, ascending; "" has no other view.

    Example:
        >>> view_pairs(["ann", "bob", "ann", ""]).tolist()
        [[0, 2], [2, 0]]
    """
    names = np.asarray(subjects)
    order = np.argsort(names, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True] * bool(len(names)), names[order][1:] != names[order][:-1]]))
    pairs = [
        np.stack(np.meshgrid(group, group, indexing="ij"), axis=-1)[~np.eye(len(group), dtype=bool)]
        for group in np.split(order, starts)[1:]
        if len(group) > 1 and names[group[0]] != ""
    ]
    views = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.intp)
    return views[np.lexsort(views.T[::-1])].astype(np.intp)


def cvgtce(
    pred: ArrayLike, truth: ArrayLike, pairs: ArrayLike, normalizer: tuple[int, int] = (36, 45)
) -> NDArray[np.float64]:
    """(P,) cross view ground truth consistency error of pairs of views (section IV-C, the 3DFAW challenge's).

    One view's prediction is moved by the best similarity onto the truth of *another view* of the same face; the mean 3D
    distance is divided by the 3D distance of that view's true outer eye corners.

    ``pairs`` are (P, 2) indices: the view of the prediction, the view of the truth; see `view_pairs`.
    """
    p, t = _faces(pred, truth, (3,))
    views = np.asarray(pairs)
    if views.ndim != 2 or views.shape[1] != 2:
        raise ValueError(f"pairs must have the shape (P, 2), a prediction's and a truth's index, got {views.shape}")
    views = views.astype(np.intp)
    return gte_similarity(p[views[:, 0]], t[views[:, 1]], normalizer)


def ced_curve(errors: ArrayLike, at: ArrayLike) -> NDArray[np.float64]:
    """(T,) the cumulative error distribution (Fig. 3): which share of the faces has at most these errors ``at`` (T,).

    A face with the error NaN, not detected, is above every threshold. A ValueError for no faces.

    Example:
        >>> ced_curve([1.0, 3.0, np.nan, 3.0], [0, 1, 2, 3]).tolist()
        [0.0, 0.25, 0.25, 0.75]
    """
    e = _errors(errors)
    return np.searchsorted(np.sort(e), np.asarray(at, dtype=np.float64), side="right") / len(e)


def auc(errors: ArrayLike, threshold: float) -> float:
    """The exact area under the `ced_curve` from 0 to a threshold, over the threshold: 1 if no face has any error.

    A ValueError for no faces, or a threshold that is not positive.

    Example:
        >>> auc([0.0, 4.0, 9.0, np.nan], 8.0)
        0.375
    """
    e = _errors(errors)
    if not threshold > 0:
        raise ValueError(f"threshold must be above 0, got {threshold}")
    return float(np.clip(1 - e / threshold, 0, None).mean())


def failure_rate(errors: ArrayLike, threshold: float) -> float:
    """The share of faces with an error above a threshold; faces not detected, NaN, are among them."""
    return float((_errors(errors) > threshold).mean())


@dataclass(frozen=True)
class PoseErrors:
    """Mean errors of head pose, degrees; None where there is no face to average."""

    pitch: float | None
    """Absolute difference of the Euler angles, as the next two."""
    yaw: float | None
    roll: float | None
    mean: float | None
    """Mean of the three."""
    geodesic: float | None
    """Angle of the one turn that takes the predicted rotation to the true one: it has no gimbal lock."""
    faces: int
    """How many faces they are over."""
    left_out: int
    """Faces of known pose with an angle beyond 99 degrees, which are not among them."""


def head_pose_mae(pred_deg: ArrayLike, truth_deg: ArrayLike, limit_deg: float = POSE_LIMIT_DEG) -> PoseErrors:
    """Mean errors of head pose, by angle and of the rotation, over faces whose true angles are all within a limit.

    The common protocol on AFLW2000-3D; its limit of 99 degrees leaves 1969 of the 2000 faces. Differences are taken
    the short way round. Angles are (F, 3) pitch, yaw and roll, degrees; faces with NaN are left aside.

    Raises:
        ValueError: the shapes differ or are not (F, 3).
    """
    p, t = np.asarray(pred_deg, dtype=np.float64), np.asarray(truth_deg, dtype=np.float64)
    if p.shape != t.shape or p.ndim != 2 or p.shape[1] != 3:
        raise ValueError(f"pred_deg and truth_deg must both have the shape (faces, 3), got {p.shape} and {t.shape}")
    known = np.isfinite(p).all(axis=1) & np.isfinite(t).all(axis=1)
    counted = known & (np.abs(np.nan_to_num(t)) <= limit_deg).all(axis=1)
    left_out = int((known & ~counted).sum())
    if not counted.any():
        return PoseErrors(None, None, None, None, None, 0, left_out)
    apart = np.abs(p[counted] - t[counted]) % 360
    pitch, yaw, roll = np.minimum(apart, 360 - apart).mean(axis=0).tolist()
    rotations = (
        [euler_to_rotation(HeadPose(y, p, r)) for p, y, r in angles.tolist()] for angles in (p[counted], t[counted])
    )
    geodesic = float(geodesic_deg(*rotations).mean())
    return PoseErrors(pitch, yaw, roll, (pitch + yaw + roll) / 3, geodesic, int(counted.sum()), left_out)


def yaw_bins(yaw_deg: ArrayLike) -> NDArray[np.intp]:
    """(F,) which of `YAW_BINS` each yaw, degrees, falls in; -1 where it is NaN.

    The edges are the published split's of AFLW2000-3D, and as there faces turned beyond 90 degrees count with the last.

    Example:
        >>> yaw_bins([-30, 30.1, 60, -95, np.nan])
        array([ 0,  1,  1,  2, -1])
    """
    yaw = np.abs(np.asarray(yaw_deg, dtype=np.float64))
    return np.where(np.isnan(yaw), -1, np.searchsorted(_YAW_EDGES, yaw, side="left"))


@dataclass(frozen=True)
class BinSummary:
    """The mean of an error over yaw bands, as tables of AFLW2000-3D give it; None stands for "no face to average"."""

    bins: dict[str, float | None]
    """Mean over the faces of each band of |yaw|, degrees: [0, 30], (30, 60], (60, 90]; those beyond 90 count with the
    last."""
    bin_mean: float | None
    """Mean of the bands' means, over the bands that have faces: a table's "mean"."""
    bin_std: float | None
    """Sample standard deviation (ddof 1) of the bands' means: a table's "std"."""
    image_mean: float | None
    """Mean over all faces detected, those of unknown yaw included."""


def bin_summary(errors: ArrayLike, bins: ArrayLike) -> BinSummary:
    """Averages errors within yaw bands and over them: Table IV's columns, "mean" and "std" included.

    A band without faces has the mean None and is not in ``bin_mean`` and ``bin_std``. ``bins`` (F,) are indices in
    `YAW_BINS`; -1 for none, which counts in ``image_mean`` only. A ValueError for errors
    that are not finite, shapes that differ, or an index without a name.

    Example:
        >>> bin_summary([1.0, 3.0, 5.0], [0, 0, 2]).bin_mean
        3.5
    """
    e, b = np.asarray(errors, dtype=np.float64), np.asarray(bins)
    if e.ndim != 1 or e.shape != b.shape:
        raise ValueError(f"errors and bins must both have the shape (F,), got {e.shape} and {b.shape}")
    if not np.isfinite(e).all():
        raise ValueError(
            f"{int((~np.isfinite(e)).sum())} of {len(e)} errors are not finite: leave out faces not detected"
        )
    if len(b) and (b.min() < -1 or b.max() >= len(YAW_BINS)):
        raise ValueError(f"bins must be -1 or 0..{len(YAW_BINS) - 1}, got {sorted(set(b.tolist()))}")
    groups = {name: e[b == i] for i, name in enumerate(YAW_BINS)}
    means = [float(g.mean()) for g in groups.values() if len(g)]
    return BinSummary(
        bins={name: float(g.mean()) if len(g) else None for name, g in groups.items()},
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


def box_size(truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F,) sqrt(width * height) of the boxes of landmarks."""
    width, height = np.ptp(truth[..., :2], axis=1).T
    size = np.sqrt(width * height)
    _refuse_zero(size, "the box of the true landmarks has no area")
    return size


def _refuse_zero(scale: NDArray[np.float64], what: str) -> None:
    if bad := np.flatnonzero(~(scale > 0)).tolist():
        raise ValueError(f"{what}: {len(bad)} of {len(scale)} faces, the first at index {bad[0]}")


def _z_aligned(error: NDArray[np.float64]) -> NDArray[np.float64]:
    return error - error.mean(axis=1, keepdims=True) * [0, 0, 1]


def _errors(errors: ArrayLike) -> NDArray[np.float64]:
    """(F,) errors with infinity for faces not detected."""
    e = np.asarray(errors, dtype=np.float64)
    if e.ndim != 1 or not len(e):
        raise ValueError(f"errors must be a list of at least one face's, got shape {e.shape}")
    return np.where(np.isnan(e), np.inf, e)
