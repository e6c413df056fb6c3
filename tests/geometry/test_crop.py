import numpy as np
import pytest

from jvcr.geometry.crop import DETECTOR_RISE, DETECTOR_SCALE, Crop

CROPS = [
    Crop((10.0, 20.0, 3.0), 8.0),
    Crop((-4.5, 7.25, -100.0), 33.0, angle_deg=30.0),
    Crop((100.0, 50.0, 0.0), 64.0, angle_deg=-170.0, mirror=True),
    Crop((0.5, 0.25, 1.0), 1e-3, angle_deg=90.0, mirror=True),
]


def test_unit_corners_lie_on_the_edges_of_the_crop():
    crop = Crop((10.0, 20.0, 3.0), side=8.0)
    corners = crop.to_image([[-1, -1, -1], [1, 1, 1], [0, 0, 0], [1, -1, 0]])
    assert corners.tolist() == [[6, 16, -1], [14, 24, 7], [10, 20, 3], [14, 16, 3]]
    assert crop.corners_px().tolist() == [[6, 16], [14, 16], [14, 24], [6, 24]]


def test_pixel_centres_of_a_crop_that_covers_whole_pixels():
    # Four by four pixels of an image, from pixel 2 to 5 across and 7 to 10 down, as a crop of four by four.
    crop = Crop((3.5, 8.5, 0.0), side=4.0)
    matrix = crop.crop_to_image_matrix(4)
    np.testing.assert_allclose(matrix, [[1, 0, 2], [0, 1, 7]], atol=1e-12)
    # The same crop with twice as many pixels: pixel 0 lies a quarter of an image pixel before pixel 2's centre.
    np.testing.assert_allclose(crop.crop_to_image_matrix(8), [[0.5, 0, 1.75], [0, 0.5, 6.75]], atol=1e-12)


def test_positive_angle_turns_x_towards_y():
    crop = Crop((0.0, 0.0, 0.0), side=2.0, angle_deg=90.0)
    np.testing.assert_allclose(crop.to_image([[1, 0, 0], [0, 1, 0]]), [[0, 1, 0], [-1, 0, 0]], atol=1e-12)


def test_mirror_reflects_left_to_right_only():
    crop = Crop((10.0, 20.0, 30.0), side=2.0, mirror=True)
    np.testing.assert_allclose(crop.to_image([[1, 0.5, 0.25]]), [[9, 20.5, 30.25]])


@pytest.mark.parametrize("crop", CROPS)
def test_image_and_unit_are_inverse(crop):
    points = np.random.default_rng(0).uniform(-1.5, 1.5, (4, 7, 3))
    np.testing.assert_allclose(crop.to_unit(crop.to_image(points)), points, atol=1e-9)
    there = crop.to_image(points)
    np.testing.assert_allclose(crop.to_image(crop.to_unit(there)), there, atol=1e-9)


@pytest.mark.parametrize("crop", CROPS)
def test_matrix_agrees_with_the_map_of_points(crop):
    size = 5
    for x, y in ((0, 0), (4, 1), (-3, 9)):
        unit = [(x + 0.5) / size * 2 - 1, (y + 0.5) / size * 2 - 1, 0]
        there = crop.crop_to_image_matrix(size) @ [x, y, 1]
        np.testing.assert_allclose(there, crop.to_image(unit)[:2], atol=1e-9)


def test_depth_has_the_scale_of_the_plane():
    crop = Crop((1.0, 2.0, 3.0), side=50.0, angle_deg=77.0, mirror=True)
    a, b = crop.to_image([[0, 0, 0], [0.3, -0.4, 1.2]])
    assert np.linalg.norm(b - a) == pytest.approx(1.3 * 25)


