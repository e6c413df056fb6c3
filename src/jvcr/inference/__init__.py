"""Images in, faces out: NumPy, OpenCV and ONNX Runtime, no torch."""

from jvcr.inference.detector import (
    Detections,
    Detector,
    MediaPipeDetector,
    OpenCVFaceDetector,
)
from jvcr.inference.face import Face
from jvcr.inference.face_detector import FaceDetector
from jvcr.inference.image import ImageError, ImageSource, read_image
from jvcr.inference.landmarker import BoxKind, Landmarker
from jvcr.inference.named import default_detector
from jvcr.inference.tracker import TrackedFace, Tracker

__all__ = [
    "BoxKind",
    "Detections",
    "Detector",
    "Face",
    "FaceDetector",
    "ImageError",
    "ImageSource",
    "Landmarker",
    "MediaPipeDetector",
    "OpenCVFaceDetector",
    "TrackedFace",
    "Tracker",
    "default_detector",
    "read_image",
]
