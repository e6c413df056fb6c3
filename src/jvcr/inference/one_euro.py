"""Taking the jitter out of what is measured frame by frame: the one-euro filter, on landmarks and the head's pose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.geometry.pose import HeadPose, euler_to_rotation, rotation_to_euler

POINTS_CUTOFF_HZ, POINTS_BETA = 1.0, 40.0
"""Of the filter on landmarks: cutoff at rest, Hz, and Hz more for each face size that a landmark moves in a second."""

POSE_CUTOFF_HZ, POSE_BETA = 1.0, 0.1
"""Of the filter on the pose: cutoff at rest, Hz, and Hz more for each degree that the head turns in a second."""

SPEED_CUTOFF_HZ = 1.0
"""Cutoff of the filter on the speeds themselves, Hz: the one-euro paper's."""

_ONE_DEGREE = math.sqrt(2) * math.radians(1)
"""How far a small turn by a degree moves a rotation matrix, as the root of the sum over its squared entries."""


class OneEuroFilter:
    """A low-pass filter whose cutoff rises with speed: steady at rest, prompt in motion.

    Casiez, Roussel and Vogel, "1 Euro Filter", CHI 2012, Algorithm 1. There each number has a speed and a cutoff of its
    own; here each row has, so that a movement is treated alike in all directions.

    Args:
        min_cutoff_hz: cutoff at rest, Hz: lower takes away more jitter, and lags more behind slow motion.
        beta: rise of the cutoff, Hz for a unit of speed: higher lags less behind fast motion.
        speed_cutoff_hz: cutoff of the low-pass filter on the speed, Hz.

    Raises:
        ValueError: a cutoff is not positive, or beta is negative.
    """

    def __init__(self, min_cutoff_hz: float, beta: float, speed_cutoff_hz: float = SPEED_CUTOFF_HZ) -> None:
        if not (min_cutoff_hz > 0 and speed_cutoff_hz > 0 and beta >= 0):
            raise ValueError(
                "a one-euro filter needs cutoffs > 0 and beta >= 0, "
                f"got min_cutoff_hz={min_cutoff_hz}, beta={beta}, speed_cutoff_hz={speed_cutoff_hz}"
            )
        self.min_cutoff_hz, self.beta, self.speed_cutoff_hz = min_cutoff_hz, beta, speed_cutoff_hz
        self._time_s = -math.inf
        self._values: NDArray[np.float64] | None = None
        self._velocity = np.zeros((0, 0))

    def __call__(self, values: ArrayLike, time_s: float, unit: float = 1.0) -> NDArray[np.float64]:
        """The next values, smoothed; the first ones come back as they are.

        Args:
            values: (n, k), of one shape in all calls.
            time_s: when they were measured, seconds; frames need not come at a steady rate.
            unit: what counts as 1 in speeds, in units of the values, such as the size of a face in pixels.

        Raises:
            ValueError: the time is not later than that of the call before, or the shape is another.
        """
        new = np.array(values, dtype=np.float64)
        if self._values is None:
            self._values, self._velocity = new, np.zeros_like(new)
        else:
            if new.shape != self._values.shape:
                raise ValueError(f"values must keep their shape {self._values.shape}, got {new.shape}")
            if not time_s > self._time_s:
                raise ValueError(f"time_s must rise from call to call, got {time_s} after {self._time_s}")
            step_s = time_s - self._time_s
            velocity = (new - self._values) / (step_s * unit)
            self._velocity = self._velocity + _share(self.speed_cutoff_hz, step_s) * (velocity - self._velocity)
            speed = np.linalg.norm(self._velocity, axis=1, keepdims=True)
            cutoff_hz = self.min_cutoff_hz + self.beta * speed
            self._values = self._values + _share(cutoff_hz, step_s) * (new - self._values)
        self._time_s = time_s
        return self._values.copy()


class FaceSmoother:
    """The one-euro filter on one face: on each landmark, and on the rotation of its head.

    Speeds of landmarks count in sizes of the face, the longer side of the landmarks' box, so that the constants fit
    faces of any size. The rotation is filtered as a matrix, so that angles which pass from 180 to -180 degrees do not
    matter.
    """

    def __init__(self) -> None:
        self._points = OneEuroFilter(POINTS_CUTOFF_HZ, POINTS_BETA)
        self._rotation = OneEuroFilter(POSE_CUTOFF_HZ, POSE_BETA)

    def __call__(
        self, points_px: ArrayLike, pose: HeadPose | None, time_s: float
    ) -> tuple[NDArray[np.float64], HeadPose | None]:
        """The (N, 3) landmarks in the image frame and the pose of the next frame, smoothed; no pose stays none.

        Raises:
            ValueError: as `OneEuroFilter`.
        """
        points = np.asarray(points_px, dtype=np.float64)
        size = float(np.ptp(points[:, :2], axis=0).max())
        smooth = self._points(points, time_s, max(size, 1.0))
        if pose is None:
            return smooth, None
        matrix = self._rotation(euler_to_rotation(pose).reshape(1, 9), time_s, _ONE_DEGREE).reshape(3, 3)
        return smooth, rotation_to_euler(_nearest_rotation(matrix))


def _share(cutoff_hz: float | NDArray[np.float64], step_s: float) -> NDArray[np.float64]:
    """How much of the way to a new value a low-pass filter goes in a step, the paper's alpha."""
    turns = 2 * math.pi * step_s * np.asarray(cutoff_hz, dtype=np.float64)
    return np.asarray(turns / (turns + 1))


def _nearest_rotation(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) the rotation nearest to a matrix: a filtered one is a mean of rotations, and none itself."""
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt)
