"""AFLW2000-3D: a folder of ``image00002.jpg``, ``image00002.mat`` and so on (Zhu et al., 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.readers.basel import pose_deg
from jvcr.data.readers.labelled import LabelledFace, existing_folder, make_dataset
from jvcr.data.readers.matfile import POINTS, POSE, find_pairs, read_pairs, stacked
from jvcr.data.skipped import Skipped

Annotation: TypeAlias = Literal["original", "reannotated"]

REANNOTATION = "AFLW2000-3D-Reannotated.pts68.npy"


def read_aflw2000(
    root: str | Path,
    annotation: Annotation = "original",
    strict: bool = False,
    advance: Callable[[int], object] | None = None,
    reannotation: str | Path | None = None,
) -> LandmarkDataset:
    """Reads AFLW2000-3D as published.

    ============= ======== ==================================================== ================================
    key of .mat   shape    in the file                                          in the data set
    ============= ======== ==================================================== ================================
    ``pt3d_68``   (3, 68)  x, y in pixels counted from 1 (Matlab), z *towards*  counted from 0, z away from the
                           the camera                                           camera with mean 0
    ``Pose_Para`` (1, 7)   pitch, yaw, roll in radians, tx, ty, tz, scale       ``yaw_deg``, for bins, and
                                                                                ``pose_deg``
    ============= ======== ==================================================== ================================

    The two annotations differ by an NME of 3.4 % (bin mean; image mean 3.0 %), so that a figure without the
    annotation's name means nothing:

    - "original": ``pt3d_68``, a morphable model fitted to each face. Most published figures are on it.
    - "reannotated": 2D points set right by hand, ``AFLW2000-3D-Reannotated.pts68.npy`` or ``reannotation``,
      (F, 2, 68) in the order of the sorted file names, pixels counted from 0. If the folder has not just these files,
      a text beside it, of the suffix ``.txt``, names the image of each row; faces without a row are skipped. z stays
      the original's, so that errors in three dimensions are of no use with it.

    Faces are in the order of their file names. The set has no splits, parts or face boxes; published figures take the
    box of the true landmarks. Angles are as published, also beyond a full turn: by the size of the raw yaw the set has
    its 1312, 383 and 305 faces. Arguments are those of `jvcr.data.readers.read_dataset`.

    Raises:
        FileNotFoundError: there is no such folder, or no re-annotation and that is asked for.
        ValueError: the folder has no such pairs of files, none can be used, or ``strict``; or the re-annotation is
            not one of these files, or is given and not asked for; or the angles are degrees.
    """
    root = existing_folder(root)
    files = find_pairs(root)
    if not any(len(pair) == 2 for pair in files.values()):
        counts = [sum(suffix in pair for pair in files.values()) for suffix in (".jpg", ".mat")]
        raise ValueError(
            f"{root} is not AFLW2000-3D: looked for pairs such as image00002.jpg and image00002.mat directly in it, "
            f"found {counts[0]} .jpg and {counts[1]} .mat files, no two of one name"
        )
    if reannotation is not None and annotation != "reannotated":
        raise ValueError(f"{reannotation} is for the annotation reannotated, and {annotation} is asked for")
    again = None
    if annotation == "reannotated":
        again = _reannotation(root / REANNOTATION if reannotation is None else Path(reannotation), list(files))
    pairs, unusable = read_pairs(files, (POINTS, POSE), heights=False, advance=advance)
    if again is not None:
        unusable += [f"{name} has no row in the re-annotation" for name in pairs if name not in again]
        pairs = {name: pair for name, pair in pairs.items() if name in again}
    faces = []
    if pairs:
        x, y, z = stacked(pairs, POINTS).transpose(1, 0, 2)
        with np.errstate(over="ignore", invalid="ignore"):  # what no longer fits is found later
            points = np.stack([x - 1, y - 1, z.mean(axis=1, keepdims=True) - z], axis=-1).astype(np.float32)
        if again is not None:
            points[..., :2] = [again[name] for name in pairs]
        poses = pose_deg(stacked(pairs, POSE))
        names = [pair.image.name for pair in pairs.values()]
        faces = [LabelledFace(*face) for face in zip(names, points, poses, strict=True)]
    return make_dataset(
        root,
        faces,
        [Skipped(text) for text in unusable],
        strict,
        empty="no pair can be used",
        annotation=annotation,
        has_depth=annotation == "original",
    )


def _reannotation(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Name -> (68, 2) re-annotated points; ``names`` are those of the folder's files, damaged ones included."""
    listing = path.with_suffix(".txt")
    if not path.is_file():
        raise FileNotFoundError(
            f"no re-annotation: {path}; put {REANNOTATION} there, or give its path (--reannotation)"
        )
    try:
        points = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is damaged or not an npy file: {error}") from error
    if not isinstance(points, np.ndarray) or points.ndim != 3 or points.shape[1:] != (2, 68):
        got = points.shape if isinstance(points, np.ndarray) else "an archive of several arrays"
        raise ValueError(f"{path} should be of shape (faces, 2, 68), got {got}")
    if points.dtype.kind not in "fiu" or not np.isfinite(points).all():
        raise ValueError(f"{path} should hold finite numbers, some are not")
    if listing.is_file():
        names = [Path(line.strip()).stem for line in listing.read_text("utf-8").splitlines() if line.strip()]
    if len(names) != len(points) or len(set(names)) != len(names):
        raise ValueError(
            f"{path} has {len(points)} rows, in the order of the sorted file names of the whole set, and "
            + (f"{listing.name} names {len(set(names))}" if listing.is_file() else f"the folder has {len(names)} faces")
            + f": name the image of each row, one a line in that order, in {listing}"
        )
    return dict(zip(names, points.astype(np.float64).transpose(0, 2, 1), strict=True))
