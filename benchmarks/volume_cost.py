"""What drawing the ground-truth volumes costs in training: one compact volume a face, against one for each landmark.

    python benchmarks/volume_cost.py
    python benchmarks/volume_cost.py --json volume_cost.json --plot volume_cost.png

Time and memory for the volumes of 32 faces with 10 to 1,000 landmarks, of the paper's shape and of the compact
network's: all landmarks in one volume (section III-A of the paper), and one volume for each landmark, as Pavlakos et
al. (CVPR 2017) have them. Both are drawn by the same code, Gaussian by Gaussian; only the number of volumes differs.
Where one volume for each landmark takes more than --memory, the faces are drawn in groups, one after the other, each
thrown away before the next: the time is that of all of them, and the figures say so.

Last, how much of a training step of recipes/compact.toml the drawing of all its volumes is. The peak is the rise of the
process's memory while drawing, as Linux counts it; elsewhere, and where the faces are drawn in groups, it is left out.
"""

import argparse
import contextlib
import math
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from jvcr.benchmark.machine import machine, versions
from jvcr.files import write_json
from jvcr.model import JVCR
from jvcr.model.heatmap import gaussian_volume
from jvcr.training.loss import JVCRLoss
from jvcr.training.optim import make_optimizer
from jvcr.training.processes import Processes, keep_freed_memory, precision
from jvcr.training.recipe import Recipe
from jvcr.viz.charts import Chart, Line, write_charts

RECIPE = Path(__file__).parents[1] / "recipes" / "compact.toml"
FACES = 32
LANDMARKS = (10, 20, 50, 68, 100, 200, 500, 1000)
PAPER_SHAPE = (64, 64, 64)
SIGMA = 1.0


def compact_volumes(points, shape, group):
    """One volume a face; they always fit."""
    gaussian_volume(points, shape, SIGMA)


def landmark_volumes(points, shape, group):
    """One volume for each landmark, of `group` faces at once."""
    for faces in points.split(group):
        gaussian_volume(faces.reshape(-1, 1, 3), shape, SIGMA)  # not kept: the next ones take its place


