"""How far eyes and mouths are open."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class OpenRange(NamedTuple):
    """From closed to wide open, in `contour_aperture` of predicted landmarks, x and y."""

    closed: float
    wide: float


EYE_RANGE = OpenRange(0.10, 0.48)
MOUTH_RANGE = OpenRange(0.04, 0.63)
"""Measured on faces whose eyes and lips people labelled (`benchmarks/open_ranges.py`): the median of those that are
closed by these labels, and what 95 % (eyes) or 99 % (mouths) of all are below."""


def openness(contour: ArrayLike, limits: OpenRange) -> float:
    """How far one eye or mouth (2k, 2 or 3), pixels, is open in the image: 0 closed to 1 wide open.

    Depth is left out: over the two axes that can be seen the eye agrees better with labels by hand.
    """
    aperture = float(contour_aperture(np.asarray(contour)[None, :, :2])[0])
    return float(np.clip((np.nan_to_num(aperture) - limits.closed) / (limits.wide - limits.closed), 0, 1))


def contour_aperture(contour: ArrayLike) -> NDArray[np.float64]:
    """How far eyes or mouths are open: the mean distance of facing landmarks, over the distance of the corners.

    For an eye of six landmarks this is the eye aspect ratio (EAR) of Soukupova and Cech (2016). ``contour`` is
    (F, 2k, 2 or 3), in order around the aperture, a corner at 0, the other at k.

    Returns:
        (F,) ratios, 0 is closed; NaN where the corners lie on one spot, or a landmark is NaN.

    Raises:
        ValueError: there are not an even number of landmarks, at least four.

    Example:
        >>> eye = [[0, 0], [2, -1], [4, -1], [6, 0], [4, 1], [2, 1]]
        >>> contour_aperture([eye])
        array([0.33333333])
    """
    r = np.asarray(contour, dtype=np.float64)
    if r.ndim != 3 or r.shape[1] < 4 or r.shape[1] % 2:
        raise ValueError(f"a contour must have the shape (faces, 2k, 2 or 3) with k at least 2, got {r.shape}")
    half = r.shape[1] // 2
    apart = np.linalg.norm(r[:, 1:half] - r[:, :half:-1], axis=-1).mean(axis=1)
    width = contour_width(r)
    return np.divide(apart, width, out=np.full(len(r), np.nan), where=width > 0)


def contour_width(contour: ArrayLike) -> NDArray[np.float64]:
    """(F,) distance of the corners of contours (F, 2k, 2 or 3)."""
    r = np.asarray(contour, dtype=np.float64)
    return np.linalg.norm(r[:, 0] - r[:, r.shape[1] // 2], axis=-1)
