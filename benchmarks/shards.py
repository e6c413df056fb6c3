"""Trains on made examples in shards, once through all of them, and watches memory: it must not grow with them.

    python benchmarks/shards.py --faces 1000000 --out shards-run

Eight coloured discs on a background, the deeper the darker: drawn in no time, and a small network learns them. Prints
what the processes hold at every tenth of the way, without and with what they share, and the rate.
"""

import argparse
import json
import os
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from jvcr.cli.train import validation_metrics
from jvcr.data.pack import add_face
from jvcr.data.readers.shards import read_shards
from jvcr.data.shards import ShardedDataset
from jvcr.scheme import LandmarkScheme
from jvcr.training.processes import keep_freed_memory
from jvcr.training.recipe import Recipe
from jvcr.training.trainer import Trainer

DISCS = LandmarkScheme("discs8", 8)
COLOURS = [(255, 60, 60), (60, 255, 60), (60, 60, 255), (255, 255, 60), (255, 60, 255), (60, 255, 255)]
COLOURS += [(255, 255, 255), (255, 150, 60)]
SIZE, PER_SHARD = 48, 2000

RECIPE = {
    "name": "discs",
    "network": {
        "preset": "compact",
        "method": "direct",
        "num_landmarks": 8,
        "options": {"widths": [16, 32]},
        "coordinate": {"channels": [4, 8], "features": 16},
        "voxel": {"image_size": 32, "channels": 8, "inner_channels": [], "depths": [1, 8], "levels": 2, "stride": 4},
    },
    "batch_size": 128,
    "workers": 1,
    "stages": {"separate": 0, "joint": 1},
    "loss": {"coordinate": "l1", "coordinate_weight": 1},
    "optimizer": {"name": "adamw", "learning_rate": 2e-3, "schedule": "trapezoid", "decay_epochs": 0.5},
    "validate_epochs": 0.1,
}


def draw(rng):
    """The JPEG of an example and its landmarks, (8, 3) pixels."""
    points = np.column_stack([rng.uniform(8, SIZE - 8, (8, 2)), rng.uniform(-12, 12, 8)])
    image = np.full((SIZE, SIZE, 3), rng.integers(0, 120, 3), np.uint8)
    for point, colour in sorted(zip(points.tolist(), COLOURS, strict=True), key=lambda disc: -disc[0][2]):
        light = 0.7 - point[2] / 40
        cv2.circle(image, (round(point[0]), round(point[1])), 3, [light * c for c in colour], -1, cv2.LINE_AA)
    points[:, 2] -= points[:, 2].mean()
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes(), points.round(2).tolist()


def write(folder, split, faces, seed):
    """Shards of so many examples."""
    rng = np.random.default_rng(seed)
    for number, start in enumerate(range(0, faces, PER_SHARD)):
        with tarfile.open(folder / f"{split}-{number:06d}.tar", "w") as archive:
            for face in range(start, min(start + PER_SHARD, faces)):
                image, points = draw(rng)
                add_face(archive, f"{face:09d}", ".jpg", image, {"points": points})


def memory_mib():
    """What this process and those that it started hold: each its own (PSS counts shared pages in parts), MiB."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    total = 0.0
    for process in (os.getpid(), *children):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1024
    return total


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards and the run")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    shards = arguments.out / "shards"
    if not shards.is_dir():
        shards.mkdir(parents=True)
        begun = time.monotonic()
        write(shards, "val", 2000, 1)
        write(shards, "train", arguments.faces, 0)
        print(f"drew {arguments.faces:,} examples in {time.monotonic() - begun:.0f} s")
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    begun = time.monotonic()
    train = ShardedDataset.open(shards, "train", DISCS)
    val = read_shards(shards, DISCS, split="val")
    print(f"looked through {len(train):,} examples in {time.monotonic() - begun:.1f} s", flush=True)
    recipe = Recipe.from_dict(RECIPE)
    run = Trainer(recipe, train, val, validation_metrics(DISCS), arguments.out / "run")
    step, marks = run.learner.step, []
    every = max(1, run.schedule.total_steps // 10)
    begun = time.monotonic()

    def watched(batch, number, *how):
        losses = step(batch, number, *how)
        if number % every == every - 1 or number == 20:
            rate = (number + 1) * recipe.batch_size / (time.monotonic() - begun)
            marks.append({"examples": (number + 1) * recipe.batch_size, "MiB": round(memory_mib()), "a_second": rate})
            print(json.dumps(marks[-1] | {"loss": float(losses.coordinate)}), flush=True)
        return losses

    run.learner.step = watched
    outcome = run.run()
    print(f"{outcome.faces:,} examples in {outcome.seconds:.0f} s; validation {outcome.best}")


if __name__ == "__main__":
    main()
