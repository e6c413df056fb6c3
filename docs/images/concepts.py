"""Draws the pictures of the pages on concepts: frames, volumes, confidence, crops, protocols.

python docs/images/concepts.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

import jvcr
from jvcr.evaluation.metrics import auc, ced_curve, failure_rate
from jvcr.evaluation.regions import regions
from jvcr.geometry.crop import Crop
from jvcr.geometry.warp import warp_crop
from jvcr.inference.image import read_image
from jvcr.inference.session import OnnxNetwork
from jvcr.model import gaussian_volume

HERE = Path(__file__).parent
PAPER, INK = "#f8f8f6", "#464a52"
BLUE, RED, GREEN, ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
FACE = np.array(jvcr.FACE68.template) * 40  # as a face 95 pixels wide


def sheet(width: float, height: float, columns: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure on its own light ground, which can be read on a dark page, too."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained", facecolor=PAPER)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for each in axes:
        each.set_facecolor(PAPER)
    return figure, axes


def write(figure: Figure, name: str) -> None:
    """The same bytes each time."""
    with matplotlib.rc_context({"svg.hashsalt": "jvcr", "svg.fonttype": "none"}):
        figure.savefig(HERE / name, metadata={"Date": None} if name.endswith("svg") else None)


def face_lines(axes: Axes, points: np.ndarray, color: str = INK, width: float = 1.2) -> None:
    """The lines between landmarks, of two of their axes."""
    for a, b in jvcr.FACE68.edges:
        axes.plot(*points[[a, b]].T, color=color, linewidth=width)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str, color: str) -> None:
    """An axis and its name."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.8})
    axes.annotate(text, end, (5, 5), textcoords="offset points", color=color, ha="left", va="center")


def frames() -> None:
    """Axes, from the front and from the side; a pixel's centre and its edge."""
    figure, (front, side, line) = sheet(9.6, 3.4, 3)
    face_lines(front, FACE[:, :2])
    arrow(front, (-60, -55), (-20, -55), "x", RED)
    arrow(front, (-60, -55), (-60, -15), "y", GREEN)
    front.set_title("what the camera sees", color=INK)
    face_lines(side, FACE[:, [2, 1]])
    side.axvline(0, color=BLUE, linestyle=":")
    side.text(2, -62, "z = 0: the landmarks' mean", color=BLUE)
    arrow(side, (-70, 62), (-20, 62), "z, away from the camera", BLUE)
    side.add_patch(Polygon([(-92, -9), (-78, 0), (-92, 9)], color=INK))
    side.text(-92, 18, "camera", color=INK)
    side.set_title("the same face from its side", color=INK)
    for axes, reach in ((front, (-70, 70)), (side, (-95, 75))):
        axes.set(xlim=reach, ylim=(75, -70), aspect="equal")
        axes.axis("off")
    for pixel in range(4):
        line.add_patch(Rectangle((pixel - 0.5, -0.3), 1, 0.6, fill=False, edgecolor=INK))
        line.plot(pixel, 0, "o", color=RED)
        line.text(pixel, 0.52, f"{pixel}", color=RED, ha="center")
        line.text(pixel, -0.42, f"{(pixel + 0.5) / 4 * 2 - 1:+.2f}", color=BLUE, ha="center")
    for edge, text in ((-0.5, "-1"), (1.5, "0"), (3.5, "+1")):
        line.text(edge, -0.75, text, color=BLUE, ha="center")
        line.plot([edge, edge], [-0.68, -0.3], color=BLUE)
    line.text(1.5, 0.8, "pixel (centres are integers)", color=RED, ha="center")
    line.text(1.5, -1.02, "unit frame (-1 and +1 are edges)", color=BLUE, ha="center")
    line.set(xlim=(-0.9, 3.9), ylim=(1.3, -1.3), title="a crop 4 pixels wide")
    line.title.set_color(INK)
    line.axis("off")
    write(figure, "frames.svg")


def numbers() -> None:
    """Which landmark has which number."""
    figure, (axes,) = sheet(7.5, 7, 1)
    face_lines(axes, FACE[:, :2], "#b9bcc2")
    colors = (INK, BLUE, GREEN, RED, ORANGE)
    for landmarks, color in zip(regions(jvcr.FACE68).values(), colors, strict=True):
        for i in landmarks:
            axes.plot(*FACE[i, :2], ".", color=color, markersize=4)
            below = i in (*range(40, 42), *range(46, 48), *range(55, 60), *range(65, 68))
            shift = {48: (-6, -2), 54: (6, -2)}.get(i, (0, -8 if below else 3))
            axes.annotate(str(i), FACE[i, :2], shift, textcoords="offset points", color=color, fontsize=7, ha="center")
    axes.set(xlim=(-55, 55), ylim=(54, -46), aspect="equal")
    axes.axis("off")
    write(figure, "landmarks.svg")


def volumes() -> None:
    """One face's volumes of 1, 4 and 32 slices."""
    crop = Crop.around_landmarks(FACE)
    points = torch.from_numpy(crop.to_unit(FACE))[None]
    figure, axes = sheet(9, 5.8, 5, 3)
    shown = {1: [0], 4: [0, 1, 2, 3], 32: [7, 10, 14, 18, 23]}
    for row, (depth, slices) in enumerate(shown.items()):
        volume = gaussian_volume(points, (depth, 32, 32))[0].numpy()
        for column in range(5):
            panel = axes[row * 5 + column]
            panel.axis("off")
            if column < len(slices):
                panel.imshow(volume[slices[column]], cmap="inferno", vmin=0, vmax=1)
                panel.set_title(f"slice {slices[column]} of {depth}", color=INK, fontsize=10)
    write(figure, "slices.png")


