"""Writing a data set as shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.shards import IMAGE_SUFFIXES, LABELS_SUFFIX, NUMBERS, TEXTS
from jvcr.files import replacing, whole_folder

FACES_PER_SHARD = 1000


def pack(
    dataset: LandmarkDataset,
    out: str | Path,
    faces_per_shard: int = FACES_PER_SHARD,
    seed: int = 0,
    advance: Callable[[int], object] | None = None,
) -> Path:
    """Writes a data set as shards, its images as they are and its faces in a random order.

    Shards are shuffled with each other in training, a few at a time: neighbours of a set would stay near each other.

    Args:
        dataset: to write; faces without a split are written as "train".
        out: the folder, which must not be there yet, or be empty.
        faces_per_shard: so many and no more.
        seed: of the order.
        advance: called with 1 after each face.

    Raises:
        ValueError: ``out`` is a file or a folder with something in it, an image is of a format that shards do not hold,
            or a split's name is no part of a file's.
    """
    if faces_per_shard < 1:
        raise ValueError(f"a shard has at least one face, got {faces_per_shard}")
    splits = np.full(len(dataset), "train") if dataset.splits is None else dataset.splits
    with whole_folder(Path(out).resolve()) as folder:
        for split in sorted(set(splits.tolist())):
            if not split or split != Path(split).name:
                raise ValueError(f"{split!r} cannot be part of a file's name: give the faces of {dataset.root} a split")
            faces = np.random.default_rng(seed).permutation(np.flatnonzero(splits == split))
            for number, start in enumerate(range(0, len(faces), faces_per_shard)):
                with replacing(folder / f"{split}-{number:06d}.tar") as path, tarfile.open(path, "w") as archive:
                    for face in faces[start : start + faces_per_shard].tolist():
                        suffix = Path(str(dataset.images[face])).suffix.lower()
                        image, labels = dataset.image_file(face).tobytes(), _labels(dataset, face)
                        add_face(archive, f"{face:09d}", suffix, image, labels)
                        if advance is not None:
                            advance(1)
    return Path(out)


def add_face(archive: tarfile.TarFile, key: str, suffix: str, image: bytes, labels: dict[str, Any]) -> None:
    """Adds a face to a shard: the bytes of its image file and its labels, plain data, under a name of its own.

    Raises:
        ValueError: the suffix is of no format that shards hold, or a label is no finite number, text or null.
    """
    if suffix not in IMAGE_SUFFIXES:
        raise ValueError(f"{key}{suffix}: shards hold {', '.join(IMAGE_SUFFIXES)}")
    text = json.dumps(labels, allow_nan=False).encode()
    for ending, content in ((suffix, image), (LABELS_SUFFIX, text)):
        member = tarfile.TarInfo(f"{key}{ending}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def _labels(dataset: LandmarkDataset, face: int) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for key, (column, _) in NUMBERS.items():
        values = getattr(dataset, column)
        if values is not None and np.isfinite(values[face]).any():
            labels[key] = _json(values[face])
    for key, column in TEXTS.items():
        if (values := getattr(dataset, column)) is not None and values[face]:
            labels[key] = str(values[face])
    return labels


def _json(values: Any) -> Any:
    """Numbers as JSON has them: float32 to all its digits and no more, null for NaN."""
    if np.ndim(values):
        return [_json(value) for value in values]
    if not np.isfinite(values):
        return None
    return int(values) if np.issubdtype(values.dtype, np.integer) else float(str(values))
