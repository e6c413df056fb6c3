"""What the detector's networks say, made into faces: decoding, joining of scores, suppression. NumPy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class FoundFaces(NamedTuple):
    """Faces of a picture, the most certain first.

    Attributes:
        squares: (n, 4) float32 x, y, side and angle in degrees of the upright crop of each, as `jvcr.geometry.Crop`.
        scores: (n,) float32, 0 to 1.
    """

    squares: Array
    scores: Array


class Grid:
    """The cells of the proposal network's maps for a picture of one size.

    Args:
        height: of the picture, a multiple of the largest stride.
        width: likewise.
        strides: side of a cell of each map, pixels.
        sides: side of the faces that each map is for, pixels.
    """

    def __init__(self, height: int, width: int, strides: tuple[int, ...], sides: tuple[float, ...]) -> None:
        columns = []
        for stride, side in zip(strides, sides, strict=True):
            y, x = np.mgrid[: height // stride, : width // stride].reshape(2, -1)
            columns.append(np.stack([(x + 0.5) * stride - 0.5, (y + 0.5) * stride - 0.5, 0 * x + stride, 0 * x + side]))
        self._cells = np.concatenate(columns, axis=1).astype(np.float32)

    def places(self, outputs: Array, least_logit: float, most: int) -> tuple[Array, Array]:
        """The cells whose score reaches a threshold, as squares.

        Args:
            outputs: (6, cells) of `ProposalNet`.
            least_logit: threshold.
            most: keep no more than this many, the most certain.

        Returns:
            squares: (n, 4), the most certain first.
            logits: (n,) of their scores.
        """
        # What the last digits say, they say otherwise on another processor: they shall not decide who comes first.
        logits = np.round(outputs[0] * 64) / 64
        chosen = np.flatnonzero(logits >= least_logit)
        chosen = chosen[np.argsort(-logits[chosen], kind="stable")][:most]
        logit, (_, dx, dy, size, cos, sin) = logits[chosen], outputs[:, chosen]
        x, y, stride, side = self._cells[:, chosen]
        angle = np.degrees(np.arctan2(sin, cos))
        squares = np.stack([x + dx * stride, y + dy * stride, side * np.exp(size.clip(-3, 3)), angle], axis=1)
        return squares, logit


def on_grid(squares: Array, grid: tuple[float, float]) -> Array:
    """Squares (n, 4) moved to a grid: a part of the power of two that their side reaches, and degrees of their angle.

    Processors and browsers differ in the last digits of a network's outputs. Of squares that are cut out and looked at
    again this would change pixels, and with them the first digits of what comes out; so all look at the same square.
    """
    step = np.exp2(np.floor(np.log2(squares[:, 2:3]))) * grid[0]
    places = np.round(squares[:, :3] / step) * step
    return np.concatenate([places, np.round(squares[:, 3:] / grid[1]) * grid[1]], axis=1).astype(np.float32)


def looked_at(squares: Array, outputs: Array) -> Array:
    """Squares (n, 4) as the second look, outputs (n, 6) of `LookNet`, corrects them."""
    x, y, side, angle = squares.T
    _, dx, dy, size, cos, sin = outputs.T
    radians = np.radians(angle)
    c, s = np.cos(radians), np.sin(radians)
    turned = (angle + np.degrees(np.arctan2(sin, cos)) + 180) % 360 - 180
    moved_x, moved_y = x + side * (dx * c - dy * s), y + side * (dx * s + dy * c)
    return np.stack([moved_x, moved_y, side * np.exp(size.clip(-1.5, 1.5)), turned], axis=1)


def logistic(logits: Array) -> Array:
    """Scores, 0 to 1, of logits."""
    return (1 / (1 + np.exp(-logits.clip(-30, 30)))).astype(np.float32)


def clues(proposed: Array, sides: Array, first: Array, second: Array, off: Array) -> Array:
    """What the joint score is made of, so that it means the same for small faces and large ones.

    Args:
        proposed: (n,) logits of the proposals.
        sides: (n,) of the proposals' squares in the picture that the proposal network was shown, pixels.
        first: (n, 6) of the first look.
        second: (n, 6) of the second, upright one.
        off: (n,) how far apart the squares of both looks are, `apart`.

    Returns:
        (n, 7): the logits of the proposal and both looks, the logarithm of the size over 32 pixels, how sure the second
        look is of the angle (1 where it is), how far off it finds the square of the first one, and 1.
    """
    sure = np.hypot(second[:, 4], second[:, 5])
    size = np.log2(sides.clip(1) / 32).clip(-2, 3)
    columns = [proposed.clip(-6, 6), first[:, 0].clip(-8, 8), second[:, 0].clip(-8, 8), size, sure, off, 1 + 0 * size]
    return np.stack(columns, axis=1).astype(np.float32)


def apart(squares: Array, others: Array) -> Array:
    """(n,) how far squares (n, 4) lie from others, in the sides of these, and how much they differ in size."""
    x, y = (squares - others)[:, :2].T / others[:, 2]
    return np.hypot(x, y) + np.abs(np.log(squares[:, 2] / others[:, 2]))


def distinct(squares: Array, scores: Array, most_shared: float = 0.35, most_inside: float = 0.75) -> NDArray[np.intp]:
    """Which squares to keep so that no face comes twice: none that shares much with a more certain one.

    Args:
        squares: (n, 4); their angles play no part.
        scores: (n,).
        most_shared: largest intersection over union of two that are kept.
        most_inside: largest part of the smaller one that the larger one may hold.

    Returns:
        The numbers of the squares that are kept, the most certain first.
    """
    x, y, side = squares[:, 0], squares[:, 1], squares[:, 2]
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        reach = (side[i] + side[kept]) / 2
        smaller = np.minimum(side[i], side[kept])
        across = np.minimum(reach - np.abs(x[i] - x[kept]), smaller).clip(0)
        down = np.minimum(reach - np.abs(y[i] - y[kept]), smaller).clip(0)
        shared = across * down
        union = side[i] ** 2 + side[kept] ** 2 - shared
        if (shared <= most_shared * union).all() and (shared <= most_inside * smaller**2).all():
            kept.append(int(i))
    return np.array(kept, dtype=np.intp)
