"""Looking a data set over before anything is trained or measured on it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset
from jvcr.geometry.crop import TRAINING_MARGIN
from jvcr.geometry.pose import rotations_and_scales

YAW_EDGES = (0, 15, 30, 45, 60, 75, 90)
"""Of the histogram of |yaw|, degrees; the last band has all beyond 90 too."""

MOST_OUTSIDE = 0.25
"""Share of a face's landmarks that may lie outside of its image, as those of faces at an edge do."""

_SHAPE_LIMIT = 6.0
"""Robust standard deviations above the median from which on a face's shape counts as odd."""


@dataclass(frozen=True)
class Finding:
    """A face that deserves a look, and why; `check_dataset` lists the kinds."""

    face: int
    image: str
    kind: str
    text: str


@dataclass(frozen=True)
class DatasetCheck:
    """What a data set holds, as ``check.json`` has it."""

    faces: int
    images: int
    scheme: str
    annotation: str
    sources: dict[str, int]
    splits: dict[str, int]
    image_sizes: dict[str, int]  # "WIDTHxHEIGHT" -> images, the commonest first
    face_sizes: tuple[float, ...]  # 0, 5, 50, 95, 100 % quantiles of the square root of the landmarks' box, pixels
    yaw: dict[str, int]  # band of |yaw|, or "unknown" -> faces
    outside: int  # faces with a landmark outside of their image
    beyond_depth: int  # faces with a landmark in front of or behind the volume
    depth_needed: float  # smallest depth of the scheme with which no face has one
    findings: tuple[Finding, ...]
    problems: tuple[str, ...]  # what the reader left out
    notes: tuple[str, ...]


def check_dataset(dataset: LandmarkDataset, advance: Callable[[int], object] | None = None) -> DatasetCheck:
    """Reads every image of a data set and compares its labels with it and with each other.

    Five kinds of `Finding`:

    - "damaged": the image cannot be read.
    - "outside": too many landmarks lie outside of the image: often labels of another size of it.
    - "same image": two files with the same bytes.
    - "same landmarks": one face's landmarks on two images, to the last bit.
    - "odd shape": far, after the best similarity in 3D, from the set's average face: often a wrong order of the points.
    """
    findings: list[Finding] = []
    images = [str(name) for name in dataset.images]

    def add(face: int, kind: str, text: str) -> None:
        findings.append(Finding(face, images[face], kind, text))

    sizes: Counter[str] = Counter()
    contents: dict[bytes, int] = {}
    seen: set[str] = set()
    outside = 0
    with ThreadPoolExecutor(4) as pool:
        for i, read in enumerate(pool.map(lambda i: _look(dataset, i), range(len(dataset)))):
            if advance is not None:
                advance(1)
            if isinstance(read, str):
                add(i, "damaged", read)
                continue
            (width, height), digest = read
            if images[i] not in seen:
                seen.add(images[i])
                sizes[f"{width}x{height}"] += 1
                if (first := contents.setdefault(digest, i)) != i:
                    add(i, "same image", f"has the very bytes of {images[first]}")
            share = _share_outside(dataset.points_px[i], width, height)
            outside += share > 0
            if share > MOST_OUTSIDE:
                add(i, "outside", f"{share:.0%} of the landmarks lie outside of its {width} x {height} pixels")
    labels: dict[bytes, int] = {}
    for i, points in enumerate(dataset.points_px):
        first = labels.setdefault(points.tobytes(), i)
        if images[first] != images[i]:
            add(i, "same landmarks", f"has the landmarks of {images[first]}")
    for i, text in _odd_shapes(dataset.points_px):
        add(i, "odd shape", text)
    box = np.ptp(dataset.points_px[..., :2].astype(np.float64), axis=1)
    depths = np.ptp(dataset.points_px[..., 2].astype(np.float64), axis=1) / (TRAINING_MARGIN * box.max(axis=1))
    quantiles = np.quantile(np.sqrt(box[:, 0] * box[:, 1]), (0, 0.05, 0.5, 0.95, 1))
    return DatasetCheck(
        faces=len(dataset),
        images=len(set(images)),
        scheme=dataset.scheme.name,
        annotation=dataset.annotation,
        sources=_counts(dataset.sources),
        splits={} if dataset.splits is None else _counts(dataset.splits),
        image_sizes=dict(sizes.most_common()),
        face_sizes=tuple(round(float(q), 2) for q in quantiles),
        yaw=_yaw_histogram(dataset.yaw_deg),
        outside=outside,
        beyond_depth=int((depths > dataset.scheme.depth).sum()),
        depth_needed=math.ceil(100 * float(depths.max())) / 100,
        findings=tuple(findings),
        problems=dataset.problems,
        notes=dataset.notes,
    )


def _look(dataset: LandmarkDataset, index: int) -> tuple[tuple[int, int], bytes] | str:
    """Size (width, height) and digest of a face's image; or what is wrong with it."""
    try:
        height, width = dataset.read_image(index).shape[:2]
        data = (dataset.root / str(dataset.images[index])).read_bytes()
    except (OSError, ValueError) as error:
        return str(error)
    return (width, height), hashlib.blake2b(data, digest_size=16).digest()


def _share_outside(points_px: NDArray[np.float32], width: int, height: int) -> float:
    x, y = points_px[:, 0], points_px[:, 1]
    return float(((x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)).mean())


def _odd_shapes(points_px: NDArray[np.float32]) -> list[tuple[int, str]]:
    """Faces far from the average shape after the best similarity, and how far."""
    extent = np.ptp(points_px, axis=1).max(axis=1)
    usable = np.flatnonzero(extent > 0)
    if len(usable) < 20 or points_px.shape[1] < 4:  # no average to speak of
        return []
    # A frontal face is a better first guess of the average than any other: the one with the smallest depth.
    average = points_px[usable[np.argmin(np.ptp(points_px[usable, :, 2], axis=1) / extent[usable])]].astype(np.float64)
    faces = points_px[usable].astype(np.float64)
    faces -= faces.mean(axis=1, keepdims=True)
    for _ in range(2):
        centred = average - average.mean(axis=0)
        rotation, scale = rotations_and_scales(faces, centred)
        moved = scale[:, None, None] * faces @ rotation.swapaxes(1, 2)
        average = np.median(moved, axis=0)
    size = np.sqrt(((average - average.mean(0)) ** 2).sum(1).mean())
    distance = np.linalg.norm(moved - average, axis=2).mean(1) / size
    middle = np.median(distance)
    spread = 1.4826 * np.median(np.abs(distance - middle))
    limit = middle + _SHAPE_LIMIT * max(spread, 1e-6)
    return [
        (int(i), f"its shape is {d / middle:.1f} times as far from the average face as usual")
        for i, d in zip(usable, distance, strict=True)
        if d > limit
    ]


def _counts(names: NDArray[Any]) -> dict[str, int]:
    return {str(k): int(v) for k, v in sorted(Counter(names.tolist()).items()) if k}


def _yaw_histogram(yaw_deg: NDArray[np.float32]) -> dict[str, int]:
    yaw = np.abs(yaw_deg)
    band = np.searchsorted(YAW_EDGES[1:-1], yaw[np.isfinite(yaw)])
    counts = np.bincount(band, minlength=len(YAW_EDGES) - 1).tolist()
    bands = {f"{low}-{high}": count for (low, high), count in zip(pairwise(YAW_EDGES), counts, strict=True)}
    return bands | ({"unknown": unknown} if (unknown := int(np.isnan(yaw).sum())) else {})
