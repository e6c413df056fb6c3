"""Data sets in shards: tars of images and their labels, as WebDataset has them, for sets of millions of faces.

Of a face nothing is held but where it lies, 16 bytes; image and labels are read when it is the face's turn.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset, completed_labels, decode_image
from jvcr.data.skipped import Skipped, raise_if_strict
from jvcr.scheme import FACE68, LandmarkScheme

SHARD_NAME = re.compile(r"(?P<split>.+)-\d+\.tar")
"""A shard's name says which split its faces are of: train-000012.tar."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
LABELS_SUFFIX = ".json"

_ADVISED = 64
"""Shards that the system has lately been told to read ahead."""

NUMBERS: dict[str, tuple[str, type]] = {
    "points": ("points_px", np.float32),
    "hand": ("hand_px", np.float32),
    "occlusion": ("occlusion", np.int8),
    "yaw_deg": ("yaw_deg", np.float32),
    "pose_deg": ("pose_deg", np.float32),
    "box_xyxy": ("boxes_xyxy", np.float32),
}
TEXTS = {"source": "sources", "subject": "subjects"}
"""Labels by their names in a shard: the columns of `LandmarkDataset` that they are."""


class ShardFace(NamedTuple):
    """What a shard holds of a face: its image file, and its labels by the names of the arrays of ``landmarks.npz``."""

    name: str
    image: bytes
    labels: dict[str, Any]


@dataclass(frozen=True)
class Shard:
    """A tar of faces, looked through.

    Attributes:
        path: of the tar.
        spans: (n, 2) int64: the bytes from which and to which each face's two files reach.
        names: of the image files, if they were asked for.
        skipped: what is no whole face in it, and why.
    """

    path: Path
    spans: NDArray[np.int64]
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @classmethod
    def scan(cls, path: Path, with_names: bool = False) -> Shard:
        """Looks through the headers of a tar.

        Raises:
            ValueError: it is no uncompressed tar, or is cut short.
        """
        spans, names, skipped = [], [], []
        try:
            size = path.stat().st_size
            with tarfile.open(path, "r:") as archive:
                for key, files, begin, end in _faces(archive):
                    suffixes = [PurePosixPath(file).suffix.lower() for file in files]
                    images = [f for f, s in zip(files, suffixes, strict=True) if s in IMAGE_SUFFIXES]
                    if end > size:
                        raise tarfile.ReadError(f"it ends in {files[-1]}")
                    if len(images) == 1 and suffixes.count(LABELS_SUFFIX) == 1:
                        spans.append((begin, end))
                        names += images if with_names else []
                    else:
                        wanted = f"one image ({', '.join(IMAGE_SUFFIXES)}) and one {LABELS_SUFFIX} file"
                        skipped.append(f"{path.name}/{key}: {wanted} make a face, and it has {', '.join(files)}")
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(f"{path} is damaged, cut short or compressed: {error}; shards are plain tars") from error
        return cls(path, np.array(spans, np.int64).reshape(-1, 2), tuple(names), tuple(skipped))

    def read(self, place: int) -> ShardFace:
        """The face at a place in it.

        Raises:
            ValueError: its labels are no JSON table.
        """
        begin, end = self.spans[place].tolist()
        return read_span(self.path, begin, end)


def _faces(archive: tarfile.TarFile):  # type: ignore[no-untyped-def]
    """Key, files, first byte and the byte after the last of each run of files that share all before the first dot."""
    key, begin = None, 0
    files: list[str] = []
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it would keep all that it has seen
        if not member.isfile():
            continue
        folder, name = os.path.split(member.name)
        own = os.path.join(folder, name.partition(".")[0])
        if own != key:
            if files:
                yield key, files, begin, member.offset
            key, files, begin = own, [], member.offset
        files.append(member.name)
    if files:
        yield key, files, begin, archive.offset


def read_span(path: Path, begin: int, end: int) -> ShardFace:
    """The face whose files reach from one byte of a tar to another; a ValueError if its labels are no JSON table."""
    with path.open("rb") as file:
        _read_ahead(path, file.fileno())
        file.seek(begin)
        content = io.BytesIO(file.read(end - begin))
    image, labels, name = b"", b"", ""
    try:
        with tarfile.open(fileobj=content, mode="r:") as archive:
            for member in archive:
                if (part := archive.extractfile(member)) is None:
                    continue
                if member.name.lower().endswith(LABELS_SUFFIX):
                    labels = part.read()
                elif member.name.lower().endswith(IMAGE_SUFFIXES):
                    image, name = part.read(), f"{path.name}/{member.name}"
        table = json.loads(labels)
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}, bytes {begin} to {end}: {error}") from error
    if not isinstance(table, dict):
        raise ValueError(f"{name}: the labels should be a table with 'points', not {type(table).__name__}")
    return ShardFace(name, image, table)


_advised: deque[Path] = deque(maxlen=_ADVISED)


def _read_ahead(path: Path, handle: int) -> None:
    """Faces of a shard are wanted in any order, and all of them soon: disks give them quickest from first to last."""
    if path not in _advised and hasattr(os, "posix_fadvise"):
        _advised.append(path)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)


