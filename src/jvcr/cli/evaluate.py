"""``jvcr evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from jvcr.data.dataset import LandmarkDataset
    from jvcr.evaluation.predictions import Predictions

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
        Write ced.png, the cumulative error curves, yaw.png, the error by yaw, and reliability.png, the error by
        confidence.
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

    from rich.console import Console

    from jvcr.cli.measured import System, annotations_of, boxes_of_file, read_labels, run_names, scheme_of, shared
    from jvcr.cli.progress import running_total
    from jvcr.evaluation.paper_tables import like_published
    from jvcr.evaluation.predictions import Predictions, check_box_source
    from jvcr.evaluation.report import comparison_table, runs_table, summary_lines, summary_table, write_worst
    from jvcr.evaluation.statistics import CONFIDENCE
    from jvcr.evaluation.summary import check_same, compare, summarise, write_summary
    from jvcr.viz.charts import write_curves

    rules = tuple(dict.fromkeys(box))
    seen = [folder.resolve() for folder in folders]
    folders = [folder for i, folder in enumerate(folders) if seen.index(seen[i]) == i]
    _check_options(folders, rules, boxes, predictions, scheme, processes)
    _check_output(out, folders, against)
    console = Console(highlight=False, soft_wrap=True)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)

    given = None if predictions is None else Predictions.load(predictions)
    other = None if against is None else Predictions.load(against)
    if given is None:
        system = System(weights, threads, passes, processes)
        landmarks = system.scheme
    else:
        landmarks = scheme_of(given, scheme)
    labels = [
        (folder, read_labels(folder, landmarks, chosen, basis, split, strict))
        for folder in folders
        for chosen in annotations_of(folder, folders, annotation)
    ]
    measured = labels[0][1][0]
    if landmarks.extends(measured.scheme):  # what it derives has no truth of its own
        given, other = (shared(made, landmarks, measured) for made in (given, other))
    if other is not None:
        check_same(measured, other)
    for _, (dataset, _) in labels:
        for rule in rules if given is None else ():
            check_box_source(dataset, rule)
    if given is None and "detector" in rules:
        system.check_detector()
    wanted = [(folder, dataset, about, rule) for folder, (dataset, about) in labels for rule in rules]
    names = run_names([(folder, dataset.annotation if annotation else "", rule) for folder, dataset, _, rule in wanted])
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
            number = f" ({len(runs) + 1} of {len(wanted)})" if len(wanted) > 1 else ""
            of_file = boxes_of_file(boxes, dataset, strict, errors) if rule == "file" and boxes is not None else None
            with running_total(f"evaluating{number}", len(dataset)) as done:
                made = system.predict(dataset, rule, done, of_file, box_kind, strict)
            made.about.update(about)
            if rule in ("dataset", "file"):
                made.about["box_kind"] = box_kind
            if rule == "file":
                made.about["boxes"] = str(boxes)
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
    """Results must not replace what they are made from, and a folder that cannot be written to shows before the run.

    A folder that is not there yet is not left behind: what comes next may find the input wrong.
    """
    import tempfile

    for folder in folders:
        if out.resolve() == folder.resolve():
            raise ValueError(f"--out is the data set's own folder, {folder}: choose another one")
    if against is not None and against.resolve() == (out / "predictions.npz").resolve():
        raise ValueError(f"--out would replace {against}, which --against compares with: choose another folder")
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass
    for folder in missing:
        folder.rmdir()


def _command(folders: list[Path], options: Mapping[str, object]) -> str:
    """The command line of these options, without those that are None; () is a flag that is set."""
    import shlex

    words = ["jvcr", "evaluate", *map(str, folders)]
    for name, value in options.items():
        if value is not None:
            words += [name, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)
