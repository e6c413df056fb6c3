"""R: patches of the stem's maps around landmarks, and what it makes of them."""

from dataclasses import replace

import pytest
import torch

from jvcr.model import JVCR, RefinementConfig
from jvcr.model.refinement import patches


@pytest.fixture
def network(tiny_config):
    torch.manual_seed(0)
    return JVCR(replace(tiny_config, refinement=RefinementConfig(patches=(3, 1), channels=4, features=8))).eval()


def test_a_patch_by_hand():
    """One row of cells 0, 1, 2, 3: its centres lie at -0.75, -0.25, 0.25 and 0.75."""
    row = torch.arange(4.0).view(1, 1, 1, 4)
    seen = patches(row, torch.tensor([[[-0.25, 0.0], [0.0, 0.0], [0.75, 0.0]]]), 3)[0].view(3, 3, 3)
    assert seen[0].tolist() == [[0, 0, 0], [0, 1, 2], [0, 0, 0]]
    assert seen[1].tolist() == [[0, 0, 0], [0.5, 1.5, 2.5], [0, 0, 0]]
    assert seen[2].tolist() == [[0, 0, 0], [2, 3, 0], [0, 0, 0]]


def test_patches_beyond_the_border_are_empty():
    seen = patches(torch.rand(2, 3, 8, 8), torch.tensor([[[-9.0, 0.0], [1e6, -1e6], [0.0, 0.0]]] * 2), 3)
    assert seen[:, :2].abs().max() == 0 and seen[:, 2].abs().min() > 0


@pytest.mark.parametrize("size", [(6, 9), (9, 6)])
def test_a_patch_of_one_cell_is_the_map_at_the_point(size):
    """Rows and columns are not mixed up: a map that rises by 1 along x and by 10 along y."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    features = torch.stack([x + 10 * y, x - y])[None]
    points = (torch.rand(1, 30, 2, generator=torch.Generator().manual_seed(1)) - 0.5) * 1.4
    at = ((points + 1) * torch.tensor([width / 2, height / 2]) - 0.5)[0]
    expected = torch.stack([at[:, 0] + 10 * at[:, 1], at[:, 0] - at[:, 1]], dim=1)
    torch.testing.assert_close(patches(features, points, 1)[0], expected)
    # One of 3 x 3 has its rows outermost, then the columns, then the channels.
    steps = patches(features, points, 3)[0].view(30, 3, 3, 2) - expected[:, None, None]
    inside = ((at > 1) & (at < torch.tensor([width - 2.0, height - 2.0]))).all(dim=1)
    offsets = torch.arange(3.0) - 1
    torch.testing.assert_close(
        steps[inside][..., 0], (10 * offsets[:, None] + offsets).expand(int(inside.sum()), 3, 3), atol=1e-4, rtol=0
    )
    assert inside.sum() > 5


def test_a_map_in_bfloat16():
    features, points = torch.randn(1, 4, 16, 16), torch.rand(1, 20, 2) * 2 - 1
    torch.testing.assert_close(
        patches(features.bfloat16(), points, 3), patches(features, points, 3), atol=0.02, rtol=0.02
    )


def test_patches_pass_gradients_to_the_map():
    features = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    points = torch.rand(2, 4, 2, dtype=torch.float64) * 2.4 - 1.2
    assert torch.autograd.gradcheck(lambda m: patches(m, points, 3), (features,))


def test_a_new_one_moves_nothing(network):
    image = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        volumes, _, points, _ = network(image)
        torch.testing.assert_close(points, network.coordinate(volumes[-1]), rtol=0, atol=0)


def test_it_moves_by_what_the_image_shows(network):
    torch.nn.init.normal_(network.refinement.moves.weight)
    image = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        volumes, _, points, _ = network(image)
        read_off = network.coordinate(volumes[-1])
        maps = network.voxel.stem_maps(image)
        moves = points - read_off
        assert moves.abs().mean() > 1e-3
        torch.testing.assert_close(network.refinement(maps, read_off), points)
        # Each image's landmarks see their own image: alone it gives the same.
        torch.testing.assert_close(network(image[1:]).points, points[1:], atol=1e-5, rtol=1e-4)
        elsewhere = network.refinement([m.flip(-1) for m in maps], read_off) - read_off
        assert (elsewhere - moves).abs().mean() > 1e-3


def test_its_error_trains_the_stem_and_not_p(network):
    torch.nn.init.normal_(network.refinement.moves.weight)
    _, _, points, _ = network(torch.rand(2, 3, 32, 32))
    points.abs().sum().backward()
    assert all(p.grad is None for p in network.coordinate.parameters())
    assert network.voxel.heads[-1].weight.grad is None
    assert network.voxel.stem[0][0].weight.grad.abs().max() > 0
    assert network.refinement.local.grad.abs().max() > 0


def test_places_are_not_rounded_under_autocast(network):
    torch.nn.init.normal_(network.refinement.moves.weight)
    image, points = torch.rand(1, 3, 32, 32), torch.rand(1, 66, 3) - 0.5
    with torch.autocast("cpu", torch.bfloat16):
        maps = network.voxel.stem_maps(image)
        within = network.refinement(maps, points)
    assert maps[0].dtype == torch.bfloat16 and within.dtype == torch.float32
    torch.testing.assert_close(within, network.refinement([m.float() for m in maps], points), rtol=0, atol=0)


def test_no_images(network):
    assert network(torch.rand(0, 3, 32, 32)).points.shape == (0, 66, 3)


def test_nan_comes_out_again(network):
    with torch.no_grad():
        network.coordinate.regressor.bias[0] = float("nan")
    points = network(torch.rand(2, 3, 32, 32)).points
    assert points[:, 0, 0].isnan().all()
