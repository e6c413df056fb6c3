"""``jvcr train``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jvcr.cli.options import Basis
from jvcr.cli.progress import counting

if TYPE_CHECKING:
    from jvcr.data.dataset import LandmarkDataset
    from jvcr.data.shards import ShardedDataset
    from jvcr.scheme import LandmarkScheme
    from jvcr.training.recipe import Recipe
    from jvcr.training.validation import Metrics


def train(
    recipe: Path,
    *,
    data: Path,
    basis: Basis = None,
    out: Path | None = None,
    resume: bool = False,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    pretrained: str | None = None,
    devices: int | None = None,
    nodes: int | None = None,
    threads: int | None = None,
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    compile: bool = False,
    tensorboard: bool = False,
) -> int:
    """Train a network by a recipe: the volume and the coordinates each for itself, then both jointly.

    The run's folder gets a checkpoint every few minutes (last.pt), the best weights by validation so far
    (best.safetensors), and every validation and the losses of every 100 steps (metrics.jsonl). Ctrl-C or SIGTERM
    finishes the step, saves and stops, with exit code 130; the same command with --resume goes on to the very losses it
    would have had.

        jvcr train recipes/compact.toml --data faces3d
        jvcr train recipes/compact.toml --data faces3d --resume
        jvcr train recipes/compact.toml --data faces3d --out runs/l2 --set loss.coordinate=l2
        jvcr train recipes/compact.toml --data mine --out runs/mine --pretrained compact --set stages.separate=0
        jvcr train recipes/paper.toml --data 300W-LP --devices 4 --tensorboard

    If the data lacks the sources that a recipe names, add --set 'data.source_shares={}'.

    Several processes, one a GPU or a part of the processor's cores, share every batch and come to what one process
    comes to, up to rounding. --devices starts them on this machine. On several machines torchrun or srun starts them
    (torchrun --nnodes 2 --nproc-per-node 4 ... --no-python jvcr train ...), and says how many there are.

    Parameters
    ----------
    recipe
        TOML file that says what to do; recipes/ has commented ones.
    data
        Folder with images and landmarks.npz or landmarks.csv, shards (jvcr data pack), 300W-LP, or another layout that
        the readers know.
    out
        The run's folder; runs/NAME by default.
    resume
        Go on from the checkpoint in that folder.
    set_
        key=value that replaces what the recipe says; may be repeated.
    pretrained
        Weights to begin with instead of random ones, to adapt them to other faces: a shipped name, or a .safetensors
        file of a network of the same shape.
    devices
        Processes on each machine; 1 by default, or as many as torchrun or srun have started.
    nodes
        Machines; 1 by default, or as many as torchrun or srun use.
    threads
        Processor threads for each process; by default the processes of a machine share all that are available.
    accelerator
        What computes: the processor, NVIDIA's or AMD's GPUs (cuda), Apple's (mps); by default a GPU where there is one.
    compile
        Let torch.compile make the network quicker. It needs a C++ compiler, and minutes before the first step; results
        are the same up to rounding.
    tensorboard
        Write the figures of metrics.jsonl for TensorBoard too: tensorboard --logdir runs.
    """
    import torch

    from jvcr.data.skipped import summary
    from jvcr.inference.session import available_cores
    from jvcr.training.checkpoint import CHECKPOINT, LOG
    from jvcr.training.distributed import StoppedByAnother
    from jvcr.training.limits import check_machine
    from jvcr.training.processes import Processes, keep_freed_memory, precision
    from jvcr.training.recipe import Recipe
    from jvcr.training.trainer import Trainer

    settings = Recipe.load(recipe, set_ if pretrained is None else (*set_, f"pretrained={json.dumps(pretrained)}"))
    processes = Processes.find(os.environ, devices, nodes, accelerator)
    processes.check_batch(settings.batch_size)
    if tensorboard:
        import torch.utils.tensorboard
    out = out or Path("runs") / settings.name
    if not resume and (out / CHECKPOINT).exists():
        raise ValueError(f"{out} holds a run already: add --resume to go on with it, or choose another --out")
    if not resume and (out / LOG).exists():
        raise ValueError(f"{out} holds the log of a run, but no checkpoint to go on from: choose another --out")
    if threads is not None and threads < 1:
        raise ValueError(f"--threads must be at least 1, got {threads}")
    check_machine(settings, processes, threads, available_cores())
    first = all(os.environ.get(rank, "0") == "0" for rank in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    train_faces, val_faces, problems = training_faces(settings, data, basis, show=first)
    out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()

    fabric = processes.fabric(precision(settings.precision, processes.device))
    fabric.launch()
    if problems and fabric.is_global_zero:
        read = len(problems) + len(train_faces) + (len(val_faces) if val_faces else 0)
        print(f"jvcr: left out {len(problems)} of {read} faces: {summary(problems)}", file=sys.stderr)
    torch.set_num_threads(threads or processes.threads(available_cores(), os.environ))
    metrics = validation_metrics(train_faces.scheme)
    trainer = Trainer(settings, train_faces, val_faces, metrics, out, fabric, compile, tensorboard)
    try:
        if resume:
            trainer.resume()
        outcome = trainer.run()
    except StoppedByAnother:
        return 1
    if not fabric.is_global_zero:
        return 0  # also when stopped: the first process tells how it ended

    state = "finished" if outcome.finished else "stopped; the same command with --resume goes on"
    figures = ", ".join(f"{k} {v:.3f} %" for k, v in outcome.best.items()) or ("none yet" if val_faces else "none")
    print(f"{state}: {outcome.faces:,} faces seen in {outcome.seconds / 60:.1f} minutes; best validation: {figures}")
    if outcome.weights.is_file():
        print(f"weights: {outcome.weights}")
        print(f"next:    jvcr export {outcome.weights} --out {outcome.weights.with_suffix('.onnx')}")
    return 0 if outcome.finished else 130


def training_faces(
    recipe: Recipe, data: Path, basis: Path | None, show: bool = True
) -> tuple[LandmarkDataset | ShardedDataset, LandmarkDataset | None, tuple[str, ...]]:
    """The faces to train on, those to validate on, and what was left out: of shards the former are read as it goes."""
    from jvcr.data.readers import find_layout
    from jvcr.data.readers.shards import read_shards
    from jvcr.data.shards import ShardedDataset
    from jvcr.scheme import load_scheme

    chosen = recipe.data
    if not data.is_dir() or find_layout(data) != "shards":
        dataset = read_faces(recipe, data, basis, show)
        val = dataset.split(chosen.val_split) if chosen.val_split else None
        return dataset.split(chosen.train_split), val, dataset.problems
    scheme = load_scheme(recipe.scheme)
    with counting("looking through shards", enabled=show) as advance:
        train = ShardedDataset.open(data, chosen.train_split, scheme, chosen.strict, advance)
    if not chosen.val_split:
        return train, None, train.problems
    with counting("reading validation labels", enabled=show) as advance:
        labelled = read_shards(data, scheme, chosen.strict, advance, chosen.val_split)
    return train, labelled, (*train.problems, *labelled.problems)


def read_faces(recipe: Recipe, data: Path, basis: Path | None, show: bool = True) -> LandmarkDataset:
    """All faces of a recipe's data, as it wants them read."""
    from jvcr.data.readers import read_dataset
    from jvcr.scheme import load_scheme

    chosen = recipe.data
    with counting("reading labels", enabled=show) as advance:
        return read_dataset(
            data,
            load_scheme(recipe.scheme),
            basis=basis,
            flips=chosen.flips,
            leave_out=chosen.leave_out,
            hold_out=chosen.hold_out,
            strict=chosen.strict,
            advance=advance,
        )


def validation_metrics(scheme: LandmarkScheme) -> Metrics:
    """What training validates by: NME and, where the scheme has eye corners, GTE (z-mean aligned), in percent."""
    from jvcr.evaluation.metrics import gte, nme_2d

    metrics: dict[str, Any] = {"nme": lambda predicted, truth: 100 * nme_2d(predicted, truth)}
    if (corners := scheme.normalizer) is not None:
        metrics["gte"] = lambda predicted, truth: 100 * gte(predicted, truth, corners)
    return metrics
