"""What one worker does: images in, parts of the result out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from jvcr.annotate.destination import Destination
from jvcr.annotate.pieces import Item, Piece, SourceError
from jvcr.annotate.table import Rows
from jvcr.inference.landmarker import Landmarker, Result


@dataclass
class Tally:
    """What was done.

    Attributes:
        images: that were looked at, those with errors included.
        before: images that another run has done.
        faces: in those that were looked at.
        empty: images without a face.
        errors: images that cannot be used.
        broken: what is wrong with files of many images that could not be read to their end.
        done: numbers of the pieces of which nothing is left to do.
    """

    images: int = 0
    before: int = 0
    faces: int = 0
    empty: int = 0
    errors: int = 0
    broken: list[str] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Adds another's."""
        self.images += other.images
        self.before += other.before
        self.faces += other.faces
        self.empty += other.empty
        self.errors += other.errors
        self.broken += other.broken
        self.done += other.done


@dataclass
class _Part:
    """A part that is being made: its images come ahead of their rows."""

    piece: Piece
    first: int
    images: list[Item] = field(default_factory=list)
    rows: Rows = field(default_factory=Rows)
    tally: Tally = field(default_factory=Tally)
    closed: bool = False
    complete: bool = False
    broken: bool = False
    last: bool = False

    def add(self, result: Result) -> None:
        item = self.images[self.tally.images]
        failed = not self.rows.add(item.image, result, item.error)
        self.tally.images += 1
        self.tally.errors += failed
        self.tally.faces += len(result.faces)
        self.tally.empty += not (failed or result.faces)


def annotate(
    landmarker: Landmarker, pieces: Iterable[Piece], destination: Destination, tell: Callable[[Tally], object]
) -> None:
    """Annotates what the destination lacks of the pieces, in bounded memory.

    Images are read, and their faces found, by as many threads as the landmarker has, see `Landmarker.results`. A file
    of many images that cannot be read any further is told of in ``broken``; its whole parts stay, and the next pieces
    go on.

    Args:
        landmarker: finds the faces.
        pieces: the images; they are taken when their turn comes.
        destination: where to.
        tell: is told after each part what was done.

    Raises:
        OSError: a part cannot be written. Those before it stay.
        ValueError: as `Destination.annotated`.
    """
    begun: deque[_Part] = deque()

    def contents() -> Iterator[Path | bytes]:
        for piece in pieces:
            first, ended = destination.annotated(piece)
            tell(Tally(before=first, done=[piece.number] if ended else []))
            if not ended:
                yield from unread(piece, first)

    def unread(piece: Piece, first: int) -> Iterator[Path | bytes]:
        part = _Part(piece, first)
        begun.append(part)
        try:
            for item in piece.read(first):
                if len(part.images) == destination.images_per_part:
                    part.closed = True
                    part = _Part(piece, part.first + len(part.images))
                    begun.append(part)
                part.images.append(replace(item, content=b""))
                yield item.content
        except SourceError as error:
            tell(Tally(broken=[str(error)]))
            part.broken = len(part.images) < destination.images_per_part
        else:
            part.complete = piece.most is None or part.first + len(part.images) < piece.most
        part.closed = part.last = True

    def write_finished() -> None:
        while begun and begun[0].closed and begun[0].tally.images == len(begun[0].images):
            part = begun.popleft()
            if not part.broken:
                names = [item.image for item in part.images]
                destination.write(part.piece, part.first, names, part.rows.table(), part.complete)
                tell(part.tally)
            if part.last:
                tell(Tally(done=[part.piece.number]))

    for result in landmarker.results(contents(), on_error="yield"):
        next(part for part in begun if part.tally.images < len(part.images)).add(result)
        write_finished()
    write_finished()
