import pickle
import shutil

import cv2
import numpy as np
import pytest

from jvcr.geometry.crop import Crop
from jvcr.inference.detector import Detector, detect
from jvcr.inference.face_detector import FaceDetector
from jvcr.inference.image import read_image
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.named import named_detector
from jvcr.weights.header import FOLDER

NOSES = {"grace_hopper.jpg": (266, 232), "astronaut.png": (224, 127)}
"""Tips of the noses in the sample photographs, pixels, measured by eye."""


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(threads=1)


@pytest.mark.parametrize("name", NOSES)
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_faces_are_found_at_every_angle(detector, examples, name, quarters):
    image = read_image(examples / name)
    height, width = image.shape[:2]
    x, y = NOSES[name]
    for _ in range(quarters):  # clockwise
        x, y, height, width = height - 1 - y, x, width, height
    squares, scores = detector.find(np.ascontiguousarray(np.rot90(image, -quarters)))
    assert scores[0] > 0.95
    assert np.hypot(*(squares[0, :2] - (x, y))) < 0.25 * squares[0, 2]
    assert abs((squares[0, 3] - 90 * quarters + 180) % 360 - 180) < 10


@pytest.mark.parametrize("quarters", [0, 1, 2])
def test_the_network_is_shown_an_upright_crop(detector, examples, quarters):
    image = np.ascontiguousarray(np.rot90(read_image(examples / "grace_hopper.jpg"), -quarters))
    (square, *_), _ = detector.find(image)
    boxes, _ = detect(detector, image)
    crop = Crop.from_detection(boxes[0])
    np.testing.assert_allclose([*crop.center[:2], crop.side, crop.angle_deg], square, rtol=1e-4, atol=1e-2)
    face = Landmarker(threads=1, detector=detector)(image)[0]
    assert face.box.shape == (4,)
    assert abs((face.roll - 90 * quarters + 180) % 360 - 180) < 12
    assert face.confidence.mean() > 0.5


def test_darkness(detector, examples):
    image = np.rint(read_image(examples / "grace_hopper.jpg") / 50).astype(np.uint8)
    assert detector.find(image).scores[0] > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (7, 2000), (64, 64), (3, 5)])
def test_pictures_without_a_face(detector, shape):
    boxes, scores = detector(np.full((*shape, 3), 120, np.uint8))
    assert boxes.shape == (0, 5)
    assert scores.shape == (0,)


def test_it_is_a_detector_like_any_other(detector, examples):
    image = read_image(examples / "astronaut.png")
    assert isinstance(detector, Detector)
    again = pickle.loads(pickle.dumps(detector))(image)
    np.testing.assert_array_equal(again.boxes, detector(image).boxes)
    assert isinstance(named_detector("jvcr", threads=1), FaceDetector)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match="to look for faces in must be from"):
        FaceDetector(100)
    with pytest.raises(ValueError, match="min_score"):
        FaceDetector(min_score=2.0)
    with pytest.raises(ValueError, match="threads"):
        FaceDetector(threads=0)
    with pytest.raises(ValueError, match="min_face"):
        FaceDetector(min_face=-1.0)
    with pytest.raises(FileNotFoundError, match=r"proposal\.onnx"):
        FaceDetector(folder=tmp_path)
    for name in ("proposal", "look"):
        shutil.copy(FOLDER / "detector" / "look.onnx", tmp_path / f"{name}.onnx")
    with pytest.raises(ValueError, match="no face-detector-proposal"):
        FaceDetector(folder=tmp_path)


def test_small_faces_may_be_passed_over(examples):
    photo = read_image(examples / "astronaut.png")
    wide = cv2.copyMakeBorder(photo, 0, 1024, 0, 2048, cv2.BORDER_CONSTANT, value=(110, 120, 130))
    (box,) = FaceDetector(threads=1)(wide).boxes
    size = float(np.sqrt(np.prod(box[2:4] - box[:2])))
    assert len(FaceDetector(threads=1, min_face=0.9 * size)(wide).boxes) == 1
    others = FaceDetector(threads=1, min_face=1.1 * size)(wide).boxes
    assert (others[:, 2] - others[:, 0] >= 1.1 * size).all()
