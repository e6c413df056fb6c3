"""A benchmark's results as people read them, and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from jvcr.benchmark.models import NETWORK, PEER
from jvcr.benchmark.stages import DETECTION, DRAWING, STAGES, TOGETHER
from jvcr.files import replacing

PART_NAMES = {"whole": "all"}
"""What the tables call a network, where that is not its name."""


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Writes results as JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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
        f"weights {weights['name']}, {weights['points']} landmarks; photograph of {photo['width']} x {photo['height']} "
        f"pixels with {photo['faces']} face{'s' if photo['faces'] != 1 else ''}; median of {results['repeats']} rounds "
        f"after {results['warm_up']} to warm up, ± half the interquartile range",
    ]


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """The times, what they mean beside other models', and the arithmetic."""
    size = f"{results['frame']['width']} x {results['frame']['height']}"
    yield _stage_table(
        results, "photo", "A photograph, from the bytes of its file to its faces drawn: ms an image", (*DETECTION,)
    )
    yield _stage_table(
        results,
        "frame",
        f"A frame of {size} with one face, its box known: ms an image",
        (),
    )
    yield _face_table(results)
    yield _network_table(results)
    if results["arithmetic"]:
        yield _arithmetic_table(results)
    if results["peers"]:
        yield _peer_table(results)


def conclusion_lines(results: dict[str, Any]) -> list[str]:
    """What dominates, how many frames and faces a second that makes, and what could not be timed."""
    lines = []
    median = {(t["subject"], t["part"], t["threads"], t["batch"]): t["median_ms"] for t in results["timings"]}
    threads, batch = results["threads"][0], results["batches"][0]
    for subject, what, size in (
        ("photo", "a photograph", 1),
        ("face", "a face whose box is known", batch),
        (NETWORK, "the network", batch),
    ):
        parts = {
            part: ms
            for (of, part, n, b), ms in median.items()
            if (of, n, b) == (subject, threads, size) and part not in (TOGETHER, "whole")
        }
        if parts:
            part = max(parts, key=lambda name: parts[name])
            share = parts[part] / sum(parts.values())
            lines.append(f"Of {what}, {part} takes {share:.0%} on {_threads(threads)}.")
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


def _stage_table(results: dict[str, Any], subject: str, title: str, before: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("stage", no_wrap=True)
    for n in results["threads"]:
        table.add_column(_threads(n), justify="right", no_wrap=True)
    for part in (*before, *STAGES, DRAWING, TOGETHER):
        table.add_row(part, *(_spread(results, subject, part, n, 1) for n in results["threads"]))
    return table


def _face_table(results: dict[str, Any]) -> Table:
    table = Table(title="A face whose box is known: ms a face", title_justify="left")
    for name in ("threads", "batch", *STAGES, TOGETHER):
        table.add_column(name, justify="right", no_wrap=True)
    for n, b in _places(results):
        table.add_row(str(n), str(b), *(_spread(results, "face", part, n, b) for part in (*STAGES, TOGETHER)))
    return table


def _network_table(results: dict[str, Any]) -> Table:
    """The subnetworks apart, and how near each comes to what the processor does at its best."""
    title = "The networks alone: ms a face"
    if results["peak"]:
        best = ", ".join(
            f"{p['multiply_adds_per_second'] / 1e9:.0f} on {_threads(p['threads'])}" for p in results["peak"]
        )
        title += (
            f", and the share of the processor's best\n(billion multiply-adds a second in a matrix product: {best})"
        )
    table = Table(title=title, title_justify="left")
    parts = list(dict.fromkeys(t["part"] for t in results["timings"] if t["subject"] == NETWORK))
    shares = {(f["part"], f["threads"], f["batch"]): f"{f['share_of_peak']:.0%}" for f in results["floor"]}
    for name in ("threads", "batch", *(PART_NAMES.get(part, part) for part in parts)):
        table.add_column(name, justify="right", no_wrap=True)
    for n, b in _places(results):
        # The share below its time: beside it, four networks are too wide for a terminal of 80 columns.
        cells = (f"{_spread(results, NETWORK, part, n, b)}\n{shares.get((part, n, b), '')}".strip() for part in parts)
        table.add_row(str(n), str(b), *cells)
    return table


def _peer_table(results: dict[str, Any]) -> Table:
    table = Table(
        title="Beside other models: our time over theirs, of medians (and of fastest runs)", title_justify="left"
    )
    table.add_column("model", overflow="fold")
    for name in ("threads", "its ms", "our network", "ours with crop\nand read-out"):
        table.add_column(name, justify="right", no_wrap=True)
    for peer in results["peers"]:
        table.add_row(
            escape(peer["name"]),
            str(peer["threads"]),
            _spread(results, PEER, peer["name"], peer["threads"], 1),
            *(f"{peer[f'{o}_over_it']:.3g} ({peer[f'{o}_over_it_at_best']:.3g})" for o in ("our_network", "our_face")),
        )
    return table


def _arithmetic_table(results: dict[str, Any]) -> Table:
    table = Table(title="The arithmetic of a face, and its least time at the processor's best", title_justify="left")
    table.add_column("", no_wrap=True)
    floors = {(f["part"], f["threads"]): _ms(f["floor_ms_per_face"]) for f in results["floor"]}
    columns = ["million\nmultiply-adds", "weights\nMB", "activations\nMB"]
    for name in (*columns, *(f"ms on\n{_threads(n)}" for n in results["threads"])):
        table.add_column(name, justify="right", no_wrap=True)
    for part, counted in results["arithmetic"].items():
        table.add_row(
            PART_NAMES.get(part, part),
            f"{counted['multiply_adds'] / 1e6:.1f}",
            f"{counted['weight_bytes'] / 1e6:.1f}",
            f"{counted['activation_bytes'] / 1e6:.1f}",
            *(floors[part, n] for n in results["threads"]),
        )
    return table


def _places(results: dict[str, Any]) -> list[tuple[int, int]]:
    """Numbers of threads and sizes of batches that were timed."""
    return [(n, b) for n in results["threads"] for b in results["batches"]]


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
