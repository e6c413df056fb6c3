"""One benchmark: what is timed, and what follows from the times."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jvcr.benchmark.arithmetic import Arithmetic, count, cut_apart, write_product
from jvcr.benchmark.clock import Task, Timing, side_by_side
from jvcr.benchmark.machine import machine, versions
from jvcr.benchmark.models import MEDIAPIPE, NETWORK, PEAK, PEER, mediapipe_mesh, model_task
from jvcr.benchmark.stages import DRAWING, TOGETHER, StageClock
from jvcr.files import sha256
from jvcr.inference.detector import Detector, default_detector
from jvcr.inference.image import read_image
from jvcr.weights import find_weights

FORMAT = 1
"""Of the results; it changes when a key is renamed or means something else."""

WARM_UP = 3
"""Rounds before those that count."""

BUSY = 0.5
"""Load for each core from which on a machine counts as busy."""

PRODUCT_SIDE = 512
"""Of the matrices whose product shows what the processor does at its best: they fit into its caches, and a product is
done before other work interrupts it."""

Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Given the number of rounds, a context that gives a function to call after some of them."""


def benchmark(
    weights: str | Path,
    frame: NDArray[np.uint8],
    box: NDArray[np.floating],
    photo: bytes,
    against: Sequence[Path],
    threads: Sequence[int],
    batches: Sequence[int],
    repeats: int,
    progress: Progress,
) -> dict[str, Any]:
    """Times the stages, the networks and other models in one run.

    Args:
        weights: as of `jvcr.Landmarker`.
        frame: (h, w, 3) RGB, uint8, one frame of a video.
        box: (4,) x0, y0, x1, y1 in pixels around the landmarks of the frame's face.
        photo: an image file, as bytes, with one or more faces.
        against: ONNX files to time beside ours.
        threads: each number of threads to time everything with.
        batches: each number of faces to run through the network at once.
        repeats: how often each is timed.
        progress: shows how far it is.

    Returns:
        The results in plain types, as docs/benchmark.md describes them.

    Raises:
        FileNotFoundError: no such weights, or no such file to time beside them.
        ValueError: a file cannot be used, or the photo shows no face.
    """
    path = find_weights(weights, ".onnx")
    names = _names(against)
    pixels = read_image(photo)
    notes: list[str] = []
    first = StageClock(path, threads[0], _detector(threads[0], box, notes), most_faces=1)
    faces = len(first.landmarker(photo))
    if not faces:
        raise ValueError("no face was found in the image: give another --image, or none for a drawn one")
    about = {"name": first.landmarker.weights, "points": first.landmarker.scheme.num_landmarks, "sha256": sha256(path)}
    mesh = mediapipe_mesh(frame)
    if isinstance(mesh, str):
        notes.append(f"{mesh}: not timed")
    about_machine = machine()
    if (about_machine["load_average"] or 0) > BUSY * about_machine["available_cores"]:
        notes.append(
            f"the machine was busy when it began (load {about_machine['load_average']:g}): long tasks are interrupted "
            "more often than short ones, and only the fastest runs compare well"
        )
    result: dict[str, Any] = {
        "format": FORMAT,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": about_machine,
        "versions": versions(),
        "weights": about,
        "photo": {"width": pixels.shape[1], "height": pixels.shape[0], "faces": faces},
        "frame": {"width": frame.shape[1], "height": frame.shape[0]},
        "threads": list(threads),
        "batches": list(batches),
        "repeats": repeats,
        "warm_up": WARM_UP,
        "notes": notes,
    }
    with tempfile.TemporaryDirectory(prefix="jvcr-") as folder:
        parts, product, counted = _parts(path, Path(folder), notes)
        tasks: list[Task] = []
        for number in threads:
            clock = StageClock(path, number, _detector(number, box, []), max(faces, *batches))
            tasks += [clock.photo(photo, pixels), clock.frame(frame, box)]
            for batch in batches:
                tasks.append(clock.faces(frame, box, batch))
                for name, file in parts.items():
                    tasks.append(model_task(NETWORK, name, file, number, batch))
            tasks += [model_task(PEER, name, file, number) for name, file in names.items()]
            if not isinstance(mesh, str):
                tasks.append(Task(PEER, number, 1, mesh))
            if product is not None:
                tasks.append(model_task(PEAK, "product", product, number))
        with progress(WARM_UP + repeats) as advance:
            timings = side_by_side(tasks, repeats, WARM_UP, advance)
    return result | conclusions(timings, counted)


