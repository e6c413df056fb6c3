"""From predictions and labels to the figures of ``summary.json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.data.dataset import LandmarkDataset, Names
from jvcr.evaluation.metrics import (
    YAW_BINS,
    auc,
    bin_summary,
    ced_curve,
    cvgtce,
    failure_rate,
    gte,
    gte_similarity,
    head_pose_mae,
    landmark_errors,
    nme_2d,
    nme_3d,
    nme_interocular,
    view_pairs,
    yaw_bins,
)
from jvcr.evaluation.predictions import Predictions
from jvcr.evaluation.regions import APERTURES, aperture_figures, regions
from jvcr.evaluation.reliability import LARGE_ERROR, deciles, reliability
from jvcr.evaluation.statistics import PairedDifference, bootstrap_means, interval, paired_difference, spearman
from jvcr.files import replacing
from jvcr.geometry.pose import head_pose

Metric: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]
"""Predicted and true landmarks (F, N, 3) -> a fraction for each face."""

THRESHOLDS = {"nme": (7.0,), "nme_interocular": (8.0, 10.0), "gte": (10.0,)}
"""Where the failure rate and the area under the CED curve are taken, percent. The first two have their customary ones;
the GTE has none, and 10 % is a third more than the published mean of Table III."""

CED_STEPS = 50
"""Steps of the CED curves in a summary, from 0 to the threshold that is largest."""

DECILES = 10
"""Parts into which landmarks are put by their confidence."""


def summarise(dataset: LandmarkDataset, predictions: Predictions) -> dict[str, Any]:
    """The figures of an evaluation, plain data for ``summary.json``; every error in percent.

    Averages are over the faces that were found. A figure that has no face to average, or that the data set cannot
    give (yaw or pose unknown, a scheme without eye corners, no second views), is None; nothing is ever NaN.

    =================== ==========================================================================================
    ``nme``             ``bins`` (yaw band -> mean), ``bin_mean``, ``bin_std``, ``image_mean``: see `nme_2d` and
                        `bin_summary`; and ``intervals`` of all but ``bin_std``, the ends of 95 % intervals by
                        bootstrap over faces (`resampling_units`), None with fewer than two of these units
    ``nme_3d``          the same of `nme_3d`, or None; None too, as what else is in three dimensions, where the
                        annotation has no depth of its own (AFLW2000-3D's re-annotated points)
    ``nme_interocular`` the same of `nme_interocular`, or None
    ``gte``             ``aligned_z``, ``raw`` and ``similarity``, means over faces: see `gte` and `gte_similarity`.
                        The first two are the same where truth and prediction both have their mean z at 0, as the
                        readers' and the landmarker's have. ``interval`` of ``aligned_z``
    ``cvgtce``          ``mean`` over ``pairs`` of views, see `cvgtce`; or None
    ``percentiles``     ``nme`` and ``gte`` (aligned_z) -> ``p50`` and ``p95`` over faces. Faces not found count as
                        worse than all others; None where the percentile is one of them
    ``ced``             ``nme``, ``nme_interocular`` and ``gte`` (aligned_z) -> ``at`` and ``share``, the curve, and
                        ``auc`` and ``failure_rate``, each threshold -> 0 to 1. Faces not found count here, as failures
    ``head_pose``       mean absolute errors in degrees, see `head_pose_mae`; the predicted pose is measured from the
                        landmarks, with the scheme's template; or None
    ``confidence``      rank correlation of confidence and `nme_2d`: ``per_face`` and ``per_landmark``, see `spearman`;
                        below 0 if confident faces and landmarks have the smaller errors. ``faces`` and ``landmarks``:
                        how well it warns of errors above 5 %, see `reliability`; ``deciles`` of landmarks
    ``images``          faces evaluated, those not found included
    ``annotation``      which of the data set's labels these figures are against; "" where it has one
    ``by_source``       name of a part -> the keys of ``nme``; empty if parts have no names
    ``by_region``       name of a part of the face (see `regions`) -> the same keys, of its landmarks' errors
    ``openings``        "closed_eyes" and "open_mouth" -> ``threshold`` and the keys of `OpeningFigures`, or None
    ``found``           faces with a prediction: those that the averages are over
    ``counts``          ``found``, ``not_found``, and both for each yaw band under ``bins``; the three again for each
                        part under ``by_source``. Faces of unknown yaw are in no band, but in ``image_mean``
    =================== ==========================================================================================

    ``summary.schema.json`` beside this module says the same for programs (`summary_schema`).
    What ``predictions.about`` says follows: the rule for boxes, the annotation, seconds, weights and so on.

    Args:
        dataset: the labels.
        predictions: of exactly its faces, in its order.

    Raises:
        ValueError: the predictions are of other faces or of other landmarks.
    """
    check_same(dataset, predictions)
    found, bands = predictions.found, yaw_bins(dataset.yaw_deg)
    nme = face_errors(dataset, predictions)
    errors: dict[str, NDArray[np.float64] | None] = {
        "nme": nme,
        "nme_interocular": _interocular_errors(dataset, predictions),
        "gte": gte_errors(dataset, predictions),
    }

    units = resampling_units(dataset)

    def averages(part: NDArray[np.bool_], errors: NDArray[np.float64] = nme) -> dict[str, Any]:
        counted = part & found
        summary = bin_summary(100 * errors[counted], bands[counted])
        means = {key: getattr(summary, key) for key in ("bins", "bin_mean", "bin_std", "image_mean")}
        return means | {"intervals": _intervals(100 * errors[counted], bands[counted], units[counted])}

    def counts(part: NDArray[np.bool_]) -> dict[str, Any]:
        def both(mask: NDArray[np.bool_]) -> dict[str, int]:
            return {"found": int((mask & found).sum()), "not_found": int((mask & ~found).sum())}

        return both(part) | {"bins": {name: both(part & (bands == i)) for i, name in enumerate(YAW_BINS)}}

    everything = np.ones(len(dataset), bool)
    each = each_landmark(dataset, predictions)
    sources = {name: dataset.sources == name for name in sorted(set(dataset.sources.tolist()) - {""})}
    figures = {
        "nme": averages(everything),
        "nme_3d": averages(everything, face_errors(dataset, predictions, nme_3d)) if dataset.has_depth else None,
        "nme_interocular": None if (e := errors["nme_interocular"]) is None else averages(everything, e),
        "gte": _gte(dataset, predictions, errors["gte"], units),
        "cvgtce": _cvgtce(dataset, predictions),
        "percentiles": {name: _percentiles(errors[name]) for name in ("nme", "gte")},
        "ced": {name: _ced(e, THRESHOLDS[name]) for name, e in errors.items()},
        "head_pose": _head_pose(dataset, predictions),
        "confidence": _confidence(predictions, each),
        "images": len(dataset),
        "annotation": dataset.annotation,
        "by_source": {name: averages(part) for name, part in sources.items()},
        "by_region": {
            name: averages(everything, each[:, list(landmarks)].mean(axis=1))
            for name, landmarks in regions(dataset.scheme).items()
        },
        "openings": _openings(dataset, predictions, each),
        "found": int(found.sum()),
        "counts": counts(everything) | {"by_source": {name: counts(part) for name, part in sources.items()}},
    }
    return figures | {key: value for key, value in predictions.about.items() if key not in figures}


def face_errors(dataset: LandmarkDataset, predictions: Predictions, metric: Metric = nme_2d) -> NDArray[np.float64]:
    """(F,) error of each face as a fraction, `nme_2d` or another metric's; NaN where not found."""
    check_same(dataset, predictions)
    errors = np.full(len(dataset), np.nan)
    found = predictions.found
    errors[found] = metric(predictions.points_px[found], dataset.points_px[found])
    return errors


def each_landmark(dataset: LandmarkDataset, predictions: Predictions) -> NDArray[np.float64]:
    """(F, N) `landmark_errors`, fractions; NaN where not found."""
    errors = np.full(dataset.points_px.shape[:2], np.nan)
    found = predictions.found
    errors[found] = landmark_errors(predictions.points_px[found], dataset.points_px[found])
    return errors


def gte_errors(dataset: LandmarkDataset, predictions: Predictions) -> NDArray[np.float64] | None:
    """(F,) `gte` of each face, mean depth aligned; None without eye corners in the scheme or depth in the labels."""
    corners = dataset.scheme.interocular
    if corners is None or not dataset.has_depth:
        return None
    return face_errors(dataset, predictions, lambda p, t: gte(p, t, corners))


def compare(dataset: LandmarkDataset, first: Predictions, second: Predictions) -> dict[str, PairedDifference]:
    """Two systems face by face: `paired_difference` of their `nme_2d`, percent, over the faces that both found.

    Returns:
        "all" and the name of each yaw band -> how they differ there; first minus second.

    Raises:
        ValueError: the predictions are of other faces or of other landmarks than the data set's.
    """
    errors = [100 * face_errors(dataset, predictions) for predictions in (first, second)]
    bands, units = yaw_bins(dataset.yaw_deg), resampling_units(dataset)
    parts = {"all": np.ones(len(dataset), bool)} | {name: bands == i for i, name in enumerate(YAW_BINS)}
    return {
        name: paired_difference(errors[0][part], errors[1][part], units=units[part]) for name, part in parts.items()
    }


def resampling_units(dataset: LandmarkDataset) -> Names:
    """(F,) what a bootstrap draws: the subject of each face where the data set knows it, else its image.

    Faces in files of their own count as independent, also where two were cut out of one photograph.
    """
    if dataset.subjects is None:
        return dataset.images
    both = zip(dataset.subjects.tolist(), dataset.images.tolist(), strict=True)
    return np.array([f"subject {subject}" if subject else f"image {image}" for subject, image in both])


def summary_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of ``summary.json``, with unit and protocol of every figure."""
    text = (resources.files("jvcr") / "evaluation" / "summary.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def write_summary(path: str | Path, summary: dict[str, Any]) -> None:
    """Writes ``summary.json``, or other plain data; a file that is there stays whole until the new one is.

    Raises:
        OSError: the folder cannot be written to.
        ValueError: the summary holds NaN, which JSON does not know.
    """
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _intervals(errors: NDArray[np.float64], bands: NDArray[np.intp], units: Names) -> dict[str, Any]:
    """The intervals of the means that `bin_summary` gives for these."""
    columns = np.where(bands[:, None] == np.arange(len(YAW_BINS)), errors[:, None], np.nan)
    columns = np.concatenate([columns, errors[:, None]], axis=1)
    enough = [len(np.unique(units[np.isfinite(column)])) > 1 for column in columns.T]
    if not enough[-1]:
        return {"bins": dict.fromkeys(YAW_BINS), "bin_mean": None, "image_mean": None}
    means = bootstrap_means(columns, units)
    ends = [_ends(means[:, i]) if known else None for i, known in enumerate(enough)]
    with_faces = np.isfinite(columns[:, :-1]).any(axis=0)
    whole = means[:, :-1][:, with_faces]
    return {
        "bins": dict(zip(YAW_BINS, ends, strict=False)),
        # A resample that misses a band altogether has no mean of the bands.
        "bin_mean": _ends(whole.mean(axis=1)) if with_faces.any() else None,
        "image_mean": ends[-1],
    }


def _ends(means: ArrayLike) -> list[float] | None:
    ends = interval(means)
    return None if ends is None else list(ends)


def _gte(
    dataset: LandmarkDataset, predictions: Predictions, aligned: NDArray[np.float64] | None, units: Names
) -> dict[str, Any]:
    """The means; ``aligned`` is what `gte_errors` gives."""
    found, corners = predictions.found, dataset.scheme.interocular
    if aligned is None or corners is None or not found.any():
        return {"aligned_z": None, "raw": None, "similarity": None, "interval": None}
    pred, truth = predictions.points_px[found], dataset.points_px[found]
    several = len(np.unique(units[found])) > 1
    return {
        "aligned_z": float(100 * aligned[found].mean()),
        "raw": float(100 * gte(pred, truth, corners, align_z=False).mean()),
        "similarity": float(100 * gte_similarity(pred, truth, corners).mean()),
        "interval": _ends(bootstrap_means(100 * aligned[found, None], units[found])[:, 0]) if several else None,
    }


def _openings(
    dataset: LandmarkDataset, predictions: Predictions, errors: NDArray[np.float64]
) -> dict[str, dict[str, Any] | None]:
    truth = dataset.points_px
    figures = {
        name: aperture_figures(kind, dataset.scheme, predictions.points_px, truth, dataset.yaw_deg, 100 * errors)
        for name, kind in APERTURES.items()
    }
    return {
        name: None if part is None else {"threshold": APERTURES[name].threshold} | asdict(part)
        for name, part in figures.items()
    }


def _cvgtce(dataset: LandmarkDataset, predictions: Predictions) -> dict[str, Any] | None:
    if dataset.subjects is None or dataset.scheme.interocular is None or not dataset.has_depth:
        return None
    pairs = view_pairs(dataset.subjects)
    pairs = pairs[predictions.found[pairs[:, 0]]]
    if not len(pairs):
        return None
    # In blocks: a subject of many views has very many pairs.
    sums = [
        cvgtce(predictions.points_px, dataset.points_px, block, dataset.scheme.interocular).sum()
        for block in np.array_split(pairs, len(pairs) // _PAIRS + 1)
    ]
    return {"mean": float(100 * np.sum(sums) / len(pairs)), "pairs": len(pairs)}


def _interocular_errors(dataset: LandmarkDataset, predictions: Predictions) -> NDArray[np.float64] | None:
    """(F,) `nme_interocular`; None for a scheme without eye corners, or if those of a face lie one behind the other."""
    corners = dataset.scheme.interocular
    if corners is None:
        return None
    a, b = (dataset.points_px[:, i, :2] for i in corners)
    if not (a != b).any(axis=1).all():
        return None
    return face_errors(dataset, predictions, lambda p, t: nme_interocular(p, t, corners))


def _percentiles(errors: NDArray[np.float64] | None) -> dict[str, float | None]:
    if errors is None or not len(errors):
        return {"p50": None, "p95": None}
    found = np.sort(100 * errors[np.isfinite(errors)])
    places = np.array([0.5, 0.95]) * (len(errors) - 1)
    # As numpy interpolates; beyond the last face found there is no number.
    values = np.interp(places, np.arange(len(found)), found, right=np.nan) if len(found) else np.full(2, np.nan)
    return {name: None if np.isnan(v) else float(v) for name, v in zip(("p50", "p95"), values, strict=True)}


def _ced(errors: NDArray[np.float64] | None, thresholds: tuple[float, ...]) -> dict[str, Any] | None:
    if errors is None or not len(errors):
        return None
    percent = 100 * errors
    at = np.linspace(0, max(thresholds), CED_STEPS + 1)
    return {
        "at": [round(float(t), 6) for t in at],
        "share": [round(float(share), 6) for share in ced_curve(percent, at)],
        "auc": {f"{t:g}": auc(percent, t) for t in thresholds},
        "failure_rate": {f"{t:g}": failure_rate(percent, t) for t in thresholds},
    }


def _head_pose(dataset: LandmarkDataset, predictions: Predictions) -> dict[str, Any] | None:
    template, found = dataset.scheme.template, predictions.found
    if dataset.pose_deg is None or template is None or not found.any():
        return None
    front = np.array(template)
    poses = [head_pose(points, front) for points in predictions.points_px[found]]
    measured = np.array([(pose.pitch_deg, pose.yaw_deg, pose.roll_deg) for pose in poses])
    errors = head_pose_mae(measured, dataset.pose_deg[found])
    return asdict(errors) if errors.faces else None


def _confidence(predictions: Predictions, errors: NDArray[np.float64]) -> dict[str, Any]:
    """Of (F, N) errors of the landmarks."""
    found = predictions.found & np.isfinite(predictions.confidence).all(axis=1)
    if not found.any():
        return {"per_face": None, "per_landmark": None, "faces": None, "landmarks": None}
    confidence, errors = predictions.confidence[found].astype(np.float64), errors[found]
    faces = confidence.mean(axis=1), errors.mean(axis=1)
    landmarks = confidence.ravel(), errors.ravel()
    figures = {name: _warning(*pair) for name, pair in (("faces", faces), ("landmarks", landmarks))}
    if confidence.size >= DECILES:
        by = deciles(*landmarks, DECILES)
        figures["landmarks"]["deciles"] = {
            "confidence": by.confidence.tolist(),
            "p50": (100 * by.median).tolist(),
            "p90": (100 * by.p90).tolist(),
        }
    return {"per_face": spearman(*faces), "per_landmark": spearman(*landmarks), **figures}


def _warning(confidence: NDArray[np.float64], errors: NDArray[np.float64]) -> dict[str, Any]:
    """`reliability` in percent."""
    known = asdict(reliability(confidence, errors))
    left_out = [{**part, "error": 100 * part["error"]} for part in known["rejections"]]
    return {"above": 100 * LARGE_ERROR, "share": known["large"], "auc": known["auc"], "left_out": left_out}


_PAIRS = 20_000
"""Pairs of views aligned at once."""


def check_same(dataset: LandmarkDataset, predictions: Predictions) -> None:
    """Sees to it that predictions are of a data set's faces, in its order.

    Raises:
        ValueError: they are of other faces or of other landmarks.
    """
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
