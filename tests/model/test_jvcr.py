"""Sizes, shapes and gradients of the networks."""

from dataclasses import asdict, replace

import pytest
import torch

from jvcr.model import COMPACT, JVCR, PAPER, CoordinateConfig, NetworkConfig, RefinementConfig, VoxelConfig, VoxelNet


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_paper_preset_has_the_authors_size():
    # The released checkpoint holds 13,010,119 weights in G and, for 71 points, 19,460,629 in P.
    network = JVCR(NetworkConfig(num_landmarks=71))
    assert parameters(network.voxel) == 13_010_119
    assert parameters(network.coordinate) == 19_460_629
    assert PAPER.voxel.depths == (1, 2, 4, 64) and PAPER.voxel.image_size == 256 and PAPER.num_landmarks == 68


def test_compact_preset_fits_its_file():
    assert 2 * parameters(JVCR(COMPACT)) < 12e6  # stored in half precision


@pytest.mark.slow
def test_paper_preset_runs():
    with torch.inference_mode():
        volumes, _, points, _ = JVCR(PAPER).eval()(torch.rand(1, 3, 256, 256))
    assert [tuple(v.shape) for v in volumes] == [(1, d, 64, 64) for d in (1, 2, 4, 64)]
    assert points.shape == (1, 68, 3)


@pytest.mark.parametrize("unit", ["plain", "bottleneck"])
def test_shapes_follow_the_configuration(unit):
    config = NetworkConfig(
        num_landmarks=9,
        voxel=VoxelConfig(image_size=64, channels=16, depths=(1, 3, 16), levels=2, unit=unit),
        coordinate=CoordinateConfig(channels=(4, 6), features=5),
    )
    volumes, _, points, _ = JVCR(config)(torch.rand(2, 3, 64, 64))
    assert (
        [tuple(v.shape[1:]) for v in volumes]
        == list(config.volume_shapes())
        == [(1, 16, 16), (3, 16, 16), (16, 16, 16)]
    )
    assert points.shape == (2, 9, 3)


@pytest.mark.parametrize("unit", ["plain", "bottleneck"])
@pytest.mark.parametrize("stride", [4, 8])
def test_maps_of_the_stem(unit, stride):
    voxel = VoxelConfig(image_size=64, channels=16, depths=(16,), levels=2, unit=unit, stride=stride)
    network = VoxelNet(voxel).eval()
    image = torch.rand(2, 3, 64, 64)
    maps = network.stem_maps(image)
    torch.testing.assert_close(network(image)[-1], network.volumes(maps[-1])[-1])
    assert [m.shape[1] for m in maps] == list(voxel.stem_channels)
    assert [m.shape[2:] for m in maps] == [(side, side) for side in (32, 16, 8)[: len(maps)]]
    assert maps[-1].shape[-1] == 64 // stride


@pytest.mark.parametrize("unit", ["plain", "bottleneck"])
def test_inner_maps_have_widths_of_their_own(unit):
    voxel = VoxelConfig(image_size=64, channels=8, inner_channels=(12, 16), depths=(4, 16), levels=2, unit=unit)
    network = JVCR(NetworkConfig(voxel=voxel, coordinate=CoordinateConfig(channels=(4, 6), features=5)))
    outer = network.voxel.hourglasses[0]
    seen = []
    for module in (outer, outer.inner, outer.inner.inner):
        module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].shape[1:], output.shape[1:])))
    assert network(torch.rand(2, 3, 64, 64))[0][-1].shape == (2, 16, 16, 16)
    assert seen == [((16, 4, 4),) * 2, ((12, 8, 8),) * 2, ((8, 16, 16),) * 2]


def test_gradients_of_the_coordinates_reach_the_image_through_the_last_volume_only(tiny_config):
    network = JVCR(tiny_config).eval()
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    _, _, points, _ = network(image)
    points.square().sum().backward()
    assert image.grad is not None and image.grad.abs().max() > 0
    assert network.voxel.heads[-1].weight.grad.abs().max() > 0
    # An early head acts on P only by what is mapped back into the next stack.
    assert network.voxel.merge_predictions[0].weight.grad.abs().max() > 0


def test_configuration_round_trip():
    assert NetworkConfig.from_dict(COMPACT.to_dict()) == COMPACT
    as_json = NetworkConfig.from_dict({"voxel": {"depths": [1, 2, 4, 64]}})
    assert as_json == PAPER


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VoxelConfig(image_size=100), "multiple of 64"),
        (lambda: NetworkConfig.from_dict({"voxel": {"unit": "round"}}), "bottleneck"),
        (lambda: VoxelConfig(depths=()), "depths"),
        (lambda: VoxelConfig(inner_channels=(64, 64)), "each of the 4 levels"),
        (lambda: VoxelConfig(inner_channels=(64, 64, 64, 30)), "multiple of 4, got 30"),
        (lambda: NetworkConfig(voxel=VoxelConfig(depths=(1, 32))), "cube"),
        (lambda: NetworkConfig(coordinate=CoordinateConfig(channels=(2,) * 7)), "halved 7 times"),
        (lambda: NetworkConfig(num_landmarks=0), "num_landmarks"),
        (lambda: RefinementConfig(patches=(5, 4)), "odd number of cells on each side, got 4"),
        (lambda: RefinementConfig(channels=0), "at least 1, got 0"),
        (lambda: NetworkConfig(refinement=RefinementConfig(patches=(5, 3, 3))), "2 sizes of maps"),
        (lambda: NetworkConfig(refinement=RefinementConfig(patches=(5, 65))), "65 cells for a map of 64 a side"),
        (lambda: VoxelConfig(image_mean=1.5), "image_mean"),
        (lambda: NetworkConfig.from_dict({"crop": "round"}), "crop"),
        (lambda: NetworkConfig.from_dict({"voxl": {}}), "voxl"),
        (lambda: NetworkConfig.from_dict({"voxel": {"chanels": 3}}), "chanels"),
    ],
)
def test_refuses_what_cannot_be_built(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_image_mean_is_what_is_subtracted(tiny_config):
    torch.manual_seed(0)
    plain = JVCR(tiny_config).eval()
    other = JVCR(
        NetworkConfig.from_dict({**tiny_config.to_dict(), "voxel": {**asdict(tiny_config.voxel), "image_mean": 0.0}})
    )
    other.load_state_dict(plain.state_dict())
    image = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(other.eval()(image - 0.5)[1], plain(image)[1])


def test_files_of_before_read_as_they_did():
    """Configurations without the keys of what a network's input is, and from before there was R."""
    old = COMPACT.to_dict()
    del old["crop"], old["stretch"], old["voxel"]["image_mean"], old["refinement"]
    config = NetworkConfig.from_dict(old)
    assert config == replace(COMPACT, refinement=RefinementConfig())
    assert JVCR(config).refinement is None
    assert (config.crop, config.stretch, config.voxel.image_mean) == ("longer", False, 0.5)
