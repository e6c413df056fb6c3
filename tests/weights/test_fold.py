"""3D convolutions as 2D ones: the same numbers."""

import pytest
import torch

from jvcr.model.config import CoordinateConfig, NetworkConfig, VoxelConfig
from jvcr.model.coordinate import CoordinateNet
from jvcr.weights.fold import FoldedCoordinateNet


@pytest.mark.parametrize("channels", [(3,), (4, 6), (2, 3, 4, 5)])
def test_folded_equals_the_3d_network(channels):
    torch.manual_seed(0)
    config = NetworkConfig(
        num_landmarks=5,
        voxel=VoxelConfig(image_size=64, channels=8, depths=(16,), levels=1),
        coordinate=CoordinateConfig(channels=channels, features=7),
    )
    network = CoordinateNet(config).double()
    network.train()
    for _ in range(3):
        network(torch.randn(4, 16, 16, 16, dtype=torch.float64))  # batch norms with statistics of their own
    # A cube that is not symmetrical, so that slices, rows and columns cannot be confused.
    volume = torch.randn(3, 16, 16, 16, dtype=torch.float64)
    expected = network.eval()(volume)
    assert torch.allclose(FoldedCoordinateNet(network)(volume), expected, atol=1e-10)
    assert not torch.allclose(FoldedCoordinateNet(network)(volume.transpose(1, 2)), expected, atol=1e-3)


def test_the_network_itself_is_left_as_it_was():
    network = CoordinateNet(NetworkConfig(num_landmarks=2, coordinate=CoordinateConfig(channels=(2, 2), features=2)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = FoldedCoordinateNet(network.eval())
    with torch.no_grad():
        folded.last.weight.zero_()
        folded.layers[0].weight.zero_()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