def conclusions(timings: Sequence[Timing], counted: dict[str, Arithmetic]) -> dict[str, Any]:
    """What follows from the times: ratios, throughput and the share of the processor's peak, in plain types.

    Args:
        timings: of the tasks of `benchmark`.
        counted: the arithmetic of "G", "P", where there is one "R", and "whole"; empty where it could not be counted.
    """
    times = {(t.subject, t.part, t.threads, t.batch): t for t in timings}
    median = {place: t.median_ms for place, t in times.items()}
    threads = sorted({t.threads for t in timings})
    batches = sorted({t.batch for t in timings if t.subject == "face"})
    frames = [
        {
            "threads": n,
            "frames_per_second": 1000 / median["frame", TOGETHER, n, 1],
            "frames_per_second_not_drawn": 1000 / (median["frame", TOGETHER, n, 1] - median["frame", DRAWING, n, 1]),
        }
        for n in threads
    ]
    throughput = [
        {
            "threads": n,
            "batch": b,
            "faces_per_second": 1000 * b / median["face", TOGETHER, n, b],
            "over_smallest_batch": (b / median["face", TOGETHER, n, b])
            / (batches[0] / median["face", TOGETHER, n, batches[0]]),
        }
        for n in threads
        for b in batches
    ]
    peers = []
    for t in timings:
        if t.subject == PEER:
            ours = {
                "our_network": times[NETWORK, "whole", t.threads, batches[0]],
                "our_face": times["face", TOGETHER, t.threads, batches[0]],
            }
            by_medians = {f"{name}_over_it": o.median_ms / o.batch / t.median_ms for name, o in ours.items()}
            at_best = {f"{name}_over_it_at_best": o.least_ms / o.batch / t.least_ms for name, o in ours.items()}
            peers.append({"name": t.part, "threads": t.threads, "median_ms": t.median_ms, **by_medians, **at_best})
    rates = {t.threads: PRODUCT_SIDE**3 / t.least_ms for t in timings if t.subject == PEAK}  # multiply-adds a ms
    floor = [
        {
            "part": name,
            "threads": n,
            "batch": b,
            "floor_ms_per_face": arithmetic.multiply_adds / rates[n],
            "share_of_peak": arithmetic.multiply_adds * b / rates[n] / median[NETWORK, name, n, b],
        }
        for name, arithmetic in counted.items()
        for n in threads
        for b in batches
    ]
    return {
        "timings": [asdict(t) | {"ms_per_face": t.median_ms / t.batch} for t in timings],
        "frame_rate": frames,
        "throughput": throughput,
        "peers": peers,
        "arithmetic": {name: asdict(arithmetic) for name, arithmetic in counted.items()},
        "peak": [{"threads": n, "multiply_adds_per_second": 1000 * rate} for n, rate in rates.items()],
        "floor": floor,
    }


def _names(against: Sequence[Path]) -> dict[str, Path]:
    """The files by the names that they go by in the results."""
    names: dict[str, Path] = {}
    for path in dict.fromkeys(against):
        if path.name in (*names, MEDIAPIPE):
            raise ValueError(f"--against has two files of the name {path.name}: rename one of them")
        names[path.name] = path
    return names


def _detector(threads: int, box: NDArray[np.floating], notes: list[str]) -> Detector:
    """The default detector, or one that knows its answer, so that what follows can be timed all the same."""
    try:
        return default_detector(threads)
    except ImportError:
        notes.append("no face detector is installed: the time of `detect` is that of none")
        return lambda image: (box[None], [1.0])


def _parts(path: Path, folder: Path, notes: list[str]) -> tuple[dict[str, Path], Path | None, dict[str, Arithmetic]]:
    """The networks to time, the matrix product, and the arithmetic; the latter two and the parts need onnx."""
    files = {"whole": path}
    try:
        product = write_product(folder / "product.onnx", PRODUCT_SIDE)
        files |= cut_apart(path, folder)
        return files, product, {name: count(file) for name, file in files.items()}
    except ImportError:
        notes.append(
            'G, P and R apart, their arithmetic and the processor\'s peak need onnx: pip install "jvcr[train]"'
        )
    except ValueError as error:
        notes.append(f"G, P and R are not apart, nor is their arithmetic counted: {error}")
    return {"whole": path}, None, {}
