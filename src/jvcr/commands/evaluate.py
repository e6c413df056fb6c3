"""``jvcr evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from rich.console import Console

    from jvcr.data.dataset import LandmarkDataset
    from jvcr.evaluation.protocol import Predictions
    from jvcr.scheme import LandmarkScheme

ALL_SPLITS = "all"
DEFAULT_SPLIT = "val"

NAMED_PROBLEMS = 20
"""So many faces that cannot be used are named; the summary names them all."""


def evaluate(
    folders: list[Path],
    /,
    *,
    out: Path,
    box: Annotated[
        tuple[Literal["truth", "detector", "dataset", "file"], ...],
        Parameter(consume_multiple=True, negative=(), show_default=False),
    ] = ("truth",),
    boxes: Path | None = None,
    box_kind: Literal["detector", "landmarks"] = "detector",
    annotation: Annotated[
        tuple[Literal["original", "reannotated"], ...],
        Parameter(consume_multiple=True, negative=(), show_default=False),
    ] = (),
    split: str | None = None,
    basis: Path | None = None,
    like: Literal["table1", "table2", "table3", "table4"] | None = None,
    plot: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    against: Path | None = None,
    predictions: Path | None = None,
    scheme: str | None = None,
    strict: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    weights: str = "compact",
    passes: int = 1,
    threads: int | None = None,
    processes: int = 1,
) -> int:
    """Measure the landmarks on faces whose true landmarks are known.

    Writes into --out: predictions.npz (what was found), summary.json (the figures, computed from it) and worst.jpg (the
    twelve faces with the largest errors; truth in green). A figure belongs to its box rule: published ones use the true
    landmarks' box. Several data sets, annotations or box rules get a folder each, and one summaries.json.

        jvcr evaluate faces3d --out results/val
        jvcr evaluate AFLW2000-3D --box truth detector --like table4 --plot --out results/aflw2000
        jvcr evaluate AFLW2000-3D --annotation original reannotated --out results/annotations
        jvcr evaluate AFLW2000-3D --predictions other.npz --against mine/predictions.npz --out results/other

    The exit code is 1 if some faces could not be used; the others are evaluated all the same.

    Parameters
    ----------
    folders
        Data sets: a folder with landmarks.npz, AFLW2000-3D, or another that the readers know.
    out
        Folder for the results; made if missing.
    box
        Where each face is looked for: the box of its true landmarks, which is the default; the detection that overlaps
        it best; the box that the data set comes with; or the boxes of a file, taken as detections. Faces without a box
        are counted, and left out of the averages.
    boxes
        The file of --box file, as for jvcr predict: CSV with the columns image,x0,y0,x1,y1, or JSON.
    box_kind
        What the boxes of a file or data set surround: a face as detectors box it, forehead to chin, or the landmarks
        themselves.
    annotation
        Which labels of AFLW2000-3D; the original ones by default. The re-annotated ones have no depth of their own.
    split
        Part of a folder with splits; "val" if there is such a one, "all" for everything.
    basis
        300W-LP: the face model that makes 3D points of its parameters; basis.npz in its folder or beside it by default.
    like
        Print a table of the paper with its rows and ours, and what ours differ in.
    plot
        Write ced.png, the cumulative error curves, and yaw.png, the error by yaw.
    against
        Predictions of another run or system on the same faces: compare the two face by face, in comparison.json.
    predictions
        Score these predictions, ours or another system's, and run nothing. The file needs the arrays image,
        points_px (faces, landmarks, 3) and found.
    scheme
        With --predictions: the landmarks, a name or a TOML file, where they are not the usual 68 or 66.
    strict
        Stop at the first image or label that cannot be used.
    weights
        Name of shipped weights, or an .onnx file.
    passes
        2 crops each face again around the landmarks of the first pass.
    threads
        Processor threads of the network, in each process; all available by default, shared among the processes.
    processes
        Processes to share the faces among, on this machine; the figures are those of one.
    """
    import dataclasses
    import tempfile

    from rich.console import Console

    from jvcr.evaluation.curves import write_curves
    from jvcr.evaluation.metrics import CONFIDENCE
    from jvcr.evaluation.protocol import Predictions, check_box_rule
    from jvcr.evaluation.published import like_published
    from jvcr.evaluation.report import (
        check_same,
        compare,
        comparison_table,
        runs_table,
        summarise,
        summary_lines,
        summary_table,
        write_summary,
        write_worst,
    )

    rules = tuple(dict.fromkeys(box))
    seen = [folder.resolve() for folder in folders]
    folders = [folder for i, folder in enumerate(folders) if seen.index(seen[i]) == i]
    _check_options(folders, rules, boxes, predictions, scheme, processes)
    _check_output(out, folders, against)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass  # a folder that cannot be written to shows now, not after the run
    console = Console(highlight=False, soft_wrap=True)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)

    given = None if predictions is None else Predictions.load(predictions)
    other = None if against is None else Predictions.load(against)
    if given is None:
        system = _System(weights, threads, passes, processes)
        landmarks = system.scheme
    else:
        landmarks = _scheme_of(given, scheme)
    labels = [
        (folder, _read(folder, landmarks, chosen, basis, split, strict))
        for folder in folders
        for chosen in _annotations(folder, folders, annotation)
    ]
    measured = labels[0][1][0]
    if landmarks.extends(measured.scheme):  # what it derives has no truth of its own
        given, other = (_shared(made, landmarks, measured) for made in (given, other))
    if other is not None:
        check_same(measured, other)
    for _, (dataset, _) in labels:
        for rule in rules if given is None else ():
            check_box_rule(dataset, rule)
    wanted = [(folder, dataset, about, rule) for folder, (dataset, about) in labels for rule in rules]
    names = _names([(folder, dataset.annotation if annotation else "", rule) for folder, dataset, _, rule in wanted])
    if given is not None:
        names = [name.removesuffix(f"-{rules[0]}") for name in names]
    if other is not None and len(wanted) > 1:
        raise ValueError(f"--against compares one run, and this makes {len(wanted)}: {', '.join(names)}")

    runs: dict[str, tuple[LandmarkDataset, Predictions]] = {}
    summaries: dict[str, dict[str, Any]] = {}
    unusable: list[str] = []
    options: dict[str, object] = {"--annotation": annotation or None, "--split": split, "--basis": basis}
    if given is None:
        options |= {"--box": rules, "--boxes": boxes, "--box-kind": box_kind if boxes else None, "--weights": weights}
        options |= {"--passes": passes, "--threads": threads, "--processes": processes}
    else:
        options |= {"--predictions": predictions, "--scheme": scheme}
    options |= {
        "--like": like,
        "--plot": () if plot else None,
        "--against": against,
        "--strict": () if strict else None,
    }
    options |= {"--out": out}
    command = _command(folders, options)
    for name, (folder, dataset, about, rule) in zip(names, wanted, strict=True):
        place = out if len(wanted) == 1 else out / name
        about = {"data": str(folder), **about, "command": command}
        if given is None:
            made = system.predict(dataset, rule, boxes, box_kind, strict, name if len(wanted) > 1 else "", errors)
            made.about.update(**about, **system.about)
            made.save(place / "predictions.npz")
            # From here on only the file counts: the same figures can be had from it at any time.
            found = Predictions.load(place / "predictions.npz")
        else:
            said = {"box": "not stated", **given.about}
            scored = {**about, "predictions": str(predictions), "predicted_by": given.about.get("command", "")}
            found = dataclasses.replace(given, about=said | scored)
        runs[name] = dataset, found
        summary = summaries[name] = summarise(dataset, found)
        write_summary(place / "summary.json", summary)
        write_worst(place / "worst.jpg", dataset, found)
        curves = write_curves(place, {name: runs[name]}) if plot else []
        if len(wanted) > 1:
            console.print(f"\n{name}", style="bold", markup=False)
        console.print(summary_table(summary))
        for line in summary_lines(summary):
            console.print(line, markup=False)
        unusable += found.about.get("unusable", [])

    if len(wanted) > 1:
        write_summary(out / "summaries.json", summaries)
        console.print()
        console.print(runs_table(summaries))
        if plot:
            write_curves(out, runs)
    if other is not None and against is not None:
        dataset, found = runs[names[0]]
        comparison = compare(dataset, found, other)
        told = {"first": names[0], "second": str(against), "error": "nme, %", "confidence": CONFIDENCE}
        write_summary(out / "comparison.json", told | {k: dataclasses.asdict(v) for k, v in comparison.items()})
        console.print(comparison_table(comparison, names[0], str(against)))
    if like is not None:
        table, notes = like_published(like, summaries)
        console.print(table)
        for line in notes:
            console.print(line, markup=False)

    written = ["predictions.npz"] * (given is None) + ["summary.json", "worst.jpg"] + curves
    written += ["comparison.json"] * (other is not None)
    where = f"{out}" if len(wanted) == 1 else f"{out}/{{{','.join(names)}}}, summaries.json in {out}"
    console.print(f"written: {', '.join(written[:-1])} and {written[-1]} in {where}", markup=False)
    problems = list(dict.fromkeys([*(p for _, (dataset, _) in labels for p in dataset.problems), *unusable]))
    for reason in problems[:NAMED_PROBLEMS]:
        errors.print(f"jvcr: not evaluated: {reason}", markup=False)
    if len(problems) > NAMED_PROBLEMS:
        errors.print(f"jvcr: and {len(problems) - NAMED_PROBLEMS} more; summary.json names them all", markup=False)
    return 1 if problems else 0


class _System:
    """What is measured: a landmarker by its weights, in one process or several."""

    def __init__(self, weights: str, threads: int | None, passes: int, processes: int) -> None:
        from functools import partial

        import jvcr
        from jvcr.files import sha256
        from jvcr.inference import landmarker
        from jvcr.inference.runtime import available_cores
        from jvcr.weights import find_weights

        if threads is None and processes > 1:
            threads = max(1, available_cores() // processes)
        self.make = partial(landmarker.Landmarker, weights, threads=threads, passes=passes)
        self.processes = processes
        self.landmarker = self.make()
        self.scheme: LandmarkScheme = self.landmarker.scheme
        path = find_weights(weights, ".onnx")
        self.about: dict[str, Any] = {
            "weights": weights,
            "weights_sha256": sha256(path),
            "training": _training(path),
            "passes": passes,
            "threads": threads,
            "processes": processes,
            "version": jvcr.__version__,
        }

    def predict(
        self,
        dataset: LandmarkDataset,
        rule: Literal["truth", "detector", "dataset", "file"],
        boxes: Path | None,
        box_kind: Literal["detector", "landmarks"],
        strict: bool,
        name: str,
        errors: Console,
    ) -> Predictions:
        """Runs it over a data set, with a bar."""
        from jvcr.evaluation.protocol import predict
        from jvcr.evaluation.shards import predict_in_processes

        if rule == "detector":
            self.landmarker.detector  # noqa: B018 (makes it: where none is installed, that is said before the bar)
        boxes_of = _boxes_of(boxes, dataset, strict, errors) if rule == "file" and boxes is not None else None
        with _progress(len(dataset), name) as done:
            if self.processes > 1:
                made = predict_in_processes(
                    self.make, dataset, rule, self.processes, done, boxes_of=boxes_of, box_kind=box_kind, strict=strict
                )
            else:
                made = predict(
                    self.landmarker, dataset, rule, done, boxes_of=boxes_of, box_kind=box_kind, strict=strict
                )
        if rule in ("dataset", "file"):
            made.about["box_kind"] = box_kind
        if rule == "file":
            made.about["boxes"] = str(boxes)
        return made


def _check_options(
    folders: list[Path],
    rules: tuple[str, ...],
    boxes: Path | None,
    predictions: Path | None,
    scheme: str | None,
    processes: int,
) -> None:
    if not rules:
        raise ValueError("--box needs a rule: truth, detector, dataset or file")
    if processes < 1:
        raise ValueError(f"--processes must be at least 1, got {processes}")
    if (boxes is not None) != ("file" in rules):
        raise ValueError("--box file and --boxes FILE belong together: give both or neither")
    if predictions is not None and (len(folders) > 1 or rules != ("truth",)):
        raise ValueError("--predictions are of one data set, and have been made with their boxes: leave --box out")
    if scheme is not None and predictions is None:
        raise ValueError("--scheme goes with --predictions; weights say themselves what their landmarks are")


def _check_output(out: Path, folders: list[Path], against: Path | None) -> None:
    """Results must not replace what they are made from."""
    for folder in folders:
        if out.resolve() == folder.resolve():
            raise ValueError(f"--out is the data set's own folder, {folder}: choose another one")
    if against is not None and against.resolve() == (out / "predictions.npz").resolve():
        raise ValueError(f"--out would replace {against}, which --against compares with: choose another folder")


def _command(folders: list[Path], options: Mapping[str, object]) -> str:
    """The command line of these options, without those that are None; () is a flag that is set."""
    import shlex

    words = ["jvcr", "evaluate", *map(str, folders)]
    for name, value in options.items():
        if value is not None:
            words += [name, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def _scheme_of(predictions: Predictions, scheme: str | None) -> LandmarkScheme:
    """The landmarks of predictions, as told or by their number."""
    from jvcr.scheme import FACE66, FACE68, load_scheme

    count = predictions.points_px.shape[1]
    known = {usual.points: usual for usual in (FACE68, FACE66)}
    if scheme is None and count not in known:
        raise ValueError(f"the predictions have {count} landmarks a face: say with --scheme what they are")
    return known[count] if scheme is None else load_scheme(scheme)


def _shared(predictions: Predictions | None, scheme: LandmarkScheme, measured: LandmarkDataset) -> Predictions | None:
    """Predictions of a scheme's landmarks without those that it derives from the data set's."""
    if predictions is None or predictions.points_px.shape[1] != scheme.points:
        return predictions
    return predictions.first_landmarks(measured.scheme.points)


def _annotations(folder: Path, folders: list[Path], annotation: tuple[str, ...]) -> list[str | None]:
    """The annotations to read of a folder; where others have several, one that has not is read as it is."""
    from jvcr.data.readers import find_layout

    if not annotation or (len(folders) > 1 and folder.is_dir() and find_layout(folder) != "AFLW2000-3D"):
        return [None]
    return list(dict.fromkeys(annotation))


def _read(
    folder: Path, scheme: LandmarkScheme, annotation: Any, basis: Path | None, split: str | None, strict: bool
) -> tuple[LandmarkDataset, dict[str, Any]]:
    """The faces to evaluate, and what predictions are to say of them."""
    from jvcr.commands.bars import counting
    from jvcr.data.faults import settle
    from jvcr.data.readers import find_layout, read_dataset

    with counting("reading labels") as advance:
        dataset = read_dataset(folder, scheme, annotation=annotation, basis=basis, advance=advance)
        dataset = dataset.without_derived()
    if split is None and dataset.splits is not None and DEFAULT_SPLIT in dataset.splits:
        split = DEFAULT_SPLIT
    if split == ALL_SPLITS:
        split = None
    if split is not None:
        dataset = dataset.split(split)
    settle(dataset.root, dataset.faults, len(dataset) + len(dataset.faults), strict)
    about = {
        "layout": find_layout(folder),
        "split": split,
        "scheme": dataset.scheme.name,
        "problems": list(dataset.problems),
    }
    return dataset, about


def _names(wanted: list[tuple[Path, str, str]]) -> list[str]:
    """A name for the folder of each run: data set, annotation and box rule; numbered where two would be the same."""
    labels: dict[Path, str] = {}
    for folder, _, _ in wanted:
        if folder not in labels:
            label, number = folder.resolve().name or "root", 1
            while label in labels.values():
                number += 1
                label = f"{folder.resolve().name}-{number}"
            labels[folder] = label
    return [
        "-".join(part for part in (labels[folder], annotation, rule) if part) for folder, annotation, rule in wanted
    ]


def _boxes_of(boxes: Path, dataset: LandmarkDataset, strict: bool, errors: Console) -> list[ArrayLike]:
    """For each face the boxes that the file has for its image."""
    from pathlib import PurePath

    import numpy as np

    from jvcr.apps.bulk import BoxFile, Photo

    photos = {name: Photo(dataset.root / name, PurePath(name), PurePath(name)) for name in dataset.images.tolist()}
    file = BoxFile(boxes, list(photos.values()))
    of: dict[str, ArrayLike] = {}
    unnamed: list[str] = []
    for name, photo in photos.items():
        try:
            of[name] = file.of(photo)
        except ValueError:
            if strict:
                raise
            unnamed.append(name)
            of[name] = np.zeros((0, 4))
    if unnamed:
        some = ", ".join(unnamed[:3]) + (" ..." if len(unnamed) > 3 else "")
        errors.print(
            f"jvcr: {boxes} does not name {len(unnamed)} of {len(photos)} images; their faces are not found: {some}",
            markup=False,
        )
    return [of[name] for name in dataset.images.tolist()]


def _training(weights: Path) -> dict[str, Any]:
    """What the weights' file says of the faces that they were trained on; empty where it says nothing."""
    import json

    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
        said = json.loads(session.get_modelmeta().custom_metadata_map["jvcr"]).get("training") or {}
        recipe = (said.get("recipe") or {}).get("name")
    except Exception:  # whether it can be used, its landmarker has found out; this is about one more line
        return {}
    told = {"recipe": recipe, "train_faces": said.get("train_faces"), "faces_seen": said.get("faces_seen")}
    return {key: value for key, value in told.items() if value is not None}


@contextmanager
def _progress(total: int, name: str) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left; gives the function to call with the number of faces done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("evaluating {task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} faces, {task.fields[rate]} faces/s, left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, rate="-")

        def done(faces: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0
            bar.update(task, completed=faces, rate=f"{faces / elapsed:.0f}" if elapsed else "-")

        yield done
