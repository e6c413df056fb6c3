"""AFLW2000-3D: a folder of ``image00002.jpg``, ``image00002.mat`` and so on (Zhu et al., 2016)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset
from jvcr.scheme import FACE68

_POINTS, _POSE = "pt3d_68", "Pose_Para"
_NAMED = 5
"""How many damaged files an error names; it counts them all."""


def read_aflw2000(root: str | Path) -> LandmarkDataset:
    """Reads AFLW2000-3D as published, with its original annotation.

    ============= ======== ==================================================== ================================
    key of .mat   shape    in the file                                          in the data set
    ============= ======== ==================================================== ================================
    ``pt3d_68``   (3, 68)  x, y in pixels counted from 1 (Matlab), z *towards*  counted from 0, z away from the
                           the camera                                           camera with mean 0
    ``Pose_Para`` (1, 7)   pitch, yaw, roll in radians, tx, ty, tz, scale       ``yaw_deg``, for bins
    ============= ======== ==================================================== ================================

    Faces are in the order of their file names, which is that of the re-annotated points. The set has no splits and no
    parts. Images are only checked to be there.

    Args:
        root: the folder.

    Returns:
        The data set; its ``annotation`` is "original".

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has no such pairs of files; or some cannot be used: those are counted and named.
        ModuleNotFoundError: scipy, which reads .mat files, is not installed.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    mats, jpgs = ({p.stem for p in root.glob(pattern)} for pattern in ("*.mat", "*.jpg"))
    if not mats & jpgs:
        raise ValueError(
            f"{root} is not AFLW2000-3D: looked for pairs such as image00002.jpg and image00002.mat directly in it, "
            f"found {len(jpgs)} .jpg and {len(mats)} .mat files, no two of one name"
        )
    faces: dict[str, tuple[NDArray[np.float32], float]] = {}
    damaged: list[str] = []
    for name in sorted(mats | jpgs):
        try:
            if name not in jpgs:
                raise ValueError(f"{name}.jpg is missing, {name}.mat is there")
            if name not in mats:
                raise ValueError(f"{name}.mat is missing, {name}.jpg is there")
            faces[f"{name}.jpg"] = _read_mat(root / f"{name}.mat")
        except ValueError as error:
            damaged.append(str(error))
    if damaged:
        more = f"; and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
        raise ValueError(
            f"{root}: {len(damaged)} of {len(mats | jpgs)} faces cannot be used: {'; '.join(damaged[:_NAMED])}{more}"
        )
    count = len(faces)
    return LandmarkDataset(
        root=root,
        images=np.array(list(faces)),
        points_px=np.stack([points for points, _ in faces.values()]),
        sources=np.full(count, ""),
        splits=None,
        yaw_deg=np.array([yaw for _, yaw in faces.values()], dtype=np.float32),
        annotation="original",
        scheme=FACE68,
    )


def _read_mat(path: Path) -> tuple[NDArray[np.float32], float]:
    """(68, 3) landmarks in the image frame, and the yaw in degrees."""
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'AFLW2000-3D comes as .mat files, which scipy reads: pip install "jvcr[data]"', name=error.name
        ) from error
    try:
        content = loadmat(path, variable_names=[_POINTS, _POSE])
    except Exception as error:  # what a damaged file makes scipy raise ranges from IndexError to zlib.error
        raise ValueError(f"{path.name} is damaged or not a .mat file ({error})") from error
    for key in (_POINTS, _POSE):
        if key not in content:
            raise ValueError(f"{path.name} has no {key!r}: cut short, or of another data set")
    points, pose = content[_POINTS], content[_POSE].ravel()
    if points.shape != (3, 68) or pose.shape != (7,):
        raise ValueError(
            f"{path.name}: {_POINTS} should be 3x68 and {_POSE} 7 numbers, got {points.shape}, {pose.shape}"
        )
    if points.dtype.kind not in "fiu" or pose.dtype.kind not in "fiu":
        raise ValueError(f"{path.name}: {_POINTS} and {_POSE} should hold real numbers")
    if not (np.isfinite(points).all() and np.isfinite(pose[:3]).all()):
        raise ValueError(f"{path.name} has NaN or infinite values in {_POINTS} or {_POSE}")
    x, y, z = points.astype(np.float64)
    return np.column_stack([x - 1, y - 1, z.mean() - z]).astype(np.float32), float(np.degrees(pose[1]))
