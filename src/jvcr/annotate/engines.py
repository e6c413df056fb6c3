"""Many workers: processes of this machine, or actors of a Ray cluster. Both write the same rows."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from jvcr.annotate.destination import Destination
from jvcr.annotate.pieces import Piece
from jvcr.annotate.work import Tally, annotate
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.options import LandmarkerOptions

MOST_DEATHS = 3
"""Of workers, each of which is replaced; after one more the run ends."""


def annotate_on_cores(
    options: LandmarkerOptions,
    pieces: Iterable[Piece],
    destination: Destination,
    workers: int,
    tell: Callable[[Tally], object],
) -> None:
    """As `annotate`, by processes that take one piece after the other; where these are few, by threads in them, too.

    The threads of one process would wait for each other wherever Python itself is at work. A process that is lost, as
    for memory, is replaced, and the other takes its pieces.

    Args:
        options: how.
        pieces: the images.
        destination: where to.
        workers: how many images are worked on at once.
        tell: is told after each part what was done.

    Raises:
        ChildProcessError: processes are lost again and again.
        Exception: what a process raises; see `annotate`.
    """
    first = list(itertools.islice(pieces, workers))
    pieces, processes = itertools.chain(first, pieces), min(workers, len(first))
    if processes <= 1 or options.device != "cpu":
        annotate(_landmarker(options, workers), pieces, destination, tell)
        return
    deaths, again = 0, deque[Piece]()
    team = [_Worker.start(options, workers // processes, destination) for _ in range(processes)]
    try:
        while team:
            for worker in team:
                worker.feed(again, pieces)
            for ready in wait([worker.connection for worker in team]):
                worker = next(w for w in team if w.connection is ready)
                try:
                    message = worker.connection.recv()
                except (EOFError, ConnectionError):
                    team.remove(worker)
                    if worker.end() == 0:
                        continue
                    deaths += 1
                    if deaths > MOST_DEATHS:
                        raise ChildProcessError(
                            f"{deaths} processes were lost, the last with the exit code {worker.end()} (-9: killed, as "
                            "for memory); the same command goes on, perhaps with fewer --workers"
                        ) from None
                    again += worker.pieces.values()
                    team.append(_Worker.start(options, workers // processes, destination))
                    continue
                if isinstance(message, Exception):
                    raise message
                for number in message.done:
                    del worker.pieces[number]
                tell(message)
    finally:
        for worker in team:
            worker.process.kill()


def _landmarker(options: LandmarkerOptions, threads: int) -> Landmarker:
    # One face at a time: in batches last digits go by the other images.
    return options.landmarker(threads, max_batch=1 if options.device == "cpu" else 64)


@dataclass
class _Worker:
    """A process of this machine.

    Attributes:
        process: it.
        connection: takes pieces to it, and brings what it has done.
        pieces: those that it has and has not done, by their number.
        full: whether it has been told that there are no more.
    """

    process: Any
    connection: Connection
    pieces: dict[int, Piece] = field(default_factory=dict)
    full: bool = False

    @classmethod
    def start(cls, options: LandmarkerOptions, threads: int, destination: Destination) -> _Worker:
        """A new one."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(options, threads, destination, theirs), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def feed(self, again: deque[Piece], pieces: Iterator[Piece]) -> None:
        """Gives it two pieces: it asks for the second before it says that the first is done."""
        with contextlib.suppress(ConnectionError):  # it has ended, and its end of the connection says so
            while not self.full and len(self.pieces) < 2:
                piece = again.popleft() if again else next(pieces, None)
                if piece is None:
                    self.full = True
                else:
                    self.pieces[piece.number] = piece
                self.connection.send(piece)

    def end(self) -> int | None:
        """The exit code of a process that has closed its connection."""
        self.process.join(10)
        return self.process.exitcode


def _work(options: LandmarkerOptions, threads: int, destination: Destination, connection: Connection) -> None:
    """The life of such a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        annotate(_landmarker(options, threads), iter(connection.recv, None), destination, connection.send)
    except Exception as error:
        connection.send(error)


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anyone over the network
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # it warns of what Ray Data itself does, between our own lines
    "RAY_DATA_LOG_LEVEL": "ERROR",
}
"""What Ray is started with, where the user has not said otherwise."""


class _Actor:
    """A worker of a Ray cluster; it keeps its networks from one piece to the next."""

    def __init__(self, options: LandmarkerOptions, destination: Destination) -> None:
        self.landmarker = _landmarker(options, 1)
        self.destination = destination

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        tally = Tally()
        for pickled in batch["piece"]:
            annotate(self.landmarker, [pickle.loads(pickled)], self.destination, tally.add)
        return {"tally": [pickle.dumps(asdict(tally))]}


def annotate_on_ray(
    options: LandmarkerOptions,
    pieces: Sequence[Piece],
    destination: Destination,
    workers: int | None,
    tell: Callable[[Tally], object],
) -> None:
    """As `annotate`, on the Ray cluster that ``RAY_ADDRESS`` names, or on one of this machine's cores.

    Each worker is an actor that takes a piece at a time; Ray starts another where one is lost, and gives it that piece.

    Args:
        options: how.
        pieces: the images.
        destination: a folder that all machines see under this name.
        workers: how many; None is one for each core of the cluster (for each GPU, where they run on one).
        tell: is told after each piece what was done.

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
            tell(Tally(**pickle.loads(row["tally"])))
    finally:
        if ours:
            ray.shutdown()
