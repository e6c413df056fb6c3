"""Which landmarks an object itself hides."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.scheme import LandmarkScheme

_BEHIND = 0.04
"""A landmark is hidden if the surface lies so much in front of it, in sizes of the object."""

_AWAY = 0.1
"""Sine of the angle by which a surface must be turned away so that it counts as facing away."""


def hidden_landmarks(points: NDArray[np.floating], scheme: LandmarkScheme | None) -> NDArray[np.bool_]:
    """(N,) which landmarks the object itself hides.

    A surface is spanned over all landmarks. Hidden is what it covers, and what all of it around faces away.

    Args:
        points: (N, 3) places in the picture, and depth in the same unit.
        scheme: its template says how the surface lies; without one nothing is hidden.
    """
    if scheme is None or scheme.template is None or scheme.num_landmarks != len(points):
        return np.zeros(len(points), bool)
    triangles = _surface(scheme.template)
    corners = points[triangles].astype(np.float64)  # (triangles, 3, 3)
    a, b, c = (corners[:, None, k, :2] for k in range(3))
    place = points[None, :, :2]
    area = _cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.stack([_cross(b - place, c - place), _cross(c - place, a - place), _cross(a - place, b - place)])
        shares = shares / area
        surface = np.einsum("kti,tk->ti", shares, corners[:, :, 2])
    margin = _BEHIND * float(np.ptp(points, axis=0).max())
    covered = ((shares > 0).all(0) & (surface < points[:, 2] - margin)).any(0)

    sizes = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    towards = area[:, 0] >= -_AWAY * sizes
    seen = np.zeros(len(points), bool)
    seen[triangles[towards]] = True
    return np.asarray(covered | (~seen & np.isin(np.arange(len(points)), triangles)))


@functools.cache
def _surface(template: tuple[tuple[float, float, float], ...]) -> NDArray[np.intp]:
    """(n, 3) the triangles of a surface over the template's points, clockwise as seen from the front."""
    points = np.array(template, np.float32)[:, :2]
    low, high = points.min(0), points.max(0)
    plane = cv2.Subdiv2D((-1, -1, 1002, 1002))
    points = (points - low) / (high - low).max() * 1000
    plane.insert(points.tolist())
    corners = np.asarray(plane.getTriangleList()).reshape(-1, 3, 2)
    inside = corners[((corners >= -0.5) & (corners <= 1000.5)).all((1, 2))]
    triangles = np.linalg.norm(inside[:, :, None] - points, axis=-1).argmin(-1)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return np.asarray(np.where(_cross(b - a, c - a)[:, None] < 0, triangles[:, ::-1], triangles))


def _cross(u: NDArray[np.floating], v: NDArray[np.floating]) -> NDArray[np.floating]:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
