"""Similarity transforms between point sets and the pose of a head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class HeadPose:
    """Where a head looks, in degrees, by the convention of 300W-LP and AFLW2000-3D.

    The rotation is R = Rx(pitch) Ry(yaw) Rz(roll) in a frame with x right, y *up* and z *towards* the camera.

    Attributes:
        yaw_deg: positive when the nose points to the left side of the image.
        pitch_deg: positive when the head looks up.
        roll_deg: positive when the head leans clockwise on the screen.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def similarity_transform(
    source: ArrayLike, target: ArrayLike
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The similarity that moves ``source`` onto ``target`` with the least squared error (Umeyama, 1991).

    Both are (N, D) points in one order; ``target`` is about ``scale * source @ rotation.T + shift``. The rotation
    (D, D) is a proper one, never a reflection.

    Raises:
        ValueError: the shapes differ, there are fewer than D points, values are not finite, or the source points
            all lie on one spot.
    """
    a, b = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or len(a) < a.shape[1]:
        raise ValueError(f"source and target must be two (N, D) arrays of one shape, N >= D, got {a.shape}, {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("source and target must be finite")
    mean_a, mean_b = a.mean(0), b.mean(0)
    da, db = a - mean_a, b - mean_b
    if not da.any():
        raise ValueError("the source points all lie on one spot: no similarity can be found")
    rotations, scales = rotations_and_scales(da[None], db[None])
    rotation, scale = rotations[0], float(scales[0])
    return scale, rotation, mean_b - scale * rotation @ mean_a


def rotations_and_scales(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(F, D, D) proper rotations and (F,) scales that move point sets onto others with least squared error (Umeyama).

    ``source`` is (F, N, D), ``target`` too or (N, D) for all, the mean of each set at 0. NaN for a source whose points
    all lie on one spot.
    """
    u, s, vt = np.linalg.svd(target.swapaxes(-1, -2) @ source)
    sign = np.ones_like(s)
    sign[..., -1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    with np.errstate(invalid="ignore"):
        scale = (s * sign).sum(axis=-1) / (source**2).sum(axis=(-1, -2))
    return (u * sign[..., None, :]) @ vt, scale


def euler_to_rotation(pose: HeadPose) -> NDArray[np.float64]:
    """(3, 3) rotation of a head pose, in the frame x right, y up, z towards the camera."""
    p, y, r = (math.radians(v) for v in (pose.pitch_deg, pose.yaw_deg, pose.roll_deg))
    rx = np.array([[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]])
    ry = np.array([[math.cos(y), 0, -math.sin(y)], [0, 1, 0], [math.sin(y), 0, math.cos(y)]])
    rz = np.array([[math.cos(r), math.sin(r), 0], [-math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return rx @ ry @ rz


def rotation_to_euler(rotation: ArrayLike) -> HeadPose:
    """The head pose of a (3, 3) rotation given in the frame x right, y up, z towards the camera.

    Of the two such triples of angles this gives the one with a yaw of -90 to 90, as 300W-LP and all published tables
    have it: a head turned by 95 degrees has a yaw of 85 and pitch and roll near 180. At a yaw of exactly 90 degrees
    only pitch minus roll is defined, at -90 their sum; `geodesic_deg` has no such edges.
    """
    m = np.asarray(rotation, dtype=np.float64)
    yaw = math.asin(max(-1.0, min(1.0, -float(m[0, 2]))))
    if abs(m[0, 2]) < 1 - 1e-9:
        pitch = math.atan2(m[1, 2], m[2, 2])
        roll = math.atan2(m[0, 1], m[0, 0])
    else:
        pitch, roll = math.atan2(-m[2, 1], m[1, 1]), 0.0
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))


def in_image_frame(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """A (3, 3) rotation of the pose's frame in the image frame, x right, y down, z away from the camera; and back."""
    return np.array([[1, -1, -1], [-1, 1, 1], [-1, 1, 1]]) * rotation


def geodesic_deg(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """(F,) the angle of the one turn that takes a rotation (F, 3, 3) to another, degrees, 0 to 180.

    Example:
        >>> rotations = [euler_to_rotation(HeadPose(yaw, 20.0, 0.0)) for yaw in (0.0, 5.0)]
        >>> geodesic_deg(rotations[:1], rotations[1:]).round(6)
        array([5.])
    """
    apart = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    # Of a turn by an angle the norm of the difference is 2 sqrt(2) sin(angle / 2): exact for small angles, too.
    half_sine = np.linalg.norm(apart, axis=(-2, -1)) / math.sqrt(8)
    return np.asarray(np.degrees(2 * np.arcsin(half_sine.clip(0, 1))))


def head_pose(points_px: ArrayLike, template: ArrayLike) -> HeadPose:
    """The rotation that best moves a frontal template (N, 3) onto landmarks (N, 3), both in the image frame.

    Raises:
        ValueError: as `similarity_transform`.
    """
    _, rotation, _ = similarity_transform(template, points_px)
    return rotation_to_euler(in_image_frame(rotation))


def leans_deg(points_px: ArrayLike, template: ArrayLike) -> NDArray[np.float64]:
    """How far heads lean in the image's plane: the direction in which the top of the head points.

    It is what a crop must be turned by to show the head upright. `HeadPose.roll_deg` is the same for a face that looks
    at the camera. Towards the profile that loses its meaning, as roll and pitch turn about one axis; this does not.

    Args:
        points_px: (F, N, 3) landmarks in the image frame.
        template: (N, 3) the same landmarks of an average face that looks straight at the camera, in the same frame.

    Returns:
        (F,) degrees, -180 to 180, positive when the head leans clockwise on the screen.

    Example:
        >>> front = np.array([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0], [0, 0, -1]])
        >>> leans_deg([front, front @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]], front).round().astype(int).tolist()
        [0, 90]
    """
    points, front = np.asarray(points_px, dtype=np.float64), np.asarray(template, dtype=np.float64)
    rotations, _ = rotations_and_scales(
        np.broadcast_to(front - front.mean(0), points.shape), points - points.mean(1, keepdims=True)
    )
    top = -rotations[:, :, 1]  # where the template's (0, -1, 0) goes
    return np.degrees(np.arctan2(top[:, 0], -top[:, 1]))
