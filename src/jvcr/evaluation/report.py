"""A summary as tables and lines for the terminal, and the picture of the worst faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from jvcr.data.dataset import LandmarkDataset
from jvcr.evaluation.figures import BandedError, Summary
from jvcr.evaluation.metrics import YAW_BINS
from jvcr.evaluation.predictions import Predictions
from jvcr.evaluation.regions import APERTURES, MOST_YAW_DEG
from jvcr.evaluation.statistics import PairedDifference
from jvcr.evaluation.summary import face_errors
from jvcr.viz.tiles import PREDICTED_COLOR, TRUE_COLOR, blank_tile, face_tile, tile_sheet

SHARE_SHOWN = 0.1
"""Of the least confident, what the lines of a summary show."""


def summary_table(summary: Summary) -> Table:
    """The NME of a summary as a table for the terminal: a row for all faces, each source and each part of the face."""
    metadata = summary.metadata
    source = f"input box: {escape(str(metadata.get('box', 'not stated')))}"
    source += f"; annotation: {escape(summary.annotation)}" if summary.annotation else ""
    if metadata.get("data"):
        split = f", split {escape(metadata['split'])}" if metadata.get("split") else ""
        source = f"{escape(Path(metadata['data']).name)}{split}; {source}"
    table = Table(title=f"NME, % of the true landmarks' box, by |yaw|; {source}", title_justify="left")
    table.add_column("faces")
    for band in YAW_BINS:
        table.add_column(f"{band}°", justify="right")
    for name in ("bin mean", "std", "image mean", "detected"):
        table.add_column(name, justify="right")
    for name, nme in ({"all": summary.nme} | summary.by_source).items():
        count = summary.counts if nme is summary.nme else summary.counts.by_source[name]
        table.add_row(escape(name), *_cells(nme), f"{count.detected}/{count.detected + count.not_detected}")
    table.add_section()
    for name, nme in summary.by_region.items():
        table.add_row(f"{escape(name)} alone", *_cells(nme))
    return table


def _cells(nme: BandedError) -> list[str]:
    return [figure(value) for value in (*nme.bins.values(), nme.bin_mean, nme.bin_std, nme.image_mean)]


def runs_table(summaries: dict[str, Summary]) -> Table:
    """Several summaries as a table for the terminal, a row each: NME by yaw band and its means, GTE, faces detected."""
    table = Table(title="NME and GTE, %", title_justify="left")
    table.add_column("run", overflow="fold")
    for name in (*(f"{band}°" for band in YAW_BINS), "bin\nmean", "image\nmean", "GTE", "detected"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, summary in summaries.items():
        nme = summary.nme
        cells = [*nme.bins.values(), nme.bin_mean, nme.image_mean, summary.gte.aligned_z]
        table.add_row(escape(name), *map(figure, cells), f"{summary.detected}/{summary.images}")
    return table


def summary_lines(summary: Summary) -> list[str]:
    """What the table of a summary leaves out, as lines for the terminal; figures that are not known are left out."""
    return [
        *_interval_lines(summary),
        *_error_lines(summary),
        *_confidence_lines(summary),
        *_aperture_lines(summary),
    ]


def _interval_lines(summary: Summary) -> list[str]:
    nme, ends = summary.nme, summary.nme.intervals
    parts = [(f"{band}°", nme.bins[band], ends.bins[band]) for band in YAW_BINS]
    parts += [("bin mean", nme.bin_mean, ends.bin_mean), ("image mean", nme.image_mean, ends.image_mean)]
    known = [f"{name} {with_interval(value, of)}" for name, value, of in parts if of is not None]
    return [f"NME with 95 % intervals: {', '.join(known)}"] if known else []


def _error_lines(summary: Summary) -> list[str]:
    lines = []
    if summary.gte.aligned_z is not None:
        lines.append(
            f"GTE, % of the outer eye corners' distance: {figure(summary.gte.aligned_z)} with the mean z aligned, "
            f"{figure(summary.gte.raw)} without, {figure(summary.gte.similarity)} with the best similarity"
        )
    if summary.cvgtce is not None:
        lines.append(f"CVGTCE, the same across views: {figure(summary.cvgtce.mean)} ({summary.cvgtce.pairs} pairs)")
    for name, part, ced in (
        ("NME", summary.percentiles.nme, summary.ced.nme),
        ("GTE", summary.percentiles.gte, summary.ced.gte),
    ):
        if ced is not None:
            (threshold, area), *_ = ced.auc.items()
            lines.append(
                f"{name}: half of the faces below {figure(part.p50)} %, 95 % below {figure(part.p95)} %; up to "
                f"{threshold} %: AUC {area:.3f}, failures {100 * ced.failure_rate[threshold]:.2f} %"
            )
    others = {"3D, mean z aligned, over the box": summary.nme_3d, "over the eye corners": summary.nme_interocular}
    means = {name: error.image_mean for name, error in others.items() if error is not None}
    known = [f"{name} {figure(mean)}" for name, mean in means.items() if mean is not None]
    lines += [f"NME otherwise, image mean: {', '.join(known)}"] if known else []
    if (pose := summary.head_pose) is not None:
        angles = ", ".join(f"{name} {getattr(pose, name):.2f}" for name in ("pitch", "yaw", "roll", "mean"))
        lines.append(
            f"head pose, mean absolute error in degrees: {angles} ({pose.faces} faces, {pose.left_out} beyond 99)"
        )
    return lines


def _confidence_lines(summary: Summary) -> list[str]:
    lines = []
    confidence = summary.confidence
    if confidence.per_face is not None:
        both = f"{confidence.per_face:.2f} per face"
        both += "" if confidence.per_landmark is None else f", {confidence.per_landmark:.2f} per landmark"
        lines.append(f"confidence and error, rank correlation: {both}")
    for name, known in (("faces", confidence.faces), ("landmarks", confidence.landmarks)):
        if known is None or known.auc is None:
            continue
        part = next(part for part in known.left_out if part.share == SHARE_SHOWN)
        assert part.recall is not None  # there are large errors, or there was no AUC
        lines.append(
            f"confidence of {name}: the {100 * SHARE_SHOWN:.0f} % below {part.threshold:.2f} hold "
            f"{100 * part.recall:.0f} % of the errors above {known.above:g} %; mean error of the others "
            f"{figure(part.error)}"
        )
    return lines


def _aperture_lines(summary: Summary) -> list[str]:
    lines = []
    for key, part in summary.apertures.items():
        if part is None or not part.chosen:
            continue
        kind, name = APERTURES[key], key.replace("_", " ")
        side = "below" if kind.below else "above"
        shares = {"sensitivity": part.sensitivity, "specificity": part.specificity}
        known = [f"{what} {100 * share:.0f} %" for what, share in shares.items() if share is not None]
        known += [] if part.auc is None else [f"AUC {part.auc:.2f}"]
        known += [] if part.correlation is None else [f"correlation of the aperture {part.correlation:.2f}"]
        lines.append(
            f"{name} (aperture {side} {part.threshold:g} in the label, |yaw| up to {MOST_YAW_DEG:g}°): "
            f"{part.chosen} of {part.faces} faces, error of the {kind.region} {figure(part.error)}, of the "
            f"others' {figure(part.others_error)}; {', '.join(known)}; mean aperture {figure(part.truth)}, predicted "
            f"{figure(part.predicted)}"
        )
    return lines


def figure(value: float | None) -> str:
    """An error in percent with two decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def with_interval(value: float | None, ends: Sequence[float] | None) -> str:
    """An error in percent and its interval, "2.11 [2.06, 2.17]"; without one where that is not known."""
    return figure(value) if ends is None else f"{figure(value)} [{', '.join(map(figure, ends))}]"


