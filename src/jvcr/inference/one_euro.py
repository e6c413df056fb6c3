"""Taking the jitter out of what is measured frame by frame: the one-euro filter, on landmarks and the head's pose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.geometry.pose import HeadPose, euler_to_rotation, rotation_to_euler

CUTOFF_HZ = 0.8
"""Cutoff of what is at rest, Hz."""

MOTION_BETA = 3000.0
"""Hz more for the square of the speed with which the whole face moves in the picture, in face sizes a second."""

SHAPE_BETA = 300.0
"""The same for a landmark that moves within the face."""

POSE_BETA = 0.01
"""Hz more for the square of the speed with which the head turns, in degrees a second."""

SPEED_CUTOFF_HZ = 2.0
"""Cutoff of the filter on the speeds themselves, Hz."""

_ONE_DEGREE = math.sqrt(2) * math.radians(1)
"""How far a small turn by a degree moves a rotation matrix, as the root of the sum over its squared entries."""


class OneEuroFilter:
    """A low-pass filter whose cutoff rises with speed: steady at rest, prompt in motion.

    Casiez, Roussel and Vogel, "1 Euro Filter", CHI 2012, Algorithm 1, with two changes: the cutoff rises with the
    square of the speed, which keeps out the small speeds of jitter and lets motion pass; and speed and cutoff belong to
    a row, not to each number, so that a movement is treated alike in all directions.

    Args:
        min_cutoff_hz: cutoff at rest, Hz: lower takes away more jitter, and lags more behind slow motion.
        beta: rise of the cutoff, Hz for a squared unit of speed: higher lags less behind fast motion.
        speed_cutoff_hz: cutoff of the low-pass filter on the speed, Hz.

    Raises:
        ValueError: a cutoff is not positive, or beta is negative.
    """

    def __init__(self, min_cutoff_hz: float, beta: float, speed_cutoff_hz: float) -> None:
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
            cutoff_hz = self.min_cutoff_hz + self.beta * (self._velocity**2).sum(axis=1, keepdims=True)
            self._values = self._values + _share(cutoff_hz, step_s) * (new - self._values)
        self._time_s = time_s
        return self._values.copy()


class FaceSmoother:
    """The one-euro filter on one face: on its motion in the picture, its shape, and the rotation of its head.

    The motion is the similarity (shift, turn and zoom in the picture) that takes the shape to the landmarks. All of
    them tell it, so it jitters little and its filter can open at small speeds; the shape, which moves little, is
    filtered harder in the frame of the face. So fast motion is not left behind, and a face at rest stands still.

    Speeds count in sizes of the face, the longer side of the landmarks' box, so that the constants fit faces of any
    size. The rotation is filtered as a matrix, so that angles which pass from 180 to -180 degrees do not matter.
    """

    def __init__(self) -> None:
        self._motion = OneEuroFilter(CUTOFF_HZ, MOTION_BETA, SPEED_CUTOFF_HZ)
        self._shape = OneEuroFilter(CUTOFF_HZ, SHAPE_BETA, SPEED_CUTOFF_HZ)
        self._rotation = OneEuroFilter(CUTOFF_HZ, POSE_BETA, SPEED_CUTOFF_HZ)
        self._last_shape: NDArray[np.float64] | None = None

    def __call__(
        self, points_px: ArrayLike, pose: HeadPose | None, time_s: float
    ) -> tuple[NDArray[np.float64], HeadPose | None]:
        """The (N, 3) landmarks in the image frame and the pose of the next frame, smoothed; no pose stays none.

        Raises:
            ValueError: as `OneEuroFilter`.
        """
        points = np.array(points_px, dtype=np.float64)
        size = max(float(np.ptp(points[:, :2], axis=0).max()), 1.0)
        # A complex number for the x, y of a point, another for the turn and zoom.
        xy = points[:, 0] + 1j * points[:, 1]
        middle = xy.mean()
        around = xy - middle
        if self._last_shape is None:
            zoom = complex(np.sqrt((np.abs(around) ** 2).mean()))
        else:
            shape = self._last_shape[:, 0] + 1j * self._last_shape[:, 1]
            zoom = np.vdot(shape, around) / max(np.vdot(shape, shape).real, 1e-9)
        zoom = zoom or 1.0  # of points that lie on one spot
        shape = around / zoom
        shape = np.column_stack([shape.real, shape.imag, points[:, 2] / abs(zoom)])
        self._last_shape = self._shape(shape, time_s, size / abs(zoom))
        motion = np.array([[middle.real, middle.imag, zoom.real, zoom.imag]])
        x, y, zoom_x, zoom_y = self._motion(motion, time_s, size)[0]
        moved = complex(x, y) + complex(zoom_x, zoom_y) * (self._last_shape[:, 0] + 1j * self._last_shape[:, 1])
        smooth = np.column_stack([moved.real, moved.imag, self._last_shape[:, 2] * math.hypot(zoom_x, zoom_y)])
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
