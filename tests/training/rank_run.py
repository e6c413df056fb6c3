"""One of two processes that train together; `test_processes` starts both and reads what they write.

    python rank_run.py RECIPE.json DATA OUT

with LOCAL_RANK, MASTER_ADDR and MASTER_PORT set, as a launcher sets them.
"""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from jvcr.cli.train import validation_metrics
from jvcr.data import read_folder
from jvcr.training.distributed import StoppedByAnother
from jvcr.training.processes import Processes
from jvcr.training.recipe import Recipe
from jvcr.training.trainer import Trainer

RANK = int(os.environ["LOCAL_RANK"])


def parallel(recipe, train, val, out, stop_at=None):
    """A trainer that notes the losses of each step, and asks to stop during the step ``stop_at``."""
    fabric = Processes(2).fabric(recipe.precision)
    fabric.launch()
    out.mkdir(exist_ok=True)
    run = Trainer(recipe, train, val, validation_metrics(train.scheme), out, fabric)
    run.noted, step = [], run.learner.step

    def noting(batch, *how):
        run.part = len(batch.pixels)
        if run.state.step + 1 == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        losses = step(batch, *how)
        run.noted.append([float(v) for v in losses])
        return losses

    run.learner.step = noting
    return run


def told(run, outcome):
    return {
        "finished": outcome.finished,
        "steps": outcome.steps,
        "best": outcome.best,
        "losses": run.noted,
        "part": run.part,
        "mapped": [line for line in Path("/proc/self/maps").read_text().splitlines() if "/.jvcr-" in line]
        if sys.platform == "linux"
        else None,
        "average": {k: v.double().flatten().tolist() for k, v in run.learner.averaged_network.state_dict().items()},
    }


def main(recipe, data, out):
    torch.set_num_threads(1)
    recipe = Recipe.from_dict(json.loads(Path(recipe).read_text()))
    faces = read_folder(data)
    train, val = faces.split("train"), faces.split("val")
    results = {}

    for precision in ("64-true", "32-true"):
        run = parallel(dataclasses.replace(recipe, precision=precision), train, val, out / precision)
        results[precision] = told(run, run.run())

    # Stopped by a signal to the second process alone; its checkpoint is gone on with elsewhere.
    double = dataclasses.replace(recipe, precision="64-true")
    run = parallel(double, train, val, out / "stopped", stop_at=5 if RANK == 1 else None)
    results["stopped"] = told(run, run.run())

    # Each with its own batch norms; the second has no face to validate on; stopped, and resumed by both.
    own = dataclasses.replace(double, sync_batch_norm=False)
    run = parallel(own, train, val.select(np.arange(1)), out / "own")
    results["own"] = told(run, run.run())
    run = parallel(own, train, val.select(np.arange(1)), out / "own-parts", stop_at=4 if RANK == 0 else None)
    first = told(run, run.run())
    run = parallel(own, train, val.select(np.arange(1)), out / "own-parts")
    run.resume()
    results["own-parts"] = told(run, run.run())
    results["own-parts"]["losses"] = first["losses"] + results["own-parts"]["losses"]

    # The second cannot read an image, once the training is under way.
    run = parallel(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, in_memory=False)), train, val, out)
    if RANK == 1:
        run.examples.dataset = dataclasses.replace(train, root=out)
    start = time.monotonic()
    try:
        run.run()
    except (FileNotFoundError, StoppedByAnother) as error:
        results["error"] = [type(error).__name__, str(error), time.monotonic() - start]

    (out / f"rank{RANK}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
