"""``jvcr compare``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jvcr.cli.options import Basis
from jvcr.cli.train import read_faces, validation_metrics
from jvcr.files import replacing, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from jvcr.data.dataset import LandmarkDataset
    from jvcr.training.comparison import Comparison

RESULT, COST = "result.json", "cost.json"


def compare(
    comparison: Path,
    *,
    data: Path,
    basis: Basis = None,
    out: Path = Path("runs/compare"),
    threads: int = 1,
) -> int:
    """Train methods and settings on the same faces for as many examples, and compare them in numbers.

    Every run has its own folder in --out, as of jvcr train. Ctrl-C or SIGTERM saves and stops; the same command goes
    on, and does no finished run again. After every run --out gets what is known of those that are finished: a table,
    compare.md and compare.json; curves.png, the error over examples and over time; and cost.png, the time and memory of
    a training step over the number of landmarks.

        jvcr compare recipes/compare.toml --data faces3d

    Parameters
    ----------
    comparison
        TOML file that says what is compared; recipes/compare.toml is a commented one.
    data
        Folder with the faces; all runs train on its training split and are measured on its validation split.
    out
        Folder of the runs and results.
    threads
        Processor threads.
    """
    import torch

    from jvcr.training.comparison import Comparison
    from jvcr.training.processes import keep_freed_memory

    plan = Comparison.load(comparison)
    first = plan.recipe_of(next(iter(plan.runs)), 0)
    if threads < 1:
        raise ValueError(f"--threads must be at least 1, got {threads}")
    if not first.data.val_split:
        raise ValueError(f"{comparison}: data.val_split is empty, and without validation there is nothing to compare")
    dataset = read_faces(first, data, basis)
    out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    torch.set_num_threads(threads)
    _measure_costs(plan, out, threads)
    runs = plan.all_runs()
    for number, (name, seed) in enumerate(runs, start=1):
        print(f"run {number} of {len(runs)}: {name}, seed {seed}", file=sys.stderr)
        if not _train(plan, name, seed, dataset, _folder(out, name, seed)):
            print("stopped; the same command goes on")
            return 130
        _report(plan, out)
    print(f"results: {out / 'compare.md'}")
    return 0


def _folder(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}-{seed}"


def _measure_costs(plan: Comparison, out: Path, threads: int) -> None:
    """Into a file, what a step of each run takes: at the data's number of landmarks, and at those asked for."""
    from jvcr.training.comparison import step_cost

    known: dict[str, dict[str, Any]] = json.loads((out / COST).read_text()) if (out / COST).is_file() else {}
    for name in plan.runs:
        recipe = plan.recipe_of(name, 0)
        counts = {recipe.network.num_landmarks, *(plan.cost.landmarks if name in plan.cost.runs else ())}
        for landmarks in sorted(counts):
            if str(landmarks) not in known.setdefault(name, {}):
                print(f"measuring a step of {name} with {landmarks} landmarks", file=sys.stderr)
                known[name][str(landmarks)] = step_cost(recipe, landmarks, threads)
                write_json(out / COST, known)


def _train(plan: Comparison, name: str, seed: int, dataset: LandmarkDataset, folder: Path) -> bool:
    """Trains a run to its end, or goes on with it; False if it was stopped before. A finished one is left as it is."""
    from jvcr.training.checkpoint import CHECKPOINT
    from jvcr.training.trainer import Trainer

    recipe = plan.recipe_of(name, seed)
    result = folder / RESULT
    if result.is_file():
        if json.loads(result.read_text())["recipe"] != json.loads(json.dumps(recipe.to_dict())):
            raise ValueError(f"{folder} holds a run by another recipe: remove it, or choose another --out")
        return True
    folder.mkdir(parents=True, exist_ok=True)
    metrics = validation_metrics(dataset.scheme)
    splits = dataset.split(recipe.data.train_split), dataset.split(recipe.data.val_split)
    trainer = Trainer(recipe, *splits, metrics, folder)
    if (folder / CHECKPOINT).is_file():
        trainer.resume()
    outcome = trainer.run()
    if not outcome.finished:
        return False
    # The last weights: the best ones would have been chosen on the very faces that they are measured on.
    assert trainer.validation is not None
    errors = trainer.validation.errors(trainer.learner.averaged_network)
    write_json(
        result,
        {
            "recipe": recipe.to_dict(),
            "faces": outcome.faces,
            "seconds": round(outcome.seconds, 1),
            "metrics": list(metrics),
            "errors": errors.round(4).tolist(),
        },
    )
    return True


