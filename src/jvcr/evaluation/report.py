"""A summary as tables for the terminal, and the picture of the worst faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from jvcr.data.dataset import LandmarkDataset
from jvcr.evaluation.figures import BandedError, Distribution, Percentiles, Summary
from jvcr.evaluation.hand import CLOSED_BELOW
from jvcr.evaluation.metrics import YAW_BINS
from jvcr.evaluation.predictions import Predictions
from jvcr.evaluation.regions import APERTURES, MOST_YAW_DEG
from jvcr.evaluation.statistics import PairedDifference
from jvcr.evaluation.summary import face_errors
from jvcr.viz.tiles import PREDICTED_COLOR, TRUE_COLOR, blank_tile, face_tile, tile_sheet

SHARE_SHOWN = 0.1
"""Of the least confident, what the table of figures shows."""


def summary_table(summary: Summary) -> Table:
    """The NME of a summary as a table for the terminal: a row for all faces, each source and each part of the face."""
    metadata = summary.metadata
    source = f"input box: {escape(str(metadata.get('box', 'not stated')))}"
    source += f"; annotation: {escape(summary.annotation)}" if summary.annotation else ""
    if metadata.get("data"):
        split = f", split {escape(metadata['split'])}" if metadata.get("split") else ""
        source = f"{escape(Path(metadata['data']).name)}{split}; {source}"
    how = "x and y, all landmarks, % of sqrt(width x height) of the true landmarks' box"
    table = Table(title=f"NME by |yaw|: {how}; {source}", title_justify="left")
    table.add_column("faces")
    for band in YAW_BINS:
        table.add_column(f"{band}°", justify="right")
    for name in ("bin mean", "std", "image mean", "detected"):
        table.add_column(name, justify="right")
    for name, nme in ({"all": summary.nme} | summary.by_source).items():
        count = summary.counts if nme is summary.nme else summary.counts.by_source[name]
        table.add_row(escape(name), *_cells(nme), f"{count.detected}/{count.detected + count.not_detected}")
        if nme is summary.nme and nme.intervals.image_mean is not None:
            ends = [*nme.intervals.bins.values(), nme.intervals.bin_mean, None, nme.intervals.image_mean]
            for i, end in enumerate(("from", "to")):
                table.add_row(f"95 % {end}", *(figure(None if both is None else both[i]) for both in ends))
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


Row: TypeAlias = tuple[str, str, str]
"""A figure's name, its value with unit, and the protocol it was measured by."""


def figures_table(summary: Summary) -> Table:
    """What the table of the NME leaves out: a row for each figure, with the protocol it was measured by."""
    table = Table("figure", title="Further figures, and all of them in summary.json", title_justify="left")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("protocol")
    for rows in figure_rows(summary):
        for row in rows:
            table.add_row(*map(escape, row), end_section=row is rows[-1])
    return table


def figure_rows(summary: Summary) -> list[list[Row]]:
    """The rows of `figures_table` by subject; figures that are not known are left out."""
    of = (_nme_rows, _gte_rows, _keypoint_rows, _pose_rows, _confidence_rows, _aperture_rows, _hand_rows)
    return [rows for make in of if (rows := make(summary))]


def _nme_rows(summary: Summary) -> list[Row]:
    others = (
        ("NME in 3D, image mean", summary.nme_3d, "x, y and z, mean z aligned, over the same box"),
        ("NME, inter-ocular, image mean", summary.nme_interocular, "x and y, over the outer eye corners' distance"),
    )
    known = [(name, error.image_mean, how) for name, error, how in others if error is not None]
    rows = _distribution_rows("NME", summary.percentiles.nme, summary.ced.nme)
    return rows + [(name, f"{mean:.2f} %", how) for name, mean, how in known if mean is not None]


def _distribution_rows(name: str, part: Percentiles, ced: Distribution | None) -> list[Row]:
    if ced is None:
        return []
    (at, area), *_ = ced.auc.items()
    both = f"{area:.3f} / {100 * ced.failure_rate[at]:.2f} %"
    how = f"area under the CED curve to {at} %; faces above {at} %; faces not detected are failures"
    percentiles = f"{figure(part.p50)} / {figure(part.p95)} %"
    return [
        (f"{name}, median / 95th percentile", percentiles, "over faces; those not detected come last"),
        (f"{name}, AUC / failures", both, how),
    ]


