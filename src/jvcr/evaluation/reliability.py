"""What a confidence is worth: the errors that go with it, and what leaving out the least confident gets rid of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.evaluation.statistics import roc_auc

LARGE_ERROR = 5.0
"""Errors above this, percent of the box, are what a confidence should warn of."""

LEFT_OUT = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of the least confident that are left out in a table of `Rejection`."""


@dataclass(frozen=True)
class Deciles:
    """Errors by confidence: parts of equal size, the least confident first."""

    confidence: list[float]
    """Median confidence of each part."""
    p50: list[float]
    """Median error, percent."""
    p90: list[float]
    """90 of 100 errors are below, percent."""


def deciles(confidence: ArrayLike, errors: ArrayLike, count: int = 10) -> Deciles:
    """The errors (n,) of ``count`` equally large parts, from the least to the most confident.

    Raises:
        ValueError: confidence and errors are not two lists of one length, at least ``count``.

    Example:
        >>> deciles([0.1, 0.9, 0.2, 0.8], [4.0, 1.0, 6.0, 1.0], count=2).p50
        [5.0, 1.0]
    """
    c, e = _pair(confidence, errors)
    if not 1 <= count <= len(c):
        raise ValueError(f"{len(c)} values cannot be put into {count} parts")
    parts = np.array_split(np.argsort(c, kind="stable"), count)
    return Deciles(
        [float(np.median(c[part])) for part in parts],
        [float(np.median(e[part])) for part in parts],
        [float(np.quantile(e[part], 0.9)) for part in parts],
    )


def risk_coverage(confidence: ArrayLike, errors: ArrayLike, kept: ArrayLike) -> NDArray[np.float64]:
    """(K,) the mean error of the most confident ones, for several shares of them (El-Yaniv and Wiener, 2010).

    Example:
        >>> risk_coverage([0.1, 0.9, 0.5, 0.7], [9.0, 1.0, 4.0, 2.0], [0.5, 1.0])
        array([1.5, 4. ])
    """
    c, e = _pair(confidence, errors)
    shares = np.asarray(kept, dtype=np.float64)
    if not len(c) or not ((shares > 0) & (shares <= 1)).all():
        raise ValueError(f"expected at least one value and shares above 0 and up to 1, got {len(c)} and {shares}")
    means = np.cumsum(e[np.argsort(-c, kind="stable")]) / np.arange(1, len(c) + 1)
    return means[np.maximum(np.round(shares * len(c)).astype(np.intp), 1) - 1]


@dataclass(frozen=True)
class Rejection:
    """What leaving out the least confident does."""

    share: float
    """Of them all that is left out."""
    threshold: float
    """Least confidence that is kept."""
    recall: float | None
    """Share of the large errors that is among those left out; None where there is no large error."""
    error: float
    """Mean error of those kept, percent."""


@dataclass(frozen=True)
class Reliability:
    """How well a low confidence warns of large errors."""

    above: float
    """Errors above this are large, percent."""
    share: float
    """Share of errors that are large."""
    auc: float | None
    """How often a large error has the lower confidence than another one, drawn at random; None where all are large or
    none is."""
    left_out: list[Rejection]
    """What leaving out the least confident does."""


def reliability(
    confidence: ArrayLike, errors: ArrayLike, large: float = LARGE_ERROR, left_out: tuple[float, ...] = LEFT_OUT
) -> Reliability:
    """How well a low confidence (n,) warns of large errors (n,), percent; all finite."""
    c, e = _pair(confidence, errors)
    if not len(c):
        raise ValueError("a confidence needs at least one value to be judged by")
    order = np.argsort(c, kind="stable")
    c, e = c[order], e[order]
    is_large = e > large
    rejections = []
    for share in left_out:
        first = min(round(share * len(c)), len(c) - 1)
        recall = float(is_large[:first].sum() / is_large.sum()) if is_large.any() else None
        rejections.append(Rejection(share, float(c[first]), recall, float(e[first:].mean())))
    return Reliability(large, float(is_large.mean()), roc_auc(-c, is_large), rejections)


def _pair(confidence: ArrayLike, errors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    c, e = np.asarray(confidence, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if c.shape != e.shape or c.ndim != 1:
        raise ValueError(f"expected two lists of one length, got shapes {c.shape} and {e.shape}")
    return c, e