def _report(plan: Comparison, out: Path) -> None:
    """Writes the table and the curves of all runs that are finished."""
    import numpy as np

    costs = json.loads((out / COST).read_text())
    lines: list[dict[str, Any]] = []
    curves: dict[str, NDArray[np.float64]] = {}
    first: NDArray[np.float64] | None = None
    for name, variant in plan.runs.items():
        seeds = [s for s in variant.seeds or plan.seeds if (_folder(out, name, s) / RESULT).is_file()]
        if not seeds:
            continue
        results = [json.loads((_folder(out, name, s) / RESULT).read_text()) for s in seeds]
        errors = np.array([r["errors"] for r in results])  # (seeds, faces, metrics)
        first = errors.mean(axis=0) if first is None else first
        recipe = plan.recipe_of(name, 0)
        cost = costs[name][str(recipe.network.num_landmarks)]
        step = cost["seconds"]
        line: dict[str, Any] = {"name": name, "label": variant.label, "set": list(variant.set), "seeds": seeds}
        line |= {"examples": results[0]["faces"], "seconds": [r["seconds"] for r in results]}
        line |= {"parameters": cost["parameters"], "step_bytes": cost["bytes"]}
        line["milliseconds_per_face"] = None if step is None else 1000 * step / recipe.batch_size
        line["metrics"] = {
            metric: _figures(errors[..., i], first[:, i]) for i, metric in enumerate(results[0]["metrics"])
        }
        lines.append(line)
        curves[name] = _curve([_folder(out, name, s) for s in seeds], recipe.batch_size)
    write_json(out / "compare.json", {"runs": lines, "cost": costs})
    with replacing(out / "compare.md") as temporary:
        temporary.write_text(_table(lines, costs, plan), encoding="utf-8")
    _draw(plan, lines, curves, costs, out)


def _figures(errors: NDArray[np.float64], first: NDArray[np.float64]) -> dict[str, Any]:
    """Mean of (seeds, faces) errors, its interval over faces, each seed's, and the difference to the first run's."""
    from jvcr.evaluation.statistics import bootstrap_means, interval, paired_difference

    mean = errors.mean(axis=0)
    difference = paired_difference(mean, first)
    return {
        "mean": float(mean.mean()),
        "interval": interval(bootstrap_means(mean[:, None])[:, 0]),
        "of_seeds": errors.mean(axis=1).tolist(),
        "difference": difference.mean,
        "difference_interval": [difference.low, difference.high],
    }


def _curve(folders: Sequence[Path], batch_size: int) -> NDArray[np.float64]:
    """(V, 2) examples seen and mean error over seeds of each validation, by the first metric."""
    import numpy as np

    from jvcr.training.checkpoint import LOG

    curves = []
    for folder in folders:
        entries = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
        curves.append([(e["step"] * batch_size, next(iter(e["val"].values()))) for e in entries if "val" in e])
    return np.mean(curves, axis=0)


