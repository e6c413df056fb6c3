"""What ``jvcr evaluate`` measures, and on what: the system, the labels, their boxes, and the names of the runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from rich.console import Console

    from jvcr.data.dataset import LandmarkDataset
    from jvcr.evaluation.predictions import BoxKind, BoxSource, Predictions
    from jvcr.scheme import LandmarkScheme

ALL_SPLITS = "all"
DEFAULT_SPLIT = "val"


class System:
    """What is measured: a landmarker by its weights, in one process or several.

    Attributes:
        scheme: of its landmarks.
        about: what predictions are to say of it.
    """

    def __init__(self, weights: str, threads: int | None, passes: int, processes: int) -> None:
        from functools import partial

        import jvcr
        from jvcr.files import sha256
        from jvcr.inference import landmarker
        from jvcr.inference.session import available_cores
        from jvcr.weights.header import find_weights

        if threads is None and processes > 1:
            threads = max(1, available_cores() // processes)
        self._make = partial(landmarker.Landmarker, weights, threads=threads, passes=passes)
        self._processes = processes
        first = self._make()
        self.scheme: LandmarkScheme = first.scheme
        self.about: dict[str, Any] = {
            "weights": weights,
            "weights_sha256": sha256(find_weights(weights, ".onnx")),
            "training": _training(first.training),
            "passes": passes,
            "threads": threads,
            "processes": processes,
            "version": jvcr.__version__,
        }
        # Several processes make one each; this one's would only take memory.
        self._landmarker = first if processes == 1 else None

    def check_detector(self) -> None:
        """Makes a detector: where none is installed, that is said before anything runs.

        Raises:
            ImportError: none is installed.
        """
        from jvcr.inference.detector import default_detector

        if self._landmarker is None:
            default_detector(1)
        else:
            self._landmarker.detector  # noqa: B018 (which makes it)

    def predict(
        self,
        dataset: LandmarkDataset,
        rule: BoxSource,
        progress: Callable[[int], object],
        boxes_of: Sequence[ArrayLike] | None = None,
        box_kind: BoxKind = "detector",
        strict: bool = False,
    ) -> Predictions:
        """The predictions of a data set's faces, as `jvcr.evaluation.predictions.predict` makes them."""
        from jvcr.evaluation.predictions import predict
        from jvcr.evaluation.shards import predict_in_processes

        how: dict[str, Any] = {"boxes_of": boxes_of, "box_kind": box_kind, "strict": strict}
        if self._landmarker is None:
            made = predict_in_processes(self._make, dataset, rule, self._processes, progress, **how)
        else:
            made = predict(self._landmarker, dataset, rule, progress, **how)
        made.about.update(self.about)
        return made


def _training(said: Mapping[str, Any]) -> dict[str, Any]:
    """Of what the weights' file says of its training what an evaluation repeats."""
    recipe = said.get("recipe")
    told = {
        "recipe": recipe.get("name") if isinstance(recipe, dict) else None,
        "train_faces": said.get("train_faces"),
        "faces_seen": said.get("faces_seen"),
    }
    return {key: value for key, value in told.items() if value is not None}


def scheme_of(predictions: Predictions, scheme: str | None) -> LandmarkScheme:
    """The landmarks of predictions, as told or by their number."""
    from jvcr.scheme import FACE66, FACE68, load_scheme

    count = predictions.points_px.shape[1]
    known = {usual.num_landmarks: usual for usual in (FACE68, FACE66)}
    if scheme is None and count not in known:
        raise ValueError(f"the predictions have {count} landmarks a face: say with --scheme what they are")
    return known[count] if scheme is None else load_scheme(scheme)


def shared(predictions: Predictions | None, scheme: LandmarkScheme, measured: LandmarkDataset) -> Predictions | None:
    """Predictions of a scheme's landmarks without those that it derives from the data set's."""
    if predictions is None or predictions.points_px.shape[1] != scheme.num_landmarks:
        return predictions
    return predictions.first_landmarks(measured.scheme.num_landmarks)


def annotations_of(folder: Path, folders: list[Path], annotation: tuple[str, ...]) -> list[str | None]:
    """The annotations to read of a folder; where others have several, one that has not is read as it is."""
    from jvcr.data.readers import find_layout

    if not annotation or (len(folders) > 1 and folder.is_dir() and find_layout(folder) != "AFLW2000-3D"):
        return [None]
    return list(dict.fromkeys(annotation))


def read_labels(
    folder: Path, scheme: LandmarkScheme, annotation: Any, basis: Path | None, split: str | None, strict: bool
) -> tuple[LandmarkDataset, dict[str, Any]]:
    """The faces to evaluate, and what predictions are to say of them."""
    from jvcr.cli.progress import counting
    from jvcr.data.readers import find_layout, read_dataset
    from jvcr.data.skipped import raise_if_strict

    with counting("reading labels") as advance:
        dataset = read_dataset(folder, scheme, annotation=annotation, basis=basis, advance=advance)
        dataset = dataset.without_derived()
    if split is None and dataset.splits is not None and DEFAULT_SPLIT in dataset.splits:
        split = DEFAULT_SPLIT
    if split == ALL_SPLITS:
        split = None
    if split is not None:
        dataset = dataset.split(split)
    raise_if_strict(dataset.root, dataset.skipped, len(dataset), strict)
    about = {
        "layout": find_layout(folder),
        "split": split,
        "scheme": dataset.scheme.name,
        "problems": list(dataset.problems),
    }
    return dataset, about


def run_names(wanted: list[tuple[Path, str, str]]) -> list[str]:
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


def boxes_of_file(boxes: Path, dataset: LandmarkDataset, strict: bool, errors: Console) -> list[ArrayLike]:
    """For each face the boxes that the file has for its image."""
    from pathlib import PurePath

    import numpy as np

    from jvcr.cli.boxes import BoxFile
    from jvcr.cli.photos import Photo

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
