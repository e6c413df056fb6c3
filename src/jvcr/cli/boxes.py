"""Where faces are, as a file says it: ``--boxes FILE``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jvcr.cli.photos import Photo, real_path
from jvcr.files import parse
from jvcr.geometry.crop import box_fault

BOX_COLUMNS = ("image", "x0", "y0", "x1", "y1")


class BoxFile:
    """Boxes of the faces of photos, read from a file: .json is JSON, anything else CSV.

    CSV, with a line for each face; other columns are left alone::

        image,x0,y0,x1,y1
        portrait.jpg,182,121,353,332

    JSON, with a list for each image, which is empty where there is no face::

        {"portrait.jpg": [[182, 121, 353, 332]], "landscape.jpg": []}

    An image is named by its path as given to the command, by its path within the folder given, or, where that is clear,
    by its file name alone.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is of another layout, a box is not four numbers with an area, a name fits several photos,
            or none of its names fits a photo.
    """

    def __init__(self, path: Path, photos: Sequence[Photo]) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a text file in UTF-8: {error}") from error
        named = _json_boxes(path, text) if path.suffix.lower() == ".json" else _csv_boxes(path, text)
        ways: list[dict[str, list[Photo]]] = [{}, {}, {}, {}]
        for photo in photos:
            names = photo.path.as_posix(), real_path(photo.path).as_posix(), photo.inside.as_posix(), photo.path.name
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

    def __contains__(self, photo: Photo) -> bool:
        return photo.path in self._boxes

    def of(self, photo: Photo) -> NDArray[np.float64]:
        """(n, 4) the boxes of a photo.

        Raises:
            ValueError: the file does not name it.
        """
        if photo not in self:
            raise ValueError(f"{self.path} has no boxes for {photo.path}")
        return self._boxes[photo.path]


def _csv_boxes(path: Path, text: str) -> dict[str, NDArray[np.float64]]:
    rows: dict[str, list[list[float]]] = {}
    table = csv.DictReader(io.StringIO(text))
    try:
        if missing := [name for name in BOX_COLUMNS if name not in (table.fieldnames or ())]:
            raise ValueError(
                f"{path} has no column {', '.join(missing)}: its first line must name {','.join(BOX_COLUMNS)}"
            )
        for row in table:
            where = f"{path}, line {table.line_num}"
            rows.setdefault(_name(row["image"], where), []).append(_box([row[name] for name in BOX_COLUMNS[1:]], where))
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file of boxes: {error}") from error
    return {name: np.array(boxes) for name, boxes in rows.items()}


def _json_boxes(path: Path, text: str) -> dict[str, NDArray[np.float64]]:
    try:
        data = parse(text)
    except ValueError as error:
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
    if fault := box_fault(values):
        raise ValueError(f"{where}: the box {values} {fault}")
    return [float(value) for value in values]