def _table(lines: Sequence[dict[str, Any]], costs: dict[str, Any], plan: Comparison) -> str:
    """Both tables in Markdown."""
    names = list(lines[0]["metrics"])
    first = lines[0]["label"]
    heads = ["run", *(f"{n.upper()}, %" for n in names), f"{names[0].upper()} less that of {first}", "seeds"]
    heads += ["weights", "ms a face"]
    rows = []
    for line in lines:
        cells = [line["label"]]
        cells += [f"{m['mean']:.2f} ({_span(m['interval'])})" for m in line["metrics"].values()]
        main = line["metrics"][names[0]]
        cells.append("" if line is lines[0] else f"{main['difference']:+.2f} ({_span(main['difference_interval'])})")
        cells.append(", ".join(f"{v:.2f}" for v in main["of_seeds"]) if len(main["of_seeds"]) > 1 else "one")
        cells.append(f"{line['parameters'] / 1e6:.2f} M" if line["parameters"] else "?")
        cells.append(f"{line['milliseconds_per_face']:.1f}" if line["milliseconds_per_face"] else "?")
        rows.append(cells)
    text = f"{lines[0]['examples']:,} examples each; intervals of 95 % over validation faces (bootstrap)\n\n"
    text += _markdown(heads, rows)
    if not plan.cost.landmarks:
        return text
    heads = ["run", *(f"N = {n}" for n in plan.cost.landmarks)]
    rows = [[plan.runs[n].label, *(_step(costs[n].get(str(c))) for c in plan.cost.landmarks)] for n in plan.cost.runs]
    batch = plan.recipe_of(next(iter(plan.runs)), 0).batch_size
    return text + f"\nA training step of {batch} faces: processor time, memory\n\n" + _markdown(heads, rows)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _span(ends: Sequence[float] | None) -> str:
    return "?" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"


def _step(cost: dict[str, Any] | None) -> str:
    if cost is None or cost["seconds"] is None:
        return "out of memory"
    memory = "" if cost["bytes"] is None else f", {cost['bytes'] / 2**20:,.0f} MiB"
    return f"{cost['seconds']:.2f} s{memory}"


def _draw(
    plan: Comparison,
    lines: Sequence[dict[str, Any]],
    curves: dict[str, NDArray[np.float64]],
    costs: dict[str, Any],
    out: Path,
) -> None:
    """Error over examples and over time, the other runs than those of ``cost`` apart; and what a step takes."""
    import numpy as np

    from jvcr.viz.charts import COLORS, Chart, Line, write_charts

    def of(names: Sequence[str], per_example: dict[str, float | None]) -> list[Line]:
        pairs = [(n, curves[n], per_example[n]) for n in names if n in curves]
        return [
            Line(plan.runs[n].label, c[:, 0] * by, c[:, 1], dots=i < len(COLORS))
            for i, (n, c, by) in enumerate(pairs)
            if by is not None
        ]

    first = next(iter(plan.runs))
    methods = list(plan.cost.runs) or list(plan.runs)
    others = [first, *(n for n in plan.runs if n not in methods)]
    in_thousands = dict.fromkeys(plan.runs, 1e-3)
    times = {r["name"]: r["milliseconds_per_face"] and r["milliseconds_per_face"] / 60_000 for r in lines}
    what = [("thousand examples", methods, in_thousands), ("minutes of a processor, training", methods, times)]
    what += [("thousand examples", others, in_thousands)] * (len(others) > 1)
    metric = next(iter(lines[0]["metrics"])).upper()
    highest = 4 * min(curve[:, 1].min() for curve in curves.values())
    y_label = f"{metric} of the validation faces, %"
    charts = [
        Chart(f"{metric} over {x}", x, y_label, of(names, by), None, highest, "upper right") for x, names, by in what
    ]
    write_charts(out / "curves.png", charts)
    if not plan.cost.runs or not plan.cost.landmarks:
        return
    charts = []
    for key, scale, title in (("seconds", 1.0, "Time of a step, s"), ("bytes", 2.0**30, "Memory of a step, GiB")):
        of_n = []
        for name in plan.cost.runs:
            measured = [costs[name][str(n)][key] for n in plan.cost.landmarks]
            values = np.array([np.nan if v is None else v / scale for v in measured])
            of_n.append(Line(plan.runs[name].label, np.array(plan.cost.landmarks, float), values, dots=True))
        charts.append(Chart(title, "landmarks N", title, of_n))
    write_charts(out / "cost.png", charts)
