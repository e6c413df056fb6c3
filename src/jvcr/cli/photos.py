"""Many photographs: which files they are, their boxes, and one result file for each, written as soon as it is known."""

from __future__ import annotations

import csv
import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jvcr.files import replacing
from jvcr.inference.face import Face
from jvcr.inference.image import read_image
from jvcr.inference.landmarker import BoxKind, Landmarker
from jvcr.inference.parallel import parallel_map
from jvcr.viz.overview import write_overview

IMAGE_SUFFIXES = frozenset(
    [".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp"]
)
"""What counts as an image in a folder; a file that is named itself is read whatever its suffix."""

BOX_COLUMNS = ("image", "x0", "y0", "x1", "y1")


_FAULTS_OF_A_NAME = {errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What can be wrong with the name of one result, while the next one can well be written."""


@dataclass(frozen=True)
class Photo:
    """An image file to work on.

    Attributes:
        path: where it lies.
        inside: its path within the folder that it was found in; its name, where it was named itself.
        result: path without suffix of its results, within the output folder; no two photos share one.
    """

    path: Path
    inside: PurePath
    result: PurePath

    def target(self, out: Path, suffix: str) -> Path:
        """The result file of this suffix."""
        return out / self.result.with_name(self.result.name + suffix)


@dataclass(frozen=True)
class Outcome:
    """What became of a photo.

    Attributes:
        photo: which one.
        faces: what was found; no face is an empty tuple.
        problem: why it could not be used; empty if it could.
    """

    photo: Photo
    faces: tuple[Face, ...] = ()
    problem: str = ""


def find_photos(sources: Iterable[Path], out: Path) -> list[Photo]:
    """The photos of files and folders, in the order given; a folder's in the order of their names, sub-folders too.

    Results keep the name of their photo and, of a folder, its sub-folders; where two would have the same name, as
    ``a.jpg`` and ``a.png`` do, the later ones get a number. A file that is met twice is taken once. In folders, files
    and folders with a leading dot are left out, and so is the output folder.

    Args:
        sources: files and folders. A file need not exist: it is for the one who reads it to complain.
        out: the output folder.

    Raises:
        ValueError: a folder holds no image.
    """
    photos: list[Photo] = []
    met: set[Path] = set()
    taken: set[str] = set()
    for source in sources:
        folder = os.path.isdir(source)
        files = _images_in(source, out) if folder else [source]
        if not files:
            raise ValueError(
                f"{source} is a folder without images (of the suffixes {', '.join(sorted(IMAGE_SUFFIXES))})"
            )
        for path in files:
            if (real := _real(path)) in met:
                continue
            met.add(real)
            inside = path.relative_to(source) if folder else PurePath(path.name)
            result, number = inside.with_name(inside.stem), 1
            while str(result).casefold() in taken:  # some file systems do not tell A from a
                number += 1
                result = inside.with_name(f"{inside.stem}-{number}")
            taken.add(str(result).casefold())
            photos.append(Photo(path, inside, result))
    return photos


def _images_in(folder: Path, out: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and not _same(here / n, out))
        found += [here / n for n in sorted(names) if not n.startswith(".") and Path(n).suffix.lower() in IMAGE_SUFFIXES]
    return found


def _real(path: Path) -> Path:
    """The path without links; unlike ``Path.resolve`` it takes a loop of links as it is, for the reader to refuse."""
    return Path(os.path.realpath(path))


def _same(a: Path, b: Path) -> bool:
    return _real(a) == _real(b)


def prepare_output(out: Path, photos: Sequence[Photo], suffixes: Sequence[str], keep: Iterable[Path] = ()) -> None:
    """Makes the output folder and sees to it, before any work is done, that results can be written and harm nothing.

    Args:
        out: the output folder.
        photos: whose results will be written there.
        suffixes: of their result files.
        keep: more files that must not be overwritten.

    Raises:
        OSError: the folder cannot be made or written to.
        ValueError: a result would overwrite a photo or a file to keep.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"cannot write to the output folder ({error.strerror})", str(out)) from error
    inputs = {_real(photo.path) for photo in photos} | {_real(path) for path in keep}
    for photo in photos:
        for target in (photo.target(out, suffix) for suffix in suffixes):
            if _real(target) in inputs:
                raise ValueError(
                    f"the result {target} would overwrite an input file of that name: choose another --out"
                )


