"""R: windows of the stem's maps around landmarks, and what it makes of them."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from jvcr.model import JVCR, RefinementConfig
from jvcr.model.refinement import windows


@pytest.fixture
def network(tiny_config):
    torch.manual_seed(0)
    return JVCR(replace(tiny_config, refinement=RefinementConfig(windows=(3, 1), channels=4, features=8))).eval()


def test_a_window_by_hand():
    """One row of cells 0, 1, 2, 3: its centres lie at -0.75, -0.25, 0.25 and 0.75."""
    row = torch.arange(4.0).view(1, 1, 1, 4)
    seen = windows(row, torch.tensor([[[-0.25, 0.0], [0.0, 0.0], [0.75, 0.0]]]), 3)[0].view(3, 3, 3)
    assert seen[0].tolist() == [[0, 0, 0], [0, 1, 2], [0, 0, 0]]
    assert seen[1].tolist() == [[0, 0, 0], [0.5, 1.5, 2.5], [0, 0, 0]]
    assert seen[2].tolist() == [[0, 0, 0], [2, 3, 0], [0, 0, 0]]


@pytest.mark.parametrize(("size", "side"), [((16, 12), 5), ((8, 8), 3), ((6, 9), 1)])
def test_windows_are_those_of_grid_sample(size, side):
    torch.manual_seed(1)
    height, width = size
    features, points = torch.randn(3, 7, height, width), torch.rand(3, 40, 2) * 2.2 - 1.1
    # The windows of a point beyond the border are those of the border's outer edge.
    inside = torch.stack([points[..., 0].clamp(-1 - 1 / width, 1 + 1 / width),
                          points[..., 1].clamp(-1 - 1 / height, 1 + 1 / height)], dim=-1)  # fmt: skip
    steps = torch.arange(side) - side // 2
    y, x = torch.meshgrid(steps * 2 / height, steps * 2 / width, indexing="ij")
    grid = inside[:, :, None] + torch.stack([x, y], dim=-1).view(1, 1, -1, 2)
    expected = F.grid_sample(features, grid, padding_mode="zeros", align_corners=False)
    torch.testing.assert_close(windows(features, points, side), expected.permute(0, 2, 3, 1).flatten(2))


def test_points_far_outside_see_the_border():
    features = torch.rand(1, 2, 8, 8)
    seen = windows(features, torch.tensor([[[-9.0, 0.0], [-1.125, 0.0], [1e6, -1e6], [1.125, -1.125]]]), 3)[0]
    torch.testing.assert_close(seen[0], seen[1])
    torch.testing.assert_close(seen[2], seen[3])
    assert seen.abs().amax(dim=1).min() > 0


def test_nan_comes_out_again():
    seen = windows(torch.rand(1, 2, 8, 8), torch.tensor([[[0.0, float("nan")], [0.0, 0.0]]]), 3)[0]
    assert seen[0].isnan().all() and seen[1].isfinite().all()


def test_windows_pass_gradients_to_the_map():
    features = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    points = torch.rand(2, 4, 2, dtype=torch.float64) * 2 - 1
    assert torch.autograd.gradcheck(lambda m: windows(m, points, 3), (features,))


def test_a_new_one_moves_nothing(network):
    image = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        volumes, points = network(image)
        torch.testing.assert_close(points, network.coordinate(volumes[-1]), rtol=0, atol=0)


def test_it_moves_by_what_the_image_shows(network):
    torch.nn.init.normal_(network.refinement.moves.weight)
    image = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        volumes, points = network(image)
        read_off = network.coordinate(volumes[-1])
        maps = network.voxel.stem_maps(image)
        moves = points - read_off
        assert moves.abs().mean() > 1e-3
        torch.testing.assert_close(network.refinement(maps, read_off), points)
        # Each image's landmarks see their own image: alone it gives the same.
        torch.testing.assert_close(network(image[1:])[1], points[1:], atol=1e-5, rtol=1e-4)
        elsewhere = network.refinement([m.flip(-1) for m in maps], read_off) - read_off
        assert (elsewhere - moves).abs().mean() > 1e-3


def test_its_error_trains_the_stem_and_not_p(network):
    torch.nn.init.normal_(network.refinement.moves.weight)
    _, points = network(torch.rand(2, 3, 32, 32))
    points.abs().sum().backward()
    assert all(p.grad is None for p in network.coordinate.parameters())
    assert network.voxel.heads[-1].weight.grad is None
    assert network.voxel.stem[0][0].weight.grad.abs().max() > 0
    assert network.refinement.local.grad.abs().max() > 0


def test_places_are_not_rounded_under_autocast(network):
    torch.nn.init.normal_(network.refinement.moves.weight)
    maps = network.voxel.stem_maps(torch.rand(1, 3, 32, 32))
    points = torch.rand(1, 66, 3) - 0.5
    alone = network.refinement(maps, points)
    with torch.autocast("cpu", torch.bfloat16):
        within = network.refinement(maps, points)
    assert within.dtype == torch.float32
    torch.testing.assert_close(within, alone)
