import cv2
import numpy as np
import pytest

from jvcr.geometry.crop import Crop
from jvcr.geometry.warp import stretch_contrast, warp_crop


def image_with_mark(height, width, x, y, radius):
    """A black image with a soft white spot around (x, y), which need not be whole pixels."""
    rows, columns = np.mgrid[:height, :width]
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
    return np.repeat(np.rint(spot).astype(np.uint8)[:, :, None], 3, axis=2)


def centre_of_light(pixels):
    light = pixels[:, :, 1].astype(float)
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()


def test_whole_pixels_come_out_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    # The pixels 5 to 10 across and 3 to 8 down.
    np.testing.assert_array_equal(warp_crop(image, Crop((7.5, 5.5, 0.0), 6.0), 6), image[3:9, 5:11])
    np.testing.assert_array_equal(warp_crop(image, Crop((7.5, 5.5, 0.0), 6.0, mirror=True), 6), image[3:9, 10:4:-1])


def test_a_quarter_turn():
    image = np.random.default_rng(1).integers(0, 256, (12, 17, 1), dtype=np.uint8)
    # The crop's x runs down the image, its y to the left.
    np.testing.assert_array_equal(warp_crop(image, Crop((7.5, 5.5, 0.0), 6.0, 90.0), 6), np.rot90(image[3:9, 5:11], 1))


@pytest.mark.parametrize("side", [30.0, 64.0, 130.0, 200.0, 290.0, 410.0])
def test_a_mark_is_found_where_the_crop_maps_it(side):
    """From enlarging twice to reducing six times, which takes the averaged copy of the image."""
    image = image_with_mark(360, 520, 250.3, 176.8, side / 20)
    crop = Crop((250.3 + 0.1 * side, 176.8 - 0.15 * side, 0.0), side, angle_deg=25.0, mirror=True)
    size = 64
    expected = (crop.to_unit([250.3, 176.8, 0])[:2] + 1) * size / 2 - 0.5
    np.testing.assert_allclose(centre_of_light(warp_crop(image, crop, size)), expected, atol=0.03)


@pytest.mark.parametrize("factor", [2.4, 3.0, 5.0, 8.7])
def test_shrinking_averages_instead_of_skipping_pixels(factor):
    # Single bright columns: sampled here and there they vanish or dominate, averaged they are an even grey.
    image = np.zeros((400, 500, 3), np.uint8)
    image[:, ::2] = 200
    crop = Crop((250.0, 200.0, 0.0), 40.0 * factor)
    assert np.abs(warp_crop(image, crop, 40).astype(int) - 100).max() <= 25


def test_outside_of_the_image_is_black_or_as_asked():
    image = np.full((8, 10, 3), 90, np.uint8)
    outside = warp_crop(image, Crop((-50.0, -50.0, 0.0), 20.0), 7)
    assert outside.shape == (7, 7, 3)
    assert not outside.any()
    half = warp_crop(image, Crop((-0.5, 4.0, 0.0), 6.0), 6)  # its left half lies before the image
    assert half[2, :3].max() < 50 < half[2, 3:].min()
    assert (warp_crop(image, Crop((-50.0, -50.0, 0.0), 20.0), 7, border=cv2.BORDER_REPLICATE) == 90).all()


def test_one_pixel_image_and_huge_crop():
    image = np.full((1, 1, 3), 200, np.uint8)
    assert warp_crop(image, Crop((0.0, 0.0, 0.0), 1.0), 4).shape == (4, 4, 3)
    assert warp_crop(image, Crop((0.0, 0.0, 0.0), 1e6), 4).shape == (4, 4, 3)


def test_images_longer_than_opencv_can_address():
    image = np.zeros((3, 40_000, 3), np.uint8)
    image[:, 35_000:35_010] = 255
    pixels = warp_crop(image, Crop((35_004.5, 1.0, 0.0), 40.0), 40)
    assert pixels[20, 15:25].min() == 255
    assert pixels[20, :14].max() == 0


def test_stretching_goes_over_all_colours_together():
    pixels = np.array([[[100, 130, 150]], [[110, 100, 101]]], np.uint8)  # (2, 1, 3)
    expected = np.rint((pixels.astype(float) - 100) * 255 / 50)
    np.testing.assert_array_equal(stretch_contrast(pixels), expected)
    assert stretch_contrast(pixels).dtype == np.uint8
    full = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(stretch_contrast(full), full)
    np.testing.assert_array_equal(stretch_contrast(np.full((2, 3, 3), 77, np.uint8)), np.zeros((2, 3, 3)))
