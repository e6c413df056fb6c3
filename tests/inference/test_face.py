import dataclasses
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from jvcr.inference.face import Face
from jvcr.scheme import load_scheme
from jvcr.viz.landmarks import draw_faces


def face(**changes):
    values = {
        "points": np.arange(15, dtype=np.float32).reshape(5, 3) / 7,
        "box": np.array([1.5, 2, 30.25, 40], np.float32),
        "confidence": np.linspace(0, 1, 5, dtype=np.float32),
        "score": 0.875,
        "yaw": -12.345,
        "pitch": 3.0,
        "roll": 0.5,
        "scheme": "hand",
    }
    return Face(**{**values, **changes})


def test_arrays_are_float32_copies_that_cannot_be_changed():
    points = np.zeros((5, 3), np.float32)
    made = face(points=points)
    points[0] = 9
    assert made.points[0].tolist() == [0, 0, 0]
    for name in ("points", "box", "confidence"):
        array = getattr(made, name)
        assert array.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.yaw = 0.0


def test_equality_is_that_of_all_values():
    assert face() == face()
    assert face() != face(yaw=1.0)
    assert face() != face(points=np.zeros((5, 3), np.float32))
    assert face(score=None) == face(score=None)
    assert face() != "face"


def test_to_dict_is_plain_and_rounded():
    data = face().to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["points"][1] == [0.43, 0.57, 0.71]
    assert data["box"] == [1.5, 2.0, 30.25, 40.0]
    assert data["confidence"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert (data["score"], data["yaw"], data["pitch"], data["roll"]) == (0.875, -12.35, 3.0, 0.5)
    assert data["scheme"] == "hand"


def test_the_rotation_is_that_of_the_angles_in_the_frame_of_the_points():
    """By hand: a yaw of 90 degrees takes the nose, which is in front (-z), to the left side of the image (-x)."""
    nose, top = [0, 0, -1], [0, -1, 0]
    left = face(yaw=90.0, pitch=0.0, roll=0.0).rotation
    np.testing.assert_allclose(left @ nose, [-1, 0, 0], atol=1e-12)
    up = face(yaw=0.0, pitch=90.0, roll=0.0).rotation
    np.testing.assert_allclose(up @ nose, [0, -1, 0], atol=1e-12)
    leaning = face(yaw=0.0, pitch=0.0, roll=90.0).rotation
    np.testing.assert_allclose(leaning @ top, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(face().to_dict()["rotation"], face(yaw=-12.35).rotation, atol=1e-6)
    assert face(yaw=None).rotation is face(yaw=None).to_dict()["rotation"] is None
    scipy = pytest.importorskip("scipy.spatial.transform")
    expected = scipy.Rotation.from_euler("XYZ", [-10, 40, -25], degrees=True).as_matrix()
    np.testing.assert_allclose(face(yaw=40.0, pitch=10.0, roll=-25.0).rotation, expected, atol=1e-12)


def test_there_is_no_negative_zero():
    text = json.dumps(face(points=np.full((5, 3), -0.001, np.float32), yaw=-0.001).to_dict())
    assert not re.search(r"-0\.0(?!\d)", text)


@pytest.mark.parametrize("original", [face(), face(score=None), face(yaw=None, pitch=None, roll=None)])
def test_there_and_back(original):
    data = original.to_dict()
    read = Face.from_dict(json.loads(json.dumps(data)))
    assert read.to_dict() == data
    np.testing.assert_allclose(read.points, original.points, atol=0.0051)
    assert (read.score, read.scheme) == (original.score, original.scheme)
    # Once rounded, nothing changes any more.
    assert Face.from_dict(read.to_dict()) == read


def test_unknown_keys_are_left_alone():
    assert Face.from_dict({**face().to_dict(), "age": 3}).to_dict() == face().to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [[1, 2]]}, r"points .* \(N, 3\)"),
        ({"points": "many"}, "must be numbers"),
        ({"box": [1, 2, 3]}, r"box .* \(4,\)"),
        ({"confidence": [0.5]}, r"confidence .* \(5,\)"),
        ({"points": [[float("nan")] * 3] * 5}, "NaN"),
        ({"score": "high"}, "could not convert|wrong kind"),
        ({"yaw": [1]}, "wrong kind"),
    ],
)
def test_from_dict_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        Face.from_dict({**face().to_dict(), **change})


