"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated, TypeAlias

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
