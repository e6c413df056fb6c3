"""From predictions and labels to the figures, the table and the picture of the worst faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from jvcr.data.dataset import LandmarkDataset
from jvcr.drawing import PREDICTED_COLOR, TRUE_COLOR, blank_tile, face_tile, tile_sheet, write_picture
from jvcr.evaluation.metrics import (
    YAW_BINS,
    PairedDifference,
    auc,
    bin_summary,
    ced_curve,
    cvgtce,
    failure_rate,
    gte,
    gte_similarity,
    head_pose_mae,
    nme_2d,
    nme_3d,
    nme_interocular,
    paired_difference,
    spearman,
    view_pairs,
    yaw_bins,
)
from jvcr.evaluation.protocol import Predictions
from jvcr.files import replacing
from jvcr.geometry.pose import head_pose

Metric: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]
"""Predicted and true landmarks (F, N, 3) -> a fraction for each face."""

THRESHOLDS = {"nme": (7.0,), "nme_interocular": (8.0, 10.0), "gte": (10.0,)}
"""Where the failure rate and the area under the CED curve are taken, percent. The first two have their customary ones;
the GTE has none, and 10 % is a third more than the published mean of Table III."""

CED_STEPS = 50
"""Steps of the CED curves in a summary, from 0 to the threshold that is largest."""


def summarise(dataset: LandmarkDataset, predictions: Predictions) -> dict[str, Any]:
    """The figures of an evaluation, plain data for ``summary.json``; every error in percent.

    Averages are over the faces that were found. A figure that has no face to average, or that the data set cannot
    give (yaw or pose unknown, a scheme without eye corners, no second views), is None; nothing is ever NaN.

    =================== ==========================================================================================
    ``nme``             ``bins`` (yaw band -> mean), ``bin_mean``, ``bin_std``, ``image_mean``: see `nme_2d` and
                        `bin_summary`
    ``nme_3d``          the same of `nme_3d`, or None; None too, as what else is in three dimensions, where the
                        annotation has no depth of its own (AFLW2000-3D's re-annotated points)
    ``nme_interocular`` the same of `nme_interocular`, or None
    ``gte``             ``aligned_z``, ``raw`` and ``similarity``, means over faces: see `gte` and `gte_similarity`.
                        The first two are the same where truth and prediction both have their mean z at 0, as the
                        readers' and the landmarker's have
    ``cvgtce``          ``mean`` over ``pairs`` of views, see `cvgtce`; or None
    ``percentiles``     ``nme`` and ``gte`` (aligned_z) -> ``p50`` and ``p95`` over faces. Faces not found count as
                        worse than all others; None where the percentile is one of them
    ``ced``             ``nme``, ``nme_interocular`` and ``gte`` (aligned_z) -> ``at`` and ``share``, the curve, and
                        ``auc`` and ``failure_rate``, each threshold -> 0 to 1. Faces not found count here, as failures
    ``head_pose``       mean absolute errors in degrees, see `head_pose_mae`; the predicted pose is measured from the
                        landmarks, with the scheme's template; or None
    ``confidence``      rank correlation of confidence and `nme_2d`: ``per_face`` and ``per_landmark``, see `spearman`;
                        below 0 if confident faces and landmarks have the smaller errors
    ``images``          faces evaluated, those not found included
    ``annotation``      which of the data set's labels these figures are against; "" where it has one
    ``by_source``       name of a part -> the keys of ``nme``; empty if parts have no names
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

    def averages(part: NDArray[np.bool_], errors: NDArray[np.float64] = nme) -> dict[str, Any]:
        summary = bin_summary(100 * errors[part & found], bands[part & found])
        return {key: getattr(summary, key) for key in ("bins", "bin_mean", "bin_std", "image_mean")}

    def counts(part: NDArray[np.bool_]) -> dict[str, Any]:
        def both(mask: NDArray[np.bool_]) -> dict[str, int]:
            return {"found": int((mask & found).sum()), "not_found": int((mask & ~found).sum())}

        return both(part) | {"bins": {name: both(part & (bands == i)) for i, name in enumerate(YAW_BINS)}}

    everything = np.ones(len(dataset), bool)
    sources = {name: dataset.sources == name for name in sorted(set(dataset.sources.tolist()) - {""})}
    figures = {
        "nme": averages(everything),
        "nme_3d": averages(everything, face_errors(dataset, predictions, nme_3d)) if dataset.has_depth else None,
        "nme_interocular": None if (e := errors["nme_interocular"]) is None else averages(everything, e),
        "gte": _gte(dataset, predictions, errors["gte"]),
        "cvgtce": _cvgtce(dataset, predictions),
        "percentiles": {name: _percentiles(errors[name]) for name in ("nme", "gte")},
        "ced": {name: _ced(e, THRESHOLDS[name]) for name, e in errors.items()},
        "head_pose": _head_pose(dataset, predictions),
        "confidence": _confidence(dataset, predictions),
        "images": len(dataset),
        "annotation": dataset.annotation,
        "by_source": {name: averages(part) for name, part in sources.items()},
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
    bands = yaw_bins(dataset.yaw_deg)
    parts = {"all": np.ones(len(dataset), bool)} | {name: bands == i for i, name in enumerate(YAW_BINS)}
    return {name: paired_difference(errors[0][part], errors[1][part]) for name, part in parts.items()}


def comparison_table(comparison: dict[str, PairedDifference], first: str, second: str) -> Table:
    """What `compare` gave as a table for the terminal.

    Args:
        comparison: what `compare` gave.
        first: name of the first system.
        second: name of the second.
    """
    title = f"{first} against {second}, the same faces: difference of the NME in percentage points, below 0 is better"
    table = Table("faces", title=escape(title), title_justify="left")
    for column in ("found by both", "mean difference", "95 % interval", "better on", "worse on", "equal"):
        table.add_column(column, justify="right", no_wrap=column.endswith("interval"))
    for name, part in comparison.items():
        ends = (part.mean, part.low, part.high)
        mean, low, high = ("-" if value is None else f"{value:+.3f}" for value in ends)
        counts = (str(n) for n in (part.wins, part.losses, part.ties))
        table.add_row("all" if name == "all" else f"{name}°", str(part.faces), mean, f"{low} to {high}", *counts)
    return table


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


def summary_table(summary: dict[str, Any]) -> Table:
    """The NME of a summary as a table for the terminal: a row for all faces and for each source."""
    about = f"input box: {escape(str(summary.get('box', 'not stated')))}"
    about += f"; annotation: {escape(summary['annotation'])}" if summary.get("annotation") else ""
    title = f"NME, % of the true landmarks' box, by |yaw|; {about}"
    table = Table(title=title, title_justify="left")
    table.add_column("faces")
    for band in YAW_BINS:
        table.add_column(f"{band}°", justify="right")
    for name in ("bin mean", "std", "image mean", "found"):
        table.add_column(name, justify="right")
    counts = summary["counts"]
    rows = [("all", summary["nme"], counts)]
    rows += [(name, nme, counts["by_source"][name]) for name, nme in summary["by_source"].items()]
    for name, nme, count in rows:
        cells = [*nme["bins"].values(), nme["bin_mean"], nme["bin_std"], nme["image_mean"]]
        table.add_row(escape(name), *map(figure, cells), f"{count['found']}/{count['found'] + count['not_found']}")
    return table


def runs_table(summaries: dict[str, dict[str, Any]]) -> Table:
    """Several summaries as a table for the terminal, a row each: NME by yaw band and its means, GTE, faces found."""
    table = Table(title="NME and GTE, %", title_justify="left")
    table.add_column("run", overflow="fold")
    for name in (*(f"{band}°" for band in YAW_BINS), "bin\nmean", "image\nmean", "GTE", "found"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, summary in summaries.items():
        nme = summary["nme"]
        cells = [*nme["bins"].values(), nme["bin_mean"], nme["image_mean"], summary["gte"]["aligned_z"]]
        table.add_row(escape(name), *map(figure, cells), f"{summary['found']}/{summary['images']}")
    return table


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """What the table of a summary leaves out, as lines for the terminal; figures that are not known are left out."""
    lines = []
    if summary["gte"]["aligned_z"] is not None:
        aligned, raw, similarity = (figure(summary["gte"][key]) for key in ("aligned_z", "raw", "similarity"))
        lines.append(
            f"GTE, % of the outer eye corners' distance: {aligned} with the mean z aligned, {raw} without, "
            f"{similarity} with the best similarity"
        )
    if summary["cvgtce"] is not None:
        lines.append(
            f"CVGTCE, the same across views: {figure(summary['cvgtce']['mean'])} ({summary['cvgtce']['pairs']} pairs)"
        )
    for key, name in (("nme", "NME"), ("gte", "GTE")):
        part, ced = summary["percentiles"][key], summary["ced"][key]
        if ced is not None and ced["auc"]:
            (threshold, area), *_ = ced["auc"].items()
            lines.append(
                f"{name}: half of the faces below {figure(part['p50'])} %, 95 % below {figure(part['p95'])} %; up to "
                f"{threshold} %: AUC {area:.3f}, failures {100 * ced['failure_rate'][threshold]:.2f} %"
            )
    others = (
        ("3D, mean z aligned, over the box", summary["nme_3d"]),
        ("over the eye corners", summary["nme_interocular"]),
    )
    known = [f"{name} {figure(part['image_mean'])}" for name, part in others if part and part["image_mean"] is not None]
    lines += [f"NME otherwise, image mean: {', '.join(known)}"] if known else []
    if (pose := summary["head_pose"]) is not None:
        angles = ", ".join(f"{name} {pose[name]:.2f}" for name in ("pitch", "yaw", "roll", "mean"))
        lines.append(
            f"head pose, mean absolute error in degrees: {angles} ({pose['faces']} faces, {pose['left_out']} beyond 99)"
        )
    if (per_face := summary["confidence"]["per_face"]) is not None:
        per_landmark = summary["confidence"]["per_landmark"]
        both = f"{per_face:.2f} per face" + ("" if per_landmark is None else f", {per_landmark:.2f} per landmark")
        lines.append(f"confidence and error, rank correlation: {both}")
    return lines


def figure(value: float | None) -> str:
    """An error in percent with two decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def _gte(
    dataset: LandmarkDataset, predictions: Predictions, aligned: NDArray[np.float64] | None
) -> dict[str, float | None]:
    """The means; ``aligned`` is what `gte_errors` gives."""
    found, corners = predictions.found, dataset.scheme.interocular
    if aligned is None or corners is None or not found.any():
        return {"aligned_z": None, "raw": None, "similarity": None}
    pred, truth = predictions.points_px[found], dataset.points_px[found]
    return {
        "aligned_z": float(100 * aligned[found].mean()),
        "raw": float(100 * gte(pred, truth, corners, align_z=False).mean()),
        "similarity": float(100 * gte_similarity(pred, truth, corners).mean()),
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


def _confidence(dataset: LandmarkDataset, predictions: Predictions) -> dict[str, float | None]:
    found = predictions.found & np.isfinite(predictions.confidence).all(axis=1)
    if not found.any():
        return {"per_face": None, "per_landmark": None}
    confidence, truth = predictions.confidence[found], dataset.points_px[found]
    size = np.sqrt(np.ptp(truth[..., :2], axis=1).prod(axis=1, keepdims=True))
    errors = np.linalg.norm((predictions.points_px[found] - truth)[..., :2], axis=-1) / size
    return {
        "per_face": spearman(confidence.mean(axis=1), errors.mean(axis=1)),
        "per_landmark": spearman(confidence.ravel(), errors.ravel()),
    }


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


# -- the worst faces


def worst_faces(
    dataset: LandmarkDataset, predictions: Predictions, count: int = 12, columns: int = 4
) -> NDArray[np.uint8]:
    """A picture of the faces with the largest `nme_2d`: truth in green, prediction in red, the error in percent.

    Returns:
        (height, width, 3) uint8 RGB: rows of ``columns`` tiles, the worst first; one dark tile if no face was found. A
        tile whose image cannot be read is dark too.
    """
    errors = face_errors(dataset, predictions)
    order = np.argsort(-errors, kind="stable")  # NaN, not found, comes last
    worst = [int(i) for i in order[:count] if np.isfinite(errors[i])]
    return tile_sheet([_tile(dataset, predictions, i, errors[i]) for i in worst], columns)


def write_worst(path: str | Path, dataset: LandmarkDataset, predictions: Predictions) -> None:
    """Writes `worst_faces` as an image file."""
    write_picture(path, worst_faces(dataset, predictions))


def _tile(dataset: LandmarkDataset, predictions: Predictions, index: int, error: float) -> NDArray[np.uint8]:
    caption = f"{100 * error:.1f} %  {dataset.images[index]}"
    try:
        image = dataset.read_image(index)
    except (OSError, ValueError):  # predictions can be scored without the images
        return blank_tile(caption)
    layers = (dataset.points_px[index], TRUE_COLOR), (predictions.points_px[index], PREDICTED_COLOR)
    return face_tile(image, layers, dataset.scheme, caption)
