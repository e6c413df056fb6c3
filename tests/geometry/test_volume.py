from itertools import product

import numpy as np
import pytest

from jvcr.geometry.volume import find_peaks, sample_volume

SHAPE = (5, 7, 9)
"""Depth, height, width."""


def centre(cell, cells):
    return (cell + 0.5) / cells * 2 - 1


def gaussians(points_unit, shape=SHAPE, sigma=1.0):
    """The compact volume by its definition, cell by cell."""
    volume = np.zeros(shape)
    for z, y, x in product(*map(range, shape)):
        for px, py, pz in points_unit:
            at = [(p + 1) * n / 2 - 0.5 for p, n in zip((px, py, pz), shape[::-1], strict=True)]
            squared = (at[0] - x) ** 2 + (at[1] - y) ** 2 + (at[2] - z) ** 2
            volume[z, y, x] = max(volume[z, y, x], np.exp(-squared / (2 * sigma**2)))
    return volume


def test_cell_centres_give_the_cells_themselves():
    volume = np.random.default_rng(0).standard_normal(SHAPE)
    for z, y, x in ((0, 0, 0), (4, 6, 8), (1, 5, 2)):
        point = [centre(x, 9), centre(y, 7), centre(z, 5)]
        assert sample_volume(volume, [point])[0] == pytest.approx(volume[z, y, x])


def test_a_linear_volume_is_sampled_exactly():
    z, y, x = np.meshgrid(*(centre(np.arange(n), n) for n in SHAPE), indexing="ij")
    points = np.random.default_rng(1).uniform(-0.75, 0.75, (20, 3))
    values = sample_volume(1 + 2 * x - 3 * y + 5 * z, points)
    np.testing.assert_allclose(values, 1 + points @ [2, -3, 5])


def test_half_way_between_two_cells():
    volume = np.zeros((1, 1, 2))
    volume[0, 0] = 2, 6
    assert sample_volume(volume, [[0, 0, 0]]).tolist() == [4]


def test_outside_reads_the_border():
    volume = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)
    values = sample_volume(volume, [[-3, -3, -3], [9, 9, 9], [-1, -1, -1], [1, 1, 1]])
    assert values.tolist() == [0, 314, 0, 314]


def test_a_batch_is_its_single_volumes():
    rng = np.random.default_rng(2)
    volumes, points = rng.standard_normal((3, *SHAPE)).astype(np.float32), rng.uniform(-1.2, 1.2, (3, 4, 3))
    together = sample_volume(volumes, points)
    assert together.shape == (3, 4)
    for volume, some, values in zip(volumes, points, together, strict=True):
        np.testing.assert_array_equal(sample_volume(volume, some), values)
    assert sample_volume(volumes, np.zeros((3, 0, 3))).shape == (3, 0)


@pytest.mark.parametrize(
    ("volume", "points", "message"),
    [
        (np.zeros((2, 3)), np.zeros((1, 3)), "expected a volume"),
        (np.zeros(SHAPE), np.zeros((1, 2)), "expected a volume"),
        (np.zeros((2, *SHAPE)), np.zeros((3, 1, 3)), "expected a volume"),
        (np.zeros(SHAPE), np.zeros((1, 1, 3)), "expected a volume"),
        (np.zeros((2, 0, 3)), np.zeros((1, 3)), "no cells"),
        (np.zeros(SHAPE), [[0, np.nan, 0]], "NaN"),
    ],
)
def test_sample_volume_refuses(volume, points, message):
    with pytest.raises(ValueError, match=message):
        sample_volume(volume, points)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
def test_a_lone_gaussian_is_found_exactly(sigma):
    point = (0.21, -0.34, 0.13)
    points, values = find_peaks(gaussians([point], sigma=sigma))
    np.testing.assert_allclose(points, [point], atol=1e-9)
    volume = gaussians([point], sigma=sigma)
    assert values.tolist() == [volume.max()]


def test_peaks_come_highest_first_and_in_limits():
    volume = np.zeros((6, 8, 10))
    volume[1, 2, 3], volume[4, 6, 7], volume[4, 1, 8] = 0.5, 0.9, 0.2
    points, values = find_peaks(volume, threshold=0.1)
    assert values.tolist() == [0.9, 0.5, 0.2]
    expected = [[centre(x, 10), centre(y, 8), centre(z, 6)] for z, y, x in ((4, 6, 7), (1, 2, 3), (4, 1, 8))]
    np.testing.assert_allclose(points, expected)
    assert find_peaks(volume, threshold=0.2)[1].tolist() == [0.9, 0.5]  # the threshold itself is too low
    assert find_peaks(volume, threshold=0.1, max_peaks=1)[1].tolist() == [0.9]
    assert find_peaks(volume, max_peaks=0)[0].shape == (0, 3)


def test_equal_neighbours_are_one_peak_between_them():
    volume = np.full((3, 3, 4), 0.1)
    volume[1, 1, 1:3] = 1
    points, _ = find_peaks(volume)
    np.testing.assert_allclose(points, [[0, 0, 0]], atol=1e-12)


def test_peaks_at_the_border_and_in_flat_volumes():
    assert find_peaks(np.zeros((2, 3, 4)))[0].shape == (0, 3)
    corner = np.zeros((2, 3, 4))
    corner[1, 2, 3] = 1
    np.testing.assert_allclose(find_peaks(corner)[0], [[0.75, 2 / 3, 0.5]])
    np.testing.assert_allclose(find_peaks(np.ones((1, 1, 1)))[0], [[0, 0, 0]])


def test_peaks_that_touch_are_told_apart():
    apart = [(-0.5, 0.1, 0.0), (0.5, -0.1, 0.1)]
    points, _ = find_peaks(gaussians(apart))
    # Each Gaussian bends the other's flank a little.
    np.testing.assert_allclose(points[np.argsort(points[:, 0])], apart, atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3)),), "three|one volume"),
        ((np.zeros((2, 0, 3)),), "one cell"),
        ((np.full(SHAPE, np.nan),), "NaN"),
        ((np.zeros(SHAPE), -1.0), "negative"),
        ((np.zeros(SHAPE), 0.1, -1), "negative"),
    ],
)
def test_find_peaks_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        find_peaks(*arguments)
