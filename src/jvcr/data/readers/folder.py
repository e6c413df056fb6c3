"""The package's own layout: a folder of images and one ``landmarks.npz`` or ``landmarks.csv``."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset, Names, completed_labels
from jvcr.data.readers.labelled import existing_folder
from jvcr.data.skipped import Skipped
from jvcr.files import load_arrays
from jvcr.scheme import FACE68, LandmarkScheme

MANIFEST = "landmarks.npz"
TABLE = "landmarks.csv"

_TEXTS = ("split", "source", "subject")
_NUMBERS = {"points": 3, "yaw_deg": 1, "pose_deg": 2, "box_xyxy": 2, "hand": 3, "occlusion": 2}
"""Arrays of numbers, and how many axes they have."""

_AXES = "xyz"
_POSE, _BOX = ("pitch_deg", "yaw_deg", "roll_deg"), ("box_x0", "box_y0", "box_x1", "box_y1")


def read_folder(root: str | Path, scheme: LandmarkScheme = FACE68, strict: bool = False) -> LandmarkDataset:
    """Reads a folder of images whose ``landmarks.npz`` or ``landmarks.csv`` names them and their landmarks.

    ============= ============== ==========================================================================
    key of .npz   shape          meaning
    ============= ============== ==========================================================================
    ``image``     (F,) str       path below the folder
    ``points``    (F, N, 3)      pixels of that image, integer = pixel centre, x right, y down, z away from
                                 the camera with mean 0
    ``split``     (F,) str       "train", "val" ... (optional, like all that follow)
    ``source``    (F,) str       name of a part, reported apart
    ``yaw_deg``   (F,)           yaw, degrees
    ``pose_deg``  (F, 3)         pitch, yaw and roll, degrees, in 300W-LP's signs
    ``box_xyxy``  (F, 4)         the face's box, pixels
    ``subject``   (F,) str       faces of one name are views of one face with one expression
    ``hand``      (F, N, 2)      what people labelled, pixels of that image; NaN where nobody did
    ``occlusion`` (F, N)         0 for a visible landmark, above 0 for a hidden one, -1 where unknown
    ============= ============== ==========================================================================

    A CSV file has a header and a line for each face: ``image``, then ``x0``, ``y0``, ``z0`` to ``x67``, ``y67``,
    ``z67`` (as many as the scheme has), and of the optional ones ``split``, ``source``, ``subject``, ``pitch_deg``,
    ``yaw_deg``, ``roll_deg``, ``box_x0``, ``box_y0``, ``box_x1``, ``box_y1``; an empty cell is an unknown value.

    An image may show several faces. Skipped are entries that are `unusable`, whose image is missing or not in the
    folder, or that say the same as one before. Image paths may have Windows's separators. Landmarks that ``scheme``
    derives from others need not be in the file.

    Raises:
        FileNotFoundError: the folder or its manifest is missing.
        ValueError: the manifest is damaged, lacks a key, or its arrays do not fit together; no entry can be used; or
            ``strict`` and some cannot.
    """
    root = existing_folder(root)
    present = [name for name in (MANIFEST, TABLE) if (root / name).is_file()]
    if not present:
        raise FileNotFoundError(f"{root} has no {MANIFEST} or {TABLE}: one should name the images and their landmarks")
    path = root / present[0]
    skipped: list[Skipped] = []
    columns = _checked(path, load_arrays(path)) if present[0] == MANIFEST else _read_table(path, scheme, skipped)
    images = np.char.replace(_texts(path, columns["image"]), "\\", "/")  # type: ignore[arg-type]
    with np.errstate(over="ignore"):  # what no longer fits is found later
        points = columns["points"].astype(np.float32)

    def column(name: str, kind: type) -> Any:
        return columns[name].astype(kind) if name in columns else None

    dataset = LandmarkDataset(
        root=root,
        images=images,
        points_px=scheme.completed(points),
        sources=column("source", str) if "source" in columns else np.full(len(images), ""),
        splits=column("split", str),
        yaw_deg=_yaw(columns, len(images)),
        scheme=scheme,
        pose_deg=column("pose_deg", np.float32),
        boxes_xyxy=column("box_xyxy", np.float32),
        subjects=column("subject", str),
        **completed_labels(scheme, columns.get("hand"), columns.get("occlusion")),
    )
    lines = columns.get("line")
    places = [f"entry {i}" if lines is None else f"line {lines[i]}" for i in range(len(images))]
    return dataset.without(_wrong(dataset, places), skipped, strict)


def _checked(path: Path, columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    for key in ("image", "points"):
        if key not in columns:
            raise ValueError(f"{path} has no array {key!r}: a landmark folder needs 'image' and 'points'")
    if columns["image"].ndim != 1:
        raise ValueError(f"{path}: 'image' should be a list of paths, got shape {columns['image'].shape}")
    if len(columns["image"]) == 0:
        raise ValueError(f"{path} names no image")
    for key in _NUMBERS.keys() & columns.keys():
        array, axes = columns[key], _NUMBERS[key]
        if array.dtype.kind not in "fiu" or array.ndim != axes:
            raise ValueError(f"{path}: {key!r} should be numbers on {axes} axes, got {array.dtype} {array.shape}")
    return columns


def _yaw(columns: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.float32]:
    if "yaw_deg" in columns:
        return np.where(np.isfinite(columns["yaw_deg"]), columns["yaw_deg"], np.nan).astype(np.float32)
    if "pose_deg" in columns and columns["pose_deg"].shape == (count, 3):
        return columns["pose_deg"][:, 1].astype(np.float32)
    return np.full(count, np.nan, np.float32)


def _wrong(dataset: LandmarkDataset, places: Sequence[str]) -> dict[int, str]:
    """Index -> place and image of an entry that cannot be used, and what is wrong with it."""
    wrong: dict[int, str] = {}
    unusable = dataset.unusable()
    missing: dict[str, bool] = {}
    seen: dict[tuple[str, bytes], int] = {}
    for i, image in enumerate(dataset.images.tolist()):
        if image not in missing:
            missing[image] = _is_missing(dataset.root, image)
        same = seen.setdefault((image, dataset.points_px[i].tobytes()), i)
        path = PurePosixPath(image)
        if path.is_absolute() or ".." in path.parts:
            reason = "the path leads out of the folder"
        elif missing[image]:
            reason = "the image is missing"
        elif i in unusable:
            reason = unusable[i]
        elif same != i:
            reason = f"says the same as {places[same]}"
        else:
            continue
        # What is no text in a name can be neither printed nor written.
        wrong[i] = f"{places[i]}, {image.encode('utf-8', 'backslashreplace').decode()}: {reason}"
    return wrong


def _is_missing(root: Path, image: str) -> bool:
    try:
        return not (root / image).is_file()
    except OSError:  # a name that is too long for a file
        return True


def _texts(path: Path, values: NDArray[Any]) -> Names:
    """An array of texts; numpy keeps those of some programs as bytes."""
    try:
        return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values.astype(str)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: a text is not UTF-8: {error}") from error


def _read_table(path: Path, scheme: LandmarkScheme, skipped: list[Skipped]) -> dict[str, NDArray[Any]]:
    """The columns of a CSV file as `read_folder` names them; lines that cannot be read are added to ``skipped``."""
    rows: list[dict[str, Any]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or [])
            points = scheme.num_landmarks if f"x{scheme.num_landmarks - 1}" in header else scheme.num_base_landmarks
            _check_header(path, header, points)
            coordinates = [f"{axis}{i}" for i in range(points) for axis in _AXES]
            groups = {"yaw_deg": ("yaw_deg",), "pose_deg": _POSE, "box_xyxy": _BOX}
            known = {key: names for key, names in groups.items() if set(names) <= set(header)}
            for row in reader:
                try:
                    if None in row or None in row.values():
                        raise ValueError(f"has not {len(header)} cells")
                    if not row["image"]:
                        raise ValueError("names no image")
                    values: dict[str, Any] = {"points": [_number(row, name) for name in coordinates]}
                    values |= {key: [_number(row, name, np.nan) for name in names] for key, names in known.items()}
                except ValueError as error:
                    skipped.append(Skipped(f"line {reader.line_num}: {error}"))
                    continue
                texts = {name: row[name].strip() for name in ("image", *_TEXTS) if name in header}
                rows.append({"line": reader.line_num, **texts, **values})
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is damaged or not a CSV file: {error}") from error
    if not rows:
        first = f"; {skipped[0].text}" if skipped else ""
        raise ValueError(f"{path} has no line that can be used{first}")
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    columns["points"] = columns["points"].reshape(-1, points, 3)
    if "yaw_deg" in columns:
        columns["yaw_deg"] = columns["yaw_deg"][:, 0]
    return columns


def _check_header(path: Path, header: list[str], points: int) -> None:
    wanted = ["image", *(f"{axis}{i}" for i in range(points) for axis in _AXES)]
    if missing := [name for name in wanted if name not in header]:
        have = len([name for name in header if re.fullmatch(r"x\d+", name)])
        raise ValueError(
            f"{path}: {points} landmarks need the columns image, x0, y0, z0 to z{points - 1}; missing: "
            f"{', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''} (the file has {have} landmarks; its columns "
            f"must be separated by commas)"
        )
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(f"{path}: columns stand there twice: {', '.join(twice)}")
    for group in (_POSE, _BOX):
        present = [name for name in group if name in header]
        if present not in ([], list(group), ["yaw_deg"]):
            raise ValueError(f"{path}: {', '.join(group)} belong together, and only {', '.join(present)} is there")
    known = {*wanted, *_TEXTS, *_POSE, *_BOX}
    if unknown := [name for name in header if name not in known]:
        raise ValueError(
            f"{path}: unknown columns {', '.join(map(repr, unknown[:6]))}{' ...' if len(unknown) > 6 else ''}; "
            f"{points} landmarks go with {', '.join([*_TEXTS, *_POSE, *_BOX])}"
        )


def _number(row: Mapping[str, str], name: str, empty: float | None = None) -> float:
    text = row[name].strip()
    if not text and empty is not None:
        return empty
    try:
        if "_" in text:  # Python would take 1_000 for a number
            raise ValueError
        return float(text)
    except ValueError:
        raise ValueError(f"{name} should be a number, got {row[name]!r}") from None
