"""What large jobs take on many machines, computed from measured rates, and what holds them up next.

    python benchmarks/scale.py                                   # the tables of docs/scale.md, in Markdown
    python benchmarks/scale.py --images 1e9 --cores 64
    python benchmarks/scale.py --measure                         # how many faces a core prepares for training

Annotation: hours = images / (machines x cores x rate of one core x efficiency), where the efficiency is that of two
workers over one, taken to hold on all cores of a machine. Machines share nothing but the store that the images are in.

Training by recipes/paper.toml, whose batch of 16 faces is divided among the GPUs:
    step = the longer of computing (faces of a GPU x operations of a face / sustained rate) and preparing
           (faces of a GPU / (cores of a GPU x faces a second of a core)), and exchanging gradients behind it:
           2 (n - 1) / n x bytes of the weights / bandwidth of the slowest link.
"""

import argparse
import json
import math
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "2026-11-27-annotate.json"

FACES, EPOCHS, BATCH = 61_225, 25, 16
OPERATIONS_OF_A_FACE = 115e9
WEIGHTS = 32.47e6
"""Of recipes/paper.toml, by benchmarks/paper_budget.py."""

PREPARED_PER_SECOND = 530
"""Faces that one core prepares in a second, by --measure here: 450-pixel JPEG files, the paper's augmentation."""

LINKS = {
    "in one machine, 300 GB/s": 300e9,
    "between machines, 100 Gbit/s": 12.5e9,
    "between machines, 10 Gbit/s": 1.25e9,
}


def measured(faces=200):
    """Faces a second of one core, drawn anew from files; the best of three rounds."""
    import tempfile

    import cv2

    from jvcr.data.loader import Examples
    from jvcr.data.readers import read_dataset
    from jvcr.synthetic.dataset import make_synthetic
    from jvcr.training.recipe import Recipe

    cv2.setNumThreads(1)
    recipe = Recipe.load(Path(__file__).parents[1] / "recipes" / "paper.toml")
    with tempfile.TemporaryDirectory() as folder:
        out = make_synthetic(Path(folder) / "faces", faces, size=450)
        examples = Examples(read_dataset(out), recipe.network.voxel.image_size, recipe.augmentation, 0, False)
        seconds = []
        for number in range(3):
            began = time.perf_counter()
            for face in range(faces):
                examples[face, number * faces + face]
            seconds.append(time.perf_counter() - began)
    return faces / min(seconds)


def rows(head, lines):
    """A table in Markdown."""
    return ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)]


def annotation(options, figures):
    """The table of annotation, and what holds it up."""
    rate, efficiency = figures["images_per_second"]["local, 1"], min(1.0, figures["two_workers_over_one"]["local"] / 2)
    machine = rate * efficiency * options.cores
    lines, core_hours = [], options.images / (rate * efficiency) / 3600
    for machines in (1, 4, 16, 64):
        together = min(machine * machines, options.store / options.bytes)
        hours, read = options.images / together / 3600, together * options.bytes
        share = read / options.store
        lines.append([f"{machines}", f"{hours:,.2f}", f"{together:,.0f}", f"{read / 1e6:,.0f}", f"{share:.0%}"])
    head = ["machines", "hours", "images a second", "MB a second read", "of the store"]
    most = math.floor(options.store / (machine * options.bytes))
    network = machine * options.bytes / options.network
    return [
        f"{options.images:,.0f} images, {options.cores} cores a machine, {rate:.0f} images a second of a core, "
        f"efficiency {efficiency:.2f}: {core_hours:,.0f} core-hours, {core_hours * options.price:,.0f} at "
        f"{options.price:g} each.",
        "",
        *rows(head, lines),
        "",
        f"Next bottleneck: a machine reads {network:.1%} of its network's {options.network / 1e9:g} GB/s, so not the "
        f"machines but the store: at {options.store / 1e9:g} GB/s in all it feeds {most:,} of them.",
    ]


def training(options):
    """The table of training by the paper's recipe."""
    steps, lines = FACES * EPOCHS / BATCH, []
    for gpus, link in ((1, None), (4, 0), (8, 0), (16, 1), (16, 2)):
        faces = BATCH / gpus
        computing = faces * OPERATIONS_OF_A_FACE / (options.tflops * 1e12)
        preparing = faces / (options.gpu_cores * PREPARED_PER_SECOND)
        name, bandwidth = list(LINKS.items())[link] if link is not None else ("none", math.inf)
        exchange = 2 * (gpus - 1) / gpus * 4 * WEIGHTS / bandwidth
        parts = {"computing": computing, "preparing faces": preparing, "exchanging gradients": exchange}
        step = max(computing, preparing) + exchange
        milliseconds = [f"{1000 * value:.1f}" for value in parts.values()]
        lines.append([f"{gpus}", name, *milliseconds, f"{step * steps / 3600:.2f}", max(parts, key=parts.get)])
    head = ["GPUs", "slowest link", "computing, ms", "preparing, ms", "exchange, ms", "hours", "bottleneck"]
    return [
        f"{FACES:,} faces x {EPOCHS} epochs in batches of {BATCH}, {options.tflops:g} TFLOP/s sustained by a GPU, "
        f"{options.gpu_cores} cores for each that prepare {PREPARED_PER_SECOND:.0f} faces a second each.",
        "",
        *rows(head, lines),
    ]


def tables(arguments=()):
    """Both, as lines of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=float, default=1e7, help="to annotate")
    parser.add_argument("--bytes", type=float, default=1e5, help="of an image")
    parser.add_argument("--cores", type=int, default=16, help="of a machine")
    parser.add_argument("--network", type=float, default=1.25e9, help="of a machine, bytes a second")
    parser.add_argument("--store", type=float, default=5e9, help="what the store gives all machines, bytes a second")
    parser.add_argument("--price", type=float, default=0.05, help="of a core-hour, in any currency")
    parser.add_argument("--tflops", type=float, default=94, help="sustained by a GPU: 30 %% of an A100's peak")
    parser.add_argument("--gpu-cores", type=int, default=8, help="that prepare faces for each GPU")
    parser.add_argument("--results", type=Path, default=RESULTS, help="of benchmarks/annotate.py")
    parser.add_argument("--measure", action="store_true", help="only measure how many faces a core prepares")
    options = parser.parse_args(arguments)
    if options.measure:
        return [f"{measured():.0f} faces a second of one core"]
    figures = json.loads(options.results.read_text(encoding="utf-8"))
    return ["## Annotating", "", *annotation(options, figures), "", "## The paper's training", "", *training(options)]


if __name__ == "__main__":
    import sys

    print("\n".join(tables(sys.argv[1:])))
