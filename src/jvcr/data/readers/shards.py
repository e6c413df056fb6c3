"""Shards as a data set whose labels are all in memory, to be looked over, measured on, or drawn from by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.shards import Shard, ShardFace, find_shards, labelled, read_span
from jvcr.data.skipped import Skipped, raise_if_strict
from jvcr.scheme import FACE68, LandmarkScheme

_COLUMNS = ("pose_deg", "boxes_xyxy", "subjects", "hand_px", "occlusion")
"""What some shards may have and others not."""


@dataclass(frozen=True)
class TarDataset(LandmarkDataset):
    """A data set whose images lie in tars.

    Attributes:
        places: the tar of each image, and the bytes from which and to which the face's files reach.
    """

    places: Mapping[str, tuple[Path, int, int]] = field(default_factory=dict)

    def image_file(self, index: int) -> NDArray[np.uint8]:
        """The bytes of a face's image file."""
        return np.frombuffer(read_span(*self.places[str(self.images[index])]).image, np.uint8)


def read_shards(
    root: Path,
    scheme: LandmarkScheme = FACE68,
    strict: bool = False,
    advance: Callable[[int], object] | None = None,
    split: str | None = None,
) -> LandmarkDataset:
    """Reads the labels of a folder of shards, ``SPLIT-NUMBER.tar``.

    A tar has two files for each face, which share their name up to the first dot: the image, and its labels as JSON, a
    table with the arrays of ``landmarks.npz`` (`jvcr.data.readers.folder.read_folder`) as lists, for one face and
    without ``image`` and ``split``; null is an unknown value.

    Args:
        root: the folder.
        scheme: the landmarks wanted.
        strict: stop at faces that cannot be used.
        advance: called with 1 after each face.
        split: read this one only.

    Raises:
        ValueError: a shard is damaged, there is no such split, no face can be used; or ``strict`` and some cannot.
    """
    splits = find_shards(root)
    if split is not None and split not in splits:
        raise ValueError(f"{root} has no split {split!r}; it has {', '.join(splits)}")
    parts: list[LandmarkDataset] = []
    skipped: list[Skipped] = []
    places: dict[str, tuple[Path, int, int]] = {}
    for name, paths in splits.items():
        for path in paths if split in (None, name) else ():
            shard = Shard.scan(path)
            skipped += [Skipped(text, name) for text in shard.skipped]
            parts += _part(root, scheme, shard, name, skipped, places, advance)
    raise_if_strict(root, skipped, sum(map(len, parts)), strict)
    if not parts:
        raise ValueError(f"{root}: no shard has a whole face")
    whole = _joined(root, scheme, parts, places)
    wrong = {i: f"{str(whole.images[i])!r}: {text}" for i, text in whole.unusable().items()}
    return whole.without(wrong, skipped, strict)


def _part(
    root: Path,
    scheme: LandmarkScheme,
    shard: Shard,
    split: str,
    skipped: list[Skipped],
    places: dict[str, tuple[Path, int, int]],
    advance: Callable[[int], object] | None,
) -> list[LandmarkDataset]:
    """The faces of a shard, as one data set if there are any; those without usable labels are skipped."""
    faces = []
    for begin, end in shard.spans.tolist():
        try:
            face = read_span(shard.path, begin, end)
            if face.name in places:
                raise ValueError(f"{face.name}: there are two of this name")
        except ValueError as error:
            skipped.append(Skipped(str(error), split))
            continue
        places[face.name] = shard.path, begin, end
        faces.append(face._replace(image=b""))
        if advance is not None:
            advance(1)
    try:
        return [labelled(root, scheme, faces, split)] if faces else []
    except ValueError:  # some are wrong, and it takes a look at each to say which
        good = [face for face in faces if _is_good(root, scheme, face, split, skipped)]
        return [labelled(root, scheme, good, split)] if good else []


def _is_good(root: Path, scheme: LandmarkScheme, face: ShardFace, split: str, skipped: list[Skipped]) -> bool:
    """Whether a face's labels are those of the scheme; it is skipped if not."""
    try:
        labelled(root, scheme, [face], split)
    except ValueError as error:
        skipped.append(Skipped(str(error), split))
        return False
    return True


def _joined(
    root: Path, scheme: LandmarkScheme, parts: list[LandmarkDataset], places: Mapping[str, tuple[Path, int, int]]
) -> TarDataset:
    def join(name: str) -> NDArray:
        return np.concatenate([getattr(part, name) for part in parts])

    optional: dict[str, Any] = {}
    for name in _COLUMNS:
        known = next((column for part in parts if (column := getattr(part, name)) is not None), None)
        if known is not None:
            unknown = "" if known.dtype.kind == "U" else -1 if known.dtype == np.int8 else np.nan
            optional[name] = np.concatenate(
                [
                    np.full((len(part), *known.shape[1:]), unknown, known.dtype) if column is None else column
                    for part in parts
                    for column in [getattr(part, name)]
                ]
            )
    return TarDataset(
        root=root,
        images=join("images"),
        points_px=join("points_px"),
        sources=join("sources"),
        splits=join("splits"),
        yaw_deg=join("yaw_deg"),
        scheme=scheme,
        places=places,
        **optional,
    )
