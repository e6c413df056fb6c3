"""Augmentation moves pixels and landmarks alike; every disturbance can be turned off."""

import dataclasses

import cv2
import numpy as np
import pytest

from jvcr.data.augment import Augmentation, augmented_crop, augmented_pixels, make_example
from jvcr.geometry import Crop
from jvcr.scheme import FACE68, LandmarkScheme

NONE = Augmentation(flip=0.0, rotate=0.0, scale=0.0)
SIZE = 96

# Three dots of their own colours; the first two change places in a mirror.
DOTS = LandmarkScheme("dots", 3, mirror_pairs=((0, 1),))
POINTS = np.array([[60, 80, -5], [130, 90, 4], [98, 120, 1]], np.float32)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)


@pytest.fixture
def picture():
    image = np.zeros((220, 200, 3), np.uint8)
    for (x, y, _), colour in zip(POINTS, COLOURS, strict=True):
        cv2.circle(image, (int(x), int(y)), 7, colour.tolist(), -1)
    return image


def centre_of(pixels, channel):
    """Where a colour is, in the unit frame."""
    y, x = np.nonzero(pixels[:, :, channel] > 128)
    return np.array([x.mean() + 0.5, y.mean() + 0.5]) / SIZE * 2 - 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "changes",
    [{}, {"rotate": 1.0, "rotate_deg": 40.0}, {"scale": 0.15}, {"shift": 0.05}, {"flip": 1.0}],
    ids=["plain", "turned", "scaled", "shifted", "mirrored"],
)
def test_landmarks_stay_on_their_pixels(picture, changes, seed):
    settings = dataclasses.replace(NONE, **changes)
    pixels, points, _ = make_example(picture, POINTS, SIZE, DOTS, settings, np.random.default_rng(seed))
    assert pixels.shape == (SIZE, SIZE, 3)
    inside = np.flatnonzero((abs(points[:, :2]) < 0.85).all(1))  # a dot that the crop cuts has its centre elsewhere
    assert len(inside)
    for landmark in inside:
        # In a mirror landmark 0 is what was landmark 1: a left eye becomes a right one, with the other's colour.
        channel = DOTS.mirror[landmark] if settings.flip else landmark
        np.testing.assert_allclose(points[landmark, :2], centre_of(pixels, channel), atol=0.03)


def test_a_mirror_swaps_left_and_right_of_a_face():
    face = np.array(FACE68.template, np.float32) * 40 + 100
    image = np.zeros((200, 200, 3), np.uint8)
    flipped = dataclasses.replace(NONE, flip=1.0)
    _, plain, _ = make_example(image, face, SIZE, FACE68, None, np.random.default_rng(0))
    _, mirrored, _ = make_example(image, face, SIZE, FACE68, flipped, np.random.default_rng(0))
    # The template is symmetric: its mirror image is itself, landmark by landmark, only if the pairs are right.
    np.testing.assert_allclose(mirrored, plain, atol=2e-3)


def test_depth_is_scaled_with_the_crop():
    settings = dataclasses.replace(NONE, scale=0.2)
    image = np.zeros((220, 200, 3), np.uint8)
    _, plain, _ = make_example(image, POINTS, SIZE, DOTS, None, np.random.default_rng(0))
    _, scaled, _ = make_example(image, POINTS, SIZE, DOTS, settings, np.random.default_rng(0))
    factor = np.ptp(scaled[:, 0]) / np.ptp(plain[:, 0])
    assert abs(factor - 1) > 0.01
    assert np.ptp(scaled[:, 2]) / np.ptp(plain[:, 2]) == pytest.approx(factor, rel=1e-4)


def test_spread_of_the_crops_is_what_the_settings_say():
    crop = Crop((50.0, 60.0, 0.0), 100.0)
    settings = Augmentation(flip=0.5, rotate=0.6, rotate_deg=30.0, scale=0.1, shift=0.04)
    rng = np.random.default_rng(0)
    crops = [augmented_crop(crop, settings, rng) for _ in range(4000)]
    assert np.mean([c.mirror for c in crops]) == pytest.approx(0.5, abs=0.03)
    turns = np.array([c.angle_deg for c in crops])
    assert np.mean(turns != 0) == pytest.approx(0.6, abs=0.03)
    assert turns[turns != 0].std() == pytest.approx(30, rel=0.05)
    assert np.log([c.side / 100 for c in crops]).std() == pytest.approx(0.1, rel=0.05)
    assert np.std([c.center[0] for c in crops]) == pytest.approx(4, rel=0.05)
    assert np.std([c.center[1] for c in crops]) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("name", ["light", "grey", "low_resolution", "blur", "noise", "compress", "occlude"])
