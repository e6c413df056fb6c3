"""``jvcr benchmark``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAME_WIDTH, FRAME_HEIGHT = 640, 480

DRAWN_FACE = 4
"""Of the synthetic set: it looks nearly into the camera, and detectors find it."""


SEVERAL = Parameter(consume_multiple=True, negative=(), show_default=False)


def benchmark(
    *,
    weights: str = "compact",
    image: Path | None = None,
    against: Annotated[tuple[Path, ...], SEVERAL] = (),
    threads: Annotated[tuple[str, ...], SEVERAL] = ("1", "all"),
    batch: Annotated[tuple[int, ...], SEVERAL] = (1, 8, 32),
    repeats: int = 30,
    json: Path | None = None,
) -> int:
    """Measure where the time goes on this machine: each stage, the networks, other models beside them.

    All is timed in rounds, each thing once a round, so that whatever else the machine does hits all alike. The tables
    show what a photograph, a frame of a video and a face cost, how near the networks come to what the processor can do,
    and how they compare with other models.

        jvcr benchmark
        jvcr benchmark --image portrait.jpg --threads 1 --batch 1 --json speed.json
        jvcr benchmark --against other.onnx another.onnx

    What each line means: docs/benchmark.md.

    Parameters
    ----------
    weights
        Name of shipped weights, or an .onnx file.
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
    from rich.console import Console

    from jvcr.benchmark.report import conclusion_lines, header_lines, tables, write_results
    from jvcr.benchmark.run import benchmark as run
    from jvcr.cli.progress import counting
    from jvcr.inference.image import read_image

    numbers, batches = _thread_numbers(threads), sorted(set(batch))
    if repeats < 1 or not batches or batches[0] < 1:
        raise ValueError(f"--repeats and --batch are numbers from 1 on, got {repeats} and {batch}")
    frame, box = _drawn_frame()
    if image is None:
        photo = _as_jpeg(frame)
    else:
        read_image(image)  # says what is wrong with the file, by its name
        photo = image.read_bytes()
    results = run(
        weights, frame, box, photo, against, numbers, batches, repeats, lambda rounds: counting("rounds", rounds)
    )
    results["command"] = _command(weights, image, against, threads, batch, repeats, json)
    output = Console(highlight=False, soft_wrap=True)
    for line in header_lines(results):
        output.print(line, markup=False)
    for table in tables(results):
        output.print()
        output.print(table)
    output.print()
    for line in conclusion_lines(results):
        output.print(line, markup=False)
    if json is not None:
        write_results(json, results)
        output.print(f"written: {json}", markup=False)
    return 0


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


def _drawn_frame() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A frame of a video with one drawn head, and the box around its landmarks."""
    import cv2
    import numpy as np

    from jvcr.synthetic.dataset import synthetic_face

    face = synthetic_face(DRAWN_FACE, size=FRAME_HEIGHT)
    beside = (FRAME_WIDTH - FRAME_HEIGHT) // 2
    frame = cv2.copyMakeBorder(face.draw()[0], 0, 0, beside, beside, cv2.BORDER_REFLECT_101)
    points = face.points_px[:, :2] + np.array([beside, 0], np.float32)
    return np.asarray(frame, dtype=np.uint8), np.concatenate([points.min(0), points.max(0)])


def _as_jpeg(image: NDArray[np.uint8]) -> bytes:
    import cv2

    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def _command(
    weights: str,
    image: Path | None,
    against: Sequence[Path],
    threads: Sequence[str],
    batch: Sequence[int],
    repeats: int,
    json: Path | None,
) -> str:
    """The command line, for the results."""
    import shlex

    words = ["jvcr", "benchmark", "--weights", weights]
    words += ["--image", str(image)] * (image is not None)
    words += ["--against", *map(str, against)] * bool(against)
    words += ["--threads", *threads, "--batch", *map(str, batch), "--repeats", str(repeats)]
    words += ["--json", str(json)] * (json is not None)
    return shlex.join(words)
