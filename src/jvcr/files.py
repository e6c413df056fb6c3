"""Files that are whole or refused: written so that a failed write harms nothing, read so that damage is told."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import fcntl
except ImportError:  # Windows, where files of killed processes stay
    fcntl = None  # type: ignore[assignment]

PREFIX = ".jvcr-"
"""Of temporary files. Who writes one has it locked: one that is not locked is of a process that was killed."""


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path``; moves what was written there to ``path`` if the block succeeds.

    The file is on disk before it gets its name, so that a power failure leaves the old or the new one. The temporary
    name keeps the suffix, which some writers go by. The first time that a process writes to a folder it removes what
    killed processes have left there.

    Raises:
        IsADirectoryError: there is a folder of that name.
        OSError: it cannot be written, as when the disk is full; the error names ``path``.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder, where a file is to be written", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent.resolve())
    with naming(path), temporary(path) as name:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes files private to the user
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(name, path)
        _flush_folder(path.parent)


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Errors of writing say which file: the system names none when, say, the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[str]:
    """A new file's name beside ``path``, locked; the file is removed if it still has that name after an error."""
    while True:
        handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=PREFIX, dir=path.parent)
        if fcntl is None:
            os.close(handle)
            break
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.exists(name):
            break
        os.close(handle)  # another process took it for a leftover before it was locked
    try:
        yield name
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    finally:
        if fcntl is not None:
            os.close(handle)


@functools.cache
def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes have left in a folder, the first time that a process asks for it."""
    if fcntl is None:
        return
    for path in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # Windows opens no folders, and some file systems cannot flush them
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Gives a folder beside ``out`` that becomes ``out`` if the block succeeds, and goes away if not.

    Raises:
        ValueError: ``out`` is a file, or a folder with something in it.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: give the name of a folder that is not there yet")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} exists and is not empty: choose another folder, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        folder = out.parent / f".jvcr-{out.name}-{number}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    try:
        yield folder
        if out.is_dir():
            out.rmdir()
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def parse(text: str, read: Callable[[str], Any] = json.loads) -> Any:
    """What a text in JSON, or whatever else ``read`` makes Python's own values of, holds.

    Raises:
        ValueError: it is none, is nested too deeply, or has a whole number of more than 18 digits.
    """
    try:
        data = read(text)
        _check_numbers(data)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    return data


def read_toml(path: str | Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none; see `parse`.
    """
    try:
        return parse(Path(path).read_text(encoding="utf-8"), tomllib.loads)
    except ValueError as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error


def _check_numbers(data: Any) -> None:
    """Numbers that no field of ours can mean would overflow somewhere behind."""
    if isinstance(data, int) and abs(data) >= 10**18:
        raise ValueError("it has a whole number of more than 18 digits")
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        _check_numbers(value)


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


def write_json(path: str | Path, data: object) -> None:
    """Writes plain data as JSON, whole or not at all; NaN, which JSON does not know, is a ValueError."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


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
