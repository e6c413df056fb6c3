"""What every reader returns: images with their landmarks, in the one frame of the package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.scheme import FACE68, LandmarkScheme

Names: TypeAlias = NDArray[np.character]
"""An array of text. Not ``NDArray[np.str_]``: arrays of text carry their length in their dtype, and beartype, which
checks annotations in the tests, then takes none of them for np.str_."""


@dataclass(frozen=True)
class Sample:
    """One object in one image.

    Attributes:
        image: path of the image file.
        points_px: (N, 3) float32 landmarks in the image frame: pixels, integer = pixel centre, z away from the camera.
        source: the part of the data set it comes from, "" where parts have no names.
        yaw_deg: the ground truth's yaw, degrees; NaN where unknown. Only its size counts, for bins.
    """

    image: Path
    points_px: NDArray[np.float32]
    source: str
    yaw_deg: float


@dataclass(frozen=True)
class LandmarkDataset:
    """A data set's labels, by column; images are read when asked for.

    Attributes:
        root: folder that the image paths start from.
        images: (F,) paths below ``root``, with forward slashes.
        points_px: (F, N, 3) float32 landmarks in the image frame, as `Sample`.
        sources: (F,) names of parts; all "" where parts have no names.
        splits: (F,) "train", "val" ...; None for a data set without splits.
        yaw_deg: (F,) yaw, degrees; NaN where unknown.
        annotation: which labels these are, where a data set has several.
        scheme: the landmarks' names, mirror pairs and lines.
    """

    root: Path
    images: Names
    points_px: NDArray[np.float32]
    sources: Names
    splits: Names | None
    yaw_deg: NDArray[np.float32]
    annotation: str = ""
    scheme: LandmarkScheme = FACE68

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.points_px.shape != (count, self.scheme.points, 3):
            raise ValueError(
                f"{self.root}: {count} images of {self.scheme.points} landmarks ({self.scheme.name}) need points of "
                f"shape {(count, self.scheme.points, 3)}, got {self.points_px.shape}"
            )
        for name in ("sources", "splits", "yaw_deg"):
            column = getattr(self, name)
            if column is not None and column.shape != (count,):
                raise ValueError(
                    f"{self.root}: {name} must have one entry an image ({count}), got shape {column.shape}"
                )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(
            self.root / str(self.images[index]),
            self.points_px[index],
            str(self.sources[index]),
            float(self.yaw_deg[index]),
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> LandmarkDataset:
        """The faces of a mask or of indices, in that order."""
        return replace(
            self,
            images=self.images[keep],
            points_px=self.points_px[keep],
            sources=self.sources[keep],
            splits=None if self.splits is None else self.splits[keep],
            yaw_deg=self.yaw_deg[keep],
        )

    def split(self, name: str) -> LandmarkDataset:
        """The faces of one split.

        Raises:
            ValueError: the data set has no such split; the message lists those it has.
        """
        known = [] if self.splits is None else sorted(set(self.splits.tolist()))
        if self.splits is None or name not in known:
            raise ValueError(f"{self.root} has no split {name!r}" + (f"; it has {', '.join(known)}" if known else ""))
        return self.select(self.splits == name)

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """The image of a face, (height, width, 3) uint8 RGB, as stored: labels belong to the stored pixels.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: the file cannot be decoded.
        """
        path = self.root / str(self.images[index])
        data = np.fromfile(path, dtype=np.uint8)
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
        except cv2.error as error:  # a header that names more pixels than OpenCV takes
            raise ValueError(f"{path} cannot be decoded: {error}") from error
        if image is None:
            raise ValueError(f"{path} is not an image, or damaged: {data.size} bytes could not be decoded")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
