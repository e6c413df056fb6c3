"""``jvcr benchmark``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from jvcr.cli.options import SEVERAL, Weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 2
"""Of the results; it changes when a key is renamed or means something else."""

WARM_UP = 3
"""Rounds before those that count."""

BUSY = 0.5
"""Load for each core from which on a machine counts as busy."""

FRAME_WIDTH, FRAME_HEIGHT = 640, 480

DRAWN_FACE = 4
"""Of the synthetic set: it looks nearly into the camera, and detectors find it."""


def benchmark(
    *,
    weights: Weights = "compact",
    image: Path | None = None,
    against: Annotated[tuple[Path, ...], SEVERAL] = (),
    threads: Annotated[tuple[str, ...], SEVERAL] = ("1", "all"),
    batch: Annotated[tuple[int, ...], SEVERAL] = (1, 8, 32),
    repeats: int = 30,
    json: Path | None = None,
) -> int:
    """Measure where the time goes on this machine: each stage, the network, other models beside it.

    All is timed in rounds, each thing once a round, so that whatever else the machine does hits all alike. The tables
    show what a photograph, a frame of a video and a face cost, and how that compares with other models.

        jvcr benchmark
        jvcr benchmark --image portrait.jpg --threads 1 --batch 1 --json speed.json
        jvcr benchmark --against other.onnx another.onnx

    What each line means: docs/benchmark.md.

    Parameters
    ----------
    image
        The photograph. Without it a drawn head of 640 x 480 pixels is taken; the frame of a video is always that.
    against
        ONNX files of other networks. They run on random numbers of the shapes that they name, one face at a time.
        MediaPipe's face mesh is timed too where it is installed, with threads of its own choice.
    threads
        Numbers of processor threads to time everything with, "1 all" by default; "all" is one for each core.
    batch
        Numbers of faces to run through the network at once, "1 8 32" by default; other models are compared with the
        smallest.
    repeats
        Rounds that count; more make the medians steadier. The usual 30 take a minute or two.
    json
        Write all times and what follows from them into this file.
    """
    import shlex
    import sys

    from jvcr.benchmark.models import mediapipe_mesh
    from jvcr.benchmark.report import conclusion_lines, header_lines, tables
    from jvcr.cli import terminal
    from jvcr.files import write_json

    numbers, batches = _thread_numbers(threads), sorted(set(batch))
    if repeats < 1 or not batches or batches[0] < 1:
        raise ValueError(f"--repeats and --batch are numbers from 1 on, got {repeats} and {batch}")
    pictures = _pictures(image)
    peers = _by_name(against)
    results = _measure(weights, pictures, peers, mediapipe_mesh(pictures.frame), numbers, batches, repeats)
    results["command"] = shlex.join(["jvcr", *sys.argv[1:]])
    output = terminal.console(soft_wrap=True)
    for line in header_lines(results):
        output.print(line, markup=False)
    for table in tables(results):
        output.print()
        output.print(table)
    output.print()
    for line in conclusion_lines(results):
        output.print(line, markup=False)
    if json is not None:
        write_json(json, results)
        output.print(f"written: {json}", markup=False)
    return 0


class _Pictures(NamedTuple):
    """What is timed on; pictures are (h, w, 3) uint8 RGB."""

    photo: bytes  # an image file with one or more faces
    pixels: NDArray[np.uint8]  # the same, decoded
    frame: NDArray[np.uint8]  # of a video, with one drawn head
    box: NDArray[np.float32]  # (4,) around that head's landmarks


def _pictures(image: Path | None) -> _Pictures:
    import cv2
    import numpy as np

    from jvcr.inference.image import read_image
    from jvcr.synthetic.dataset import synthetic_face

    face = synthetic_face(DRAWN_FACE, size=FRAME_HEIGHT)
    beside = (FRAME_WIDTH - FRAME_HEIGHT) // 2
    frame = np.asarray(cv2.copyMakeBorder(face.draw()[0], 0, 0, beside, beside, cv2.BORDER_REFLECT_101), np.uint8)
    points = face.points_px[:, :2] + np.array([beside, 0], np.float32)
    box = np.concatenate([points.min(0), points.max(0)])
    if image is None:
        photo = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()
        return _Pictures(photo, read_image(photo), frame, box)
    pixels = read_image(image)  # says what is wrong with the file, by its name
    return _Pictures(image.read_bytes(), pixels, frame, box)


def _measure(
    weights: str,
    pictures: _Pictures,
    peers: dict[str, Path],
    mesh: Callable[[], dict[str, float]] | str,
    threads: list[int],
    batches: list[int],
    repeats: int,
) -> dict[str, Any]:
    """Times the stages, our network, ``peers`` and MediaPipe's mesh; the results as docs/benchmark.md has them."""
    from datetime import UTC, datetime

    from jvcr.benchmark.clock import Task, side_by_side
    from jvcr.benchmark.machine import machine, versions
    from jvcr.benchmark.models import NETWORK, PEER, model_task
    from jvcr.benchmark.report import conclusions
    from jvcr.benchmark.stages import StageClock
    from jvcr.cli.progress import counting
    from jvcr.files import sha256
    from jvcr.inference.named import default_detector
    from jvcr.weights.header import find_weights

    path = find_weights(weights, ".onnx")
    computer = machine()
    notes = [f"{mesh}: not timed"] if isinstance(mesh, str) else []
    if (computer["load_average"] or 0) > BUSY * computer["available_cores"]:
        notes.append(
            f"the machine was busy when it began (load {computer['load_average']:g}): long tasks are interrupted "
            "more often than short ones, and only the fastest runs compare well"
        )
    landmarker = StageClock(path, threads[0], default_detector(threads[0]), most_faces=1).landmarker
    faces = len(landmarker(pictures.photo))
    if not faces:
        raise ValueError("no face was found in the image: give another --image, or none for a drawn one")
    tasks: list[Task] = []
    for n in threads:
        clock = StageClock(path, n, default_detector(n), max(faces, *batches))
        tasks += [clock.photo(pictures.photo, pictures.pixels), clock.frame(pictures.frame, pictures.box)]
        for batch in batches:
            tasks += [clock.faces(pictures.frame, pictures.box, batch), model_task(NETWORK, "whole", path, n, batch)]
        tasks += [model_task(PEER, name, file, n) for name, file in peers.items()]
        tasks += [] if isinstance(mesh, str) else [Task(PEER, n, 1, mesh)]
    with counting("rounds", WARM_UP + repeats) as advance:
        timings = side_by_side(tasks, repeats, WARM_UP, advance)
    num_landmarks = landmarker.scheme.num_landmarks
    return {
        "format": FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": computer,
        "versions": versions(),
        "weights": {"name": landmarker.weights, "num_landmarks": num_landmarks, "sha256": sha256(path)},
        "photo": {"width": pictures.pixels.shape[1], "height": pictures.pixels.shape[0], "faces": faces},
        "frame": {"width": FRAME_WIDTH, "height": FRAME_HEIGHT},
        "threads": threads,
        "batches": batches,
        "repeats": repeats,
        "warm_up": WARM_UP,
        "notes": notes,
        **conclusions(timings),
    }


def _by_name(against: Sequence[Path]) -> dict[str, Path]:
    """The files of --against by the names that they go by in the results."""
    from jvcr.benchmark.models import MEDIAPIPE

    names: dict[str, Path] = {}
    for path in dict.fromkeys(against):
        if path.name in (*names, MEDIAPIPE):
            raise ValueError(f"--against has two files of the name {path.name}: rename one of them")
        names[path.name] = path
    return names


def _thread_numbers(threads: Sequence[str]) -> list[int]:
    """The numbers of --threads, each once."""
    from jvcr.inference.session import available_cores

    numbers = []
    for text in threads:
        if text != "all" and not (text.isdecimal() and int(text)):
            raise ValueError(f'--threads takes numbers from 1 on and "all", got {text!r}')
        numbers.append(available_cores() if text == "all" else int(text))
    if not numbers:
        raise ValueError('--threads needs a number or "all"')
    return sorted(set(numbers))
