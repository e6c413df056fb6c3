"""The compact volume against Eq. 1-2 written out."""

import math

import pytest
import torch

from jvcr.model import gaussian_volume


def by_the_equation(points_unit, shape, sigma):
    """Every voxel, every landmark: exp(-|c - x|^2 / 2 sigma^2), then the maximum over landmarks."""
    depth, height, width = shape
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    cells = torch.tensor([width, height, depth], dtype=torch.float64)
    centres = (points_unit.double() + 1) / 2 * cells - 0.5
    grid = torch.stack([x, y, z], -1)
    distance = (grid - centres[:, :, None, None, None]).square().sum(-1)
    return torch.exp(-distance / (2 * sigma**2)).amax(1)


@pytest.mark.parametrize("shape", [(1, 9, 12), (2, 10, 7), (4, 8, 6), (20, 14, 17)])
@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.5])
def test_is_equation_2(shape, sigma):
    points = torch.rand(3, 5, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    drawn = gaussian_volume(points, shape, sigma)
    assert drawn.shape == (3, *shape)
    torch.testing.assert_close(drawn.double(), by_the_equation(points, shape, sigma), atol=4e-4, rtol=0)


def test_peak_is_one_at_a_voxel_centre_and_indices_are_z_y_x():
    # Voxel (k=2, j=1, i=4) of 3 x 5 x 8 voxels: unit = (index + 0.5) / cells * 2 - 1.
    point = torch.tensor([[[(4 + 0.5) / 8 * 2 - 1, (1 + 0.5) / 5 * 2 - 1, (2 + 0.5) / 3 * 2 - 1]]])
    volume = gaussian_volume(point, (3, 5, 8))
    assert volume[0, 2, 1, 4] == pytest.approx(1, abs=1e-6)
    assert volume[0, 2, 1, 3] == pytest.approx(math.exp(-0.5), abs=1e-6)
    assert volume[0, 1, 1, 5] == pytest.approx(math.exp(-1), abs=1e-6)
    assert volume[0].argmax() == 2 * 40 + 1 * 8 + 4


@pytest.mark.parametrize(("index", "drawn_at"), [(5.0, 4), (5.4, 4), (5.9, 4), (6.0, 5), (1.2, 0)])
def test_towards_the_origin_by_one_to_two_voxels(index, drawn_at):
    """The third voxel along y, x at ``index`` voxels: y is drawn at the second."""
    point = torch.tensor([[[(index + 0.5) / 8 * 2 - 1, (2 + 0.5) / 5 * 2 - 1, (1 + 0.5) / 2 * 2 - 1]]]) + 1e-6
    volume = gaussian_volume(point, (2, 5, 8), centre="towards-origin")
    assert volume[0, 0, 1, drawn_at] == 1
    assert volume[0, 0, 1, drawn_at + 1] == pytest.approx(math.exp(-0.5), abs=1e-6)
    assert volume[0].argmax() == 1 * 8 + drawn_at


def test_landmarks_on_one_voxel_count_once():
    point = torch.tensor([[[0.1, 0.2, 0.3]]])
    torch.testing.assert_close(gaussian_volume(point.repeat(1, 6, 1), (5, 6, 7)), gaussian_volume(point, (5, 6, 7)))


def test_a_landmark_outside_leaves_its_tail():
    # One voxel left of the first: x centre at -1 in voxels.
    volume = gaussian_volume(torch.tensor([[[-1 - 2 / 8 + 1 / 8, 0.0, 0.0]]]), (1, 1, 8))
    expected = [math.exp(-((i + 1) ** 2) / 2) for i in range(8)]
    torch.testing.assert_close(volume[0, 0, 0], torch.tensor(expected), atol=1e-6, rtol=0)
    assert gaussian_volume(torch.tensor([[[900.0, -50.0, 3.0]]]), (4, 5, 6)).max() == 0


def test_one_slice_hardly_tells_depth():
    near, far = (gaussian_volume(torch.tensor([[[0.0, 0.0, z]]]), (1, 6, 6)).max() for z in (0.0, 1.0))
    assert far / near == pytest.approx(math.exp(-0.125), abs=1e-6)


def test_the_factor_of_equation_1():
    points = torch.zeros(1, 1, 3)
    factor = 1 / (8 * math.pi)
    torch.testing.assert_close(
        gaussian_volume(points, (5, 7, 9), 2.0, peak=factor), factor * gaussian_volume(points, (5, 7, 9), 2.0)
    )


def test_size_does_not_depend_on_the_number_of_landmarks():
    for n in (1, 71, 500):
        assert gaussian_volume(torch.rand(2, n, 3) * 2 - 1, (3, 4, 5)).shape == (2, 3, 4, 5)


@pytest.mark.parametrize(("shape", "sigma"), [((0, 4, 4), 1.0), ((4, 4, 4), 0.0), ((4, 4, 4), -1.0)])
def test_refuses_no_size(shape, sigma):
    with pytest.raises(ValueError, match="positive"):
        gaussian_volume(torch.zeros(1, 1, 3), shape, sigma)
