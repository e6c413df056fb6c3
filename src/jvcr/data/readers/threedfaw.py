"""3DFAW: the 3D Face Alignment in the Wild challenge's images with 66 landmarks (Jeni et al., 2016)."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.readers.labelled import LabelledFace, existing_folder, make_dataset
from jvcr.data.skipped import Skipped
from jvcr.scheme import FACE66

SPLITS = {"train": "train", "valid": "val", "test": "test"}

IMAGES, LANDMARKS, BOXES = "_img", "_lm", "_bb"

_NOSE_TIP, _JAW_ENDS = 30, (0, 16)


def read_3dfaw(
    root: str | Path, strict: bool = False, advance: Callable[[int], object] | None = None
) -> LandmarkDataset:
    """Reads 3DFAW.

    The set is given out on request only and was not at hand: this layout follows the challenge's description and is
    tested on a made-up copy. If yours is laid out otherwise, rename its folders so:

    ============================ =====================================================================
    file                         content
    ============================ =====================================================================
    ``train_img/NAME.jpg``       an image (or .png); ``valid_img`` and ``test_img`` alike
    ``train_lm/NAME_lm.csv``     66 lines ``x,y,z``: pixels of the image, counted from 0
    ``train_bb/NAME_bb.csv``     one line ``x0,y0,x1,y1``: the face's box, pixels (optional)
    ============================ =====================================================================

    Splits are "train", "val" and "test". Test images without landmarks, whose truth is not public, are left out and
    counted in ``notes``. The sign of z is not documented: the tips of the noses are taken to lie nearer to the camera
    than the ends of the jaws. Yaw is unknown. Arguments are those of `jvcr.data.readers.read_dataset`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has no such folders, no face can be used, or ``strict``.
    """
    root = existing_folder(root)
    present = [name for name in SPLITS if (root / (name + IMAGES)).is_dir()]
    if not present:
        raise ValueError(
            f"{root} is not 3DFAW: looked for the folders {', '.join(name + IMAGES for name in SPLITS)} of images, "
            f"with landmarks as train{LANDMARKS}/NAME{LANDMARKS}.csv"
        )
    faces: list[LabelledFace] = []
    skipped: list[Skipped] = []
    unlabelled = 0
    for name in present:
        folder = root / (name + IMAGES)
        for image in sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")):
            if image.name.startswith("."):  # macOS puts such files beside others
                continue
            labels = root / (name + LANDMARKS) / f"{image.stem}{LANDMARKS}.csv"
            if name == "test" and not labels.is_file():
                unlabelled += 1
                continue
            try:
                points = _numbers(labels, (FACE66.num_landmarks, 3))
                box_file = root / (name + BOXES) / f"{image.stem}{BOXES}.csv"
                box = _numbers(box_file, (1, 4))[0] if box_file.is_file() else None
                path = f"{folder.name}/{image.name}"
                faces.append(LabelledFace(path, points, split=SPLITS[name], box_xyxy=box))
            except (OSError, ValueError) as error:
                skipped.append(Skipped(str(error), SPLITS[name]))
            if advance is not None:
                advance(1)
    notes = (f"{unlabelled} images of test{IMAGES} have no landmarks: their truth is not public",) * bool(unlabelled)
    empty = f"the folders {', '.join(n + IMAGES for n in present)} hold no labelled image"
    return make_dataset(root, _in_front(faces), skipped, strict, empty, FACE66, notes=notes)


def _in_front(faces: list[LabelledFace]) -> list[LabelledFace]:
    """The faces with z away from the camera, whichever way it was, of mean 0."""
    if not faces:
        return faces
    points = np.stack([face.points_px for face in faces])
    points[..., 2] -= points[..., 2].mean(axis=1, keepdims=True)
    if (points[:, _NOSE_TIP, 2] < points[:, list(_JAW_ENDS), 2].mean(axis=1)).mean() < 0.5:
        points[..., 2] *= -1
    return [face._replace(points_px=own) for face, own in zip(faces, points, strict=True)]


def _numbers(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    """The numbers of a CSV file without a header; a ValueError for what is no such file of that shape."""
    name = f"{path.parent.name}/{path.name}"
    if not path.is_file():
        raise ValueError(f"{name} is missing")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            values = np.array([[float(v) for v in row] for row in csv.reader(file) if row])
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise ValueError(f"{name} is damaged: {error}") from error
    if values.shape != shape:
        raise ValueError(f"{name} should hold {shape[0]} lines of {shape[1]} numbers, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values")
    return values
