"""Networks by themselves: ours, and those of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jvcr.benchmark.clock import Task, clocked
from jvcr.inference.session import open_session

if TYPE_CHECKING:
    import onnxruntime

NETWORK, PEER = "network", "peer"
"""Subjects of the tasks made here."""

MEDIAPIPE = "MediaPipe face mesh"


def model_task(subject: str, name: str, path: Path, threads: int, batch: int = 1) -> Task:
    """An ONNX file on random numbers that lie ready, with the options that our own networks run with.

    ``batch`` stands for the first side of an input's shape, where the file leaves that open.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be run, or leaves another side open.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no ONNX file {path}")
    session = open_session(path, threads)
    inputs = {node.name: _numbers(node, path, batch) for node in session.get_inputs()}
    try:
        session.run(None, inputs)
    except Exception as error:  # ONNX Runtime's own exceptions have no common base but this
        raise ValueError(f"{path} does not run on random numbers of the shapes that it names: {error}") from error
    return Task(subject, threads, batch, clocked(name, lambda: session.run(None, inputs)))


def _numbers(node: onnxruntime.NodeArg, path: Path, batch: int) -> NDArray[Any]:
    """Random numbers of an input's shape and type, 0 to 1."""
    first, *others = node.shape or [1]
    if not all(isinstance(side, int) for side in others):
        raise ValueError(f"{path}: its input {node.name!r} is {node.shape}: only its first side may be open")
    shape = (first if isinstance(first, int) else batch, *others) if node.shape else ()
    kinds = {"float": np.float32, "float16": np.float16, "double": np.float64, "uint8": np.uint8, "int64": np.int64}
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if kind not in kinds:
        raise ValueError(f"{path}: its input {node.name!r} is of the type {kind}; known here are {', '.join(kinds)}")
    return np.random.default_rng(0).random(shape).astype(kinds[kind])


def mediapipe_mesh(frame: NDArray[np.uint8]) -> Callable[[], dict[str, float]] | str:
    """MediaPipe's face mesh on a frame of a video: the ``run`` of a task, or why there is none.

    It follows the face from one call to the next, without detecting it anew, and takes as many threads as it likes.
    """
    try:
        import mediapipe
    except ImportError:
        return "MediaPipe is not installed"
    solutions = getattr(mediapipe, "solutions", None)
    if solutions is None:
        return "this MediaPipe comes without its face mesh (mediapipe.solutions)"
    mesh = solutions.face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1)
    if not mesh.process(frame).multi_face_landmarks:
        return "MediaPipe finds no face in the frame"
    return clocked(MEDIAPIPE, lambda: mesh.process(frame))
