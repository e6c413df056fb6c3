"""A head made of formulas: a linear morphable model built like the Basel Face Model, without any scan.

A smooth surface through the landmarks of face68.toml and some anchors; smooth displacement fields are its modes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.data.readers.basel import LandmarkModel
from jvcr.scheme import FACE68
from jvcr.synthetic.mesh import Floats, build_mesh
from jvcr.synthetic.modes import EXPRESSION_MODES, SHAPE_MODES, expression_modes, shape_modes

UNIT_UM = 62_000.0
"""Micrometres of the template's unit: with it the head is as large as an average adult's."""


@dataclass(frozen=True)
class HeadModel:
    """A linear morphable head: vertices = mean + shape modes * a + expression modes * b.

    Micrometres, x right, y up, z towards the camera, as the Basel model in 300W-LP (Zhu et al., 2016). Every mode is
    symmetric or antisymmetric about x = 0, so that a mirrored face has the same parameters, some with the other sign.
    """

    mean_um: NDArray[np.float32]  # (V, 3) vertices of the average head, its landmarks first, as in FACE68
    shape_basis: NDArray[np.float32]  # (199, V, 3) the displacements of unit parameters
    expression_basis: NDArray[np.float32]  # (29, V, 3)
    shape_std: Floats  # (199,) standard deviations of the parameters, descending
    expression_std: Floats  # (29,); for the modes of `Expression`, 1 is the full movement
    shape_sign: Floats  # (199,) 1 for symmetric modes, -1 for those whose parameter changes its sign in a mirror
    expression_sign: Floats  # (29,)
    triangles: NDArray[np.intp]  # (T, 3) vertex indices, counter-clockwise from outside
    parts: NDArray[np.int8]  # (T,) a `Part` for each triangle
    at_landmarks: LandmarkModel  # the landmarks' part of the model, unrounded

    def vertices_um(self, shape: ArrayLike, expression: ArrayLike) -> NDArray[np.float32]:
        """(V, 3) float32 vertices of a head, micrometres, of (199,) parameters of shape and (29,) of expression."""
        a, b = np.asarray(shape, np.float32), np.asarray(expression, np.float32)
        flat = self.mean_um.ravel() + a @ self.shape_basis.reshape(SHAPE_MODES, -1)
        flat += b @ self.expression_basis.reshape(EXPRESSION_MODES, -1)
        return flat.reshape(-1, 3)

    def landmarks_um(self, shape: ArrayLike, expression: ArrayLike) -> Floats:
        """(68, 3) float64 landmarks of a head, micrometres; arguments as `vertices_um`."""
        # Unlike `LandmarkModel.landmarks` without BLAS, whose last digits differ from machine to machine.
        return (
            self.at_landmarks.mean
            + np.einsum("k,kni->ni", np.asarray(shape, np.float64), self.at_landmarks.shape_basis)
            + np.einsum("k,kni->ni", np.asarray(expression, np.float64), self.at_landmarks.expression_basis)
        )


@functools.cache
def head_model() -> HeadModel:
    """The head, built once a process; always the same."""
    mesh = build_mesh()
    shapes, expressions = shape_modes(mesh), expression_modes(mesh)
    fields = np.stack([mode.field for mode in shapes])
    norms = np.sqrt((fields**2).sum((1, 2)))
    # Modes of unit length over all vertices, as those of a principal component analysis are.
    # Modes that mirror each other are equally large but for last bits, which differ from processor to processor.
    shape_std = (np.array([mode.deviation for mode in shapes]) * norms * UNIT_UM).round(3)
    order = np.argsort(-shape_std, kind="stable")
    shape_basis = (fields / norms[:, None, None])[order]
    expression_basis = np.stack([mode.field for mode in expressions])
    landmarks = slice(FACE68.num_landmarks)
    return HeadModel(
        mean_um=(mesh.points * UNIT_UM).astype(np.float32),
        shape_basis=shape_basis.astype(np.float32),
        expression_basis=(expression_basis * UNIT_UM).astype(np.float32),
        shape_std=shape_std[order],
        expression_std=np.array([mode.deviation for mode in expressions]),
        shape_sign=np.array([mode.sign for mode in shapes])[order],
        expression_sign=np.array([mode.sign for mode in expressions]),
        triangles=mesh.triangles,
        parts=mesh.parts,
        at_landmarks=LandmarkModel(
            mean=mesh.points[landmarks] * UNIT_UM,
            shape_basis=shape_basis[:, landmarks],
            expression_basis=expression_basis[:, landmarks] * UNIT_UM,
        ),
    )
