"""The curves of an evaluation: the cumulative error distribution (Fig. 3), the error by yaw and by confidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset
from jvcr.evaluation.metrics import auc, ced_curve, failure_rate
from jvcr.evaluation.predictions import Predictions
from jvcr.evaluation.reliability import deciles, risk_coverage
from jvcr.evaluation.summary import DECILES, THRESHOLDS, each_landmark, face_errors, gte_errors
from jvcr.viz.line_chart import Line, line_chart
from jvcr.viz.tiles import write_picture

Runs: TypeAlias = Mapping[str, tuple[LandmarkDataset, Predictions]]
"""Name of a run -> the labels and what was predicted."""

GTE_END, NME_END = 20.0, 10.0
"""Ends of the error axes, percent."""

YAW_STEP_DEG = 10
"""Width of the bands of the curve by yaw."""

SHARES_KEPT = np.linspace(0.05, 1, 96)
"""Where the curve of the most confident is taken."""


def ced_chart(runs: Runs) -> NDArray[np.uint8]:
    """Cumulative error curves, a line for each run: of the GTE, as in Fig. 3, and beside it of the NME.

    The paper's figure stands with its comparison of the GTE. Without eye corners in the scheme, or depth in the labels,
    there is no GTE, and a run is in the second chart alone. Faces not found count as beyond every error.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: there is no run, or one without faces.
    """
    charts = []
    numbers = {name: number for number, name in enumerate(runs)}
    gte = {name: errors for name, run in runs.items() if (errors := gte_errors(*run)) is not None}
    if gte:
        lines = [
            _ced_line(name, 100 * errors, GTE_END, THRESHOLDS["gte"][0], numbers[name]) for name, errors in gte.items()
        ]
        charts.append(
            line_chart(
                lines,
                "GTE: 3D error, % of the outer eye corners' distance",
                "faces with at most this error, %",
                "Cumulative error, three dimensions (mean depth aligned)",
                GTE_END,
                100.0,
                legend="lower right",
            )
        )
    lines = [
        _ced_line(name, 100 * face_errors(dataset, predictions), NME_END, THRESHOLDS["nme"][0], numbers[name])
        for name, (dataset, predictions) in runs.items()
    ]
    charts.append(
        line_chart(
            lines,
            "NME: 2D error, % of the landmarks' box",
            "faces with at most this error, %",
            "Cumulative error, image plane",
            NME_END,
            100.0,
            legend="lower right",
        )
    )
    return np.hstack(charts)


def _ced_line(name: str, errors: NDArray[np.float64], end: float, threshold: float, color: int) -> Line:
    at = np.linspace(0, end, 401)
    label = (
        f"{name}: AUC {auc(errors, threshold):.3f}, {100 * failure_rate(errors, threshold):.1f} % above {threshold:g}"
    )
    return Line(label, at, 100 * ced_curve(errors, at), color=color)


def yaw_chart(runs: Runs) -> NDArray[np.uint8] | None:
    """The mean NME of faces by their |yaw|, in bands of 10 degrees; faces beyond 90 count with the last.

    Returns:
        (height, width, 3) uint8 RGB; None if no run has a face that was found and whose yaw is known. The small numbers
        are the faces of each band, of the first run.
    """
    bands = np.arange(0, 90, YAW_STEP_DEG)
    middles = bands + YAW_STEP_DEG / 2
    lines: list[Line] = []
    notes: list[tuple[float, str]] = []
    for name, (dataset, predictions) in runs.items():
        errors = 100 * face_errors(dataset, predictions)
        yaw = np.minimum(np.abs(dataset.yaw_deg.astype(np.float64)), 89.999)
        parts = [errors[(yaw >= low) & (yaw < low + YAW_STEP_DEG) & predictions.found] for low in bands]
        means = np.array([part.mean() if len(part) else np.nan for part in parts])
        lines.append(Line(name, middles, means, dots=True))
        notes = notes or [(float(x), str(len(part))) for x, part in zip(middles, parts, strict=True)]
    if not any(np.isfinite(line.y).any() for line in lines):
        return None
    return line_chart(
        lines,
        f"|yaw|, degrees, in bands of {YAW_STEP_DEG} (grey: faces found in each)",
        "NME, % of the landmarks' box",
        "Mean error by yaw",
        90.0,
        notes=notes,
    )


def reliability_chart(runs: Runs) -> NDArray[np.uint8] | None:
    """What the confidence is worth, two lines for each run and chart.

    Left the errors of landmarks by their confidence, in tenths of all landmarks: the median, and what 90 of 100 stay
    below. Right the mean error of the most confident faces, and landmarks, by the share of them that is kept.

    Returns:
        (height, width, 3) uint8 RGB; None if no run has confidences.
    """
    by: list[Line] = []
    kept: list[Line] = []
    for name, (dataset, predictions) in runs.items():
        found = predictions.found & np.isfinite(predictions.confidence).all(axis=1)
        confidence = predictions.confidence[found].astype(np.float64)
        errors = 100 * each_landmark(dataset, predictions)[found]
        if confidence.size < DECILES:
            continue
        tenths = deciles(confidence.ravel(), errors.ravel(), DECILES)
        before = f"{name}: " if name else ""
        by.append(Line(f"{before}90 of 100 below", tenths.confidence, tenths.p90, dots=True))
        by.append(Line(f"{before}median", tenths.confidence, tenths.median, dots=True))
        for what, c, e in (
            ("landmarks", confidence.ravel(), errors.ravel()),
            ("faces", confidence.mean(axis=1), errors.mean(axis=1)),
        ):
            kept.append(Line(f"{before}most confident {what}", 100 * SHARES_KEPT, risk_coverage(c, e, SHARES_KEPT)))
    if not by:
        return None
    error = "error, % of the landmarks' box"
    of_kept = line_chart(kept, "share that is kept, %", f"mean {error}", "Mean error of the most confident", 100.0)
    title = "Error of landmarks by confidence"
    by_confidence = line_chart(by, "confidence", error, title, 1.0, legend="upper right")
    return np.hstack([by_confidence, of_kept])


def write_curves(folder: Path, runs: Runs) -> list[str]:
    """Writes ``ced.png`` (`ced_chart`), ``yaw.png`` (`yaw_chart`) and ``reliability.png`` (`reliability_chart`).

    Returns:
        The names of the files written. One of another run, for which this one has no chart, is removed.
    """
    charts = {"ced.png": ced_chart(runs), "yaw.png": yaw_chart(runs), "reliability.png": reliability_chart(runs)}
    for name, chart in charts.items():
        if chart is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_picture(folder / name, chart)
    return [name for name, chart in charts.items() if chart is not None]
