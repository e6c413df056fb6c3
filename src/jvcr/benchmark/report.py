"""What follows from the times of a benchmark, as people read it and as a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from jvcr.benchmark.clock import Timing
from jvcr.benchmark.models import NETWORK, PEER
from jvcr.benchmark.stages import DETECTION, DRAWING, STAGES, TOGETHER


def conclusions(timings: Sequence[Timing]) -> dict[str, Any]:
    """What follows from the times: frames and faces a second, and ratios to other models, in plain types."""
    times = {(t.subject, t.part, t.threads, t.batch): t for t in timings}
    threads = sorted({t.threads for t in timings})
    batches = sorted({t.batch for t in timings if t.subject == "face"})
    frame_rate: list[dict[str, Any]] = []
    for n in threads:
        together, drawing = (times["frame", part, n, 1].median_ms for part in (TOGETHER, DRAWING))
        not_drawn = 1000 / (together - drawing)
        frame_rate.append(
            {"threads": n, "frames_per_second": 1000 / together, "frames_per_second_not_drawn": not_drawn}
        )
    throughput: list[dict[str, Any]] = []
    for n in threads:
        rates = {b: 1000 * b / times["face", TOGETHER, n, b].median_ms for b in batches}
        for b, rate in rates.items():
            over = rate / rates[batches[0]]
            throughput.append({"threads": n, "batch": b, "faces_per_second": rate, "over_smallest_batch": over})
    peers = []
    for t in timings:
        if t.subject == PEER:
            peer: dict[str, Any] = {"name": t.part, "threads": t.threads, "median_ms": t.median_ms}
            for name, subject, part in (("our_network", NETWORK, "whole"), ("our_face", "face", TOGETHER)):
                ours = times[subject, part, t.threads, batches[0]]
                peer[f"{name}_over_it"] = ours.median_ms / ours.batch / t.median_ms
                peer[f"{name}_over_it_at_best"] = ours.least_ms / ours.batch / t.least_ms
            peers.append(peer)
    return {
        "timings": [asdict(t) | {"ms_per_face": t.median_ms / t.batch} for t in timings],
        "frame_rate": frame_rate,
        "throughput": throughput,
        "peers": peers,
    }


def header_lines(results: dict[str, Any]) -> list[str]:
    """What was timed, on what and with what."""
    m, photo, weights = results["machine"], results["photo"], results["weights"]
    load = "" if m["load_average"] is None else f"; load {m['load_average']:g} when it began"
    cores = f"{m['available_cores']} of {m['cores']} cores"
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    return [
        f"{m['processor']} ({m['system']}, {m['architecture']}), {cores}{load}",
        f"instruction sets: {', '.join(m['instruction_sets']) or 'unknown'}",
        versions,
        f"weights {weights['name']}, {weights['num_landmarks']} landmarks; photograph of {photo['width']} x "
        f"{photo['height']} pixels with {photo['faces']} face{'s' if photo['faces'] != 1 else ''}; median of "
        f"{results['repeats']} rounds after {results['warm_up']} to warm up, ± half the interquartile range",
    ]


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """The times of a photograph, a frame, a face and other models."""
    size = f"{results['frame']['width']} x {results['frame']['height']}"
    for subject, title, parts in (
        ("photo", "A photograph, from the bytes of its file to its faces drawn: ms an image", (*DETECTION, *STAGES)),
        ("frame", f"A frame of {size} with one face, its box known: ms an image", STAGES),
    ):
        table = _table(title, "stage", *(_threads(n) for n in results["threads"]))
        for part in (*parts, DRAWING, TOGETHER):
            table.add_row(part, *(_spread(results, subject, part, n, 1) for n in results["threads"]))
        yield table

    for subject, title, columns in (
        ("face", "A face whose box is known: ms a face", [*STAGES, TOGETHER]),
        (NETWORK, "The network alone, its input lying ready: ms a face", ["whole"]),
    ):
        table = _table(title, "threads", "batch", *columns)
        for n in results["threads"]:
            for b in results["batches"]:
                table.add_row(str(n), str(b), *(_spread(results, subject, part, n, b) for part in columns))
        yield table

    if results["peers"]:
        title = "Beside other models: our time over theirs, of medians (and of fastest runs)"
        table = _table(title, "model", "threads", "its ms", "our network", "ours with crop\nand read-out")
        for peer in results["peers"]:
            ratios = (
                f"{peer[f'{o}_over_it']:.3g} ({peer[f'{o}_over_it_at_best']:.3g})" for o in ("our_network", "our_face")
            )
            its = _spread(results, PEER, peer["name"], peer["threads"], 1)
            table.add_row(escape(peer["name"]), str(peer["threads"]), its, *ratios)
        yield table


def conclusion_lines(results: dict[str, Any]) -> list[str]:
    """What dominates, how many frames and faces a second that makes, and what could not be timed."""
    lines = []
    threads, batch = results["threads"][0], results["batches"][0]
    for subject, what, size in (("photo", "a photograph", 1), ("face", "a face whose box is known", batch)):
        parts = {
            t["part"]: t["median_ms"]
            for t in results["timings"]
            if (t["subject"], t["threads"], t["batch"]) == (subject, threads, size) and t["part"] != TOGETHER
        }
        if parts:
            part = max(parts, key=lambda name: parts[name])
            lines.append(f"Of {what}, {part} takes {parts[part] / sum(parts.values()):.0%} on {_threads(threads)}.")
    for rate in results["frame_rate"]:
        lines.append(
            f"On {_threads(rate['threads'])}: {rate['frames_per_second']:.0f} frames a second with the box known, "
            f"{rate['frames_per_second_not_drawn']:.0f} without drawing."
        )
    for entry in results["throughput"]:
        if entry["batch"] != batch:
            lines.append(
                f"On {_threads(entry['threads'])}: {entry['faces_per_second']:.0f} faces a second in batches of "
                f"{entry['batch']}, {entry['over_smallest_batch']:.2f} times those of batch {batch}."
            )
    return lines + [f"Note: {note}" for note in results["notes"]]


def _table(title: str, first: str, *others: str) -> Table:
    """A table whose first column holds names, the others numbers."""
    table = Table(title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _spread(results: dict[str, Any], subject: str, part: str, threads: int, batch: int) -> str:
    """Median and half the interquartile range, ms a face."""
    for t in results["timings"]:
        if (t["subject"], t["part"], t["threads"], t["batch"]) == (subject, part, threads, batch):
            half = (t["q3_ms"] - t["q1_ms"]) / 2
            return f"{_ms(t['median_ms'] / batch)} ± {_ms(half / batch)}"
    return "-"


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"
