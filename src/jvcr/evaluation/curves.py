"""The curves of an evaluation: the cumulative error distribution (Fig. 3), the error by yaw and by confidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset
from jvcr.evaluation.metrics import auc, ced_curve, failure_rate
from jvcr.evaluation.predictions import Predictions
from jvcr.evaluation.reliability import deciles, risk_coverage
from jvcr.evaluation.summary import DECILES, THRESHOLDS, each_landmark, face_errors, gte_errors
from jvcr.viz.charts import Chart, Line, write_charts

Runs: TypeAlias = Mapping[str, tuple[LandmarkDataset, Predictions]]
"""Name of a run -> the labels and what was predicted."""

_Errors: TypeAlias = Callable[[LandmarkDataset, Predictions], NDArray[np.float64] | None]

_CED_CHARTS: tuple[tuple[str, _Errors, float, str, str], ...] = (
    (
        "gte",
        gte_errors,
        20.0,
        "Cumulative error, three dimensions (mean depth aligned)",
        "GTE: 3D error, % of the outer eye corners' distance",
    ),
    ("nme", face_errors, 10.0, "Cumulative error, image plane", "NME: 2D error, % of the landmarks' box"),
)
"""Key in `THRESHOLDS`, errors, end of the axis in percent, title, label of the axis."""

YAW_STEP_DEG = 10

SHARES_KEPT = np.linspace(0.05, 1, 96)


def ced_charts(runs: Runs) -> list[Chart]:
    """Cumulative error curves, a line for each run: of the GTE (Fig. 3), if the scheme has it, and of the NME.

    Faces not detected count as beyond every error. A ValueError for a run without faces.
    """
    charts = []
    for metric, errors_of, end, title, x_label in _CED_CHARTS:
        lines = [
            _ced_line(name, 100 * errors, end, THRESHOLDS[metric][0], color)
            for color, (name, run) in enumerate(runs.items())
            if (errors := errors_of(*run)) is not None
        ]
        if lines:
            charts.append(Chart(title, x_label, "faces with at most this error, %", lines, end, 100.0, "lower right"))
    return charts


def _ced_line(name: str, errors: NDArray[np.float64], end: float, threshold: float, color: int) -> Line:
    at = np.linspace(0, end, 401)
    failures = f"{100 * failure_rate(errors, threshold):.1f} % above {threshold:g}"
    return Line(f"{name}: AUC {auc(errors, threshold):.3f}, {failures}", at, 100 * ced_curve(errors, at), color=color)


def yaw_charts(runs: Runs) -> list[Chart]:
    """The mean NME of faces by their |yaw|, in bands of 10 degrees; faces beyond 90 count with the last.

    The small numbers are the faces of each band, of the first run. Empty if no face detected has a known yaw.
    """
    bands = np.arange(0, 90, YAW_STEP_DEG)
    middles = bands + YAW_STEP_DEG / 2
    lines: list[Line] = []
    notes: list[tuple[float, str]] = []
    for name, (dataset, predictions) in runs.items():
        errors = 100 * face_errors(dataset, predictions)
        yaw = np.minimum(np.abs(dataset.yaw_deg.astype(np.float64)), 89.999)
        parts = [errors[(yaw >= low) & (yaw < low + YAW_STEP_DEG) & predictions.detected] for low in bands]
        lines.append(Line(name, middles, np.array([p.mean() if len(p) else np.nan for p in parts]), dots=True))
        notes = notes or [(float(x), str(len(part))) for x, part in zip(middles, parts, strict=True)]
    if not any(np.isfinite(line.y).any() for line in lines):
        return []
    x_label = f"|yaw|, degrees, in bands of {YAW_STEP_DEG} (grey: faces detected in each)"
    return [Chart("Mean error by yaw", x_label, "NME, % of the landmarks' box", lines, 90.0, notes=notes)]


def reliability_charts(runs: Runs) -> list[Chart]:
    """What the confidence is worth, two lines for each run and chart; empty if no run has confidences.

    First the median and 90th percentile error by tenths of confidence, then the mean error of the most confident faces,
    and landmarks, by the share of them that is kept.
    """
    by: list[Line] = []
    kept: list[Line] = []
    for name, (dataset, predictions) in runs.items():
        known = predictions.detected & np.isfinite(predictions.confidence).all(axis=1)
        confidence = predictions.confidence[known].astype(np.float64)
        errors = 100 * each_landmark(dataset, predictions)[known]
        if confidence.size < DECILES:
            continue
        tenths = deciles(confidence.ravel(), errors.ravel(), DECILES)
        before = f"{name}: " if name else ""
        by.append(Line(f"{before}90 of 100 below", np.array(tenths.confidence), np.array(tenths.p90), dots=True))
        by.append(Line(f"{before}median", np.array(tenths.confidence), np.array(tenths.p50), dots=True))
        for what, c, e in (
            ("landmarks", confidence.ravel(), errors.ravel()),
            ("faces", confidence.mean(axis=1), errors.mean(axis=1)),
        ):
            kept.append(Line(f"{before}most confident {what}", 100 * SHARES_KEPT, risk_coverage(c, e, SHARES_KEPT)))
    if not by:
        return []
    error = "error, % of the landmarks' box"
    return [
        Chart("Error of landmarks by confidence", "confidence", error, by, 1.0, legend="upper right"),
        Chart("Mean error of the most confident", "share that is kept, %", f"mean {error}", kept, 100.0),
    ]


def write_curves(folder: Path, runs: Runs) -> list[str]:
    """Writes the charts of each kind that there are, as PNG, and removes another run's; returns the names written."""
    of = {"ced.png": ced_charts(runs), "yaw.png": yaw_charts(runs), "reliability.png": reliability_charts(runs)}
    for name, charts in of.items():
        if charts:
            write_charts(folder / name, charts)
        else:
            (folder / name).unlink(missing_ok=True)
    return [name for name, charts in of.items() if charts]
