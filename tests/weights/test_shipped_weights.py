"""The shipped weights find what they found when they were measured: on public-domain photographs and drawn heads.

New weights need new figures, which this file makes itself: ``python tests/weights/test_shipped_weights.py``.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from jvcr.inference.face_detector import network_files

GOLDEN = Path(__file__).with_name("golden.json")
ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "src" / "jvcr" / "weights" / "compact.onnx"

PHOTOS = {"astronaut.png": [178, 63, 267, 175], "grace_hopper.jpg": [185, 121, 356, 337]}
"""Sample photographs and boxes as the detector gives them: the guard is for the weights alone."""

HEADS = 40
TOLERANCE = 0.002
"""Of the box: arithmetic of another processor moves landmarks by less; other weights move them by more."""

BY_EYE = {
    "astronaut.png": {36: (194, 100), 45: (257, 104), 30: (227, 127), 48: (205, 141), 54: (243, 142)},
    "grace_hopper.jpg": {36: (210, 192), 45: (321, 189), 30: (269, 240), 48: (229, 281), 54: (306, 277)},
}
"""Outer eye corners, tip of the nose and corners of the mouth, read off the photographs with a magnifier, pixels."""


def photographs():
    """Name -> (68, 3) landmarks."""
    from jvcr import Landmarker

    landmarker = Landmarker(threads=1)
    found = {name: landmarker(ROOT / "examples" / name, boxes=[box])[0] for name, box in PHOTOS.items()}
    return {name: face.points for name, face in found.items()}


def drawn_heads():
    """(HEADS,) NME in percent of drawn heads in all poses, and (HEADS,) mean confidences."""
    from jvcr import Landmarker
    from jvcr.evaluation.metrics import nme_2d
    from jvcr.evaluation.predictions import landmark_box
    from jvcr.synthetic.dataset import synthetic_face

    landmarker = Landmarker(threads=1)
    errors, confidences = [], []
    for index in range(HEADS):
        head = synthetic_face(index, size=160)
        (face,) = landmarker(head.draw()[0], boxes=[landmark_box(head.points_px)], box_kind="landmarks")
        errors.append(100 * float(nme_2d(face.points[None], head.points_px[None])[0]))
        confidences.append(float(face.confidence.mean()))
    return np.array(errors), np.array(confidences)


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found():
    return photographs()


def test_the_figures_belong_to_the_weights(golden):
    assert golden["weights_sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(), "new weights: see above"


@pytest.mark.parametrize("name", PHOTOS)
def test_photographs(name, golden, found):
    expected = np.array(golden["photographs"][name])
    extent = np.sqrt(np.ptp(expected[:, :2], axis=0).prod())
    assert np.linalg.norm(found[name] - expected, axis=1).max() < TOLERANCE * extent


@pytest.mark.parametrize("name", BY_EYE)
def test_photographs_by_eye(name, found):
    points, places = found[name], BY_EYE[name]
    extent = np.sqrt(np.ptp(points[:, :2], axis=0).prod())
    off = {i: float(np.linalg.norm(points[i, :2] - place)) / extent for i, place in places.items()}
    assert max(off.values()) < 0.05, off


def test_drawn_heads(golden):
    errors, confidences = drawn_heads()
    np.testing.assert_allclose(errors, golden["drawn_heads"]["nme"], atol=100 * TOLERANCE)
    assert errors.mean() == pytest.approx(golden["drawn_heads"]["mean_nme"], abs=0.02)
    np.testing.assert_allclose(confidences, golden["drawn_heads"]["confidence"], atol=0.01)


if __name__ == "__main__":
    heads, sure = drawn_heads()
    content = {
        "weights_sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "photographs": {name: points.round(2).tolist() for name, points in photographs().items()},
        "drawn_heads": {
            "mean_nme": round(float(heads.mean()), 3),
            "nme": heads.round(3).tolist(),
            "confidence": sure.round(4).tolist(),
        },
    }
    GOLDEN.write_text(json.dumps(content) + "\n", encoding="utf-8")
    print(f"{GOLDEN.name}: drawn heads {heads.mean():.3f} %, median {np.median(heads):.3f}, worst {heads.max():.2f}")  # noqa: T201


@pytest.mark.parametrize("name", ["proposal", "look"])
def test_the_detectors_means_lose_nothing_in_single_precision(name):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(network_files()[name == "look"]).graph
    axes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    means = [axes[node.input[1]].tolist() for node in graph.node if node.op_type == "ReduceMean"]
    assert means == [[3], [2], [1]] * 2
