"""The Basel face model at the landmarks: what 300W-LP's parameters mean, and how to recover it.

300W-LP has parameters and no 3D points. A face's landmarks are ``mean + shape_basis a + expression_basis e``, linear in
its 199 + 29 parameters, posed into the image. The model is not part of 300W-LP, but AFLW2000-3D has parameters and the
points they make: un-posing the points leaves a linear system whose unknowns are the model.

Model frame: x right, y *up*, z *towards* the camera, micrometres. Pose_Para is pitch, yaw, roll in radians, tx, ty, tz,
scale; a point X goes to V = scale * R X + t, and to Matlab's pixel (V_x, height + 1 - V_y), counted from 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.data.readers.labelled import existing_folder
from jvcr.data.readers.matfile import EXPRESSION, POINTS, POSE, SHAPE, find_pairs, read_pairs, stacked
from jvcr.data.skipped import summary
from jvcr.files import load_arrays, replacing
from jvcr.geometry.pose import HeadPose, euler_to_rotation

BASIS = "basis.npz"
"""What a face model's file is called beside the .mat files that need it."""

SHAPES, EXPRESSIONS = 199, 29

_LARGEST_RESIDUAL_UM = 10.0
"""The published files agree to 0.006 micrometres; what is above this is no rounding."""

_MOST_ODD = 20
"""One face in so many may be left out because it contradicts the others."""


@dataclass(frozen=True)
class LandmarkModel:
    """A linear face model, at the landmarks: (N, 3) ``mean``, (199, N, 3) and (29, N, 3) modes of unit parameters.

    Micrometres in the model frame.
    """

    mean: NDArray[np.float64]
    shape_basis: NDArray[np.float64]
    expression_basis: NDArray[np.float64]

    def __post_init__(self) -> None:
        points = (*self.mean.shape[:1], 3)
        wanted = {"mean": points, "shape_basis": (SHAPES, *points), "expression_basis": (EXPRESSIONS, *points)}
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value.shape != shape:
                raise ValueError(f"a face model's {name} should be {shape}, got {value.shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"a face model's {name} has NaN or infinite values")

    def landmarks(self, shape: ArrayLike, expression: ArrayLike) -> NDArray[np.float64]:
        """(F, N, 3) landmarks in the model frame, micrometres, of (F, 199) Shape_Para and (F, 29) Exp_Para."""
        shapes = np.tensordot(np.asarray(shape, dtype=np.float64), self.shape_basis, 1)
        return self.mean + shapes + np.tensordot(np.asarray(expression, dtype=np.float64), self.expression_basis, 1)

    def save(self, path: str | Path) -> None:
        """Writes the model as an .npz file: the arrays by the attributes' names."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, path: str | Path) -> LandmarkModel:
        """Reads what `save` wrote; FileNotFoundError if there is no file, ValueError if it is damaged or another."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no face model: {path}; `jvcr data basis AFLW2000-3D --out basis.npz` recovers it from that data set"
            )
        arrays = load_arrays(path)
        names = ("mean", "shape_basis", "expression_basis")
        if missing := [name for name in names if name not in arrays]:
            raise ValueError(f"{path} is no face model at the landmarks: it has no {', '.join(missing)}")
        try:
            return cls(*(arrays[name].astype(np.float64) for name in names))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def to_image(points_model: ArrayLike, pose_para: ArrayLike, height: int) -> NDArray[np.float64]:
    """(N, 3) landmarks of the model frame in the image frame: pixels from 0, z away from the camera with mean 0."""
    rotation, shift, scale = projection(pose_para)
    x, y, z = (scale * np.asarray(points_model, dtype=np.float64) @ rotation.T + shift).T
    return np.column_stack([x - 1, height - y, z.mean() - z])


def unposed(pt3d_68: ArrayLike, pose_para: ArrayLike, height: int) -> NDArray[np.float64]:
    """The opposite, from (3, N) points as AFLW2000-3D has them: x, y in pixels from 1, z towards the camera."""
    rotation, shift, scale = projection(pose_para)
    x, y, z = np.asarray(pt3d_68, dtype=np.float64)
    return (np.column_stack([x, height + 1 - y, z]) - shift) @ rotation / scale


def pose_deg(pose_para: ArrayLike) -> NDArray[np.float32]:
    """(F, 3) pitch, yaw, roll in degrees of (F, 7) Pose_Para; a ValueError where most of them are degrees already."""
    angles = np.asarray(pose_para, dtype=np.float64)[:, :3]
    if len(angles) >= 10 and np.median(np.abs(angles).max(axis=1)) > 2 * np.pi:
        raise ValueError(f"{POSE} should start with angles in radians; those of most files are beyond a full turn")
    return np.degrees(angles).astype(np.float32)


