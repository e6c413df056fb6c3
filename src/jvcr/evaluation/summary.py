"""From predictions and labels to the figures of ``summary.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset, Names, by_source
from jvcr.evaluation import metrics
from jvcr.evaluation.figures import (
    AllDetectionCounts,
    BandedError,
    Confidence,
    CorrectKeypoints,
    CrossViewError,
    DetectionCount,
    DetectionCounts,
    Distribution,
    Distributions,
    ErrorPercentiles,
    GroundTruthError,
    Intervals,
    LandmarkReliability,
    Percentiles,
    Summary,
)
from jvcr.evaluation.hand import hand_labels
from jvcr.evaluation.predictions import Predictions
from jvcr.evaluation.regions import APERTURES, aperture_figures, regions
from jvcr.evaluation.reliability import deciles, reliability
from jvcr.evaluation.statistics import PairedDifference, bootstrap_means, interval, paired_difference, spearman
from jvcr.geometry.pose import head_pose

Metric: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]
"""Predicted and true landmarks (F, N, 3) -> a fraction for each face."""

THRESHOLDS = {"nme": (7.0,), "nme_interocular": (8.0, 10.0), "gte": (10.0,)}
"""Where failure rate and area under the CED curve are taken, percent: the customary ones, and for the GTE, which has
none, a third more than the published mean of Table III."""

PCK_PERCENT = (2.5, 5, 10, 20)
"""Of the size of an object, where correct keypoints are counted."""

CED_STEPS = 50
"""Steps of the CED curves in a summary, from 0 to the threshold that is largest."""

DECILES = 10

_PAIRS_AT_ONCE = 20_000


def summarise(dataset: LandmarkDataset, predictions: Predictions) -> Summary:
    """The figures of predictions of exactly a data set's faces, in its order, else a ValueError."""
    check_same(dataset, predictions)
    detected, bands, units = predictions.detected, metrics.yaw_bins(dataset.yaw_deg), resampling_units(dataset)
    everything = np.ones(len(dataset), bool)
    nme, interocular = face_errors(dataset, predictions), _interocular_errors(dataset, predictions)
    gte_aligned, each = gte_errors(dataset, predictions), each_landmark(dataset, predictions)
    sources = by_source(dataset.sources)

    def banded(errors: NDArray[np.float64], part: NDArray[np.bool_] = everything) -> BandedError:
        known = part & detected
        return _banded(100 * errors[known], bands[known], units[known])

    def count(part: NDArray[np.bool_]) -> DetectionCounts:
        of_bands = {name: _count(detected[part & (bands == i)]) for i, name in enumerate(metrics.YAW_BINS)}
        return DetectionCounts(**vars(_count(detected[part])), bins=of_bands)

    return Summary(
        nme=banded(nme),
        nme_3d=banded(face_errors(dataset, predictions, metrics.nme_3d)) if dataset.has_depth else None,
        nme_interocular=None if interocular is None else banded(interocular),
        gte=_ground_truth_error(dataset, predictions, gte_aligned, units),
        mpjpe=_mean(face_errors(dataset, predictions, metrics.mpjpe)) if dataset.has_depth else None,
        pck=_correct_keypoints(dataset, predictions),
        cvgtce=_cross_view_error(dataset, predictions),
        percentiles=ErrorPercentiles(_percentiles(nme), _percentiles(gte_aligned)),
        ced=Distributions(
            _distribution(nme, THRESHOLDS["nme"]),
            _distribution(interocular, THRESHOLDS["nme_interocular"]),
            _distribution(gte_aligned, THRESHOLDS["gte"]),
        ),
        head_pose=_head_pose(dataset, predictions),
        confidence=_confidence(predictions, 100 * each),
        images=len(dataset),
        annotation=dataset.annotation,
        by_source={name: banded(nme, part) for name, part in sources.items()},
        by_region={
            name: banded(each[:, list(landmarks)].mean(axis=1)) for name, landmarks in regions(dataset.scheme).items()
        },
        apertures={
            name: aperture_figures(
                kind, dataset.scheme, predictions.points_px, dataset.points_px, dataset.yaw_deg, 100 * each
            )
            for name, kind in APERTURES.items()
        },
        hand=hand_labels(dataset, predictions.points_px),
        detected=int(detected.sum()),
        counts=AllDetectionCounts(
            **vars(count(everything)), by_source={name: count(part) for name, part in sources.items()}
        ),
        metadata=predictions.metadata,
    )


def face_errors(
    dataset: LandmarkDataset, predictions: Predictions, metric: Metric = metrics.nme_2d
) -> NDArray[np.float64]:
    """(F,) error of each face as a fraction, `nme_2d` or another metric's; NaN where not detected."""
    check_same(dataset, predictions)
    errors = np.full(len(dataset), np.nan)
    detected = predictions.detected
    errors[detected] = metric(predictions.points_px[detected], dataset.points_px[detected])
    return errors


