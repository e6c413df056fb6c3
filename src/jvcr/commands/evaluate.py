"""``jvcr evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

ALL_SPLITS = "all"
DEFAULT_SPLIT = "val"


def evaluate(
    folder: Path,
    /,
    *,
    box: Literal["truth", "detector"] = "truth",
    out: Path,
    weights: str = "compact",
    split: str | None = None,
    threads: int | None = None,
    passes: int = 1,
) -> int:
    """Measure the landmarks on faces whose true landmarks are known.

    Writes into --out: predictions.npz (what was found), summary.json (the figures, computed from it) and worst.jpg (the
    twelve faces with the largest errors; truth in green). A figure belongs to its box rule: published ones use the true
    landmarks' box.

        jvcr evaluate faces3d --out results/val
        jvcr evaluate AFLW2000-3D --box detector --out results/aflw2000-detector

    The exit code is 1 if some images could not be used; the others are evaluated all the same.

    Parameters
    ----------
    folder
        Images with landmarks.npz, or AFLW2000-3D.
    box
        Where each face is looked for: the box of its true landmarks, or the detection that overlaps it best. Faces that
        the detector does not find are counted, and left out of the averages.
    out
        Folder for the results; made if missing.
    weights
        Name of shipped weights, or an .onnx file.
    split
        Part of a folder with splits; "val" if there are any, "all" for everything.
    threads
        Processor threads of the network; all available by default.
    passes
        2 crops each face again around the landmarks of the first pass.
    """
    import hashlib
    import shlex
    import tempfile

    from rich.console import Console

    import jvcr
    from jvcr.data.readers import read_dataset
    from jvcr.evaluation.protocol import Predictions, predict
    from jvcr.evaluation.report import figure, summarise, summary_table, write_summary, write_worst
    from jvcr.inference.landmarker import Landmarker
    from jvcr.weights import find_weights

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass  # a folder that cannot be written to shows now, not after the run
    landmarker = Landmarker(weights, threads=threads, passes=passes)
    dataset = read_dataset(folder, landmarker.scheme)
    if split is None and dataset.splits is not None:
        split = DEFAULT_SPLIT
    if split is not None and split != ALL_SPLITS:
        dataset = dataset.split(split)
    command = ["jvcr", "evaluate", str(folder), "--box", box, "--out", str(out), "--weights", weights]
    command += ["--split", split] if split else []
    command += ["--threads", str(threads)] if threads else []
    command += ["--passes", str(passes)]

    with _progress(len(dataset)) as done:
        predictions = predict(landmarker, dataset, box, done)
    predictions.about.update(
        data=str(folder),
        split=split,
        weights=weights,
        weights_sha256=hashlib.sha256(find_weights(weights, ".onnx").read_bytes()).hexdigest(),
        passes=passes,
        threads=threads,
        version=jvcr.__version__,
        command=shlex.join(command),
    )
    predictions.save(out / "predictions.npz")

    # From here on only the file counts: the same figures can be had from it at any time.
    predictions = Predictions.load(out / "predictions.npz")
    summary = summarise(dataset, predictions)
    write_summary(out / "summary.json", summary)
    write_worst(out / "worst.jpg", dataset, predictions)

    console = Console(highlight=False, soft_wrap=True)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(summary_table(summary))
    aligned, raw = (figure(summary["gte"][key]) for key in ("aligned_z", "raw"))
    console.print(f"GTE, % of the outer eye corners' distance: {aligned} with the mean z aligned, {raw} without")
    console.print(f"written: predictions.npz, summary.json and worst.jpg in {out}", markup=False)
    unusable = predictions.about["unusable"]
    for reason in unusable:
        errors.print(f"jvcr: not evaluated: {reason}", markup=False)
    return 1 if unusable else 0


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left; gives the function to call with the number of faces done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("evaluating"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} faces, {task.fields[rate]} faces/s, left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("evaluating", total=total, rate="-")

        def done(faces: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0
            bar.update(task, completed=faces, rate=f"{faces / elapsed:.0f}" if elapsed else "-")

        yield done
