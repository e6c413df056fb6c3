"""The columns of annotations: one row for each face, and one for each image without any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from jvcr.inference.face import Face
from jvcr.inference.landmarker import Result

COLUMNS_VERSION = 1
"""Of `SCHEMA`: it changes when a column changes its meaning, goes, or comes."""

_NUMBERS = pa.list_(pa.float32())

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("face_index", pa.int32()),
        pa.field("box", _NUMBERS),
        pa.field("angle", pa.float32()),
        pa.field("score", pa.float32()),
        pa.field("points", pa.list_(_NUMBERS)),
        pa.field("confidence", _NUMBERS),
        pa.field("expected_error", _NUMBERS),
        pa.field("yaw", pa.float32()),
        pa.field("pitch", pa.float32()),
        pa.field("roll", pa.float32()),
        pa.field("eye_open", _NUMBERS),
        pa.field("mouth_open", pa.float32()),
        pa.field("error", pa.string()),
    ]
)
"""The columns. Those from ``box`` on are `jvcr.Face`'s, and docs/annotate.md says what they mean.

``face_index`` counts the faces of an image from 0, the most certain first. An image without a face has one row with
null there, and so has one that cannot be used, whose ``error`` says why.
"""

_OF_A_FACE = [name for name in SCHEMA.names if name not in ("image", "width", "height", "face_index", "error")]


@dataclass
class Rows:
    """The rows of some images, in their order."""

    images: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    faces: list[tuple[int, Face] | None] = field(default_factory=list)
    errors: list[str | None] = field(default_factory=list)

    def add(self, image: str, result: Result, error: str = "") -> bool:
        """Adds an image's.

        Args:
            image: what it is called.
            result: what became of it.
            error: why there was no image to look at; empty if there was.

        Returns:
            Whether it could be used.
        """
        error = error or ("" if result.error is None else str(result.error))
        found: list[tuple[int, Face] | None] = [] if error else [*enumerate(result.faces)]
        for face in found or [None]:
            self.images.append(image)
            self.sizes.append(None if error else result.size)
            self.faces.append(face)
            self.errors.append(error or None)
        return not error

    def table(self) -> pa.Table:
        """The rows as a table of `SCHEMA`."""
        columns: dict[str, Any] = {
            "image": self.images,
            "width": [None if size is None else size[0] for size in self.sizes],
            "height": [None if size is None else size[1] for size in self.sizes],
            "face_index": [None if face is None else face[0] for face in self.faces],
            "error": self.errors,
        }
        for name in _OF_A_FACE:
            columns[name] = [None if face is None else getattr(face[1], name) for face in self.faces]
        return pa.table([_column(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values of a type: of lists the numbers of all rows at once, which takes a tenth of the time of one by one."""
    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    known = [np.asarray(value, np.float32) for value in values if value is not None]
    numbers = np.concatenate([value.ravel() for value in known] or [np.zeros(0, np.float32)])
    inner = pa.array(numbers, pa.float32())
    if pa.types.is_list(kind.value_type):
        inner = pa.ListArray.from_arrays(np.arange(0, len(numbers) + 1, 3, dtype=np.int32), inner)
    rows = iter(known)
    lengths = [0 if value is None else len(next(rows)) for value in values]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, inner, mask=pa.array([value is None for value in values], pa.bool_()))
