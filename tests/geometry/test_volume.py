import numpy as np
import pytest

from jvcr.geometry.volume import sample_volume

SHAPE = (5, 7, 9)
"""Depth, height, width."""


def centre(cell, cells):
    return (cell + 0.5) / cells * 2 - 1


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
