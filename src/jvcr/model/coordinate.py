"""The coordinate regression subnetwork P: all landmarks read off one volume by 3D convolutions (section III-B.2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.config import NetworkConfig


class CoordinateNet(nn.Module):
    """Five 3D convolutions down to a single voxel, then one linear layer to the N landmarks."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.num_landmarks = config.num_landmarks
        shape = config.coordinate
        layers: list[nn.Module] = []
        inputs, side = 1, config.voxel.map_size
        for outputs in shape.channels:
            layers += [nn.Conv3d(inputs, outputs, 4, 2, 1), nn.BatchNorm3d(outputs), nn.LeakyReLU(0.2, inplace=True)]
            inputs, side = outputs, side // 2
        layers.append(nn.Conv3d(inputs, shape.features, side))
        self.encoder = nn.Sequential(*layers)
        self.regressor = nn.Linear(shape.features, 3 * config.num_landmarks)

    def forward(self, volume: Float[Tensor, "batch depth height width"]) -> Float[Tensor, "batch points 3"]:
        """The landmarks (x, y, z) in the unit frame."""
        features = self.encoder(volume[:, None]).flatten(1)
        # In bfloat16 the landmarks themselves would be rounded to a tenth of a percent of the face.
        with torch.autocast(features.device.type, enabled=False):
            return self.regressor(features.to(self.regressor.weight.dtype)).view(-1, self.num_landmarks, 3)
