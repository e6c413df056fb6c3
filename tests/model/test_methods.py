"""JVCR's rivals: the same interfaces, and what is each one's own."""

from dataclasses import replace

import pytest
import torch

from jvcr.model import NetworkConfig, build
from jvcr.model.method import method_class
from jvcr.model.methods.two_step import centroids

RIVALS = ("direct", "two-step", "volumes")


def network_of(config, method):
    torch.manual_seed(0)
    return build(replace(config, method=method))


@pytest.mark.parametrize("method", ["jvcr", *RIVALS])
def test_volumes_are_what_targets_are_compared_with(tiny_config, method):
    network = network_of(tiny_config, method)
    assert NetworkConfig.from_dict(network.config.to_dict()) == network.config
    truth = torch.rand(3, tiny_config.num_landmarks, 3) - 0.5
    targets = network.targets(truth, peak=0.5)
    output = network(torch.rand(3, 3, 32, 32), targets[-1] if targets else None)
    assert [v.shape for v in output.volumes] == [t.shape for t in targets]
    assert all(0.3 < t.max() <= 0.5 for t in targets)
    assert output.points.shape == truth.shape and output.volume.ndim == 4
    pairs = [(output.points, truth), *zip(output.volumes, targets, strict=True)]
    sum((a - b).square().mean() for a, b in pairs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_two_steps_learn_apart(tiny_config):
    """The depth trains nothing of the first step, the coordinates in the image nothing at all."""
    network = network_of(tiny_config, "two-step")
    output = network(torch.rand(2, 3, 32, 32))
    output.points.square().sum().backward()
    assert all(p.grad is None for p in network.voxel.parameters())
    assert network.depth.regressor.weight.grad.abs().max() > 0


def test_places_are_read_off_heat_maps():
    """Between cells, at the border, and beside a lower maximum."""
    config = NetworkConfig(method="two-step", num_landmarks=3)
    truth = torch.tensor([[[0.21, -0.43, 0.9], [0.985, -0.985, 0.0], [0.0, 0.5, -0.3]]])
    maps = build(config).targets(truth)[0]
    maps[0, 2] += 0.6 * maps[0, 0]
    assert maps.shape == (1, 3, 64, 64)
    cell = 2 / 64
    off = (centroids(maps, 1.0) - truth[..., :2]).abs()[0]
    assert off[[0, 2]].max() < 0.01 * cell
    assert off[1].max() < 0.6 * cell  # half of its Gaussian is beyond the border


def test_an_integral_is_the_mean_of_its_volume(tiny_config):
    network = network_of(tiny_config, "volumes").eval()
    volumes = torch.full((1, tiny_config.num_landmarks, 8, 8, 8), -50.0)
    volumes[0, 0, 1, 2, 3] = 50.0  # z, y, x
    volumes[0, 1, 4, 4, 4] = volumes[0, 1, 4, 4, 5] = 50.0
    network.voxel.forward = lambda _: [volumes.flatten(1, 2)]
    output = network(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(output.points[0, 0], torch.tensor([-0.125, -0.375, -0.625]))
    torch.testing.assert_close(output.points[0, 1], torch.tensor([0.25, 0.125, 0.125]))
    assert output.volume[0, 1, 2, 3] == 1 and output.volume[0, 0, 0, 0] < 0.1


def test_options_and_wrong_names(tiny_config):
    narrow = build(replace(tiny_config, method="direct", options={"widths": [8, 16]}))
    assert narrow.coordinate.regressor.in_features == 16 * 8 * 8
    for options in ({"width": [8]}, {"widths": [8] * 6}, {"widths": "many"}):
        with pytest.raises(ValueError, match="width"):
            build(replace(tiny_config, method="direct", options=options))
    with pytest.raises(ValueError, match="Unexpected keyword"):
        build(replace(tiny_config, options={"widths": [8]}))
    with pytest.raises(ValueError, match=r"no method 'two_step', there are direct, jvcr, .*; did you mean two-step\?"):
        method_class("two_step")
