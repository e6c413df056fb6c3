"""The detectors and devices that the command line knows by name."""

from __future__ import annotations

from jvcr.inference import detector as others
from jvcr.inference import face_detector as own
from jvcr.inference.detector import Detector, MediaPipeDetector, OpenCVFaceDetector, WholeImage
from jvcr.inference.face_detector import FaceDetector
from jvcr.inference.session import Providers

DEVICES = {
    "cpu": None,
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
    "rocm": ("MIGraphXExecutionProvider",),
    "directml": ("DmlExecutionProvider",),
    "coreml": ("CoreMLExecutionProvider",),
    "openvino": ("OpenVINOExecutionProvider",),
}
"""Execution providers of ONNX Runtime by the names that people know."""


def providers_of(device: str) -> Providers | None:
    """The execution providers of a device's name; a ValueError lists the names."""
    if device not in DEVICES:
        raise ValueError(f"there is no device {device!r}; it is one of {', '.join(DEVICES)}")
    return DEVICES[device]


def named_detector(
    name: str | None = None,
    long_side: int | None = None,
    min_score: float | None = None,
    threads: int | None = None,
    device: str = "cpu",
    min_face: float | None = None,
    is_face: bool = True,
) -> Detector:
    """The detector of that name; what is None is as the detector has it by default.

    Args:
        name: "jvcr", `FaceDetector`; "none", every image is the box of one face; or the path of a model file of yours,
            YuNet's (.onnx) or BlazeFace's for MediaPipe (.tflite). None is "jvcr" for faces, else "none".
        long_side: larger images are reduced to it, pixels.
        min_score: of which detections are kept, 0 to 1.
        threads: how many it may use; None is one for each core.
        device: of `DEVICES`; YuNet and BlazeFace run on the CPU.
        min_face: boxes smaller than this, pixels, may be passed over; for "jvcr" alone.
        is_face: whether what is looked for is a face.

    Raises:
        FileNotFoundError: there is no such model file.
        ImportError: MediaPipe is not installed.
        ValueError: there is no such name, the file is no such model, or a value is out of its range.
    """
    if name is None:
        name = "jvcr" if is_face else "none"
    if name == "jvcr":
        score = own.MIN_SCORE if min_score is None else min_score
        longest = own.LONG_SIDE if long_side is None else long_side
        return FaceDetector(longest, score, threads, providers_of(device), min_face=min_face or 0.0)
    if min_face is not None:
        raise ValueError("the smallest face can be chosen for the detector jvcr only")
    if name == "none":
        return WholeImage()
    score = others.MIN_SCORE if min_score is None else min_score
    if name.endswith(".onnx"):
        return OpenCVFaceDetector(name, others.LONG_SIDE if long_side is None else long_side, score)
    if name.endswith(".tflite"):
        return MediaPipeDetector(name, score)
    raise ValueError(
        f"there is no detector {name!r}: it is jvcr, none, or the path of a model file, YuNet's (.onnx) or BlazeFace's "
        "(.tflite)"
    )


def default_detector(threads: int | None = None) -> Detector:
    """The detector that is used where none is named, by default with a thread for each core."""
    return FaceDetector(threads=threads)
