"""Feeding the loop: which faces make up a step, and the processes that prepare them ahead of time.

A step's faces follow from the recipe's seed and the step's number alone, so that a resumed run sees the same examples.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jvcr.data.augment import Augmentation, make_example
from jvcr.data.dataset import LandmarkDataset, Names
from jvcr.geometry.crop import CropRule


@dataclass(frozen=True)
class StepSampler:
    """Draws the faces of every step: each source is shuffled anew whenever all its faces have been seen.

    Attributes:
        sources: (F,) source of each face.
        shares: faces of a source in a batch, relative to each other; empty draws all alike.
        rare: (F,) the faces that ``rare_share`` is about.
        rare_share: share of each source's part of a batch, rounded to whole faces, that is drawn from its rare faces.
            A source whose faces are all rare, or none of them, is drawn as ever.
    """

    sources: Names
    shares: dict[str, float]
    batch_size: int
    seed: int
    rare: NDArray[np.bool_] | None = None
    rare_share: float = 0.0

    def __post_init__(self) -> None:
        remedy = "--set 'data.source_shares={}' draws all faces alike"
        check_sources("source_shares", self.shares, self.sources, remedy)
        if any(s < 0 for s in self.shares.values()) or (self.shares and sum(self.shares.values()) <= 0):
            raise ValueError("source_shares must not be negative, and not all 0")

    @cached_property
    def _streams(self) -> list[tuple[NDArray[np.intp], int]]:
        """Per stream: its faces and how many of them go into each batch."""
        if self.rare is None:
            return self._of_sources
        parts = []
        for members, count in self._of_sources:
            rare = self.rare[members]
            rares = round(self.rare_share * count) if rare.any() and not rare.all() else 0
            parts += [(members[~rare], count - rares), (members[rare], rares)] if rares else [(members, count)]
        return [(members, count) for members, count in parts if count]

    @cached_property
    def _orders(self) -> list[dict[int, NDArray[np.intp]]]:
        """Per stream: the orders of its faces in the rounds of the latest step."""
        return [{} for _ in self._streams]

    @property
    def _of_sources(self) -> list[tuple[NDArray[np.intp], int]]:
        """As `_streams`, without regard to rare faces."""
        if not self.shares:
            return [(np.arange(len(self.sources)), self.batch_size)]
        names = list(self.shares)
        exact = np.array([self.shares[n] for n in names]) * self.batch_size / sum(self.shares.values())
        counts = np.floor(exact).astype(int)
        for i in np.argsort(counts - exact, kind="stable")[: self.batch_size - counts.sum()]:
            counts[i] += 1
        return [(np.flatnonzero(self.sources == n), int(c)) for n, c in zip(names, counts, strict=True) if c]

    def step(self, number: int) -> NDArray[np.intp]:
        """(batch_size,) faces of a step, counted from 0."""
        faces = []
        for stream, (members, count) in enumerate(self._streams):
            position = np.arange(number * count, (number + 1) * count)
            rounds, places = np.divmod(position, len(members))
            # Shuffling anew at every step would take longer than all else that it does here.
            known = self._orders[stream]
            orders = {
                r: known[r] if r in known else np.random.default_rng([self.seed, stream, r]).permutation(members)
                for r in set(rounds.tolist())
            }
            self._orders[stream] = orders
            faces += [orders[r][p] for r, p in zip(rounds.tolist(), places, strict=True)]
        return np.array(faces)

    def examples(self, number: int, rank: int = 0, ranks: int = 1) -> list[tuple[int, int]]:
        """A rank's part of a step: each face, and the number of its drawing, which no other example of the run has."""
        start = number * self.batch_size
        return [(int(face), start + i) for i, face in enumerate(self.step(number))][rank::ranks]


def check_sources(key: str, named: Iterable[str], sources: Names, remedy: str) -> None:
    """Raises ValueError, with what to do about it, if a recipe's key names sources that the data does not have."""
    known = sorted(set(sources.tolist()))
    if unknown := sorted(set(named) - set(known)):
        parts = ", ".join(filter(None, known)) or "no parts"
        raise ValueError(f"{key} names {', '.join(unknown)}, but the data has {parts}: {remedy}")


