from dataclasses import replace

import numpy as np
import pytest

from jvcr.scheme import FACE66, FACE68, LandmarkScheme, load_scheme

TOML = """
name = "hand"
points = 5
normalizer = [0, 1]
mirror_pairs = [[0, 1], [2, 4]]
[groups]
palm = { landmarks = [0, 1, 2], closed = true }
thumb = { landmarks = [3, 4] }
"""


@pytest.fixture
def hand(tmp_path):
    path = tmp_path / "hand.toml"
    path.write_text(TOML, encoding="utf-8")
    return LandmarkScheme.load(path)


def test_a_scheme_of_ones_own(hand):
    assert (hand.name, hand.num_landmarks, hand.normalizer, hand.template) == ("hand", 5, (0, 1), None)
    assert hand.mirror.tolist() == [1, 0, 4, 3, 2]
    assert hand.edges == ((0, 1), (1, 2), (3, 4), (2, 0))
    assert hand.names == ("palm_0", "palm_1", "palm_2", "thumb_0", "thumb_1")


@pytest.mark.parametrize("scheme", [FACE68, FACE66], ids=["face68", "face66"])
def test_built_in_schemes(scheme):
    assert np.array_equal(scheme.mirror[scheme.mirror], np.arange(scheme.num_landmarks))
    template = np.array(scheme.template)
    # The average face is symmetric, so the mirror's permutation must give it back.
    np.testing.assert_allclose((template * [-1, 1, 1])[scheme.mirror], template, atol=1e-9)
    assert sorted(i for group in scheme.groups.values() for i in group) == list(range(scheme.num_landmarks))
    assert len(scheme.edges) == sum(len(g) - 1 for g in scheme.groups.values()) + len(scheme.closed_groups)
    # Right is the face's own right, the left of the picture; the mouth is below the eyes, the nose before the ears.
    right, left, nose, mouth, jaw = (
        template[list(scheme.groups[name])].mean(0)
        for name in ("right_eye", "left_eye", "nose_bridge", "outer_lips", "jaw")
    )
    assert right[0] < 0 < left[0]
    assert right[1] < mouth[1]
    assert nose[2] < jaw[2]


def test_face66_is_face68_without_the_inner_corners_of_the_mouth():
    kept = [i for i in range(68) if i not in (60, 64)]
    assert np.array_equal(FACE66.template, np.array(FACE68.template)[kept])
    pairs = {frozenset(kept.index(i) for i in p) for p in FACE68.mirror_pairs if set(p) <= set(kept)}
    assert pairs == {frozenset(p) for p in FACE66.mirror_pairs}
    assert FACE66.groups["inner_lips"] == tuple(kept.index(i) for i in (61, 62, 63, 65, 66, 67))


def test_face71_derives_three_landmarks_from_face68():
    face71 = load_scheme("face71")
    assert (face71.num_landmarks, face71.num_base_landmarks, face71.base) == (71, 68, "face68")
    assert face71.extends(FACE68) and not face71.extends(FACE66) and not FACE68.extends(FACE68)
    assert face71.without_derived() == FACE68
    assert FACE68.without_derived() is FACE68
    assert face71.names == (*FACE68.names, "right_eye_center", "left_eye_center", "mouth_center")
    assert face71.edges == FACE68.edges
    assert face71.mirror[68:].tolist() == [69, 68, 70]
    template = np.array(face71.template)
    np.testing.assert_allclose((template * [-1, 1, 1])[face71.mirror], template, atol=1e-9)
    np.testing.assert_allclose(face71.completed(template[:68]), template, atol=1.1e-3)  # stored to three digits
    np.testing.assert_allclose(template[68], template[36:42].mean(0), atol=6e-4)
    np.testing.assert_allclose(template[70], template[48:68].mean(0), atol=6e-4)


DERIVED = {"derived": {"middle": [0, 1], "all": [0, 1, 2]}, "base": "three"}