def _gte_rows(summary: Summary) -> list[Row]:
    gte, cross = summary.gte, summary.cvgtce
    rows: list[Row] = []
    if gte.aligned_z is not None:
        how = "x, y and z, mean z aligned, over the 3D distance of the scheme's normalizer; [95 % interval]"
        rows.append(("GTE", f"{with_interval(gte.aligned_z, gte.interval)} %", how))
        both = f"{figure(gte.raw)} / {figure(gte.similarity)} %"
        rows.append(("GTE, unaligned / similarity", both, "z as it stands; after the best scale, rotation and shift"))
    if cross is not None:
        how = f"best similarity onto the truth of another view ({cross.pairs} pairs)"
        rows.append(("CVGTCE", f"{cross.mean:.2f} %", how))
    return rows + _distribution_rows("GTE", summary.percentiles.gte, summary.ced.gte)


def _keypoint_rows(summary: Summary) -> list[Row]:
    def shown(shares: dict[str, float]) -> str:
        return " / ".join(f"{100 * shares[at]:.1f}" for at in ("5", "10")) + " %"

    if not summary.detected:
        return []
    rows = [("PCK at 5 / 10 %", shown(summary.pck.image), "landmarks off by at most so much of the box, in x and y")]
    if summary.pck.space is not None:
        rows.append(("PCK in 3D at 5 / 10 %", shown(summary.pck.space), "the same in x, y and z, mean z aligned"))
    if summary.mpjpe is not None:
        rows.append(("MPJPE", f"{summary.mpjpe:.2f} px", "x, y and z, mean z aligned, pixels of the images"))
    return rows


def _pose_rows(summary: Summary) -> list[Row]:
    if (pose := summary.head_pose) is None:
        return []
    names = ("pitch", "yaw", "roll", "mean")
    angles = " / ".join(figure(getattr(pose, name)) for name in names)
    how = f"Euler angles; {pose.faces} faces with true angles within 99° ({pose.left_out} left out)"
    return [
        (f"head pose MAE, {' / '.join(names)}", f"{angles}°", how),
        ("head pose, geodesic", f"{figure(pose.geodesic)}°", "angle between the rotations, the same faces"),
    ]


def _confidence_rows(summary: Summary) -> list[Row]:
    confidence, rows = summary.confidence, []
    if confidence.per_face is not None:
        both = f"{confidence.per_face:.2f} / {figure(confidence.per_landmark)}"
        how = "rank correlation of confidence and error; below 0 is good"
        rows.append(("confidence, Spearman, faces / landmarks", both, how))
    for name, known in (("faces", confidence.faces), ("landmarks", confidence.landmarks)):
        if known is None or known.auc is None:
            continue
        part = next(part for part in known.left_out if part.share == SHARE_SHOWN)
        assert part.recall is not None  # there are large errors, or there was no AUC
        how = f"errors above {known.above:g} % among the {100 * SHARE_SHOWN:.0f} % below {part.threshold:.2f}; mean "
        how += f"error of the others {figure(part.error)} %"
        rows.append((f"confidence, recall of {name}", f"{100 * part.recall:.0f} %", how))
    return rows


def _aperture_rows(summary: Summary) -> list[Row]:
    rows: list[Row] = []
    for key, part in summary.apertures.items():
        if part is None or not part.chosen:
            continue
        shares = [None if v is None else f"{100 * v:.0f} %" for v in (part.sensitivity, part.specificity)]
        how = f"aperture {'below' if APERTURES[key].below else 'above'} {part.threshold:g} in the label, |yaw| up to "
        how += f"{MOST_YAW_DEG:g}°: {part.chosen} of {part.faces} faces"
        name = f"{key.replace('_', ' ')}, sensitivity / specificity / AUC"
        rows.append((name, " / ".join(share or "-" for share in (*shares, figure(part.auc))), how))
    return rows


def _hand_rows(summary: Summary) -> list[Row]:
    if (hand := summary.hand) is None:
        return []
    how = f"visible landmarks labelled by hand, without the jaw, over the same box; {hand.faces['all']} faces"
    rows = [(f"NME to hand labels, {' / '.join(hand.nme)}", f"{' / '.join(map(figure, hand.nme.values()))} %", how)]
    if (eyes := hand.closed_eyes) is not None:
        how = f"at {' / '.join(eyes.sensitivity)} % specificity: aperture by hand below {CLOSED_BELOW:g}, |yaw| up to "
        how += f"{MOST_YAW_DEG:g}°, {eyes.closed} of {eyes.eyes} eyes"
        shares = " / ".join(f"{100 * share:.1f}" for share in eyes.sensitivity.values())
        rows.append(("closed eyes by hand labels, sensitivity", f"{shares} %", how))
    return rows


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
    """The faces with the largest `nme_2d`, worst first, (height, width, 3) uint8 RGB: truth green, prediction red.

    Tiles have the error in percent; one whose image cannot be read is dark, as is the only one if none was detected.
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