class Batch(NamedTuple):
    """Faces as the loss takes them: tensors, a row for each; or one face, in NumPy and without the first axis.

    Attributes:
        pixels: (b, size, size, 3) uint8 RGB.
        points_unit: (b, N, 3) float32 landmarks in the unit frame.
        hand_unit: (b, N, 2) float32 labels by hand, in the unit frame, of landmarks that could be seen; NaN elsewhere.
    """

    pixels: Any
    points_unit: Any
    hand_unit: Any


_SAMPLED = 32
"""Images that are looked at to know what all of them take."""


class Examples(Dataset):
    """The crops of a data set by (face, number of the drawing), which seeds augmentation; without it, plain crops."""

    def __init__(
        self,
        dataset: LandmarkDataset,
        size: int,
        augmentation: Augmentation | None,
        seed: int,
        in_memory: bool | None,
        rule: CropRule = "longer",
        stretch: bool = False,
    ) -> None:
        self.dataset, self.size, self.augmentation, self.seed = dataset, size, augmentation, seed
        self.rule, self.stretch = rule, stretch
        self.hand_px = dataset.seen_by_hand()
        self._images: list[NDArray[np.uint8]] | None = None
        self._in_memory = in_memory

    def load(self, progress: Callable[[int], None] | None = None, most_bytes: float = math.inf) -> None:
        """Reads every image into memory, so that damaged ones are found before the training.

        Not if ``in_memory`` is False, nor if it is None and the images would take more than ``most_bytes``.
        """
        if self._in_memory is False or (self._in_memory is None and self._decoded_bytes() > most_bytes):
            return
        images = []
        with ThreadPoolExecutor(4) as pool:
            for image in pool.map(self.dataset.read_image, range(len(self.dataset))):
                images.append(image)
                if progress is not None and len(images) % 256 == 0:
                    progress(len(images))
        self._images = images

    def _decoded_bytes(self) -> float:
        """What the images take once decoded, by a few of them; those that cannot be read are left to the reader."""
        sizes = []
        for face in np.unique(np.linspace(0, len(self) - 1, _SAMPLED).astype(int)).tolist():
            with contextlib.suppress(OSError, ValueError):
                sizes.append(self.dataset.read_image(face).nbytes)
        return float(np.mean(sizes)) * len(self) if sizes else 0.0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        face, drawing = key
        image = self._images[face] if self._images is not None else self.dataset.read_image(face)
        rng = np.random.default_rng([self.seed, 7, drawing])
        points, hand = self.dataset.points_px[face], None if self.hand_px is None else self.hand_px[face]
        how = (self.size, self.dataset.scheme, self.augmentation, rng, self.rule, self.stretch)
        return Batch(*make_example(image, points, *how, hand))


def collate(faces: Sequence[Batch]) -> Batch:
    """Single faces as one batch of tensors."""
    return Batch(*(torch.from_numpy(np.stack(part)) for part in zip(*faces, strict=True)))


def training_batches(
    examples: Examples,
    sampler: StepSampler,
    first: int,
    last: int,
    workers: int,
    rank: int = 0,
    ranks: int = 1,
    pinned: bool = False,
) -> DataLoader:
    """A loader of the `Batch` of each step from ``first`` to ``last`` (excluded), of this rank's faces.

    ``pinned`` puts them where a GPU can fetch them while it computes. With workers, OpenCV is limited to one thread in
    this process too: a forked worker would wait for ever for the threads that it did not inherit.
    """
    if workers:
        cv2.setNumThreads(1)
    return DataLoader(
        examples,
        batch_sampler=(sampler.examples(step, rank, ranks) for step in range(first, last)),
        num_workers=workers,
        collate_fn=collate,
        prefetch_factor=8 if workers else None,
        pin_memory=pinned,
        worker_init_fn=_end_with_the_loop,
        # Forked ones share the images in memory; Linux's default is another from Python 3.14 on.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )


def _end_with_the_loop(_: int) -> None:
    """Signals are the loop's to answer; a worker ends with the loop, on Linux at once even if that was killed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def to_input(pixels: Tensor) -> Tensor:
    """Pixels (b, size, size, 3) uint8 as the networks take them: (b, 3, size, size) float in [0, 1], channels last."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)
