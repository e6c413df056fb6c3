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

from jvcr.data import read_folder
from jvcr.training.distributed import Processes, StoppedByAnother
from jvcr.training.recipe import Recipe
from jvcr.training.trainer import Trainer

RANK = int(os.environ["LOCAL_RANK"])


class Noting(Trainer):
    """Notes the losses of each step, and asks to stop during the step ``stop_at``."""

    stop_at = None

    def _step(self, image, points):
        self.noted = getattr(self, "noted", [])
        self.part = len(image)
        if self.state.step + 1 == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        losses = super()._step(image, points)
        self.noted.append([float(v) for v in losses])
        return losses


def parallel(recipe, train, val, out):
    fabric = Processes(2).fabric(recipe.precision)
    fabric.launch()
    out.mkdir(exist_ok=True)
    return Noting(recipe, train, val, out, fabric)


def told(run, outcome):
    return {
        "finished": outcome.finished,
        "steps": outcome.steps,
        "best": outcome.best,
        "losses": run.noted,
        "part": run.part,
        "average": {k: v.double().flatten().tolist() for k, v in run.averaged_network.state_dict().items()},
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
    run = parallel(double, train, val, out / "stopped")
    run.stop_at = 5 if RANK == 1 else None
    results["stopped"] = told(run, run.run())

    # Each with its own batch norms; the second has no face to validate on; stopped, and resumed by both.
    own = dataclasses.replace(double, sync_batch_norm=False)
    run = parallel(own, train, val.select(np.arange(1)), out / "own")
    results["own"] = told(run, run.run())
    run = parallel(own, train, val.select(np.arange(1)), out / "own-parts")
    run.stop_at = 4 if RANK == 0 else None
    first = told(run, run.run())
    run = parallel(own, train, val.select(np.arange(1)), out / "own-parts")
    run.resume()
    results["own-parts"] = told(run, run.run())
    results["own-parts"]["losses"] = first["losses"] + results["own-parts"]["losses"]

    # The second cannot read an image, once the training is under way.
    run = parallel(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, in_memory=False)), train, val, out)
    if RANK == 1:
        run.train_examples.dataset = dataclasses.replace(train, root=out)
    start = time.monotonic()
    try:
        run.run()
    except (FileNotFoundError, StoppedByAnother) as error:
        results["error"] = [type(error).__name__, str(error), time.monotonic() - start]

    (out / f"rank{RANK}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
