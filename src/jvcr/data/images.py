"""Decoded images that all processes of a machine have in memory once."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jvcr.files import naming, remove_leftovers, temporary

_IN_MEMORY = Path("/dev/shm")
"""Linux's file system in memory; in a container it may be small."""


class SharedImages:
    """Images of a file that is mapped into memory: whichever processes map it share one copy.

    Args:
        path: as `sharing` writes it.
        count: of images in it.

    Raises:
        ValueError: the file has not so many images.
    """

    def __init__(self, path: Path, count: int) -> None:
        content = np.memmap(path, np.uint8, "r")
        table = np.frombuffer(content[-8 * count :], np.int32).reshape(-1, 2)
        ends = np.cumsum(3 * table.astype(np.int64).prod(axis=1))
        if len(table) != count or ends[-1] + 8 * count != len(content):
            raise ValueError(f"{path} does not hold {count} images")
        self._content, self._sizes, self._ends = content, table, ends

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        height, width = self._sizes[index].tolist()
        end = int(self._ends[index])
        return np.asarray(self._content[end - 3 * height * width : end]).reshape(height, width, 3)


@contextlib.contextmanager
def sharing(images: Iterable[NDArray[np.uint8]], bytes_needed: float) -> Iterator[Path]:
    """Writes images, (height, width, 3) each, into a file to be mapped while the block lasts; it goes away afterwards.

    It lies in memory where the system has a place for so many bytes there, else in the folder for temporary files.
    Who has mapped it keeps what it maps. What killed processes have left behind is removed.
    """
    has_room = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > 1.1 * bytes_needed
    folder = _IN_MEMORY if has_room else Path(tempfile.gettempdir())
    remove_leftovers(folder)
    with temporary(folder / "images") as name:
        sizes = []
        with naming(name), open(name, "wb") as file:
            for image in images:
                file.write(np.ascontiguousarray(image).data)
                sizes.append(image.shape[:2])
            file.write(np.array(sizes, np.int32).tobytes())
        try:
            yield Path(name)
        finally:
            with contextlib.suppress(OSError):  # Windows keeps what is mapped
                os.unlink(name)