def labelled(root: Path, scheme: LandmarkScheme, faces: Sequence[ShardFace], split: str) -> LandmarkDataset:
    """Faces of shards as a data set.

    Raises:
        ValueError: a label is missing, or has another shape than the scheme's or the other faces'.
    """

    def column(name: str, kind: type) -> Any:
        known = next((face.labels[name] for face in faces if face.labels.get(name) is not None), None)
        if known is None:
            return None
        unknown = np.full(np.shape(known), -1 if kind is np.int8 else np.nan)
        rows: list[NDArray[Any]] = []
        for face in faces:
            value = face.labels.get(name)
            try:
                rows.append(np.asarray(unknown if value is None else value, np.float64).astype(kind))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{face.name}: {name!r} should be numbers: {error}") from error
            if rows[-1].shape != rows[0].shape:
                raise ValueError(f"{face.name}: {name!r} has shape {rows[-1].shape}, others have {rows[0].shape}")
        return np.stack(rows)

    def texts(name: str) -> Any:
        return np.array([str(face.labels.get(name, "")) for face in faces])

    columns = {name: column(name, kind) for name, (_, kind) in NUMBERS.items()}
    points = columns["points"]
    if points is None or points.ndim != 3:
        raise ValueError(f"{faces[0].name}: the labels need 'points', N x 3 numbers")
    yaw, pose = columns["yaw_deg"], columns["pose_deg"]
    if yaw is None:
        yaw = np.full(len(faces), np.nan, np.float32) if pose is None else pose[:, 1]
    subjects = texts("subject")
    if points.shape[1:] not in ((n, 3) for n in (scheme.num_landmarks, scheme.num_base_landmarks)):
        raise ValueError(
            f"{faces[0].name}: {points.shape[1]} landmarks of {points.shape[2]} coordinates, where {scheme.name} has "
            f"{scheme.num_landmarks} of 3"
        )
    return LandmarkDataset(
        root=root,
        images=np.array([face.name for face in faces]),
        points_px=scheme.completed(points),
        sources=texts("source"),
        splits=np.full(len(faces), split),
        yaw_deg=yaw,
        scheme=scheme,
        pose_deg=pose,
        boxes_xyxy=columns["box_xyxy"],
        subjects=subjects if any(subjects.tolist()) else None,
        **completed_labels(scheme, columns["hand"], columns["occlusion"]),
    )


def find_shards(root: Path) -> dict[str, list[Path]]:
    """The shards of a folder by their split, in the order of their names.

    Raises:
        ValueError: a tar's name does not say its split.
    """
    splits: dict[str, list[Path]] = {}
    for path in sorted(root.glob("*.tar")):
        if (name := SHARD_NAME.fullmatch(path.name)) is None:
            raise ValueError(f"{path}: shards are called SPLIT-NUMBER.tar, as train-000000.tar")
        splits.setdefault(name["split"], []).append(path)
    return splits


@dataclass(frozen=True)
class ShardedDataset:
    """The faces of one split of a folder of shards, read one by one.

    Attributes:
        root: the folder.
        scheme: its landmarks.
        shards: looked through.
    """

    root: Path
    scheme: LandmarkScheme
    shards: tuple[Shard, ...]

    @classmethod
    def open(
        cls,
        root: Path,
        split: str,
        scheme: LandmarkScheme = FACE68,
        strict: bool = False,
        advance: Callable[[int], object] | None = None,
    ) -> ShardedDataset:
        """Looks through the shards of a split.

        Args:
            root: the folder.
            split: which of its shards, by their names.
            scheme: the landmarks wanted.
            strict: stop at what is no whole face.
            advance: called with the faces of each shard.

        Raises:
            ValueError: there is no such split, a shard is damaged, no face is whole, or ``strict`` and some are not.
        """
        splits = find_shards(root)
        if split not in splits:
            raise ValueError(f"{root} has no split {split!r}; it has {', '.join(splits) or 'no shards'}")
        shards = []
        for path in splits[split]:
            shards.append(Shard.scan(path))
            if advance is not None:
                advance(len(shards[-1].spans))
        dataset = cls(root, scheme, tuple(shards))
        raise_if_strict(root, [Skipped(text) for text in dataset.problems], len(dataset), strict)
        if not len(dataset):
            raise ValueError(f"{root}: no shard of {split} has a whole face{'; '.join(['', *dataset.problems[:1]])}")
        return dataset

    @property
    def problems(self) -> tuple[str, ...]:
        """What is no whole face, and why: one line for each."""
        return tuple(text for shard in self.shards for text in shard.skipped)

    @cached_property
    def _ends(self) -> NDArray[np.intp]:
        return np.cumsum([len(shard.spans) for shard in self.shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def labels(self, faces: Sequence[int]) -> LandmarkDataset:
        """The labels of some faces. Raises as `labelled`."""
        return labelled(self.root, self.scheme, [self._read(face) for face in faces], "")

    def face(
        self, index: int, image: NDArray[np.uint8] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32] | None]:
        """What training takes of a face, as `LandmarkDataset.face`.

        Raises:
            ValueError: the image or the labels cannot be used.
        """
        read = self._read(index)
        one = labelled(self.root, self.scheme, [read], "")
        if wrong := one.unusable():
            raise ValueError(f"{self.root / read.name}: {wrong[0]}; jvcr data check finds all such faces")
        if image is None:
            image = decode_image(np.frombuffer(read.image, np.uint8), self.root / read.name)
        return one.face(0, image)

    def _read(self, index: int) -> ShardFace:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return self.shards[shard].read(index - int(self._ends[shard]))

    def fingerprint(self) -> str:
        """Tells these faces and their order from any others, by the shards' names and where each face lies in them."""
        digest = hashlib.sha256()
        for shard in self.shards:
            digest.update(shard.path.name.encode("utf-8", "surrogateescape"))
            digest.update(shard.spans.tobytes())
        return digest.hexdigest()
