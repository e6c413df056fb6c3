"""The columns of annotations: one row for each face, and one for each image without any."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

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
"""The columns. Those from ``box`` on hold what `jvcr.Face.to_dict` gives, and docs/annotate.md says what they mean.

``face_index`` counts the faces of an image from 0, the most certain first. An image without a face has one row with
null there, and so has one that cannot be used, whose ``error`` says why.
"""

_OF_A_FACE = [name for name in SCHEMA.names if name not in ("image", "width", "height", "face_index", "error")]


def rows_of(image: str, result: Result, error: str = "") -> list[dict[str, Any]]:
    """The rows of an image.

    Args:
        image: what it is called.
        result: what became of it.
        error: why there was no image to look at; empty if there was.
    """
    error = error or ("" if result.error is None else str(result.error))
    if error:
        return [{"image": image, "error": error}]
    width, height = result.size
    whole = {"image": image, "width": width, "height": height}
    rows = []
    for index, face in enumerate(result.faces):
        values = face.to_dict()
        rows.append({**whole, "face_index": index, **{name: values.get(name) for name in _OF_A_FACE}})
    return rows or [whole]


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as a table; what they lack is null."""
    return pa.Table.from_pylist(rows, SCHEMA)
