"""Line charts, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jvcr.files import replacing

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('charts are drawn with matplotlib: pip install "jvcr[plot]"', name=error.name) from error

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#3c3c3c")
"""Of one line after the other; colour-blind people can tell them apart (Okabe and Ito, 2008)."""


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        label: in the legend; "" for none.
        x: (n,) places along the chart.
        y: (n,) heights; NaN is a gap.
        dots: whether its points are marked.
        color: number of its colour in `COLORS`, which starts again at its end; None is its place among the lines.
    """

    label: str
    x: NDArray[np.floating]
    y: NDArray[np.floating]
    dots: bool = False
    color: int | None = None


@dataclass(frozen=True)
class Chart:
    """Lines over axes that start at 0.

    Attributes:
        title: above the chart.
        x_label: quantity and unit of the x axis.
        y_label: of the y axis.
        lines: what to draw.
        x_max: end of the x axis; None is a little beyond the largest x.
        y_max: of the y axis.
        legend: where the legend stands: curves that rise at once leave the lower right corner free, falling ones the
            upper right.
        notes: small texts above the x axis, each at its x.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x_max: float | None = None
    y_max: float | None = None
    legend: Literal["upper left", "upper right", "lower right"] = "upper left"
    notes: Sequence[tuple[float, str]] = ()


def draw_charts(charts: Sequence[Chart]) -> Figure:
    """The charts side by side, 840 x 600 pixels each."""
    engine = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(8.4 * len(charts), 6), dpi=100, layout=engine)
    for axes, chart in zip(np.atleast_1d(figure.subplots(1, len(charts))), charts, strict=True):
        _draw(axes, chart)
    return figure


def write_charts(path: Path, charts: Sequence[Chart]) -> None:
    """Writes charts side by side as an image file; one that is there stays whole until the new one is."""
    with replacing(path) as temporary:
        draw_charts(charts).savefig(temporary)


def _draw(axes: Axes, chart: Chart) -> None:
    for number, line in enumerate(chart.lines):
        color = COLORS[(number if line.color is None else line.color) % len(COLORS)]
        axes.plot(line.x, line.y, "o-" if line.dots else "-", color=color, label=line.label, linewidth=2)
    for x, text in chart.notes:
        axes.annotate(
            text, (x, 0), (0, 4), textcoords="offset points", ha="center", color="#787c84", size="small", zorder=3
        )
    axes.set_title(chart.title, loc="left")
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.set_xlim(0, chart.x_max)
    axes.set_ylim(0, chart.y_max)
    axes.grid(color="#e2e4e8")
    axes.spines[["top", "right"]].set_visible(False)
    if any(line.label for line in chart.lines):
        axes.legend(loc=chart.legend)