def each_landmark(dataset: LandmarkDataset, predictions: Predictions) -> NDArray[np.float64]:
    """(F, N) `landmark_errors`, fractions; NaN where not detected."""
    errors = np.full(dataset.points_px.shape[:2], np.nan)
    detected = predictions.detected
    errors[detected] = metrics.landmark_errors(predictions.points_px[detected], dataset.points_px[detected])
    return errors


def gte_errors(dataset: LandmarkDataset, predictions: Predictions) -> NDArray[np.float64] | None:
    """(F,) `gte` of each face, mean depth aligned; None without eye corners in the scheme or depth in the labels."""
    corners = dataset.scheme.normalizer
    if corners is None or not dataset.has_depth:
        return None
    return face_errors(dataset, predictions, lambda p, t: metrics.gte(p, t, corners))


def compare(dataset: LandmarkDataset, first: Predictions, second: Predictions) -> dict[str, PairedDifference]:
    """Two systems on the faces both detected: `paired_difference` of `nme_2d`, percent, of all and by yaw band."""
    errors = [100 * face_errors(dataset, predictions) for predictions in (first, second)]
    bands, units = metrics.yaw_bins(dataset.yaw_deg), resampling_units(dataset)
    parts = {"all": np.ones(len(dataset), bool)} | {name: bands == i for i, name in enumerate(metrics.YAW_BINS)}
    return {name: paired_difference(errors[0][part], errors[1][part], units[part]) for name, part in parts.items()}


def resampling_units(dataset: LandmarkDataset) -> Names:
    """(F,) what a bootstrap draws: a face's subject where known, else its image, also if several were cut from one."""
    if dataset.subjects is None:
        return dataset.images
    both = zip(dataset.subjects.tolist(), dataset.images.tolist(), strict=True)
    return np.array([f"subject {subject}" if subject else f"image {image}" for subject, image in both])


def check_same(dataset: LandmarkDataset, predictions: Predictions) -> None:
    """Raises a ValueError where predictions are not of a data set's faces and landmarks, in its order."""
    if predictions.points_px.shape != dataset.points_px.shape:
        raise ValueError(
            f"the predictions are {predictions.points_px.shape} (faces, landmarks, 3), "
            f"the labels of {dataset.root} {dataset.points_px.shape}: they belong to another data set or split"
        )
    if different := np.flatnonzero(predictions.images != dataset.images).tolist():
        i = different[0]
        raise ValueError(
            f"the predictions are of other images than the labels of {dataset.root}: {len(different)} differ, "
            f"the first is {predictions.images[i]} against {dataset.images[i]}"
        )


def _banded(errors: NDArray[np.float64], bands: NDArray[np.intp], units: Names) -> BandedError:
    return BandedError(**vars(metrics.bin_summary(errors, bands)), intervals=_intervals(errors, bands, units))


def _intervals(errors: NDArray[np.float64], bands: NDArray[np.intp], units: Names) -> Intervals:
    columns = np.where(bands[:, None] == np.arange(len(metrics.YAW_BINS)), errors[:, None], np.nan)
    columns = np.concatenate([columns, errors[:, None]], axis=1)
    enough = [len(np.unique(units[np.isfinite(column)])) > 1 for column in columns.T]
    if not enough[-1]:
        return Intervals(dict.fromkeys(metrics.YAW_BINS), None, None)
    means = bootstrap_means(columns, units)
    ends = [interval(means[:, i]) if known else None for i, known in enumerate(enough)]
    with_faces = np.isfinite(columns[:, :-1]).any(axis=0)
    # A resample that misses a band altogether has no mean of the bands.
    bin_mean = interval(means[:, :-1][:, with_faces].mean(axis=1)) if with_faces.any() else None
    return Intervals(dict(zip(metrics.YAW_BINS, ends, strict=False)), bin_mean, ends[-1])


def _count(detected: NDArray[np.bool_]) -> DetectionCount:
    return DetectionCount(int(detected.sum()), int((~detected).sum()))


def _ground_truth_error(
    dataset: LandmarkDataset, predictions: Predictions, aligned: NDArray[np.float64] | None, units: Names
) -> GroundTruthError:
    detected, corners = predictions.detected, dataset.scheme.normalizer
    if aligned is None or corners is None or not detected.any():
        return GroundTruthError(None, None, None, None)
    pred, truth = predictions.points_px[detected], dataset.points_px[detected]
    several = len(np.unique(units[detected])) > 1
    return GroundTruthError(
        aligned_z=float(100 * aligned[detected].mean()),
        raw=float(100 * metrics.gte(pred, truth, corners, align_z=False).mean()),
        similarity=float(100 * metrics.gte_similarity(pred, truth, corners).mean()),
        interval=interval(bootstrap_means(100 * aligned[detected, None], units[detected])[:, 0]) if several else None,
    )


