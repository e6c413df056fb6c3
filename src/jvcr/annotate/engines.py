"""What does the work: the cores of this machine, or a Ray cluster. Both write the same rows."""

from __future__ import annotations

import logging
import os
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jvcr.annotate.destination import Destination
from jvcr.annotate.sources import Item, Piece, SourceError
from jvcr.annotate.table import rows_of, table_of
from jvcr.inference.landmarker import Landmarker, Result
from jvcr.inference.named import named_detector, providers_of


@dataclass(frozen=True)
class Options:
    """How faces are found and landmarks made; the same on every machine of a run. See ``jvcr annotate``."""

    weights: str = "compact"
    detector: str | None = None
    device: str = "cpu"
    passes: int = 1
    min_score: float | None = None
    detect_size: int | None = None
    min_face: float | None = None

    def landmarker(self, threads: int | None = None) -> Landmarker:
        """What does all that.

        Raises:
            FileNotFoundError, ImportError, ValueError: as `Landmarker` and `named_detector`.
        """
        # One face at a time: in batches, with which processors are no quicker, last digits go by the other images.
        batch = 1 if self.device == "cpu" else 64
        landmarker = Landmarker(
            self.weights, threads, providers=providers_of(self.device), passes=self.passes, max_batch=batch
        )
        landmarker.detector = named_detector(
            self.detector,
            self.detect_size,
            self.min_score,
            landmarker.threads,
            self.device,
            self.min_face,
            landmarker.scheme.is_face,
        )
        return landmarker


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
    """

    images: int = 0
    before: int = 0
    faces: int = 0
    empty: int = 0
    errors: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Adds another's."""
        self.images += other.images
        self.before += other.before
        self.faces += other.faces
        self.empty += other.empty
        self.errors += other.errors
        self.broken += other.broken


@dataclass
class _Part:
    """A part that is being made: its images come ahead of their rows."""

    piece: Piece
    first: int
    images: list[Item] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    closed: bool = False
    complete: bool = False
    broken: bool = False

    def add(self, result: Result) -> None:
        item = self.images[self.tally.images]
        rows = rows_of(item.image, result, item.error)
        failed = bool(rows[0].get("error"))
        self.rows += rows
        self.tally.images += 1
        self.tally.errors += failed
        self.tally.faces += len(result.faces)
        self.tally.empty += not (failed or result.faces)


def annotate(landmarker: Landmarker, pieces: Iterable[Piece], destination: Destination) -> Iterator[Tally]:
    """Annotates what the destination lacks of the pieces, in bounded memory; says after each part what was done.

    Images are read, and their faces found, by as many threads as the landmarker has, see `Landmarker.results`. A file
    of many images that cannot be read any further is told of in ``broken``; its whole parts stay, and the next pieces
    go on.

    Raises:
        OSError: a part cannot be written. Those before it stay.
        ValueError: as `Destination.annotated`.
    """
    begun: deque[_Part] = deque()
    told: deque[Tally] = deque()

    def contents() -> Iterator[Any]:
        for piece in pieces:
            first, ended = destination.annotated(piece)
            told.append(Tally(before=first))
            if ended:
                continue
            part = _Part(piece, first)
            begun.append(part)
            try:
                for item in piece.read(first):
                    if len(part.images) == destination.images_per_part:
                        part.closed = True
                        part = _Part(piece, part.first + len(part.images))
                        begun.append(part)
                    part.images.append(item)
                    yield item.content
                    if not isinstance(item.content, bytes):
                        continue
                    part.images[-1] = Item(item.image, b"", item.error)  # its bytes are not needed any more
            except SourceError as error:
                told.append(Tally(broken=[str(error)]))
                part.broken = len(part.images) < destination.images_per_part
            else:
                part.complete = piece.most is None or part.first + len(part.images) < piece.most
            part.closed = True

    def finished() -> Iterator[Tally]:
        while begun and begun[0].closed and begun[0].tally.images == len(begun[0].images):
            part = begun.popleft()
            if not part.broken:
                names = [item.image for item in part.images]
                destination.write(part.piece, part.first, names, table_of(part.rows), part.complete)
                told.append(part.tally)
        while told:
            yield told.popleft()

    for result in landmarker.results(contents(), on_error="yield"):
        current = next(part for part in begun if part.tally.images < len(part.images))
        current.add(result)
        yield from finished()
    yield from finished()


_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anyone over the network
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # it warns of what Ray Data itself does, between our own lines
    "RAY_DATA_LOG_LEVEL": "ERROR",
}
"""What Ray is started with, where the user has not said otherwise."""


class _Actor:
    """A worker of a Ray cluster; it keeps its networks from one piece to the next."""

    def __init__(self, options: Options, destination: Destination) -> None:
        self.landmarker = options.landmarker(threads=1)
        self.destination = destination

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        tally = Tally()
        for pickled in batch["piece"]:
            for done in annotate(self.landmarker, [pickle.loads(pickled)], self.destination):
                tally.add(done)
        return {"tally": [pickle.dumps(asdict(tally))]}


def annotate_on_ray(
    options: Options, pieces: Sequence[Piece], destination: Destination, workers: int | None = None
) -> Iterator[Tally]:
    """As `annotate`, on the Ray cluster that ``RAY_ADDRESS`` names, or on one of this machine's cores.

    Each worker is an actor that takes a piece at a time; Ray starts another where one is lost, and gives it that piece.

    Args:
        options: how.
        pieces: the images.
        destination: a folder that all machines see under this name.
        workers: how many; None is one for each core of the cluster (for each GPU, where they run on one).

    Raises:
        ImportError: Ray is not installed.
        ValueError: as `annotate`.
    """
    for name, value in _RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        device = "CPU" if options.device == "cpu" else "GPU"
        workers = workers or int(ray.cluster_resources().get(device, 1))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        rows = [{"piece": pickle.dumps(piece)} for piece in pieces]
        # A block for each piece: what one worker takes, and does again when it is lost.
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_args=(options, destination),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            num_gpus=1 if device == "GPU" else None,
        )
        for row in dataset.iter_rows():
            yield Tally(**pickle.loads(row["tally"]))
    finally:
        if ours:
            ray.shutdown()