def test_derived_landmarks_are_means():
    scheme = LandmarkScheme.from_dict({"name": "five", "num_landmarks": 5, "mirror_pairs": [[0, 1]], **DERIVED})
    points = np.array([[[0, 0, 0], [2, 4, 6], [4, 2, 3]], [[1, 1, 1], [3, 1, 1], [5, 1, 4]]], np.float32)
    completed = scheme.completed(points)
    assert completed.shape == (2, 5, 3) and completed.dtype == np.float32
    np.testing.assert_array_equal(completed[:, :3], points)
    np.testing.assert_array_equal(completed[:, 3:], [[[1, 2, 3], [2, 2, 3]], [[2, 1, 1], [3, 1, 2]]])
    # Whole ones, and those of something else, are left as they are.
    assert scheme.completed(completed) is completed
    assert scheme.completed(points[:, :2]).shape == (2, 2, 3)
    assert scheme.names == ("landmark_0", "landmark_1", "landmark_2", "middle", "all")
    base = scheme.without_derived()
    assert (base.name, base.num_landmarks, base.mirror_pairs, base.derived) == ("three", 3, ((0, 1),), {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"derived": {"middle": [0, 4]}}, r"middle must be the mean .* 0\.\.3, got \[0, 4\]"),
        ({"derived": {"middle": []}}, "middle must be the mean"),
        ({"derived": {"middle": [-1]}}, "middle must be the mean"),
        ({"derived": {}}, "base and derived go together"),
        ({"base": None}, "base and derived go together"),
        ({"derived": [0, 1]}, "wrong kind"),
    ],
)
def test_derived_landmarks_refused(change, message):
    with pytest.raises(ValueError, match=message):
        LandmarkScheme.from_dict({"name": "five", "num_landmarks": 5, **DERIVED, **change})


def test_what_a_base_cannot_keep_is_left_out():
    scheme = LandmarkScheme(
        "three",
        3,
        mirror_pairs=((0, 1),),
        groups={"line": (0, 1), "all": (0, 2)},
        closed_groups=frozenset({"all"}),
        normalizer=(0, 2),
        derived={"middle": (0, 1)},
        base="two",
    )
    assert scheme.without_derived() == LandmarkScheme("two", 2, mirror_pairs=((0, 1),), groups={"line": (0, 1)})


@pytest.mark.parametrize(
    "scheme", [FACE68, FACE66, load_scheme("face71"), LandmarkScheme("dots", 3)], ids=lambda s: s.name
)
def test_to_dict_and_back(scheme):
    assert LandmarkScheme.from_dict(scheme.to_dict()) == scheme


def test_mirror_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        FACE68.mirror[0] = 5


def test_load_scheme_takes_a_name_or_a_path(tmp_path):
    assert load_scheme("face68") == FACE68
    path = tmp_path / "hand.toml"
    path.write_text(TOML, encoding="utf-8")
    assert load_scheme(str(path)).name == "hand"
    with pytest.raises(ValueError, match="face66, face68"):
        load_scheme("face69")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_landmarks": 0}, "1 to 10000, got 0"),
        ({"num_landmarks": 10**9}, "1 to 10000, got 1000000000"),
        ({"num_landmarks": 4}, r"\[4\] are not in 0..3"),
        ({"mirror_pairs": [[0, 1], [1, 2]]}, "two mirror_pairs"),
        ({"normalizer": [0, 7]}, r"\[7\]"),
        ({"template": {"points": [[0, 0, 0]]}}, "5 points of three"),
        ({"template": {"dots": []}}, "points"),
        ({"colour": "red"}, "no colour"),
        ({"name": None, "num_landmarks": None}, "wrong kind"),
        ({"groups": {"palm": {}}}, "landmarks"),
        ({"groups": {"palm": [1, 2]}}, "wrong kind"),
    ],
)
def test_refused(hand, change, message):
    with pytest.raises(ValueError, match=message):
        LandmarkScheme.from_dict({**hand.to_dict(), **change})


def test_missing_keys_and_files(tmp_path):
    with pytest.raises(ValueError, match="needs the key 'num_landmarks'"):
        LandmarkScheme.from_dict({"name": "x"})
    with pytest.raises(FileNotFoundError):
        LandmarkScheme.load(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.toml is not a TOML file"):
        LandmarkScheme.load(broken)
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a TOML file"):
        LandmarkScheme.load(broken)


def test_equal_schemes_are_equal(hand):
    assert hand == replace(hand)
    assert hand != replace(hand, name="foot")


def test_the_key_that_files_of_before_version_0_2_have_is_read(hand):
    old = hand.to_dict()
    old["points"] = old.pop("num_landmarks")
    assert LandmarkScheme.from_dict(old) == hand
