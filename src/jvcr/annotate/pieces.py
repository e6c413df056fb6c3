"""What one worker takes: a run of image files, or one file that holds many images."""

from __future__ import annotations

import itertools
import posixpath
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from jvcr.inference.image import IMAGE_SUFFIXES
from jvcr.inference.parallel import parallel_map

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
            yield Item(f"{self.name}/{utf8_name(member.name.removeprefix('./'))}", content)

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        try:
            with self._open() as file, tarfile.open(fileobj=file, mode="r:*") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep all that it has seen
                    if member.isfile() and is_image(member.name):
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


def is_image(name: str) -> bool:
    """Whether the name is that of an image file."""
    base = posixpath.basename(name)
    return posixpath.splitext(base)[1].lower() in IMAGE_SUFFIXES and not base.startswith(".")


def utf8_name(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 as backslash escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
