"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

Detector: TypeAlias = Annotated[
    str | None,
    Parameter(
        help="What finds the faces: jvcr, the default, at every angle and in the dark; none, every picture is the box "
        "of one face; or a model file of yours, YuNet's (.onnx) or BlazeFace's for MediaPipe (.tflite)."
    ),
]
Device: TypeAlias = Annotated[
    str,
    Parameter(
        help="What the networks run on: cpu, or with another build of ONNX Runtime cuda, tensorrt, rocm, directml, "
        "coreml or openvino."
    ),
]
MinFace: TypeAlias = Annotated[
    float | None,
    Parameter(
        help="Faces with a box of fewer pixels than this may be passed over, which saves time in large pictures.",
        show_default=False,
    ),
]
Weights: TypeAlias = Annotated[str, Parameter(help="Name of shipped weights, or an .onnx file.")]
Threads: TypeAlias = Annotated[int | None, Parameter(help="Processor threads, all available by default.")]
Passes: TypeAlias = Annotated[
    int,
    Parameter(
        help="2 looks at each face again, around the landmarks found first: a little more exact, twice the time."
    ),
]
MinScore: TypeAlias = Annotated[
    float | None,
    Parameter(
        help="Faces of which the detector is less sure are left out, 0 to 1; 0.6 by default.", show_default=False
    ),
]
BoxKind: TypeAlias = Annotated[
    Literal["detector", "landmarks"] | None,
    Parameter(
        help="What those boxes surround: a face as detectors box it, forehead to chin, which is the default for faces, "
        "or the landmarks themselves."
    ),
]
Basis: TypeAlias = Annotated[
    Path | None,
    Parameter(
        help="300W-LP: the face model that makes 3D points of its parameters (jvcr data basis); basis.npz in its "
        "folder or beside it by default."
    ),
]
Flag: TypeAlias = Annotated[bool, Parameter(negative=(), show_default=False)]
SEVERAL = Parameter(consume_multiple=True, negative=(), show_default=False)
"""Of an option that takes all values up to the next option."""