def comparison_table(comparison: dict[str, PairedDifference], first: str, second: str) -> Table:
    """What `jvcr.evaluation.summary.compare` gave of two systems of these names, as a table for the terminal."""
    title = f"{first} against {second}, the same faces: difference of the NME in percentage points, below 0 is better"
    table = Table("faces", title=escape(title), title_justify="left")
    for column in ("detected by both", "mean difference", "95 % interval", "better on", "worse on", "equal"):
        table.add_column(column, justify="right", no_wrap=column.endswith("interval"))
    for name, part in comparison.items():
        ends = (part.mean, part.low, part.high)
        mean, low, high = ("-" if value is None else f"{value:+.3f}" for value in ends)
        counts = (str(n) for n in (part.wins, part.losses, part.ties))
        table.add_row("all" if name == "all" else f"{name}°", str(part.faces), mean, f"{low} to {high}", *counts)
    return table


def worst_faces(
    dataset: LandmarkDataset, predictions: Predictions, count: int = 12, columns: int = 4
) -> NDArray[np.uint8]:
    """A picture of the faces with the largest `nme_2d`: truth in green, prediction in red, the error in percent.

    Returns:
        (height, width, 3) uint8 RGB: rows of ``columns`` tiles, the worst first; one dark tile if no face was detected.
        A tile whose image cannot be read is dark too.
    """
    errors = face_errors(dataset, predictions)
    order = np.argsort(-errors, kind="stable")  # NaN, not detected, comes last
    worst = [int(i) for i in order[:count] if np.isfinite(errors[i])]
    return tile_sheet([_tile(dataset, predictions, i, errors[i]) for i in worst], columns)


def _tile(dataset: LandmarkDataset, predictions: Predictions, index: int, error: float) -> NDArray[np.uint8]:
    caption = f"{100 * error:.1f} %  {dataset.images[index]}"
    try:
        image = dataset.read_image(index)
    except (OSError, ValueError):  # predictions can be scored without the images
        return blank_tile(caption)
    layers = (dataset.points_px[index], TRUE_COLOR), (predictions.points_px[index], PREDICTED_COLOR)
    return face_tile(image, layers, dataset.scheme, caption)