def test_from_dict_names_a_missing_key():
    data = face().to_dict()
    del data["box"]
    with pytest.raises(ValueError, match="needs the key 'box'"):
        Face.from_dict(data)


def test_repr_is_short():
    assert (
        repr(face()) == "Face(5 points of hand, box=[1.5, 2.0, 30.2, 40.0], score=0.88, yaw=-12.3, pitch=3.0, roll=0.5)"
    )
    assert (
        repr(face(score=None, yaw=None, pitch=None, roll=None)) == "Face(5 points of hand, box=[1.5, 2.0, 30.2, 40.0])"
    )


def face_of(points, scheme):
    return face(points=np.array(points, np.float32), confidence=np.ones(len(points), np.float32), scheme=scheme)


def test_eyes_and_mouths_open_between_what_counts_as_closed_and_as_wide():
    points = np.array(load_scheme("face68").template, np.float32)
    eye, lips = np.array([[0, 0], [2, -1], [4, -1], [6, 0], [4, 1], [2, 1]]), np.arange(60, 68)
    for first, height in ((42, 0.0), (36, 6.0)):  # the face's own left eye is closed, the right one wide open
        points[first : first + 6, :2] = eye * [1, height / 2]
    points[lips, 1] = points[60, 1]
    made = face_of(points, "face68")
    assert made.eye_open == (0, 1)
    assert made.mouth_open == 0
    assert made.to_dict()["eye_open"] == [0, 1]
    assert 0 < face_of(load_scheme("face68").template, "face68").eye_open[0] < 1


def test_what_has_no_eyes_and_lips_has_them_neither_open_nor_closed():
    assert face().eye_open is face().mouth_open is face().to_dict()["mouth_open"] is None
    lips_without_corners = face_of(np.zeros((66, 3)), "face66")
    assert lips_without_corners.mouth_open is None
    assert lips_without_corners.eye_open == (0, 0)  # the width of an eye on one spot is 0


def whole():
    template = np.array(load_scheme("face68").template, np.float32)
    return face(points=60 * template + 100, confidence=np.full(68, 0.5, np.float32), scheme="face68")


def test_parts_by_name():
    one = whole()
    np.testing.assert_array_equal(one["left_eye"], one.points[42:48])
    with pytest.raises(KeyError, match="has no part 'ear', but jaw, right_brow"):
        one["ear"]


def test_a_face_draws_itself_on_its_picture(tmp_path):
    picture = np.full((240, 320, 3), 90, np.uint8)
    one = whole()
    drawn = one.draw(picture)
    np.testing.assert_array_equal(drawn, draw_faces(picture, [one]))
    assert (picture == 90).all() and (drawn != 90).any()
    Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(one.draw(tmp_path / "a.png"), drawn)


def test_a_face_in_a_resized_picture():
    half = whole().resized(0.5, 0.5)
    np.testing.assert_allclose(half.points[:, :2] + 0.5, (whole().points[:, :2] + 0.5) / 2, rtol=1e-6)
    np.testing.assert_allclose(np.ptp(half.points[:, 2]), np.ptp(whole().points[:, 2]) / 2, rtol=1e-6)
    assert half.box.tolist() == ((whole().box + 0.5) / 2 - 0.5).tolist()


def test_notebooks_show_a_picture():
    shown = whole()._repr_html_()
    drawing = ElementTree.fromstring(shown.partition("<br>")[0])
    assert len(drawing.findall("{*}circle")) == 68 and len(drawing.findall("{*}polyline")) == 9
    assert "yaw=" in shown and "<script" not in shown
