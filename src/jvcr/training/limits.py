"""What a machine cannot do is refused before it is tried: a machine that runs out of memory tells nobody why."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from jvcr.model.method import build
from jvcr.training.processes import Processes
from jvcr.training.recipe import Recipe

PER_CORE = 4
"""More processes or threads on a core than these are taken for a mistake."""


def check_machine(recipe: Recipe, processes: Processes, threads: int | None, cores: int) -> None:
    """Refuses what this machine cannot run.

    Args:
        recipe: what to train.
        processes: of the training.
        threads: of each of them; None for what fits.
        cores: that may be used.

    Raises:
        ValueError: there are too many processes, workers or threads for the cores, or the training needs more memory
            than there is.
    """
    wanted = {
        "--devices": 1,
        "workers (for each process)": recipe.workers,
        "--threads (for each process)": threads or 1,
    }
    for name, each in wanted.items():
        if processes.devices * each > PER_CORE * cores:
            raise ValueError(
                f"{name} times processes: {processes.devices * each} are too many for {cores} cores: "
                f"at most {PER_CORE} a core, {PER_CORE * cores}"
            )
    on_gpu = processes.device == "cuda"
    needed = needed_bytes(recipe, recipe.batch_size // processes.total) * (1 if on_gpu else processes.devices)
    if needed > (there := memory_bytes(on_gpu)):
        raise ValueError(
            f"this network in batches of {recipe.batch_size} takes {needed / 2**30:,.0f} GiB at the least, "
            f"{'the GPU' if on_gpu else 'this machine'} has {there / 2**30:,.1f}: lower batch_size or the network's "
            "channels, depths or image_size"
        )


def needed_bytes(recipe: Recipe, faces: int) -> float:
    """What a step of so many faces takes at the least: weights, gradients, averages, and what is known of the maps."""
    shape = recipe.network.voxel
    try:
        with torch.device("meta"):  # counted, not made
            weights = sum(p.numel() for p in build(recipe.network).parameters())
    except RuntimeError:  # torch counts to 2^63
        weights = 2**63
    copies = 3 + (recipe.optimizer.name != "rmsprop") + bool(recipe.optimizer.ema_decay)
    images = 3 * shape.image_size**2
    maps = shape.channels * (shape.image_size // shape.stride) ** 2 * len(shape.depths)
    volumes = 2 * sum(shape.depths) * shape.map_size**2  # and the true ones
    return 4.0 * (copies * weights + faces * (images + maps // 2 + volumes))


def memory_bytes(on_gpu: bool) -> float:
    """The GPU's memory, or that of the machine or of its container; infinite where nothing tells."""
    if on_gpu:
        return float(torch.cuda.get_device_properties(0).total_memory)
    sizes = [float("inf")]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sizes.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    with contextlib.suppress(ValueError, OSError):
        sizes.append(float(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes)
