"""Peak resident memory of using and of training, each in a process of its own.

    python benchmarks/memory.py
    python benchmarks/memory.py --json memory.json

What is measured: `jvcr predict` on 1, 10, 100 and 1,000 photographs (drawn heads of 640 x 480 pixels, as many files;
memory must not grow with their number), with the faces found and with their boxes given; a batch of 64 faces through
the network; and a training step of the paper's network with one face, its optimiser's state included (it needs torch).
The peak is the system's own count, of the whole life of the process: Python, the libraries and the weights are in it.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

PHOTOS = (1, 10, 100, 1000)
DRAWN = 20
"""So many photographs differ; the others are copies of them."""

BATCH = 64


def peak_bytes():
    """Most memory that this process ever had in use."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike getrusage's, this does not begin with what the parent process had.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def draw_photos(folder):
    """For each number of photographs a folder with 0000.jpg ..., and beside it a file of boxes."""
    import cv2
    import numpy as np

    from jvcr.synthetic.dataset import synthetic_face

    drawn = []
    for index in range(DRAWN):
        face = synthetic_face(index, size=480)
        image = cv2.copyMakeBorder(face.draw()[0], 0, 0, 80, 80, cv2.BORDER_REFLECT_101)
        points = face.points_px[:, :2] + np.array([80, 0])
        box = np.concatenate([points.min(0), points.max(0)]).tolist()
        drawn.append((cv2.imencode(".jpg", image[:, :, ::-1].copy())[1].tobytes(), box))
    for number in PHOTOS:
        (folder / str(number)).mkdir()
        boxes = {}
        for index in range(number):
            name, (encoded, box) = f"{index:04d}.jpg", drawn[index % DRAWN]
            (folder / str(number) / name).write_bytes(encoded)
            boxes[name] = [box]
        (folder / f"{number}.json").write_text(json.dumps(boxes))


def predict(photos, out, *more):
    from jvcr import cli

    try:
        cli.main(["predict", photos, "--out", out, *more])
    except SystemExit as done:
        if done.code:
            raise


def batch(faces):
    import numpy as np

    from jvcr import Landmarker

    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    boxes = np.tile([200, 100, 440, 400], (int(faces), 1))
    Landmarker(max_batch=int(faces))(image, boxes=boxes)


def training_step(faces):
    import torch

    from jvcr.model import JVCR
    from jvcr.training.loss import JVCRLoss
    from jvcr.training.optim import make_optimizer
    from jvcr.training.processes import keep_freed_memory
    from jvcr.training.recipe import Recipe

    keep_freed_memory()  # as jvcr train does
    recipe = Recipe.load(Path(__file__).parents[1] / "recipes" / "paper.toml")
    network = JVCR(recipe.network)
    optimizer = make_optimizer(network, recipe.optimizer)
    size, points = recipe.network.voxel.image_size, recipe.network.num_landmarks
    image, truth = torch.rand(int(faces), 3, size, size), torch.rand(int(faces), points, 3) - 0.5
    JVCRLoss(network, recipe.loss).train()(image, truth, "joint").total.backward()
    optimizer.step()


RUN = "run"
"""The first argument of the process that does what is measured."""

MEASURED = {"predict": predict, "batch": batch, "training_step": training_step}


def measured(name, *arguments):
    """Peak bytes of a function of MEASURED, in a process of its own."""
    command = [sys.executable, __file__, RUN, name, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{name} {arguments} failed")
    return int(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()

    from jvcr.benchmark.machine import machine, versions
    from jvcr.files import write_json

    peaks = {}
    folder = Path(tempfile.mkdtemp(prefix="jvcr-memory-"))
    try:
        print("drawing photographs", file=sys.stderr)
        draw_photos(folder)
        for number in PHOTOS:
            print(f"predict, {number}", file=sys.stderr)
            what, photos, out = f"photograph{'s' * (number > 1)}", folder / str(number), folder / "out"
            boxes = ("--boxes", folder / f"{number}.json", "--box-kind", "landmarks")
            peaks[f"predict, {number:,} {what}"] = measured("predict", photos, out)
            peaks[f"predict, {number:,} {what}, boxes given"] = measured("predict", photos, out, *boxes)
    finally:
        shutil.rmtree(folder)
    print("the network", file=sys.stderr)
    peaks["one face"] = measured("batch", 1)
    peaks[f"a batch of {BATCH} faces"] = measured("batch", BATCH)
    peaks["a training step of the paper preset, 1 face"] = measured("training_step", 1)

    for name, value in peaks.items():
        print(f"{name:<{max(map(len, peaks))}} {value / 2**20:6.0f} MiB")
    if options.json:
        figures = {
            "command": " ".join(["python", "benchmarks/memory.py", *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "peak_bytes": peaks,
        }
        write_json(options.json, figures)


if __name__ == "__main__":
    if sys.argv[1:2] == [RUN]:
        MEASURED[sys.argv[2]](*sys.argv[3:])
        print(peak_bytes())
    else:
        main()