def predict_photos(
    landmarker: Landmarker,
    photos: Iterable[Photo],
    out: Path,
    write_json: bool = True,
    write_plot: bool = False,
    boxes: BoxFile | None = None,
    box_kind: BoxKind = "detector",
    workers: int = 1,
) -> Iterator[Outcome]:
    """Works on photos; when an outcome is given, its files are written.

    ``NAME.json`` holds ``{"image": path, "faces": [Face.to_dict(), ...]}``, ``NAME.png`` the picture of `overview`.
    A photo that cannot be used gets an outcome with the reason, and no file; the next ones go on.

    Args:
        landmarker: finds the faces.
        photos: see `find_photos`.
        out: the output folder, see `prepare_output`.
        write_json: write the faces.
        write_plot: write the picture.
        boxes: where the faces are; None finds them.
        box_kind: what those boxes surround, see `Landmarker`.
        workers: how many photos are worked on at once, each by a thread of its own; outcomes come in order all the
            same. A landmarker of one thread suits several workers.

    Raises:
        OSError: a result cannot be written. Those before it stay.
    """

    def work(photo: Photo) -> Outcome:
        try:
            image = read_image(photo.path)
            given = None if boxes is None else boxes.of(photo)
            volumes = None
            if write_plot:
                faces, volumes, _ = landmarker.volumes(image, given, box_kind)
            else:
                faces = landmarker(image, given, box_kind)
        except (OSError, ValueError) as error:
            return Outcome(photo, problem=_with_path(error, photo.path))
        try:
            if write_json:
                result = {"image": str(photo.path), "faces": [face.to_dict() for face in faces]}
                with replacing(photo.target(out, ".json")) as temporary:
                    temporary.write_text(json.dumps(result) + "\n", encoding="utf-8")
            if write_plot:
                write_overview(photo.target(out, ".png"), image, faces, landmarker.scheme, volumes)
        except OSError as error:
            if error.errno not in _FAULTS_OF_A_NAME:
                raise  # such as a full disk: the next photo would fare no better
            return Outcome(photo, problem=f"{photo.path}: its result cannot be written: {error}")
        return Outcome(photo, tuple(faces))

    return parallel_map(work, photos, workers)


def _with_path(error: Exception, path: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error) if str(path) in str(error) else f"{path}: {error}"


class BoxFile:
    """Boxes of faces, read from a file.

    CSV, with a line for each face; other columns are left alone::

        image,x0,y0,x1,y1
        portrait.jpg,182,121,353,332

    JSON, with a list for each image, which is empty where there is no face::

        {"portrait.jpg": [[182, 121, 353, 332]], "landscape.jpg": []}

    An image is named by its path as given to the command, by its path within the folder given, or, where that is clear,
    by its file name alone.

    Args:
        path: the file; .json is JSON, anything else CSV.
        photos: the photos whose boxes will be asked for.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is of another layout, a box is not four numbers with an area, a name fits several photos,
            or none of its names fits a photo.
    """

    def __init__(self, path: Path, photos: Sequence[Photo]) -> None:
        self.path = path
        read = _read_json_boxes if path.suffix.lower() == ".json" else _read_csv_boxes
        try:
            named = read(path)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a text file in UTF-8: {error}") from error
        except csv.Error as error:
            raise ValueError(f"{path} is not a CSV file of boxes: {error}") from error
        ways: list[dict[str, list[Photo]]] = [{}, {}, {}, {}]
        for photo in photos:
            names = photo.path.as_posix(), _real(photo.path).as_posix(), photo.inside.as_posix(), photo.path.name
            for way, name in zip(ways, names, strict=True):
                way.setdefault(name, []).append(photo)
        self._boxes: dict[Path, NDArray[np.float64]] = {}
        for name, boxes in named.items():
            fitting = next((way[name] for way in ways if name in way), [])
            if len(fitting) > 1:
                raise ValueError(f"{path}: {name} can be {len(fitting)} of the images; write their paths as given")
            for photo in fitting:
                if photo.path in self._boxes:
                    raise ValueError(f"{path} names {photo.path} in two ways, one of them {name}; keep one")
                self._boxes[photo.path] = boxes
        if photos and not self._boxes:
            raise ValueError(
                f"{path} names none of the images; it names {', '.join(list(named)[:3]) or 'nothing'}, "
                f"the images are {', '.join(str(photo.path) for photo in photos[:3])}"
            )

    def of(self, photo: Photo) -> NDArray[np.float64]:
        """(n, 4) the boxes of a photo.

        Raises:
            ValueError: the file does not name it.
        """
        if photo.path not in self._boxes:
            raise ValueError(f"{self.path} has no boxes for {photo.path}")
        return self._boxes[photo.path]


def _read_csv_boxes(path: Path) -> dict[str, NDArray[np.float64]]:
    rows: dict[str, list[list[float]]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file)
        if missing := [name for name in BOX_COLUMNS if name not in (table.fieldnames or ())]:
            raise ValueError(
                f"{path} has no column {', '.join(missing)}: its first line must name {','.join(BOX_COLUMNS)}"
            )
        for row in table:
            where = f"{path}, line {table.line_num}"
            rows.setdefault(_name(row["image"], where), []).append(_box([row[name] for name in BOX_COLUMNS[1:]], where))
    return {name: np.array(boxes) for name, boxes in rows.items()}


def _read_json_boxes(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file of boxes: {error}") from error
    if not isinstance(data, dict) or not all(isinstance(boxes, list) for boxes in data.values()):
        raise ValueError(f'{path} must be an object of lists of boxes, as {{"portrait.jpg": [[182, 121, 353, 332]]}}')
    return {
        _name(name, str(path)): np.array([_box(box, f"{path}, {name}") for box in boxes]).reshape(-1, 4)
        for name, boxes in data.items()
    }


def _name(name: str | None, where: str) -> str:
    if not name:
        raise ValueError(f"{where}: the image has no name")
    return PurePath(name).as_posix()


def _box(values: Any, where: str) -> list[float]:
    try:
        x0, y0, x1, y1 = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: a box is four numbers x0, y0, x1, y1, got {values}") from error
    if not (np.isfinite([x0, y0, x1, y1]).all() and x0 < x1 and y0 < y1):
        raise ValueError(f"{where}: a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1, got {values}")
    return [x0, y0, x1, y1]
