"""Runs that differ in a method or a setting, on the same faces for the same number of examples."""

from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from jvcr.data.loader import Batch, collate
from jvcr.files import read_toml
from jvcr.model.config import STRICT
from jvcr.scheme import LandmarkScheme
from jvcr.training.learner import Learner
from jvcr.training.processes import Processes, keep_freed_memory, precision
from jvcr.training.recipe import Recipe

MEASURED_STEPS = 4
"""Of these, after a first one that does not count, the quickest is the time of a step."""


@dataclass(frozen=True)
class Variant:
    """One line of the comparison.

    Attributes:
        label: what the table calls it.
        set: key=value pairs in which its recipe differs, as of ``jvcr train --set``.
        seeds: a run for each; empty is the comparison's.
    """

    __pydantic_config__: ClassVar = STRICT

    label: str
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What a step takes is measured of these runs at so many landmarks."""

    __pydantic_config__: ClassVar = STRICT

    runs: tuple[str, ...] = ()
    landmarks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        recipe: of all runs; in the file a path from the file's folder.
        runs: by name, which is the name of their folders; the others are compared with the first.
        set: key=value pairs in which all runs differ from the recipe.
        seeds: of runs that name none.
        cost: what is measured beside.
    """

    __pydantic_config__: ClassVar = STRICT

    recipe: Path
    runs: dict[str, Variant]
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    cost: Cost = field(default_factory=Cost)

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Reads a comparison; it and all its recipes are checked.

        Raises:
            FileNotFoundError: no such file, or no such recipe.
            ValueError: a key or value is wrong, or runs are not of the same number of examples.
        """
        try:
            made = TypeAdapter(cls).validate_python(read_toml(path))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"{path} does not fit: {wrong}") from error
        made = replace(made, recipe=path.parent / made.recipe)
        if unknown := sorted(set(made.cost.runs) - set(made.runs)):
            raise ValueError(f"{path}: cost.runs names {', '.join(unknown)}, there are {', '.join(made.runs)}")
        recipes = {name: made.recipe_of(name, 0) for name in made.runs}
        if not recipes:
            raise ValueError(f"{path} has no [runs.NAME]")
        lengths = {name: r.stages.separate + r.stages.joint for name, r in recipes.items()}
        first = next(iter(lengths))
        if other := [name for name, epochs in lengths.items() if abs(epochs - lengths[first]) > 1e-6]:
            raise ValueError(
                f"{path}: {first} lasts {lengths[first]:g} epochs, {other[0]} {lengths[other[0]]:g}: give stages of "
                "the same sum, so that all see as many examples"
            )
        return made

    def recipe_of(self, name: str, seed: int) -> Recipe:
        """What a run does; errors as of `Recipe.load`, with the run's name."""
        try:
            changes = (*self.set, *self.runs[name].set, f"seed={seed}", f'name="{name}"')
            return Recipe.load(self.recipe, changes)
        except ValueError as error:
            raise ValueError(f"runs.{name}: {error}") from error

    def all_runs(self) -> list[tuple[str, int]]:
        """Name and seed of each, the first seeds of all before the second ones."""
        seeds = {name: variant.seeds or self.seeds for name, variant in self.runs.items()}
        most = max(map(len, seeds.values()))
        return [(name, s[i]) for i in range(most) for name, s in seeds.items() if i < len(s)]


def step_cost(recipe: Recipe, landmarks: int, threads: int) -> dict[str, Any]:
    """What a training step of stage 2 takes on this machine's processor, measured in a process of its own.

    Returns:
        ``seconds`` of processor time; peak ``bytes`` of memory beyond those of an idle process, on Linux; and
        ``parameters``. None where the memory did not suffice.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_measured, recipe.to_dict(), landmarks, threads).result()
        except (BrokenProcessPool, MemoryError):
            return {"seconds": None, "bytes": None, "parameters": None}


def _measured(table: dict[str, Any], landmarks: int, threads: int) -> dict[str, Any]:
    recipe = Recipe.from_dict(table)
    recipe = replace(recipe, network=replace(recipe.network, num_landmarks=landmarks))
    torch.set_num_threads(threads)
    keep_freed_memory()
    scheme = LandmarkScheme("made", landmarks)
    fabric = Processes().fabric(precision(recipe.precision))
    fabric.launch()
    rng, size = np.random.default_rng(0), recipe.network.voxel.image_size
    if on_linux := sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")  # forgets what importing took at most
        idle = _memory("VmRSS")
    learner = Learner(recipe, scheme, None, fabric)
    batch = collate(
        [
            Batch(
                rng.integers(0, 256, (size, size, 3), np.uint8),
                rng.uniform(-0.9, 0.9, (landmarks, 3)).astype(np.float32),
                np.full((landmarks, 2), np.nan, np.float32),
            )
            for _ in range(recipe.batch_size)
        ]
    )
    times = []
    for number in range(1 + MEASURED_STEPS):
        begun = time.process_time()
        learner.step(batch, number, "joint", recipe.optimizer.learning_rate)
        times.append(time.process_time() - begun)
    parameters = sum(p.numel() for p in learner.network.parameters())
    return {"seconds": min(times[1:]), "bytes": _memory("VmHWM") - idle if on_linux else None, "parameters": parameters}


def _memory(key: Literal["VmRSS", "VmHWM"]) -> int:
    """Bytes that this process has in memory now, or had at most; Linux alone tells."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])