def test_a_cuboid_is_deeper_than_wide():
    points = np.array([[10, 20, -90], [50, 40, 110]], float)
    crop = Crop.around_landmarks(points, depth=4.0)
    assert (crop.side, crop.depth, crop.center) == (50, 4, (30, 30, 10))
    turned = crop.jittered(angle_deg=30.0, mirror=True, scale=1.5)
    np.testing.assert_allclose(crop.to_unit(points), [[-0.8, -0.4, -1], [0.8, 0.4, 1]])
    np.testing.assert_allclose(turned.to_unit(points)[:, 2], [-1 / 1.5, 1 / 1.5])
    for one in (crop, turned):
        np.testing.assert_allclose(one.to_image(one.to_unit(points)), points)


def test_around_landmarks_is_centred_on_box_and_mid_range():
    crop = Crop.around_landmarks([[10, 100, -5], [30, 110, 7], [12, 104, 1]])
    assert crop == Crop((20.0, 105.0, 1.0), 25.0)
    assert Crop.around_landmarks([[10, 100], [30, 110]], margin=2.0) == Crop((20.0, 105.0, 0.0), 40.0)


def test_from_box_takes_the_longer_side():
    assert Crop.from_box([10, 20, 30, 60]) == Crop((20.0, 40.0, 0.0), 50.0)


def test_from_detection_goes_down_and_in():
    # A box of 64 x 100 has the size 80.
    crop = Crop.from_detection([-32, 0, 32, 100])
    assert crop.center == pytest.approx((0, 50 + DETECTOR_RISE * 80, 0))
    assert crop.side == pytest.approx(1.25 * 80 / DETECTOR_SCALE)


def test_crops_that_go_by_the_width_lie_around_the_mean_depth():
    points = [[10, 100, -5], [30, 150, 7], [12, 104, 1]]
    assert Crop.around_landmarks(points) == Crop((20.0, 125.0, 1.0), 62.5)
    assert Crop.around_landmarks(points, rule="width") == Crop((20.0, 125.0, 1.0), 25.0)
    points[1][2] = 10
    assert Crop.around_landmarks(points, rule="width").center == (20.0, 125.0, 2.0)
    assert Crop.around_landmarks([[10, 100], [30, 150]], 2.0, "width") == Crop((20.0, 125.0, 0.0), 40.0)
    assert Crop.from_box([10, 20, 30, 60], rule="width") == Crop((20.0, 40.0, 0.0), 25.0)
    # A detection counts as being as wide as the landmarks' box, and lies above it as ever.
    crop = Crop.from_detection([-32, 0, 32, 100], rule="width")
    assert (crop.center, crop.side) == (Crop.from_detection([-32, 0, 32, 100]).center, 1.25 * 64)


def test_jittered():
    crop = Crop((10.0, 20.0, 30.0), 40.0, angle_deg=5.0).jittered(
        (0.1, -0.2, 0.5), scale=2.0, angle_deg=-15.0, mirror=True
    )
    assert crop == Crop((14.0, 12.0, 50.0), 80.0, angle_deg=-10.0, mirror=True)
    assert crop.jittered(mirror=True).mirror is False


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Crop((0.0, 0.0, 0.0), 0.0), "side > 0"),
        (lambda: Crop((0.0, 0.0, 0.0), -1.0), "side > 0"),
        (lambda: Crop((0.0, np.nan, 0.0), 1.0), "finite"),
        (lambda: Crop((0.0, 0.0, 0.0), 1.0, angle_deg=np.inf), "finite"),
        (lambda: Crop.around_landmarks(np.zeros((0, 3))), "shape"),
        (lambda: Crop.around_landmarks(np.zeros((4, 5))), "shape"),
        (lambda: Crop.around_landmarks([[0, 0, 0], [1, np.nan, 0]]), "NaN"),
        (lambda: Crop.around_landmarks([[3, 3, 0], [3, 3, 9]]), "one spot"),
        (lambda: Crop.around_landmarks([[3, 3, 0], [3, 4, 9]], rule="width"), "one vertical line"),
        (lambda: Crop.from_box([0, 0, 1]), "four numbers"),
        (lambda: Crop.from_box([0, 0, np.nan, 1]), "NaN"),
        (lambda: Crop.from_box([5, 0, 5, 1]), "x0 < x1"),
        (lambda: Crop.from_detection([0, 7, 5, 6]), "y0 < y1"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
