"""``jvcr evaluate``."""

from __future__ import annotations

import inspect
import shlex
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jvcr.cli.options import SEVERAL, Basis, Detector, Device, Flag, MinFace, Passes, Threads, Weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from rich.console import Console

    from jvcr.data.dataset import LandmarkDataset
    from jvcr.evaluation.figures import Summary
    from jvcr.evaluation.predictions import Predictions
    from jvcr.evaluation.runs import Run
    from jvcr.inference.landmarker import BoxKind, Landmarker

PREDICTIONS = "predictions.npz"

NAMED_PROBLEMS = 20
"""So many faces that cannot be used are named; the summary names them all."""


def evaluate(
    folders: list[Path],
    /,
    *,
    out: Path,
    box: Annotated[tuple[Literal["truth", "detector", "dataset", "file"], ...], SEVERAL] = ("truth",),
    boxes: Path | None = None,
    box_kind: Literal["detector", "landmarks"] | None = None,
    annotation: Annotated[tuple[Literal["original", "reannotated"], ...], SEVERAL] = (),
    reannotation: Path | None = None,
    split: str | None = None,
    basis: Basis = None,
    like: Literal["table1", "table2", "table3", "table4"] | None = None,
    plot: Flag = False,
    against: Path | None = None,
    predictions: Path | None = None,
    scheme: str | None = None,
    strict: Flag = False,
    weights: Weights = "compact",
    passes: Passes = 1,
    threads: Threads = None,
    detector: Detector = None,
    device: Device = "cpu",
    min_face: MinFace = None,
) -> int:
    """Measure the landmarks on faces whose true landmarks are known.

    Writes into --out: predictions.npz (the landmarks), summary.json (the figures, computed from it) and worst.jpg (the
    twelve faces with the largest errors; truth in green). A figure belongs to its boxes: published ones use the true
    landmarks' box. Several data sets, annotations or kinds of boxes get a folder each, and one summaries.json.

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
    reannotation
        The file of the re-annotated points; AFLW2000-3D-Reannotated.pts68.npy in the folder by default.
    split
        Part of a folder with splits; "val" if there is such a one, "all" for everything.
    like
        Print a table of the paper with its rows and ours, and what ours differ in.
    plot
        Write ced.png, the cumulative error curves, yaw.png, the error by yaw, and reliability.png, the error by
        confidence.
    against
        Predictions of another run or system on the same faces: compare the two face by face, in comparison.json.
    predictions
        Score these predictions, ours or another system's, and run nothing. The file needs the arrays image,
        points_px (faces, landmarks, 3) and detected.
    scheme
        With --predictions: the landmarks, a name or a TOML file, where they are not the usual 68 or 66.
    strict
        Stop at the first image or label that cannot be used.
    """
    command = _command(locals())
    from jvcr.cli import terminal
    from jvcr.cli.progress import counting
    from jvcr.evaluation.paper_tables import like_published
    from jvcr.evaluation.predictions import Predictions
    from jvcr.evaluation.report import runs_table
    from jvcr.evaluation.runs import find_runs, read_labels, scheme_of
    from jvcr.evaluation.summary import check_same
    from jvcr.files import write_json
    from jvcr.inference import landmarker as inference
    from jvcr.inference.named import named_detector, providers_of

    if plot:
        from jvcr.evaluation.curves import write_curves
    sources = tuple(dict.fromkeys(box))
    _check_options(folders, sources, boxes, predictions, scheme)
    if reannotation is not None and "reannotated" not in annotation:
        raise ValueError("--reannotation goes with --annotation reannotated")
    _check_output(out, folders, against)
    given = landmarker = None
    if predictions is None:
        landmarker = inference.Landmarker(weights, threads=threads, providers=providers_of(device), passes=passes)
        landmarks = landmarker.scheme
    else:
        given = Predictions.load(predictions)
        landmarks = scheme_of(given, scheme)
    other = None if against is None else Predictions.load(against)

    def read(folder: Path, chosen: str | None) -> tuple[LandmarkDataset, dict[str, Any]]:
        with counting("reading labels") as advance:
            return read_labels(folder, chosen, landmarks, basis, split, strict, advance, reannotation)

    runs = find_runs(folders, sources if landmarker is not None else (), read, annotation)
    dataset = runs[0].dataset
    if given is not None:
        given = given.without_derived(landmarks, dataset.scheme)
    if other is not None:
        other = other.without_derived(landmarks, dataset.scheme)
        if len(runs) > 1:
            names = ", ".join(run.name for run in runs)
            raise ValueError(f"--against compares one run, and this makes {len(runs)}: {names}")
        check_same(dataset, other)
    if landmarker is not None and "detector" in sources:
        landmarker.detector = named_detector(
            detector, threads=landmarker.threads, device=device, min_face=min_face, is_face=landmarks.is_face
        )

    console = terminal.console(soft_wrap=True)
    measured: dict[str, tuple[LandmarkDataset, Predictions]] = {}
    summaries: dict[str, Summary] = {}
    for number, run in enumerate(runs, 1):
        place, of_runs = (out / run.name, f" ({number} of {len(runs)})") if len(runs) > 1 else (out, "")
        run.metadata["command"] = command
        if given is not None:
            source = {"predictions": str(predictions), "predicted_by": given.metadata.get("command", "")}
            made = replace(given, metadata={"box": "not stated"} | given.metadata | run.metadata | source)
        else:
            assert landmarker is not None
            run.metadata.update(_system(weights, landmarker, passes, threads))
            _predict(landmarker, run, boxes, box_kind, strict, f"evaluating{of_runs}").save(place / PREDICTIONS)
            made = Predictions.load(place / PREDICTIONS)  # only the file counts: the figures can be had from it again
        measured[run.name] = run.dataset, made
        summaries[run.name] = _summarise(console, place, run, made, heading=len(runs) > 1)
        curves = write_curves(place, {run.name: measured[run.name]}) if plot else []
    if len(runs) > 1:
        write_json(out / "summaries.json", {name: summary.to_dict() for name, summary in summaries.items()})
        console.print(runs_table(summaries))
        if plot:
            write_curves(out, measured)
    if other is not None:
        _compare(console, out, runs[0], made, other, str(against))
    if like is not None:
        table, notes = like_published(like, summaries)
        console.print(table)
        console.print("\n".join(notes))
    written = [PREDICTIONS] * (given is None) + ["summary.json", "worst.jpg", *curves]
    written += ["comparison.json"] * (other is not None)
    where = f"{out}" if len(runs) == 1 else f"{out}/{{{','.join(summaries)}}}, summaries.json in {out}"
    console.print(f"written: {', '.join(written[:-1])} and {written[-1]} in {where}")
    return _print_problems(measured.values())


