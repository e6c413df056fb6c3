"""What the readers of many files have in common: from faces read one by one to a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.skipped import Skipped, raise_if_strict
from jvcr.scheme import FACE68, LandmarkScheme


class LabelledFace(NamedTuple):
    """One face as a reader found it: its image's path below the folder, and columns of `LandmarkDataset`."""

    image: str
    points_px: NDArray[Any]
    pose_deg: NDArray[np.float32] | None = None
    source: str = ""
    split: str | None = None
    box_xyxy: NDArray[np.float64] | None = None


def existing_folder(root: str | Path) -> Path:
    """A data set's folder, if it is there."""
    if not Path(root).is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    return Path(root)


def make_dataset(
    root: Path,
    faces: Sequence[LabelledFace],
    skipped: Sequence[Skipped],
    strict: bool,
    empty: str,
    scheme: LandmarkScheme = FACE68,
    **labels: Any,
) -> LandmarkDataset:
    """The faces that can be used, as a data set with further ``labels``; the others are skipped.

    A ValueError if no face can be used (``empty`` says so where none was read), or ``strict`` and some cannot.
    """
    raise_if_strict(root, skipped, len(faces), strict)
    if not faces:
        raise ValueError(f"{root}: {empty}")
    images, points, poses, sources, splits, boxes = zip(*faces, strict=True)
    pose_deg = None if poses[0] is None else np.stack(poses)
    unknown = np.full(4, np.nan)
    boxes_xyxy = np.stack([unknown if box is None else box for box in boxes]).astype(np.float32)
    dataset = LandmarkDataset(
        root=root,
        images=np.array(images),
        points_px=np.stack(points).astype(np.float32),
        sources=np.array(sources),
        splits=None if splits[0] is None else np.array(splits),
        yaw_deg=np.full(len(faces), np.nan, np.float32) if pose_deg is None else pose_deg[:, 1],
        scheme=scheme,
        pose_deg=pose_deg,
        boxes_xyxy=boxes_xyxy if np.isfinite(boxes_xyxy).any() else None,
        **labels,
    )
    wrong = {i: f"{str(dataset.images[i])!r}: {text}" for i, text in dataset.unusable().items()}
    return dataset.without(wrong, skipped, strict)
