"""Images by the million: folder trees, lists, WebDataset tars and Parquet files, wherever fsspec can open them.

A source gives its images in pieces, always the same ones in the same order, without holding more than one piece. A
piece is what one worker takes: a run of a folder's or a list's images, or a whole tar or Parquet file.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jvcr.inference.image import FORMATS, IMAGE_SUFFIXES
from jvcr.inference.parallel import parallel_map

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIX = ".parquet"
LIST_SUFFIXES = (".txt", ".lst", ".list")

_REMOTE_READERS = 16
"""Files that are fetched at once from where a request takes long."""

_ROWS_READ = 64
"""Rows of a Parquet file that are in memory at once."""


class SourceError(ValueError):
    """A file that holds images cannot be read, from the start or from some place on; the message says which."""


@dataclass(frozen=True)
class Item:
    """An image.

    Attributes:
        image: what it is called: its path below the source, or that of its file and its name or row in it.
        content: where it lies on this machine, or its bytes.
        error: why it could not be fetched; empty if it could.
    """

    image: str
    content: Path | bytes = b""
    error: str = ""


@dataclass(frozen=True)
class Piece(ABC):
    """Images that one worker takes.

    Attributes:
        number: of the piece in its source, from 0.
        most: images after which the piece ends; None is all.
    """

    number: int
    most: int | None

    @property
    @abstractmethod
    def origin(self) -> str:
        """What the images come from: a file of many; empty where they are listed in the piece."""

    @abstractmethod
    def count(self) -> int | None:
        """How many images there are; None if only reading all of them would tell."""

    @abstractmethod
    def names(self, first: int, count: int) -> list[str] | None:
        """What so many images from the one of that number on are called; None if only reading tells."""

    @abstractmethod
    def _read(self, first: int) -> Iterator[Item]: ...

    def read(self, first: int = 0) -> Iterator[Item]:
        """The images from the one of that number on.

        Raises:
            SourceError: the file that holds them cannot be read any further.
        """
        return itertools.islice(self._read(first), None if self.most is None else max(0, self.most - first))


@dataclass(frozen=True)
class FilesPiece(Piece):
    """Image files, each for itself.

    Attributes:
        url: of the file system, such as "s3://".
        files: path and name of each.
    """

    url: str
    files: tuple[tuple[str, str], ...]

    @property
    def origin(self) -> str:
        """Empty."""
        return ""

    def count(self) -> int:
        """How many images there are."""
        return len(self.files)

    def names(self, first: int, count: int) -> list[str]:
        """What they are called."""
        return [name for _, name in self.files[first : first + count]]

    def _read(self, first: int) -> Iterator[Item]:
        files = self.files[first:]
        if not self.url:
            return (Item(name, Path(path)) for path, name in files)
        fs = fsspec.filesystem(self.url)

        def fetch(file: tuple[str, str]) -> Item:
            try:
                return Item(file[1], fs.cat_file(file[0]))
            except Exception as error:  # each file system has errors of its own
                return Item(file[1], error=f"{file[0]} cannot be fetched: {str(error) or type(error).__name__}")

        return parallel_map(fetch, files, _REMOTE_READERS)


@dataclass(frozen=True)
class FilePiece(Piece):
    """A file that holds many images.

    Attributes:
        url: of the file system; empty on this machine.
        path: of the file.
        name: its path below the source.
    """

    url: str
    path: str
    name: str

    @property
    def origin(self) -> str:
        """The file's path below the source."""
        return self.name

    def names(self, first: int, count: int) -> None:
        """Only reading tells."""

    def _open(self) -> Any:
        return fsspec.filesystem(self.url or "file").open(self.path, "rb")


