"""Timing several things side by side, on a machine that others may use as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Task:
    """Something to time, part of a subject such as "face" or "photo"; ``run`` gives seconds of each of its parts."""

    subject: str
    threads: int
    batch: int
    run: Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Timing:
    """How long a part of a task takes: median, quartiles and fastest run, milliseconds for the whole batch."""

    subject: str
    part: str
    threads: int
    batch: int
    median_ms: float
    q1_ms: float
    q3_ms: float
    least_ms: float


def clocked(part: str, function: Callable[[], object]) -> Callable[[], dict[str, float]]:
    """A task's ``run`` of a single part."""

    def run() -> dict[str, float]:
        start = time.perf_counter()
        function()
        return {part: time.perf_counter() - start}

    return run


def side_by_side(
    tasks: Sequence[Task], repeats: int, warm_up: int, advance: Callable[[int], None] = lambda rounds: None
) -> list[Timing]:
    """Times tasks in rounds, each once a round: when the machine slows down or recovers, that hits all of them alike.

    A task of a single face is run once before it counts. It finds its weights in the caches then, as it does where it
    runs again and again, and not those of the tasks before it; large batches fill the caches themselves.
    Tasks of the same number of threads follow each other; the rounds of the warm-up do not count.
    """
    seconds: dict[tuple[int, str], list[float]] = {}
    before = cv2.getNumThreads()
    try:
        for number in range(-warm_up, repeats):
            for index, task in enumerate(tasks):
                if cv2.getNumThreads() != task.threads:
                    cv2.setNumThreads(task.threads)
                if task.batch == 1:
                    task.run()
                for part, taken in task.run().items():
                    if number >= 0:
                        seconds.setdefault((index, part), []).append(taken)
            advance(1)
    finally:
        cv2.setNumThreads(before)
    return [_timing(tasks[index], part, taken) for (index, part), taken in seconds.items()]


def _timing(task: Task, part: str, seconds: Sequence[float]) -> Timing:
    least, q1, median, q3 = (1000 * float(q) for q in np.quantile(seconds, (0, 0.25, 0.5, 0.75)))
    return Timing(task.subject, part, task.threads, task.batch, median, q1, q3, least)