def _cross_view_error(dataset: LandmarkDataset, predictions: Predictions) -> CrossViewError | None:
    if dataset.subjects is None or dataset.scheme.normalizer is None or not dataset.has_depth:
        return None
    pairs = metrics.view_pairs(dataset.subjects)
    pairs = pairs[predictions.detected[pairs[:, 0]]]
    if not len(pairs):
        return None
    # In blocks: a subject of many views has very many pairs.
    sums = [
        metrics.cvgtce(predictions.points_px, dataset.points_px, block, dataset.scheme.normalizer).sum()
        for block in np.array_split(pairs, len(pairs) // _PAIRS_AT_ONCE + 1)
    ]
    return CrossViewError(float(100 * np.sum(sums) / len(pairs)), len(pairs))


def _mean(errors: NDArray[np.float64]) -> float | None:
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else None


def _correct_keypoints(dataset: LandmarkDataset, predictions: Predictions) -> CorrectKeypoints:
    def shares(axes: int) -> dict[str, float]:
        truth, found = dataset.points_px[..., :axes], predictions.points_px[..., :axes]
        of = {f"{at:g}": metrics.pck(found, truth, at / 100) for at in PCK_PERCENT}
        return {at: float(np.nan_to_num(each).mean()) if len(each) else 0.0 for at, each in of.items()}

    return CorrectKeypoints(shares(2), shares(3) if dataset.has_depth else None)


def _interocular_errors(dataset: LandmarkDataset, predictions: Predictions) -> NDArray[np.float64] | None:
    """(F,) `nme_interocular`; None for a scheme without eye corners, or if those of a face lie one behind the other."""
    corners = dataset.scheme.normalizer
    if corners is None or not dataset.scheme.is_face:
        return None
    a, b = (dataset.points_px[:, i, :2] for i in corners)
    if not (a != b).any(axis=1).all():
        return None
    return face_errors(dataset, predictions, lambda p, t: metrics.nme_interocular(p, t, corners))


def _percentiles(errors: NDArray[np.float64] | None) -> Percentiles:
    if errors is None or not np.isfinite(errors).any():
        return Percentiles(None, None)
    known = np.sort(100 * errors[np.isfinite(errors)])
    places = np.array([0.5, 0.95]) * (len(errors) - 1)
    # As numpy interpolates; beyond the last face detected there is no number.
    values = np.interp(places, np.arange(len(known)), known, right=np.nan).tolist()
    return Percentiles(*(None if np.isnan(value) else value for value in values))


def _distribution(errors: NDArray[np.float64] | None, thresholds: tuple[float, ...]) -> Distribution | None:
    if errors is None or not len(errors):
        return None
    percent = 100 * errors
    at = np.linspace(0, max(thresholds), CED_STEPS + 1)
    return Distribution(
        at=[round(float(t), 6) for t in at],
        share=[round(float(share), 6) for share in metrics.ced_curve(percent, at)],
        auc={f"{t:g}": metrics.auc(percent, t) for t in thresholds},
        failure_rate={f"{t:g}": metrics.failure_rate(percent, t) for t in thresholds},
    )


def _head_pose(dataset: LandmarkDataset, predictions: Predictions) -> metrics.PoseErrors | None:
    template, detected = dataset.scheme.template, predictions.detected
    if dataset.pose_deg is None or template is None or not detected.any():
        return None
    front = np.array(template)
    poses = [head_pose(points, front) for points in predictions.points_px[detected]]
    measured = np.array([(pose.pitch_deg, pose.yaw_deg, pose.roll_deg) for pose in poses])
    errors = metrics.head_pose_mae(measured, dataset.pose_deg[detected])
    return errors if errors.faces else None


def _confidence(predictions: Predictions, errors: NDArray[np.float64]) -> Confidence:
    """Of (F, N) errors of the landmarks, percent."""
    known = predictions.detected & np.isfinite(predictions.confidence).all(axis=1)
    if not known.any():
        return Confidence(None, None, None, None)
    confidence, errors = predictions.confidence[known].astype(np.float64), errors[known]
    faces = confidence.mean(axis=1), errors.mean(axis=1)
    landmarks = confidence.ravel(), errors.ravel()
    by = deciles(*landmarks, DECILES) if confidence.size >= DECILES else None
    return Confidence(
        per_face=spearman(*faces),
        per_landmark=spearman(*landmarks),
        faces=reliability(*faces),
        landmarks=LandmarkReliability(**vars(reliability(*landmarks)), deciles=by),
    )