def _check_options(
    folders: list[Path], sources: tuple[str, ...], boxes: Path | None, predictions: Path | None, scheme: str | None
) -> None:
    if not sources:
        raise ValueError("--box needs one of truth, detector, dataset and file")
    if (boxes is not None) != ("file" in sources):
        raise ValueError("--box file and --boxes FILE belong together: give both or neither")
    if predictions is not None and (len(folders) > 1 or sources != ("truth",)):
        raise ValueError("--predictions are of one data set, and have been made with their boxes: leave --box out")
    if scheme is not None and predictions is None:
        raise ValueError("--scheme goes with --predictions; weights say themselves what their landmarks are")


def _check_output(out: Path, folders: list[Path], against: Path | None) -> None:
    """Results must not replace what they are made from, and a folder that cannot be written to shows before the run.

    A folder that is not there yet is not left behind: what comes next may find the input wrong.
    """
    for folder in folders:
        if out.resolve() == folder.resolve():
            raise ValueError(f"--out is the data set's own folder, {folder}: choose another one")
    if against is not None and against.resolve() == (out / PREDICTIONS).resolve():
        raise ValueError(f"--out would replace {against}, which --against compares with: choose another folder")
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass
    for folder in missing:
        folder.rmdir()


def _command(arguments: Mapping[str, Any]) -> str:
    """The command line of these arguments, without those that are as usual."""
    words = ["jvcr", "evaluate", *map(str, arguments["folders"])]
    for name, parameter in list(inspect.signature(evaluate).parameters.items())[1:]:
        if (value := arguments[name]) != parameter.default:
            words.append("--" + name.replace("_", "-"))
            words += () if value is True else map(str, value if isinstance(value, tuple) else (value,))
    return shlex.join(words)