@dataclass(frozen=True)
class TarPiece(FilePiece):
    """A tar of image files, as WebDataset has them; what else is in it is passed over."""

    def count(self) -> int | None:
        """How many images there are; None where all that lies between would have to be fetched, too."""
        if self.url or not self.path.endswith(".tar"):
            return None
        return sum(1 for _ in self._members())

    def _read(self, first: int) -> Iterator[Item]:
        for archive, member in itertools.islice(self._members(), first, None):
            file = archive.extractfile(member)
            try:
                content = b"" if file is None else file.read()
            except (tarfile.TarError, OSError, EOFError) as error:
                raise SourceError(f"{self.path} is damaged or cut short: {error}; fetch it again") from error
            if len(content) < member.size:
                raise SourceError(f"{self.path} is damaged or cut short: it ends in {member.name}; fetch it again")
            yield Item(f"{self.name}/{_utf8(member.name.removeprefix('./'))}", content)

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        try:
            with self._open() as file, tarfile.open(fileobj=file, mode="r:*") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep all that it has seen
                    if member.isfile() and _is_image(member.name):
                        yield archive, member
                # Damage between two files ends an archive for tarfile as its end does, which is a block of zeros.
                archive.fileobj.seek(archive.offset)
                if any(archive.fileobj.read(tarfile.BLOCKSIZE)):
                    raise SourceError(f"{self.path} is damaged or cut short at byte {archive.offset}: fetch it again")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise SourceError(f"{self.path} cannot be read as a tar: {error}") from error


@dataclass(frozen=True)
class ParquetPiece(FilePiece):
    """A Parquet file with image files in a column: of bytes, or as Hugging Face's data sets have them.

    Attributes:
        image_column: what holds the images.
        id_column: what they are called; None numbers the rows.
    """

    image_column: str
    id_column: str | None

    def count(self) -> int:
        """How many rows there are."""
        with self._opened() as parquet:
            return int(parquet.metadata.num_rows)

    def _read(self, first: int) -> Iterator[Item]:
        with self._opened() as parquet:
            row, wanted = 0, [c for c in (self.image_column, self.id_column) if c is not None]
            for group in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(group).num_rows
                if row + rows <= first:
                    row += rows
                    continue
                for batch in parquet.iter_batches(_ROWS_READ, row_groups=[group], columns=wanted):
                    for values in batch.to_pylist():
                        if row >= first:
                            yield self._item(values, row)
                        row += 1

    def _item(self, values: dict[str, Any], row: int) -> Item:
        content, own = values[self.image_column], values[self.id_column] if self.id_column else None
        name = f"{self.name}/{row}" if own is None else str(own)
        if isinstance(content, dict):
            content = content.get("bytes")
        return Item(name, content) if content else Item(name, error=f"row {row} of {self.path} holds no image")

    def _opened(self) -> Any:
        from contextlib import contextmanager

        import pyarrow as pa
        import pyarrow.parquet as pq

        @contextmanager
        def opened() -> Iterator[pq.ParquetFile]:
            try:
                with self._open() as file:
                    parquet = pq.ParquetFile(file)
                    self._check(parquet.schema_arrow)
                    yield parquet
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{self.path} cannot be read as Parquet: {error}") from error

        return opened()

    def _check(self, schema: Any) -> None:
        import pyarrow as pa

        for column in (self.image_column, self.id_column):
            if column is not None and column not in schema.names:
                raise SourceError(f"{self.path} has no column {column!r}, only {', '.join(schema.names)}")
        kind = schema.field(self.image_column).type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise SourceError(f"the column {self.image_column!r} of {self.path} holds {kind}, not the bytes of images")


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
    return "image" if _is_image(lower) else None


def _is_image(name: str) -> bool:
    base = posixpath.basename(name)
    return posixpath.splitext(base)[1].lower() in IMAGE_SUFFIXES and not base.startswith(".")


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
            yield path, _utf8(posixpath.relpath(path, above or "."))
    elif not fs.isdir(root):
        if _kind(root) is None:
            known = ", ".join((*TAR_SUFFIXES, PARQUET_SUFFIX, *LIST_SUFFIXES))
            raise ValueError(f"{root} is no image, and its name ends in none of {known}")
        yield root, _utf8(posixpath.basename(root))
    else:
        for path in _walk(fs, root.rstrip("/"), without.rstrip("/")):
            yield path, _utf8(posixpath.relpath(path, root))


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
                yield (posixpath.join(folder, fs._strip_protocol(name) if "://" in name else name), _utf8(name))


def _utf8(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 as backslash escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def total(pieces: Sequence[Piece] | Iterable[Piece]) -> int | None:
    """How many images there are in all; None if only reading them would tell."""
    images = 0
    for piece in pieces:
        count = piece.count()
        if count is None:
            return None
        images += count if piece.most is None else min(count, piece.most)
    return images
