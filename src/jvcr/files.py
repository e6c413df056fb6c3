"""Files that are whole or refused: written so that a failed write harms nothing, read so that damage is told."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path``; moves what was written there to ``path`` if the block succeeds.

    The temporary name keeps the suffix, which some writers go by.

    Raises:
        IsADirectoryError: there is a folder of that name.
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder, where a file is to be written", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=".jvcr-", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes files private to the user
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file, without pickled ones.

    Raises:
        ValueError: it is damaged, or no npz file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file}
    # TypeError: numpy also opens a file of one array, which is no context manager. RuntimeError and its kind: damaged
    # headers that ask for encryption or unknown compression.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or not an npz file: {error}") from error


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits; the file is read in parts."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
