"""Feeding the loop: faces as examples, and the processes that prepare them ahead of time."""

from __future__ import annotations

import contextlib
import ctypes
import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jvcr.data.augment import Augmentation, make_example
from jvcr.data.dataset import LandmarkDataset
from jvcr.data.images import SharedImages, sharing
from jvcr.data.sampler import Sampler
from jvcr.data.shards import ShardedDataset
from jvcr.geometry.crop import CropRule


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

_READ_AT_ONCE = 256


class Examples(Dataset):
    """The crops of a data set by (face, number of the drawing), which seeds augmentation; without it, plain crops."""

    def __init__(
        self,
        dataset: LandmarkDataset | ShardedDataset,
        size: int,
        augmentation: Augmentation | None,
        seed: int,
        in_memory: bool | None,
        rule: CropRule = "longer",
        stretch: bool = False,
    ) -> None:
        self.dataset, self.size, self.augmentation, self.seed = dataset, size, augmentation, seed
        self.rule, self.stretch = rule, stretch
        self._images: list[NDArray[np.uint8]] | SharedImages | None = None
        self._in_memory = in_memory

    def load(self, progress: Callable[[int], None] | None = None, most_bytes: float = math.inf) -> None:
        """Reads every image into memory, so that damaged ones are found before the training.

        Not if ``in_memory`` is False, nor if it is None and the images would take more than ``most_bytes``.
        """
        if self._fits(most_bytes):
            self._images = list(self._decoded(progress))

    @contextlib.contextmanager
    def sharing(self, progress: Callable[[int], None] | None = None, most_bytes: float = math.inf) -> Iterator[str]:
        """As `load`, for the processes of a machine: a file for `map_images` in each of them, gone after the block.

        Its name is empty where images are not to be in memory.
        """
        if not self._fits(most_bytes):
            yield ""
            return
        with sharing(self._decoded(progress), self._decoded_bytes) as path:
            yield str(path)

    def map_images(self, path: str) -> None:
        """Takes the images from the file of `sharing`."""
        if path:
            self._images = SharedImages(Path(path), len(self))

    def _fits(self, most_bytes: float) -> bool:
        if self._in_memory is None:
            return isinstance(self.dataset, LandmarkDataset) and self._decoded_bytes <= most_bytes
        return self._in_memory

    def _decoded(self, progress: Callable[[int], None] | None) -> Iterator[NDArray[np.uint8]]:
        with ThreadPoolExecutor(4) as pool:
            # Not all at once: what waits to be taken is in memory, too.
            for start in range(0, len(self), _READ_AT_ONCE):
                faces = range(start, min(start + _READ_AT_ONCE, len(self)))
                yield from pool.map(lambda face: self.dataset.face(face)[0], faces)
                if progress is not None:
                    progress(faces.stop)

    @cached_property
    def _decoded_bytes(self) -> float:
        """What the images take once decoded, by a few of them; those that cannot be read are left to the reader."""
        sizes = []
        for face in np.unique(np.linspace(0, len(self) - 1, _SAMPLED).astype(int)).tolist():
            with contextlib.suppress(OSError, ValueError):
                sizes.append(self.dataset.face(face)[0].nbytes)
        return float(np.mean(sizes)) * len(self) if sizes else 0.0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        face, drawing = key
        image, points, hand = self.dataset.face(face, None if self._images is None else self._images[face])
        rng = np.random.default_rng([self.seed, 7, drawing])
        how = (self.size, self.dataset.scheme, self.augmentation, rng, self.rule, self.stretch)
        return Batch(*make_example(image, points, *how, hand))


def collate(faces: Sequence[Batch]) -> Batch:
    """Single faces as one batch of tensors."""
    return Batch(*(torch.from_numpy(np.stack(part)) for part in zip(*faces, strict=True)))


def training_batches(
    examples: Examples,
    sampler: Sampler,
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
