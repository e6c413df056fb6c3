"""How sure a mean is, how two systems differ, how well one number ranks another: statistics of any errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from scipy import stats
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('rank statistics are scipy\'s: pip install "jvcr[data]"', name=error.name) from error

CONFIDENCE = 0.95
"""How often an interval should hold the mean, where nothing else is said."""

RESAMPLES = 2_000
"""How many times faces are drawn again for an interval: another seed moves its ends by about 4 % of its half width."""

_DRAWN_AT_ONCE = 1_000_000


def bootstrap_means(
    values: ArrayLike, units: ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """(R, K) the means of several quantities over faces drawn again with replacement (Efron, 1979).

    Whole units are drawn: faces that show one person, or lie in one photograph, are no independent measurements.
    ``values`` are (F, K), NaN where a face is not in the mean of one; ``units`` (F,) what each face belongs to (None:
    each is its own). All quantities are of the same draws; NaN where no face of one was drawn.
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2 or not len(v) or resamples < 1:
        raise ValueError(f"expected values (faces, quantities) and resamples of at least 1, got {v.shape}, {resamples}")
    _, unit = np.unique(np.arange(len(v)) if units is None else np.asarray(units), return_inverse=True)
    if unit.shape != (len(v),):
        raise ValueError(f"units must name what each of {len(v)} faces belongs to, got shape {unit.shape}")
    count = int(unit.max()) + 1
    known = np.isfinite(v)
    sums, members = np.zeros((count, v.shape[1])), np.zeros((count, v.shape[1]))
    np.add.at(sums, unit, np.where(known, v, 0))
    np.add.at(members, unit, known)
    generator = np.random.default_rng(seed)
    block = max(1, _DRAWN_AT_ONCE // count)
    parts = []
    for first in range(0, resamples, block):
        rows = min(block, resamples - first)
        drawn = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        with np.errstate(invalid="ignore"):
            parts.append((times @ sums) / (times @ members))
    return np.concatenate(parts)


def interval(means: ArrayLike, confidence: float = CONFIDENCE) -> list[float] | None:
    """Ends of a bootstrap interval of (R,) means by the percentile method; None without a finite mean."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    m = np.asarray(means, dtype=np.float64)
    m = m[np.isfinite(m)]
    return np.quantile(m, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist() if len(m) else None


@dataclass(frozen=True)
class PairedDifference:
    """How two systems differ on the same faces; errors of the first minus those of the second."""

    faces: int
    """Faces that both have an error of."""
    mean: float | None
    """Mean difference: below 0, the first is better. None, as the ends of its bootstrap interval, without faces."""
    low: float | None
    high: float | None
    wins: int
    """Faces on which the first has the smaller error."""
    losses: int
    ties: int


def paired_difference(
    first: ArrayLike, second: ArrayLike, units: ArrayLike | None = None, resamples: int = 10_000
) -> PairedDifference:
    """Mean difference of two errors (F,), NaN where a system has none, with its bootstrap interval of `CONFIDENCE`."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"first and second must be errors of the same faces, got shapes {a.shape} and {b.shape}")
    both = np.isfinite(a) & np.isfinite(b)
    difference = (a - b)[both]
    wins, losses = int((difference < 0).sum()), int((difference > 0).sum())
    faces = len(difference)
    if not faces:
        return PairedDifference(0, None, None, None, 0, 0, 0)
    of = None if units is None else np.asarray(units)[both]
    low, high = interval(bootstrap_means(difference[:, None], of, resamples)[:, 0]) or (None, None)
    return PairedDifference(faces, float(difference.mean()), low, high, wins, losses, faces - wins - losses)


def pearson(a: ArrayLike, b: ArrayLike) -> float | None:
    """Pearson's correlation of two lists (n,) where both are finite; None with fewer than two places, or all alike."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def spearman(a: ArrayLike, b: ArrayLike) -> float | None:
    """Spearman's rank correlation of two lists (n,) of finite numbers; equal ones share their mean rank.

    None with fewer than two places, or where one list is all the same.
    """
    return pearson(stats.rankdata(a), stats.rankdata(b))


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """The area under the ROC curve: how often a positive, drawn at random, scores higher than one of the rest.

    Equal scores count half (Hanley and McNeil, 1982). None where all are positive or none is.

    Example:
        >>> roc_auc([1, 2, 3, 4], [False, True, False, True])
        0.75
    """
    s, p = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if p.all() or not p.any():
        return None
    wins = stats.mannwhitneyu(s[p], s[~p], method="asymptotic").statistic
    return float(wins / (p.sum() * (~p).sum()))