def status_bytes(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def peak_rise(function):
    """Bytes by which a call raises the process's memory; None where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew from what is in use
        before = status_bytes("VmRSS")
        function()
        return max(0, status_bytes("VmHWM") - before)
    except OSError:
        return None


def milliseconds(function):
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def side_by_side(functions, repeats):
    """Median and quartiles of each, ms: in turns after a call to warm up, so that other work hits all of them alike."""
    for function in functions:
        function()
    taken = [[milliseconds(function) for function in functions] for _ in range(repeats)]
    quartiles = np.quantile(taken, (0.25, 0.5, 0.75), axis=0).T.tolist()
    return [{"median_ms": median, "q1_ms": q1, "q3_ms": q3} for q1, median, q3 in quartiles]


class Drawing:
    """One way of drawing so many landmarks into volumes of a shape, on random faces."""

    def __init__(self, name, draw, volumes_a_face, landmarks, shape, memory):
        torch.manual_seed(0)
        points = torch.rand(FACES, landmarks, 3) * 1.6 - 0.8
        face_bytes = 4 * volumes_a_face * math.prod(shape)
        self.group = max(1, min(FACES, memory // face_bytes))
        self.draw = lambda: draw(points, shape, self.group)
        self.figures = {
            "volumes": name,
            "landmarks": landmarks,
            "shape": list(shape),
            "volume_bytes": FACES * face_bytes,
            "faces_at_once": self.group,
        }

    def measure_memory(self):
        self.figures["peak_bytes"] = peak_rise(self.draw) if self.group == FACES else None


def drawings(shape, memory):
    for landmarks in LANDMARKS:
        yield Drawing("compact", compact_volumes, 1, landmarks, shape, memory)
        yield Drawing("per landmark", landmark_volumes, landmarks, landmarks, shape, memory)


def training_step(repeats):
    """A step of the compact recipe as the training loop makes it, and the drawing of its volumes apart."""
    recipe = Recipe.load(RECIPE)
    fabric = Processes().fabric(precision(recipe.precision))
    network = JVCR(recipe.network)
    network.voxel.to(memory_format=torch.channels_last)
    network.coordinate.to(memory_format=torch.channels_last_3d)
    objective, optimizer = fabric.setup(JVCRLoss(network, recipe.loss), make_optimizer(network, recipe.optimizer))
    objective.train()
    config = recipe.network
    size, shapes = config.voxel.image_size, config.volume_shapes()
    image = torch.rand(FACES, 3, size, size).contiguous(memory_format=torch.channels_last)
    points = torch.rand(FACES, config.num_landmarks, 3) * 1.6 - 0.8

    def step():
        fabric.backward(objective(image, points, "joint").total)
        optimizer.step()
        optimizer.zero_grad()

    def draw():
        for shape in shapes:
            gaussian_volume(points, shape, config.sigma, recipe.loss.peak, recipe.loss.centre)

    whole, drawing = (times["median_ms"] for times in side_by_side([step, draw], repeats))
    return {
        "recipe": RECIPE.name,
        "faces": FACES,
        "landmarks": config.num_landmarks,
        "shapes": [list(shape) for shape in shapes],
        "precision": precision(recipe.precision),
        "step_ms": whole,
        "drawing_ms": drawing,
        "share": drawing / whole,
    }


def chart(figures):
    """Time and memory by the number of landmarks, in the paper's shape, and the compact volume's time alone."""

    def line(label, volumes, shape, key, unit):
        rows = [r for r in figures if r["volumes"] == volumes and tuple(r["shape"]) == shape]
        return Line(label, np.array([r["landmarks"] for r in rows]), np.array([r[key] / unit for r in rows]), dots=True)

    shapes = list(dict.fromkeys(tuple(r["shape"]) for r in figures))
    compact, each = "one compact volume a face", "one volume for each landmark"
    told = all(r["peak_bytes"] is not None for r in figures if r["volumes"] == "compact")
    memory = ("peak", "peak_bytes") if told else ("the volumes", "volume_bytes")
    pictures = [
        (
            "s",
            f"Time, {size_text(PAPER_SHAPE)}",
            [
                line(compact, "compact", PAPER_SHAPE, "median_ms", 1000),
                line(each, "per landmark", PAPER_SHAPE, "median_ms", 1000),
            ],
        ),
        (
            "GiB",
            f"Memory, {size_text(PAPER_SHAPE)}",
            [
                line(f"{compact}: {memory[0]}", "compact", PAPER_SHAPE, memory[1], 2**30),
                line(f"{each}: the volumes", "per landmark", PAPER_SHAPE, "volume_bytes", 2**30),
            ],
        ),
        (
            "ms",
            f"Time, {compact}",
            [line(size_text(s), "compact", s, "median_ms", 1) for s in shapes],
        ),
    ]
    x_label = f"landmarks of a face; {FACES} faces"
    return [Chart(title, x_label, y, lines) for y, title, lines in pictures]


def size_text(shape):
    return "x".join(map(str, shape))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=float, default=1.0, help="GiB of volumes drawn at once (default: 1)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each; their median counts")
    parser.add_argument("--threads", type=int, help="processor threads; torch's choice by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them there, with matplotlib")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    about = machine()

    shapes = dict.fromkeys((PAPER_SHAPE, Recipe.load(RECIPE).network.volume_shapes()[-1]))
    ways = [way for shape in shapes for way in drawings(shape, int(options.memory * 2**30))]
    for way in ways:
        way.measure_memory()
    keep_freed_memory()  # as jvcr train does: it spares the time of getting memory anew, and hides what is in use
    times = side_by_side([way.draw for way in ways], options.repeats)
    figures = [way.figures | taken for way, taken in zip(ways, times, strict=True)]
    print(f"{'shape':>10} {'landmarks':>9} {'volumes':>13} {'time, ms':>16} {'size, MiB':>9} {'peak, MiB':>9}")
    for row in figures:
        half = (row["q3_ms"] - row["q1_ms"]) / 2
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.0f}"
        at_once = f"  {row['faces_at_once']} of {FACES} faces at a time" * (row["faces_at_once"] < FACES)
        print(
            f"{size_text(row['shape']):>10} {row['landmarks']:>9} {row['volumes']:>13} "
            f"{row['median_ms']:>8.1f} ± {half:<5.1f} {row['volume_bytes'] / 2**20:>9.0f} {peak:>9}{at_once}"
        )
    with contextlib.redirect_stdout(sys.stderr):  # the loop's own messages
        step = training_step(options.repeats)
    print(
        f"a step of {step['recipe']}, {step['faces']} faces, {step['precision']}: {step['step_ms']:.0f} ms, of which "
        f"drawing its volumes is {step['drawing_ms']:.1f} ms, {step['share']:.1%}"
    )
    if options.plot:
        write_charts(options.plot, chart(figures))
    if options.json:
        result = {
            "command": " ".join(["python", "benchmarks/volume_cost.py", *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": about,
            "versions": {**versions(), "torch": torch.__version__},
            "threads": torch.get_num_threads(),
            "faces": FACES,
            "drawing": figures,
            "training_step": step,
        }
        write_json(options.json, result)


if __name__ == "__main__":
    main()
