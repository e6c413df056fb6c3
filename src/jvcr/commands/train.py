"""``jvcr train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def train(
    recipe: Path,
    *,
    data: Path,
    out: Path | None = None,
    resume: bool = False,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    threads: int | None = None,
) -> int:
    """Train a network by a recipe: the volume and the coordinates each for itself, then both jointly.

    The run's folder gets a checkpoint every few minutes (last.pt), the best weights by validation so far
    (best.safetensors) and every validation (metrics.jsonl). Ctrl-C finishes the step, saves and stops, with exit code
    130; the same command with --resume goes on to the very losses it would have had.

        jvcr train recipes/compact.toml --data faces3d
        jvcr train recipes/compact.toml --data faces3d --resume
        jvcr train recipes/compact.toml --data faces3d --out runs/l2 --set loss.coordinate=l2

    Parameters
    ----------
    recipe
        TOML file that says what to do; recipes/ has commented ones.
    data
        Folder with images and landmarks.npz.
    out
        The run's folder; runs/NAME by default.
    resume
        Go on from the checkpoint in that folder.
    set_
        key=value that replaces what the recipe says; may be repeated.
    threads
        Processor threads to compute with; all available by default.
    """
    import torch

    from jvcr.data.readers import read_dataset
    from jvcr.inference.runtime import available_cores
    from jvcr.scheme import load_scheme
    from jvcr.training.loop import CHECKPOINT, LOG, Trainer, keep_freed_memory
    from jvcr.training.recipe import Recipe

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("training runs in one process so far: start it without torchrun or srun")
    settings = Recipe.load(recipe, set_)
    out = out or Path("runs") / settings.name
    if not resume and any((out / name).exists() for name in (CHECKPOINT, LOG)):
        raise ValueError(f"{out} holds a run already: add --resume to go on with it, or choose another --out")
    if threads is not None and threads < 1:
        raise ValueError(f"--threads must be at least 1, got {threads}")
    scheme = load_scheme(settings.scheme)
    dataset = read_dataset(data, scheme)
    train_faces, val_faces = dataset.split(settings.data.train_split), dataset.split(settings.data.val_split)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads or available_cores())
    keep_freed_memory()

    trainer = Trainer(settings, train_faces, val_faces, out)
    if resume:
        trainer.resume()
    outcome = trainer.run()

    state = "finished" if outcome.finished else "stopped; the same command with --resume goes on"
    figures = ", ".join(f"{k} {v:.3f} %" for k, v in outcome.best.items()) or "none yet"
    print(f"{state}: {outcome.faces:,} faces seen in {outcome.seconds / 60:.1f} minutes; best validation: {figures}")
    if outcome.best:
        print(f"weights: {outcome.weights}")
        print(f"next:    jvcr export {outcome.weights} --out {outcome.weights.with_suffix('.onnx')}")
    return 0 if outcome.finished else 130