def head_pose_of(pose_para: ArrayLike) -> HeadPose:
    """Where a head of (7,) Pose_Para looks."""
    pitch, yaw, roll = np.degrees(np.asarray(pose_para, dtype=np.float64)[:3]).tolist()
    return HeadPose(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll)


def projection(pose_para: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Rotation (3, 3), shift (3,) in pixels and scale, pixels for a micrometre, of (7,) Pose_Para."""
    para = np.asarray(pose_para, dtype=np.float64)
    return euler_to_rotation(head_pose_of(para)), para[3:6], float(para[6])


@dataclass(frozen=True)
class Recovery:
    """A model, and how well it was determined."""

    model: LandmarkModel
    faces: int
    rank: int  # of the system; 229 is full
    condition: float  # of the system, its columns scaled to one length: how much it magnifies errors of the files
    residual_um: float  # root of the mean squared difference between the files' points and the model's
    problems: tuple[str, ...]  # faces left out


def recover_model(root: str | Path, advance: Callable[[int], object] | None = None) -> Recovery:
    """The Basel model at the 68 landmarks, from AFLW2000-3D itself, by least squares.

    The unknowns have 229 columns (1, Shape_Para, Exp_Para): fewer faces than that, with independent parameters,
    determine no model and are refused.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has no such files, or its faces do not determine the model.
    """
    root = existing_folder(root)
    pairs, skipped = read_pairs(find_pairs(root), (POINTS, POSE, SHAPE, EXPRESSION), heights=True, advance=advance)
    unknowns = 1 + SHAPES + EXPRESSIONS
    if not pairs:
        raise ValueError(
            f"{root}: no file to recover the model from: looked for pairs such as image00002.jpg and image00002.mat "
            f"with {POINTS}, {POSE}, {SHAPE} and {EXPRESSION}" + (f"; {summary(skipped)}" if skipped else "")
        )
    if len(pairs) < unknowns:
        raise ValueError(
            f"{root}: {len(pairs)} faces do not determine the model, which has {unknowns} unknowns a coordinate: at "
            f"least {unknowns} faces are needed; AFLW2000-3D has 2000"
        )
    names = list(pairs)
    rows = np.concatenate([np.ones((len(pairs), 1)), stacked(pairs, SHAPE), stacked(pairs, EXPRESSION)], axis=1)
    unposed_points = [unposed(p.arrays[POINTS], p.arrays[POSE], p.height) for p in pairs.values()]
    points = np.stack(unposed_points).reshape(len(pairs), -1)
    for _ in range(1 + len(pairs) // _MOST_ODD):
        solution, rank, condition = _least_squares(rows, points)
        if rank < unknowns:
            raise ValueError(
                f"{root}: the {len(rows)} faces do not determine the model: their parameters span {rank} of {unknowns} "
                f"dimensions; take faces that differ more"
            )
        residual = rows @ solution - points
        rms = float(np.sqrt((residual**2).mean()))
        if rms <= _LARGEST_RESIDUAL_UM or len(rows) == unknowns:
            break
        odd = _worst(rows, residual)
        skipped.append(f"{names.pop(odd)}: its points are not those of its parameters, as the other faces have them")
        rows, points = np.delete(rows, odd, axis=0), np.delete(points, odd, axis=0)
    if rms > _LARGEST_RESIDUAL_UM:
        raise ValueError(
            f"{root}: the faces contradict each other by {rms:.0f} micrometres (root of the mean square), also without "
            f"the worst: {summary(skipped)}; are these the published files, images of their own size?"
        )
    basis = solution.reshape(unknowns, -1, 3)
    return Recovery(
        model=LandmarkModel(basis[0], basis[1 : 1 + SHAPES], basis[1 + SHAPES :]),
        faces=len(rows),
        rank=rank,
        condition=condition,
        residual_um=rms,
        problems=tuple(skipped),
    )


def _least_squares(rows: NDArray[np.float64], points: NDArray[np.float64]) -> tuple[NDArray[np.float64], int, float]:
    """Solution (229, 204) of ``rows @ solution = points``, the system's rank and its condition."""
    # Shape_Para are of the order of 1e5, Exp_Para of 1: only columns of one length make the rank and the condition mean
    # something.
    lengths = np.linalg.norm(rows, axis=0)
    lengths[lengths == 0] = 1
    solution, _, rank, singular = np.linalg.lstsq(rows / lengths, points, rcond=None)
    return solution / lengths[:, None], int(rank), float(singular[0] / singular[-1])


def _worst(rows: NDArray[np.float64], residual: NDArray[np.float64]) -> int:
    """The face that a model of all others would miss by most: its residual grows by 1 / (1 - leverage) without it."""
    q, _ = np.linalg.qr(rows / np.linalg.norm(rows, axis=0))
    free = np.clip(1 - (q**2).sum(axis=1), 1e-9, None)
    return int(np.argmax(np.linalg.norm(residual, axis=1) / free))
