"""What the confidences of a network are worth, measured on faces that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOW_QUANTILE, LOW_MARGIN = 0.005, 0.9
"""Low is what 99.5 % of true faces in well placed crops exceed, less a tenth: boxes are worse placed in use."""

DOUBTFUL_QUANTILE = 0.15

_LEAST = 0.02  # confidence; the logarithm of less would run away
_OFFSET = 0.1  # percent; so that errors of nearly 0 do not decide the fit of their logarithms
_MOST = 100.0  # percent


@dataclass(frozen=True, eq=False)
class Calibration:
    """From confidences to errors in percent, and which confidence is low.

    Attributes:
        low_confidence: mean over a face's landmarks below which they are not to be trusted.
        doubtful_confidence: mean that 15 % of the faces in true boxes are below: where a box was only detected, it may
            lie badly.
        coefficients: (N, 4), of each landmark: the logarithm of its error is their sum, weighted by 1, the logarithm of
            its confidence, the square of that, and the mean of the logarithms over the face.
    """

    low_confidence: float
    doubtful_confidence: float
    coefficients: NDArray[np.float64]

    def expected_error(self, confidence: ArrayLike) -> NDArray[np.float64]:
        """(F, N) or (N,) mean distance in x and y to expect at confidences of that shape, percent of the face's size.

        The size is sqrt(width * height) of the box of the landmarks, as in the NME.
        """
        logarithms = np.einsum("...nk,nk->...n", _features(confidence), self.coefficients)
        return np.clip(np.exp(logarithms) - _OFFSET, 0, _MOST)

    @classmethod
    def fit(cls, confidence: ArrayLike, errors: ArrayLike, mirror: NDArray[np.intp]) -> Calibration:
        """Least squares of the logarithms, scaled to the mean error; mirrored landmarks get the same coefficients.

        Args:
            confidence: (F, N), 0 to 1.
            errors: (F, N), percent.
            mirror: (N,) the landmark's partner in a mirror.

        Raises:
            ValueError: the shapes differ, or there are fewer than 10 faces.
        """
        c, e = np.asarray(confidence, dtype=np.float64), np.asarray(errors, dtype=np.float64)
        if c.shape != e.shape or c.ndim != 2 or len(c) < 10:
            raise ValueError(
                f"a calibration needs (F, N) confidences and errors of ten faces or more, got {c.shape} and {e.shape}"
            )
        features = _features(np.concatenate([c, c[:, mirror]]))
        logarithms = np.log(np.concatenate([e, e[:, mirror]]) + _OFFSET)
        coefficients = np.stack(
            [np.linalg.lstsq(features[:, i], logarithms[:, i], rcond=None)[0] for i in range(c.shape[1])]
        )
        low, doubtful = np.quantile(c.mean(axis=1), [LOW_QUANTILE, DOUBTFUL_QUANTILE])
        made = cls(LOW_MARGIN * float(low), float(doubtful), coefficients)
        # The exponential of a mean logarithm is below the mean.
        coefficients[:, 0] += np.log((e.mean() + _OFFSET) / (made.expected_error(c).mean() + _OFFSET))
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a header; `from_dict` reads it back."""
        return {
            "low_confidence": round(self.low_confidence, 4),
            "doubtful_confidence": round(self.doubtful_confidence, 4),
            "coefficients": [[round(float(v), 4) for v in row] for row in self.coefficients],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], num_landmarks: int) -> Calibration:
        """The opposite of `to_dict`; a ValueError where it is not one for so many landmarks."""
        coefficients = np.array(data["coefficients"], dtype=np.float64)
        if coefficients.shape != (num_landmarks, 4) or not np.isfinite(coefficients).all():
            raise ValueError(f"its calibration must have {num_landmarks} x 4 finite coefficients")
        return cls(float(data["low_confidence"]), float(data["doubtful_confidence"]), coefficients)


def _features(confidence: ArrayLike) -> NDArray[np.float64]:
    logarithm = np.log(np.clip(np.asarray(confidence, dtype=np.float64), _LEAST, 1))
    mean = np.broadcast_to(logarithm.mean(axis=-1, keepdims=True), logarithm.shape)
    return np.stack([np.ones_like(logarithm), logarithm, logarithm**2, mean], axis=-1)