def test_every_disturbance_changes_pixels_and_nothing_else(name):
    image = np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    before = image.copy()
    settings = dataclasses.replace(NONE, **{name: 0.4 if name == "light" else 1.0})
    for seed in range(12):
        pixels = augmented_pixels(image, settings, np.random.default_rng(seed))
        assert pixels.shape == image.shape
        assert pixels.dtype == np.uint8
        assert (pixels != image).any()
        np.testing.assert_array_equal(image, before)


def test_nothing_is_done_when_all_is_off():
    image = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(augmented_pixels(image, NONE, np.random.default_rng(0)), image)


@pytest.mark.parametrize("wrong", [{"flip": 1.5}, {"noise": -0.1}, {"scale": -1.0}, {"light": -0.2}])
def test_refuses(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(NONE, **wrong)


def test_colour_offset_moves_each_colour_by_itself():
    pixels = np.full((8, 8, 3), (10, 120, 250), np.uint8)
    settings = dataclasses.replace(NONE, colour_offset=0.3)
    moved = np.stack([augmented_pixels(pixels, settings, np.random.default_rng(seed))[0, 0] for seed in range(200)])
    middle = moved[:, 1].astype(int) - 120
    assert middle.min() >= -77 and middle.max() <= 77  # 0.3 of 255 is 76.5
    assert middle.min() < -70 and middle.max() > 70 and abs(middle.mean()) < 10
    assert moved[:, 0].min() == 0 and moved[:, 2].max() == 255  # stopped at the ends of the range
    assert abs(np.corrcoef(moved[:, 1], moved[:, 0])[0, 1]) < 0.3


def test_the_crop_s_rule_and_the_stretched_range(picture):
    rng = np.random.default_rng(0)
    dim = picture // 3 + 20
    _, longer, _ = make_example(dim, POINTS, SIZE, DOTS, None, rng)
    pixels, points, _ = make_example(dim, POINTS, SIZE, DOTS, None, rng, "width", True)
    # 70 pixels wide and 40 high: the crops are equal in x and y, and lie 0.5 (mid-range) and 0 (mean) deep.
    np.testing.assert_allclose(points[:, :2], longer[:, :2], atol=1e-6)
    np.testing.assert_allclose(points[:, 2], POINTS[:, 2] / (70 * 1.25 / 2), atol=1e-6)
    np.testing.assert_allclose(longer[:, 2], (POINTS[:, 2] + 0.5) / (70 * 1.25 / 2), atol=1e-6)
    assert (pixels.min(), pixels.max()) == (0, 255)
    turned = POINTS[:, [1, 0, 2]]
    _, narrow, _ = make_example(dim, turned, SIZE, DOTS, None, rng, "width")
    assert np.ptp(narrow[:, 0]) == pytest.approx(2 / 1.25) and np.ptp(narrow[:, 1]) > 2


def test_the_range_is_stretched_last(picture):
    bright = dataclasses.replace(NONE, light=0.1)
    for seed in range(4):
        pixels, _, _ = make_example(
            picture // 3 + 20, POINTS, SIZE, DOTS, bright, np.random.default_rng(seed), stretch=True
        )
        assert (pixels.min(), pixels.max()) == (0, 255)


@pytest.mark.parametrize("changes", [{}, {"rotate": 1.0, "shift": 0.05, "scale": 0.1}, {"flip": 1.0}])
def test_labels_by_hand_go_with_the_landmarks(picture, changes):
    settings, hand = dataclasses.replace(NONE, **changes), POINTS[:, :2].copy()
    hand[1] = np.nan

    def example(labels):
        return make_example(picture, POINTS, SIZE, DOTS, settings, np.random.default_rng(3), hand_px=labels)

    pixels, points, moved = example(hand)
    assert moved.dtype == np.float32
    unlabelled = DOTS.mirror[1] if settings.flip else 1
    assert np.isnan(moved).all(axis=1).tolist() == [i == unlabelled for i in range(3)]
    kept = np.arange(3) != unlabelled
    np.testing.assert_allclose(moved[kept], points[kept, :2], atol=1e-6)
    assert np.isnan(example(None)[2]).all()
    np.testing.assert_array_equal(example(None)[0], pixels)
    np.testing.assert_array_equal(example(None)[1], points)
