"""Where annotations go: a folder of Parquet files, each written whole, and a manifest that says what made them."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from jvcr.annotate.pieces import Piece
from jvcr.files import replacing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MANIFEST = "_manifest.json"
"""Readers of folders of Parquet files pass over names with a leading underscore."""

_KEY = b"jvcr"
"""Of a Parquet file's metadata: what its rows are of."""


@dataclass(frozen=True)
class Destination:
    """A folder of annotations: ``part-PIECE-NUMBER.parquet`` holds so many images of a piece, in their order.

    A part is there as a whole or not at all, and only what it says of itself decides what has been done: so a run that
    was killed anywhere is gone on with by another, and two that run at once harm nothing.

    Args:
        location: a path, or what else fsspec opens.
        images_per_part: images of each but the last part of a piece.
    """

    location: str
    images_per_part: int

    def open(self, manifest: dict[str, Any]) -> None:
        """Begins a run in this folder, or goes on with one.

        Args:
            manifest: versions and options, plain data.

        Raises:
            ValueError: the folder holds other things, or the run there has other versions or options; the message
                says which.
            OSError: it cannot be written to.
        """
        fs, folder = self._root()
        if not fs.exists(f"{folder}/{MANIFEST}"):
            if fs.exists(folder) and any(not _base(e).startswith(".") for e in fs.ls(folder, detail=False)):
                raise ValueError(f"{self.location} is not empty, and not of jvcr annotate: give another folder")
            self._write(MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
            return
        try:
            there = json.loads(fs.cat_file(f"{folder}/{MANIFEST}"))
            other = {key for key in {**there, **manifest} if there.get(key) != manifest.get(key)}
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.location}/{MANIFEST} is damaged: give another folder ({error})") from error
        if other:
            pairs = ", ".join(f"{key} {there.get(key)!r}, not {manifest.get(key)!r}" for key in sorted(other))
            raise ValueError(
                f"{self.location} holds annotations made with other options or versions: {pairs}; "
                "go on with those, or give another folder"
            )

    def annotated(self, piece: Piece) -> tuple[int, bool]:
        """How many images of a piece are in whole parts, from its first on, and whether these are all.

        Raises:
            ValueError: the folder has annotations of other images at this place.
        """
        done, part = 0, 0
        while (made := self._made(piece, part)) is not None:
            end = done + made["images"]
            ended = made["complete"] if piece.origin else end >= (piece.count() or 0)  # a list may have grown
            if ended or (piece.most is not None and end >= piece.most):
                return end, True
            if made["images"] < self.images_per_part:
                break  # of a run with a limit: it is made anew
            done, part = end, part + 1
        return done, False

    def write(self, piece: Piece, first: int, images: list[str], table: pa.Table, complete: bool) -> None:
        """Writes a part.

        Args:
            piece: whose images they are.
            first: number of the first of them in the piece, a multiple of ``images_per_part``.
            images: what they are called.
            table: their rows.
            complete: whether the piece has no images after these.
        """
        made = {"origin": piece.origin, "images": len(images), "names": _digest(images), "complete": complete}
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({_KEY: json.dumps(made)}), buffer, compression="zstd")
        self._write(self._name(piece, first // self.images_per_part), buffer.getvalue())

    def _made(self, piece: Piece, part: int) -> dict[str, Any] | None:
        """What a part says of itself; None if there is none."""
        fs, folder = self._root()
        path = f"{folder}/{self._name(piece, part)}"
        if not fs.exists(path):
            return None
        try:
            with fs.open(path, "rb") as file:
                made: dict[str, Any] = json.loads(pq.read_metadata(file).metadata[_KEY])
            names = piece.names(part * self.images_per_part, made["images"])
            same = made["origin"] == piece.origin and (names is None or _digest(names) == made["names"])
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}): remove it, and it is made again") from error
        if not same:
            raise ValueError(
                f"{path} holds annotations of other images than the source has at this place now: files were removed "
                "from it, or came between; give another folder"
            )
        return made

    def _name(self, piece: Piece, part: int) -> str:
        return f"part-{piece.number:06d}-{part:05d}.parquet"

    def _root(self) -> tuple[AbstractFileSystem, str]:
        fs, path = fsspec.core.url_to_fs(self.location)
        return fs, path.rstrip("/")

    def _write(self, name: str, content: bytes) -> None:
        fs, folder = self._root()
        if isinstance(fs, LocalFileSystem):
            with replacing(Path(folder) / name) as temporary:
                temporary.write_bytes(content)
        else:
            fs.pipe_file(f"{folder}/{name}", content)  # object stores show a file when the whole of it is there


def _base(path: str) -> str:
    return posixpath.basename(path.rstrip("/"))


def _digest(names: list[str]) -> str:
    return hashlib.blake2b("\n".join(names).encode(), digest_size=16).hexdigest()
