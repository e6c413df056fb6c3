"""Line charts as pictures, drawn with Pillow: what an evaluation's few curves need, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (60, 60, 60))
"""Of one line after the other; colour-blind people can tell them apart (Okabe and Ito, 2008)."""

_FINER = 3
"""The chart is drawn so many times larger and then reduced, which makes its lines smooth."""

_INK, _GRID, _FAINT = (40, 42, 48), (226, 228, 232), (120, 124, 132)
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 22, 48, 66

Corner: TypeAlias = Literal["upper left", "upper right", "lower right"]
"""Of a chart."""


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


def line_chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    title: str = "",
    x_max: float | None = None,
    y_max: float | None = None,
    size: tuple[int, int] = (840, 600),
    notes: Sequence[tuple[float, str]] = (),
    legend: Corner = "upper left",
) -> NDArray[np.uint8]:
    """Draws lines over axes that start at 0.

    Args:
        lines: what to draw; values below 0 or above the axes' ends are cut off.
        x_label: quantity and unit of the x axis.
        y_label: of the y axis.
        title: above the chart.
        x_max: end of the x axis; None is the largest x.
        y_max: end of the y axis; None is a little above the largest y.
        size: width and height of the picture, pixels.
        notes: small texts above the x axis, each at its x.
        legend: where the legend stands; curves that rise at once leave the lower right corner free, falling ones the
            upper right.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: a line's x and y differ in length, or nothing finite is there to draw.
    """
    for line in lines:
        if line.x.ndim != 1 or line.x.shape != line.y.shape:
            raise ValueError(
                f"line {line.label!r}: x and y must be lists of one length, got {line.x.shape}, {line.y.shape}"
            )
    values = [line.y[np.isfinite(line.y)] for line in lines]
    if not any(len(v) for v in values):
        raise ValueError("a chart needs a line with at least one finite value")
    x_max = x_max or float(max(line.x.max() for line in lines)) or 1.0
    y_max = y_max or 1.06 * float(max(v.max() for v in values if len(v))) or 1.0
    width, height = (side * _FINER for side in size)
    left, top = _LEFT * _FINER, _TOP * _FINER
    right, bottom = width - _RIGHT * _FINER, height - _BOTTOM * _FINER
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    small, normal, large = (ImageFont.load_default(points * _FINER) for points in (14, 16, 18))

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / x_max * (right - left), bottom - y / y_max * (bottom - top)

    for tick in _ticks(x_max):
        x, _ = place(tick, 0.0)
        draw.line([(x, top), (x, bottom)], _GRID, _FINER)
        draw.text((x, bottom + 8 * _FINER), f"{tick:g}", _INK, small, anchor="ma")
    for tick in _ticks(y_max):
        _, y = place(0.0, tick)
        draw.line([(left, y), (right, y)], _GRID, _FINER)
        draw.text((left - 8 * _FINER, y), f"{tick:g}", _INK, small, anchor="rm")
    for x, text in notes:
        draw.text((place(x, 0.0)[0], bottom - 5 * _FINER), text, _FAINT, small, anchor="md")

    inside = Image.new("L", (width, height), 0)
    ImageDraw.Draw(inside).rectangle([left, top - 2 * _FINER, right + 2 * _FINER, bottom], fill=255)
    for number, line in enumerate(lines):
        layer = picture.copy()
        pen = ImageDraw.Draw(layer)
        color = _color(line, number)
        for part in _runs_of_finite(line):
            points = [place(float(line.x[i]), float(line.y[i])) for i in part]
            pen.line(points, color, round(2.4 * _FINER), joint="curve")
            radius = (4.5 if line.dots else 0 if len(part) > 1 else 3) * _FINER
            for x, y in points if radius else ():
                pen.ellipse([x - radius, y - radius, x + radius, y + radius], color)
        picture.paste(layer, mask=inside)
    draw = ImageDraw.Draw(picture)
    draw.line([(left, top), (left, bottom), (right, bottom)], _INK, round(1.4 * _FINER))

    draw.text(((left + right) / 2, height - 12 * _FINER), x_label, _INK, normal, anchor="md")
    draw.text((left, top - 16 * _FINER), title, _INK, large, anchor="ls")
    name = Image.new("L", (height, 24 * _FINER), 0)
    ImageDraw.Draw(name).text((height - (top + bottom) / 2, 12 * _FINER), y_label, 255, normal, anchor="mm")
    upright = name.transpose(Image.Transpose.ROTATE_90)
    picture.paste(Image.new("RGB", upright.size, _INK), (8 * _FINER, 0), upright)
    _draw_legend(draw, lines, normal, (left, top, right, bottom), legend)
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    lines: Sequence[Line],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    frame: tuple[int, int, int, int],
    corner: Corner,
) -> None:
    """The legend, on white, in a corner of the frame (left, top, right, bottom)."""
    named = [(number, line) for number, line in enumerate(lines) if line.label]
    if not named:
        return
    left, top, right, bottom = frame
    step, sample, edge = 25 * _FINER, 30 * _FINER, 12 * _FINER
    wide = sample + 10 * _FINER + max(draw.textlength(line.label, font) for _, line in named)
    x = left + edge if corner == "upper left" else right - edge - wide
    y = bottom - edge - step * len(named) if corner == "lower right" else top + edge
    draw.rectangle([x - edge / 2, y - edge / 3, x + wide + edge / 2, y + step * len(named)], "white")
    for row, (number, line) in enumerate(named):
        middle = y + (row + 0.5) * step
        draw.line([(x, middle), (x + sample, middle)], _color(line, number), 3 * _FINER)
        draw.text((x + sample + 10 * _FINER, middle), line.label, _INK, font, anchor="lm")


def _color(line: Line, number: int) -> tuple[int, int, int]:
    return COLORS[(number if line.color is None else line.color) % len(COLORS)]


def _runs_of_finite(line: Line) -> list[NDArray[np.intp]]:
    """Indices of each stretch of the line without a gap."""
    known = np.flatnonzero(np.isfinite(line.x) & np.isfinite(line.y))
    return [part for part in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1) if len(part)]


def _ticks(end: float) -> list[float]:
    """Round numbers from 0 to the end of an axis, some 5 to 10 of them."""
    size = 10 ** math.floor(math.log10(end / 5))
    step = next(size * m for m in (1, 2, 5, 10) if end / (size * m) <= 10)
    return [round(float(i * step), 10) for i in range(int(end / step + 1e-9) + 1)]
