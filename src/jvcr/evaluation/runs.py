"""What an evaluation runs over: faces with their labels, and whose boxes they are given; a name for each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.readers import find_layout, read_dataset
from jvcr.data.skipped import raise_if_strict
from jvcr.evaluation.predictions import BoxSource, Predictions, check_box_source
from jvcr.scheme import FACE66, FACE68, LandmarkScheme, load_scheme

DEFAULT_SPLIT, ALL_SPLITS = "val", "all"


@dataclass(frozen=True)
class Run:
    """Faces to evaluate with one kind of boxes."""

    name: str  # of its folder, where there are several runs
    dataset: LandmarkDataset
    box: BoxSource  # where faces are looked for, unless predictions are given
    metadata: dict[str, Any]  # what the predictions are to say of the faces


def find_runs(
    folders: Sequence[Path],
    sources: Sequence[BoxSource],
    read: Callable[[Path, str | None], tuple[LandmarkDataset, dict[str, Any]]],
    annotations: Sequence[str] = (),
) -> list[Run]:
    """A run for each data set, annotation and kind of boxes; a folder that is named twice counts once.

    Where other folders have several annotations, one that has not is read as it is. ``sources`` of the boxes are none
    where predictions are given; ``read`` is `read_labels`. A ValueError where the boxes asked for do not exist.
    """
    unique: dict[Path, Path] = {}
    for folder in folders:
        unique.setdefault(folder.resolve(), folder)
    runs: list[Run] = []
    labels: list[str] = []
    for root, folder in unique.items():
        label, number = root.name or "root", 1
        while label in labels:
            number += 1
            label = f"{root.name}-{number}"
        labels.append(label)
        has_several = len(unique) == 1 or not folder.is_dir() or find_layout(folder) == "AFLW2000-3D"
        for chosen in dict.fromkeys(annotations) if annotations and has_several else (None,):
            dataset, metadata = read(folder, chosen)
            for box in sources:
                check_box_source(dataset, box)
            of_labels = [label, dataset.annotation] if annotations and dataset.annotation else [label]
            runs += [Run("-".join([*of_labels, box]), dataset, box, dict(metadata)) for box in sources]
            if not sources:  # what was predicted elsewhere has had its boxes
                runs.append(Run("-".join(of_labels), dataset, "truth", metadata))
    return runs


def read_labels(
    folder: Path,
    annotation: Any,
    scheme: LandmarkScheme,
    basis: Path | None,
    split: str | None,
    strict: bool,
    advance: Callable[[int], None] | None = None,
    reannotation: Path | None = None,
) -> tuple[LandmarkDataset, dict[str, Any]]:
    """The faces to evaluate, of a split if there are any, and what predictions are to say of them.

    Raises:
        ValueError: there is no such split; no face can be used, or, if strict, one cannot; or as the readers.
    """
    again = reannotation if annotation == "reannotated" else None
    dataset = read_dataset(folder, scheme, annotation, basis, advance=advance, reannotation=again).without_derived()
    if split is None and dataset.splits is not None and DEFAULT_SPLIT in dataset.splits:
        split = DEFAULT_SPLIT
    if split == ALL_SPLITS:
        split = None
    if split is not None:
        dataset = dataset.split(split)
    raise_if_strict(dataset.root, dataset.skipped, len(dataset), strict)
    return dataset, {
        "data": str(folder),
        "layout": find_layout(folder),
        "split": split,
        "scheme": dataset.scheme.name,
        "problems": list(dataset.problems),
    }


def scheme_of(predictions: Predictions, scheme: str | None) -> LandmarkScheme:
    """The landmarks of predictions, as named or by their number."""
    count = predictions.points_px.shape[1]
    known = {usual.num_landmarks: usual for usual in (FACE68, FACE66)}
    if scheme is None and count not in known:
        raise ValueError(f"the predictions have {count} landmarks a face: say with --scheme what they are")
    return known[count] if scheme is None else load_scheme(scheme)