def _predict(
    landmarker: Landmarker, run: Run, boxes: Path | None, box_kind: BoxKind | None, strict: bool, title: str
) -> Predictions:
    from jvcr.cli.progress import counting
    from jvcr.evaluation.predictions import predict

    box_kind = box_kind or run.dataset.scheme.box_kind
    how: dict[str, Any] = {"box_kind": box_kind} if run.box in ("dataset", "file") else {}
    boxes_of = None
    if run.box == "file" and boxes is not None:
        boxes_of = _boxes_of_file(boxes, run.dataset, strict)
        how["boxes"] = str(boxes)
    with counting(title, len(run.dataset)) as advance:
        made = predict(landmarker, run.dataset, run.box, advance, boxes_of=boxes_of, box_kind=box_kind, strict=strict)
    made.metadata.update(run.metadata | how)
    return made


def _boxes_of_file(boxes: Path, dataset: LandmarkDataset, strict: bool) -> list[ArrayLike]:
    """For each face the boxes that the file has for its image; none where it does not name it."""
    from jvcr.cli.boxes import BoxFile
    from jvcr.cli.photos import Photo

    photos = {name: Photo(dataset.root / name, PurePath(name)) for name in dataset.images.tolist()}
    file = BoxFile(boxes, list(photos.values()))
    unnamed: dict[str, ArrayLike] = {} if strict else {name: [] for name, photo in photos.items() if photo not in file}
    if unnamed:
        some = ", ".join(list(unnamed)[:3]) + (" ..." if len(unnamed) > 3 else "")
        print(
            f"jvcr: {boxes} does not name {len(unnamed)} of {len(photos)} images; their faces are not detected: {some}",
            file=sys.stderr,
        )
    return [unnamed[name] if name in unnamed else file.of(photos[name]) for name in dataset.images.tolist()]


def _system(weights: str, landmarker: Landmarker, passes: int, threads: int | None) -> dict[str, Any]:
    """What predictions are to say of the landmarker, and of what its weights say of their training."""
    import jvcr
    from jvcr.files import sha256
    from jvcr.weights.header import find_weights

    recipe = landmarker.training.get("recipe")
    training = {
        "recipe": recipe.get("name") if isinstance(recipe, dict) else None,
        "train_faces": landmarker.training.get("train_faces"),
        "faces_seen": landmarker.training.get("faces_seen"),
    }
    return {
        "weights": weights,
        "weights_sha256": sha256(find_weights(weights, ".onnx")),
        "training": {key: value for key, value in training.items() if value is not None},
        "passes": passes,
        "threads": threads,
        "version": jvcr.__version__,
    }


def _summarise(console: Console, place: Path, run: Run, made: Predictions, heading: bool) -> Summary:
    """The figures of a run: ``summary.json``, ``worst.jpg``, and what the terminal shows."""
    from jvcr.evaluation.report import figures_table, summary_table, worst_faces
    from jvcr.evaluation.summary import summarise
    from jvcr.files import write_json
    from jvcr.viz.tiles import write_picture

    summary = summarise(run.dataset, made)
    write_json(place / "summary.json", summary.to_dict())
    write_picture(place / "worst.jpg", worst_faces(run.dataset, made))
    if heading:
        console.print(f"\n{run.name}", style="bold")
    console.print(summary_table(summary))
    console.print(figures_table(summary))
    return summary


def _compare(console: Console, out: Path, run: Run, made: Predictions, other: Predictions, against: str) -> None:
    """Two systems face by face: ``comparison.json``, and a table."""
    from jvcr.evaluation.report import comparison_table
    from jvcr.evaluation.statistics import CONFIDENCE
    from jvcr.evaluation.summary import compare
    from jvcr.files import write_json

    comparison = compare(run.dataset, made, other)
    systems = {"first": run.name, "second": against, "error": "nme, %", "confidence": CONFIDENCE}
    write_json(out / "comparison.json", systems | {name: asdict(part) for name, part in comparison.items()})
    console.print(comparison_table(comparison, run.name, against))


def _print_problems(measured: Iterable[tuple[LandmarkDataset, Predictions]]) -> int:
    """Names the faces that could not be evaluated; the exit code."""
    measured = list(measured)
    unusable = [reason for _, made in measured for reason in made.metadata.get("unusable", [])]
    problems = list(dict.fromkeys([*(reason for dataset, _ in measured for reason in dataset.problems), *unusable]))
    for reason in problems[:NAMED_PROBLEMS]:
        print(f"jvcr: not evaluated: {reason}", file=sys.stderr)
    if len(problems) > NAMED_PROBLEMS:
        print(f"jvcr: and {len(problems) - NAMED_PROBLEMS} more; summary.json names them all", file=sys.stderr)
    return 1 if problems else 0
