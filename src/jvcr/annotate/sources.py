"""Images by the million: folder trees, lists, WebDataset tars and Parquet files, wherever fsspec can open them.

A source gives its images in pieces, always the same ones in the same order, without holding more than one piece. A
piece is what one worker takes: a run of a folder's or a list's images, or a whole tar or Parquet file.
"""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jvcr.annotate.pieces import FilesPiece, ParquetPiece, Piece, TarPiece, is_image, utf8_name
from jvcr.inference.image import FORMATS

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIX = ".parquet"
LIST_SUFFIXES = (".txt", ".lst", ".list")


@dataclass(frozen=True)
class Source:
    """All images to annotate.

    Args:
        location: a folder, a text file with a path in each line, tars or Parquet files (a folder of them, one, or a
            pattern such as "s3://bucket/faces-*.tar"): a path, or what else fsspec opens.
        images_per_piece: of image files.
        image_column: of Parquet files: what holds the images.
        id_column: of Parquet files: what the images are called; None numbers the rows.
        without: a folder that is passed over, such as the one for the results.

    Raises:
        FileNotFoundError: there is no such thing.
        ImportError: fsspec needs another package for such a location.
        ValueError: the location is of no known kind.
    """

    location: str
    images_per_piece: int
    image_column: str = "image"
    id_column: str | None = None
    without: str = ""

    def __post_init__(self) -> None:
        fs, path = self._root()
        if not _is_pattern(path) and not fs.exists(path):
            raise FileNotFoundError(f"there is no {self.location}: give a folder, a list, tars or Parquet files")

    def pieces(self, shard: tuple[int, int] = (0, 1), limit: int | None = None) -> Iterator[Piece]:
        """The pieces, one after the other.

        Args:
            shard: which of how many parts of the source, from 0: every so many-th piece.
            limit: end after so many images of them.

        Raises:
            ValueError: there is no image, or there are several kinds of files.
        """
        any_piece = None
        for any_piece in itertools.islice(self._pieces(), shard[0], None, shard[1]):
            if limit is None:
                yield any_piece
                continue
            count = any_piece.count()
            count = sum(1 for _ in any_piece.read()) if count is None else count
            yield any_piece if count <= limit else replace(any_piece, most=limit)
            limit -= min(count, limit)
            if not limit:
                return
        if any_piece is None and shard[1] == 1:
            raise ValueError(f"{self.location} holds no images ({', '.join(FORMATS)}), tars or Parquet files")

    def _root(self) -> tuple[AbstractFileSystem, str]:
        fs, path = fsspec.core.url_to_fs(self.location)
        return fs, path

    def _pieces(self) -> Iterator[Piece]:
        fs, root = self._root()
        url = "" if isinstance(fs, LocalFileSystem) else self.location.partition("://")[0]
        if root.endswith(LIST_SUFFIXES):
            yield from self._runs(url, _listed(fs, root))
            return
        without = fsspec.core.url_to_fs(self.without)[1] if self.without else ""
        files = _found(fs, root, without)
        first = next(files, None)
        if first is None:
            return
        kind = _kind(first[1])
        same = _of_kind(itertools.chain([first], files), kind, self.location)
        if kind == "image":
            yield from self._runs(url, same)
        elif kind == "tar":
            yield from (TarPiece(i, None, url, *file) for i, file in enumerate(same))
        else:
            columns = self.image_column, self.id_column
            yield from (ParquetPiece(i, None, url, *file, *columns) for i, file in enumerate(same))

    def _runs(self, url: str, files: Iterable[tuple[str, str]]) -> Iterator[FilesPiece]:
        for number, run in enumerate(iter(lambda: tuple(itertools.islice(files, self.images_per_piece)), ())):
            yield FilesPiece(number, None, url, run)


def _kind(name: str) -> str | None:
    lower = name.lower()
    if lower.endswith(TAR_SUFFIXES):
        return "tar"
    if lower.endswith(PARQUET_SUFFIX):
        return "Parquet"
    return "image" if is_image(lower) else None


def _of_kind(files: Iterable[tuple[str, str]], kind: str | None, location: str) -> Iterator[tuple[str, str]]:
    for file in files:
        if _kind(file[1]) != kind:
            raise ValueError(
                f"{location} holds {kind} files and {_kind(file[1])} files ({file[1]}): give one kind, as by a pattern"
            )
        yield file


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _found(fs: AbstractFileSystem, root: str, without: str) -> Iterator[tuple[str, str]]:
    """Path and name of all files of a known kind, in an order that stays."""
    if _is_pattern(root) and not fs.exists(root):
        above = posixpath.dirname(root.partition("*")[0].partition("?")[0].partition("[")[0])
        for path in sorted(fs.glob(root)):
            yield path, utf8_name(posixpath.relpath(path, above or "."))
    elif not fs.isdir(root):
        if _kind(root) is None:
            known = ", ".join((*TAR_SUFFIXES, PARQUET_SUFFIX, *LIST_SUFFIXES))
            raise ValueError(f"{root} is no image, and its name ends in none of {known}")
        yield root, utf8_name(posixpath.basename(root))
    else:
        for path in _walk(fs, root.rstrip("/"), without.rstrip("/")):
            yield path, utf8_name(posixpath.relpath(path, root))


def _walk(fs: AbstractFileSystem, folder: str, without: str) -> Iterator[str]:
    for name, is_folder in _entries(fs, folder):
        if posixpath.basename(name).startswith(".") or name in (folder, without):
            continue
        if is_folder:
            yield from _walk(fs, name, without)
        elif _kind(name) is not None:
            yield name


def _entries(fs: AbstractFileSystem, folder: str) -> list[tuple[str, bool]]:
    """What is in a folder, sorted, and whether it is a folder: no more, as there may be millions of files."""
    if isinstance(fs, LocalFileSystem):
        with os.scandir(folder) as entries:
            return sorted((f"{folder}/{entry.name}", entry.is_dir()) for entry in entries)
    return sorted((e["name"].rstrip("/"), e["type"] == "directory") for e in fs.ls(folder, detail=True))


def _listed(fs: AbstractFileSystem, path: str) -> Iterator[tuple[str, str]]:
    """Paths of a list, which are relative to its folder where they are relative."""
    folder = posixpath.dirname(path)
    with fs.open(path, "rb") as file:
        for line in file:
            name = line.decode("utf-8", "surrogateescape").strip()
            if name and not name.startswith("#"):
                path = fs._strip_protocol(name) if "://" in name else name
                yield posixpath.join(folder, path), utf8_name(name)


def total(pieces: Sequence[Piece] | Iterable[Piece]) -> int | None:
    """How many images there are in all; None if only reading them would tell."""
    images = 0
    for piece in pieces:
        count = piece.count()
        if count is None:
            return None
        images += count if piece.most is None else min(count, piece.most)
    return images
