import numpy as np
import pytest

from jvcr.data.pasting import ANGLE, COUNTS, SIDE, FaceCrop, Photo, moved, similarity
from jvcr.data.scenes import SceneSettings, SceneSource

NOISE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
GREY = np.full((90, 120, 3), 60, np.uint8)


def source(settings=None, photos=None, seed=1):
    photos = photos or [
        Photo(NOISE, np.array([[60, 45, 30, 10, 1]], np.float32)),
        Photo(GREY, np.zeros((0, 5), np.float32)),
    ]
    crop = FaceCrop(np.full((60, 60, 3), 200, np.uint8), np.array([30, 30, 50, 0], np.float32))
    return SceneSource(photos, np.ones(len(photos)), [crop], settings or SceneSettings(size=128), seed)


def test_the_same_number_is_the_same_scene():
    for index in range(20):
        one, other = source().scene(index), source().scene(index)
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.faces, other.faces)
    assert (source(seed=1).scene(3).pixels != source(seed=2).scene(3).pixels).any()


def test_scenes_are_whole():
    scenes = [source().scene(i) for i in range(200)]
    for scene in scenes:
        assert scene.pixels.shape == (128, 128, 3)
        assert scene.pixels.dtype == np.uint8
        assert scene.faces.shape[1] == 5
        assert scene.faces.dtype == np.float32
        assert np.isfinite(scene.faces).all()
        counting = scene.faces[scene.faces[:, COUNTS] > 0]
        assert ((counting[:, :2] >= 0) & (counting[:, :2] <= 127)).all()
        assert (counting[:, SIDE] >= 10).all()
    assert sum((scene.faces[:, COUNTS] > 0).any() for scene in scenes) > 80
    angles = np.concatenate([scene.faces[:, ANGLE] for scene in scenes])
    assert (np.abs(angles) > 90).mean() > 0.1


def test_pasted_faces_are_where_they_are_said_to_be():
    off = [
        "empty",
        "group",
        "distractor",
        "dark",
        "dull",
        "grey",
        "blur",
        "noise",
        "compress",
        "cover",
        "letterbox",
        "tinted",
    ]
    settings = SceneSettings(128, **dict.fromkeys(off, 0.0))
    plain = source(settings, photos=[Photo(np.zeros((90, 120, 3), np.uint8), np.zeros((0, 5), np.float32))])
    checked = 0
    for index in range(150):
        scene = plain.scene(index)
        if len(scene.faces) == 1 and scene.faces[0, COUNTS] and 20 < scene.faces[0, SIDE] < 60:
            x, y, side = scene.faces[0, :3]
            bright = np.argwhere(scene.pixels[..., 0] > 60)
            if (bright.min(0) > 0).all() and (bright.max(0) < 127).all():
                assert np.abs(bright.mean(0)[::-1] - (x, y)).max() < 0.12 * side
                assert 0.5 * side**2 < len(bright) < 2.2 * side**2
                checked += 1
    assert checked > 3


@pytest.mark.parametrize("mirror", [False, True])
def test_a_face_moves_with_its_pixels(mirror):
    face = np.array([[30, 40, 10, 20, 1]], np.float32)
    matrix = similarity(2.0, 70.0, mirror, (5, 6), (50, 60))
    chin = np.array([30 - 5 * np.sin(np.radians(20)), 40 + 5 * np.cos(np.radians(20))])
    x, y, side, angle, _ = moved(face, matrix, 2.0, 70.0, mirror)[0]
    expected = matrix[:, :2] @ chin + matrix[:, 2]
    radians = np.radians(angle)
    np.testing.assert_allclose([x - side / 2 * np.sin(radians), y + side / 2 * np.cos(radians)], expected, atol=1e-3)