def confidence() -> None:
    """What the calibration of the shipped weights makes of a confidence."""
    calibration = OnnxNetwork("compact", 1).info.calibration
    assert calibration is not None
    figure, (axes,) = sheet(7, 4.2, 1)
    values = np.linspace(0.25, 0.7, 91)  # hardly a face lies beyond: the fit says nothing there
    errors = calibration.expected_error(np.repeat(values[:, None], 68, axis=1))
    for (part, landmarks), color in zip(regions(jvcr.FACE68).items(), (INK, BLUE, GREEN, RED, ORANGE), strict=True):
        axes.plot(values, errors[:, list(landmarks)].mean(axis=1), color=color, label=part)
    for level, text in ((calibration.low_confidence, "low"), (calibration.doubtful_confidence, "doubtful")):
        axes.axvline(level, color=INK, linestyle=":")
        axes.text(level + 0.004, 6.5, text, color=INK)
    axes.set(xlim=(0.25, 0.7), ylim=(0, 7))
    axes.set_xlabel("confidence, the same for all landmarks of the face")
    axes.set_ylabel("expected error, % of the face's size")
    axes.legend(frameon=False)
    write(figure, "confidence.svg")


def crops() -> None:
    """The three squares of a photograph, and what the network is shown."""
    image = read_image(HERE.parents[1] / "examples" / "astronaut.png")
    (face,) = jvcr.Landmarker()(image)
    around = Crop.around_landmarks(face.points)
    figure, (photo, shown) = sheet(9, 4.6, 2)
    photo.imshow(image)
    photo.plot(*face.points[:, :2].T, ".", color="white", markersize=3)
    low, high = face.points[:, :2].min(0), face.points[:, :2].max(0)
    detected = Crop.from_detection([*face.box, face.angle])
    boxes = {
        "detector's box": (face.box[:2], face.box[2:], RED),
        "landmarks' box": (low, high, BLUE),
        "crop around the landmarks": (*around.corners_px()[[0, 2]], GREEN),
    }
    for text, (start, end, color) in boxes.items():
        photo.add_patch(Rectangle(start, *(end - start), fill=False, edgecolor=color, linewidth=2, label=text))
    dashed = {"fill": False, "edgecolor": ORANGE, "linestyle": "--", "linewidth": 2}
    photo.add_patch(Polygon(detected.corners_px(), label="crop from the detector's box", **dashed))
    photo.set(xlim=(110, 340), ylim=(250, 20))
    photo.legend(loc="lower left", fontsize=8)
    shown.imshow(warp_crop(image, detected, 128))
    shown.set_title("what the network is shown: 128 x 128 pixels", color=INK, fontsize=10)
    for axes in (photo, shown):
        axes.axis("off")
    write(figure, "crops.jpg")


def protocols() -> None:
    """What the NME and the GTE divide by what, and a cumulative error distribution of made-up errors."""
    rng = np.random.default_rng(0)
    truth, found = FACE, FACE + rng.normal(0, 2.5, FACE.shape) + (0, 0, 14)
    figure, (flat, deep, curve) = sheet(10, 3.8, 3)
    face_lines(flat, truth[:, :2], "#b9bcc2")
    for t, p in zip(truth, found, strict=True):
        flat.plot(*np.stack([t, p])[:, :2].T, color=RED, linewidth=1.6)
    low, high = truth[:, :2].min(0), truth[:, :2].max(0)
    flat.add_patch(Rectangle(low, *(high - low), fill=False, edgecolor=BLUE, linewidth=1.6))
    flat.set_title("NME: mean red length over\nthe root of the true box's area", color=INK, fontsize=10)
    face_lines(deep, truth[:, [2, 1]], "#b9bcc2")
    face_lines(deep, found[:, [2, 1]], RED, 0.9)
    deep.axvline(truth[:, 2].mean(), color="#8a8f99", linestyle=":")
    deep.axvline(found[:, 2].mean(), color=RED, linestyle=":")
    middle = (truth[:, 2].mean(), 62), (found[:, 2].mean(), 62)
    arrow(deep, middle[1], middle[0], "", BLUE)
    deep.text(middle[1][0] + 4, 64, "mean z aligned first", color=BLUE)
    deep.set_title("GTE: mean 3D distance over that\nof the true outer eye corners", color=INK, fontsize=10)
    for axes in (flat, deep):
        axes.set(xlim=(-65, 85), ylim=(72, -60), aspect="equal")
        axes.axis("off")
    errors = np.append(rng.gamma(6, 0.5, 97), [np.nan] * 3)
    at = np.linspace(0, 10, 201)
    shares = ced_curve(errors, at)
    curve.plot(at, shares, color=BLUE)
    curve.fill_between(at[at <= 7], shares[at <= 7], color=BLUE, alpha=0.15)
    curve.axvline(7, color=INK, linestyle=":")
    curve.text(2.6, 0.2, f"AUC to 7 %: {auc(errors, 7):.2f}", color=INK)
    curve.text(7.1, 0.1, f"beyond 7 %:\n{100 * failure_rate(errors, 7):.0f} % fail", color=INK)
    curve.set(xlim=(0, 10), ylim=(0, 1.02), xlabel="error, %", ylabel="share of the faces")
    curve.set_title("CED of 100 made-up errors,\n3 of them faces not detected", color=INK, fontsize=10)
    write(figure, "protocols.svg")


if __name__ == "__main__":
    frames()
    numbers()
    volumes()
    confidence()
    crops()
    protocols()
