"""Eq. 3-5, and what each stage trains."""

from dataclasses import replace

import pytest
import torch

from jvcr.model import JVCR, RefinementConfig, gaussian_volume
from jvcr.scheme import FACE66, FACE68, LandmarkScheme
from jvcr.training.aperture_loss import ApertureLoss
from jvcr.training.loss import JVCRLoss, coordinate_loss, hand_loss, outline, voxel_loss
from jvcr.training.recipe import LossRecipe


def test_reductions_by_hand():
    volume, truth = torch.zeros(2, 1, 2, 3), torch.zeros(2, 1, 2, 3)
    volume[0, 0, 1, 2] = 3  # squared 9, over 12 voxels, or over 2 faces of 5 landmarks
    assert voxel_loss(volume, truth, 5, LossRecipe(voxel="mean")).item() == pytest.approx(9 / 12)
    assert voxel_loss(volume, truth, 5, LossRecipe(voxel="landmark")).item() == pytest.approx(9 / 10)
    points, true_points = torch.zeros(2, 5, 3), torch.zeros(2, 5, 3)
    points[1, 4, 0] = -2
    assert coordinate_loss(points, true_points, LossRecipe(coordinate="l2")).item() == pytest.approx(4 / 30)
    assert coordinate_loss(points, true_points, LossRecipe(coordinate="l1")).item() == pytest.approx(2 / 30)


@pytest.fixture
def refined(tiny_config):
    torch.manual_seed(0)
    network = JVCR(replace(tiny_config, refinement=RefinementConfig(patches=(3,), channels=4, features=8))).train()
    torch.nn.init.normal_(network.refinement.moves.weight)
    return network


@pytest.mark.parametrize("stage", ["separate", "joint"])
def test_p_and_r_each_have_a_loss(refined, stage):
    image, points = torch.rand(3, 3, 32, 32), torch.rand(3, refined.config.num_landmarks, 3) - 0.5
    assert refined.config.num_landmarks == FACE66.num_landmarks
    recipe = LossRecipe(coordinate="l1", aperture_weight=2.0)
    apertures = ApertureLoss(FACE66, recipe, points.numpy())
    losses = JVCRLoss(refined, recipe, apertures)(image, points, stage)
    maps = refined.voxel.stem_maps(image)
    last = refined.voxel.volumes(maps[-1])[-1]
    read_off = refined.coordinate(gaussian_volume(points, last.shape[1:]) if stage == "separate" else last)
    moved = refined.refinement(maps, read_off)
    of_apertures = apertures(moved, points)
    assert of_apertures > 0
    of_r = (moved - points).abs().mean() + 2 * of_apertures
    torch.testing.assert_close(losses.coordinate, (read_off - points).abs().mean() + of_r)
    on_r = torch.autograd.grad(losses.coordinate, list(refined.refinement.parameters()))
    assert all(g.abs().max() > 0 for g in on_r)


def test_total_is_equation_5(tiny_config):
    torch.manual_seed(0)
    network = JVCR(tiny_config).train()
    image, points = torch.rand(3, 3, 32, 32), torch.rand(3, tiny_config.num_landmarks, 3) - 0.5
    losses = JVCRLoss(network, LossRecipe(coordinate_weight=7.0))(image, points, "joint")
    volumes, _, predicted, _ = network(image)
    expected = sum(
        (v - gaussian_volume(points, s)).square().mean()
        for v, s in zip(volumes, tiny_config.volume_shapes(), strict=True)
    )
    torch.testing.assert_close(losses.voxel, expected)
    torch.testing.assert_close(losses.coordinate, (predicted - points).square().mean())
    torch.testing.assert_close(losses.total, losses.voxel + 7 * losses.coordinate)


def test_stage_1_shows_p_ground_truth_only(tiny_config):
    """The coordinate loss must not move G, nor the voxel loss P, and P's statistics must be those of true volumes."""
    torch.manual_seed(0)
    network = JVCR(tiny_config).train()
    image, points = torch.rand(3, 3, 32, 32), torch.rand(3, tiny_config.num_landmarks, 3) - 0.5
    losses = JVCRLoss(network, LossRecipe())(image, points, "separate")
    on_g = torch.autograd.grad(
        losses.coordinate, list(network.voxel.parameters()), retain_graph=True, allow_unused=True
    )
    on_p = torch.autograd.grad(
        losses.voxel, list(network.coordinate.parameters()), retain_graph=True, allow_unused=True
    )
    assert all(g is None for g in on_g) and all(g is None for g in on_p)
    mean = network.coordinate.encoder[1].running_mean.clone()
    alone = JVCR(tiny_config)
    alone.load_state_dict(network.state_dict())
    for module in alone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
    alone.train().coordinate(gaussian_volume(points, tiny_config.volume_shapes()[-1]))
    torch.testing.assert_close(mean, alone.coordinate.encoder[1].running_mean)


def test_stage_2_trains_g_by_the_coordinates(tiny_config):
    network = JVCR(tiny_config).train()
    points = torch.rand(2, tiny_config.num_landmarks, 3) - 0.5
    losses = JVCRLoss(network, LossRecipe())(torch.rand(2, 3, 32, 32), points, "joint")
    (gradient,) = torch.autograd.grad(losses.coordinate, [network.voxel.heads[-1].weight])
    assert gradient.abs().max() > 0


def test_labels_by_hand_count_where_there_are_any():
    """Two faces of four landmarks, the last of them on the outline."""
    points = torch.zeros(2, 4, 3, requires_grad=True)
    hand = torch.full((2, 4, 2), float("nan"))
    hand[0, 1], hand[1, 3] = torch.tensor([0.6, -0.2]), torch.tensor([9.0, 9.0])
    inner = torch.tensor([True, True, True, False])
    loss = hand_loss(points, hand, inner, LossRecipe(coordinate="l1"))
    assert loss.item() == pytest.approx(0.8 / (2 * 2 * 3))
    (gradient,) = torch.autograd.grad(loss, points)
    assert gradient.isfinite().all() and gradient.abs().sum(dim=(1, 2))[1] == 0
    assert hand_loss(points, torch.full_like(hand, float("nan")), inner, LossRecipe()).item() == 0
    assert outline(FACE68) == tuple(range(17)) and outline(LandmarkScheme("dots", 3)) == ()


def test_labels_by_hand_reach_the_coordinate_loss(tiny_config):
    torch.manual_seed(0)
    network = JVCR(tiny_config).eval()
    image, points = torch.rand(2, 3, 32, 32), torch.rand(2, tiny_config.num_landmarks, 3) - 0.5
    hand = points[..., :2] + 0.1
    recipe = LossRecipe(coordinate="l1", hand_weight=0.5)
    with torch.no_grad():
        without = JVCRLoss(network, recipe)(image, points, "joint")
        losses = JVCRLoss(network, recipe)(image, points, "joint", hand_unit=hand)
        expected = 0.5 * (network(image).points[..., :2] - hand).abs().mean()
    torch.testing.assert_close(losses.coordinate - without.coordinate, expected)
