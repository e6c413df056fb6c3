"""The same evaluation in several processes of this machine: the data set in pieces, the predictions in its order."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import numpy as np
from numpy.typing import ArrayLike

from jvcr.data.dataset import LandmarkDataset
from jvcr.evaluation.predictions import (
    BATCH,
    BoxKind,
    BoxSource,
    EvaluatedLandmarker,
    Predictions,
    check_box_source,
    predict,
)

_landmarkers: dict[str, EvaluatedLandmarker] = {}
"""Of a worker process: the one landmarker that it has made."""


def predict_in_processes(
    make_landmarker: Callable[[], EvaluatedLandmarker],
    dataset: LandmarkDataset,
    box: BoxSource,
    processes: int,
    progress: Callable[[int], object] | None = None,
    *,
    boxes_of: Sequence[ArrayLike] | None = None,
    box_kind: BoxKind = "detector",
    strict: bool = False,
) -> Predictions:
    """What `jvcr.evaluation.predictions.predict` gives, worked out in several processes.

    Every face is in exactly one piece. A piece is a batch of that function, so that each network run has the very faces
    it has there, and the pieces are put together in the data set's order.

    Args:
        make_landmarker: makes the landmarker, once in each process; it is pickled, so no lambda will do.
        dataset: as there.
        box: as there.
        processes: how many, each started anew (spawn).
        progress: as there.
        boxes_of: as there.
        box_kind: as there.
        strict: as there.

    Raises:
        ValueError: as there, or processes is below 1.
        OSError: a process ended by itself, mostly for want of memory.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    if not len(dataset):
        raise ValueError(f"{dataset.root} has no faces to evaluate")
    check_box_source(dataset, box)
    pieces = [np.arange(first, min(first + BATCH, len(dataset))) for first in range(0, len(dataset), BATCH)]
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(pieces)), mp_context=context)
    try:
        tasks = {
            pool.submit(
                _predict_piece,
                make_landmarker,
                dataset.select(piece),
                box,
                None if boxes_of is None else [np.asarray(boxes_of[i]) for i in piece.tolist()],
                box_kind,
                strict,
            ): number
            for number, piece in enumerate(pieces)
        }
        parts: dict[int, Predictions] = {}
        done = 0
        for task in as_completed(tasks):
            parts[tasks[task]] = task.result()
            done += len(parts[tasks[task]])
            if progress is not None:
                progress(done)
    except BrokenProcessPool as error:
        raise OSError(
            f"one of {processes} processes ended by itself, perhaps for want of memory: give fewer --processes"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    merged = Predictions.merged([parts[number] for number in range(len(pieces))])
    merged.about["seconds"] = round(time.perf_counter() - start, 2)
    return merged


def _predict_piece(
    make_landmarker: Callable[[], EvaluatedLandmarker],
    piece: LandmarkDataset,
    box: BoxSource,
    boxes_of: Sequence[ArrayLike] | None,
    box_kind: BoxKind,
    strict: bool,
) -> Predictions:
    if "mine" not in _landmarkers:
        _landmarkers["mine"] = make_landmarker()
    return predict(_landmarkers["mine"], piece, box, boxes_of=boxes_of, box_kind=box_kind, strict=strict)
