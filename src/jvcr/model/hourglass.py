"""The voxel regression subnetwork G: stacked hourglasses, volumes from coarse to fine (section III-B.1)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.config import VoxelConfig


class Bottleneck(nn.Module):
    """Pre-activation residual unit of three convolutions, 1x1, 3x3, 1x1, half as wide inside."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = outputs // 2
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, inner, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(inner), nn.Conv2d(inner, inner, 3, padding=1)
        self.bn3, self.conv3 = nn.BatchNorm2d(inner), nn.Conv2d(inner, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) -> (batch, outputs, h, w)."""
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return y + self.shortcut(x)


class PlainUnit(nn.Module):
    """Residual unit of one 3x3 convolution, its batch norm right behind it so that use can fold it away."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) -> the same shape."""
        return F.relu(x + self.bn(self.conv(x)))


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Sequential:
    """A convolution, its batch norm and ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _unit(config: VoxelConfig, inputs: int, outputs: int) -> nn.Module:
    if config.unit == "bottleneck":
        return Bottleneck(inputs, outputs)
    # Where the width changes, the input could be added only through a further convolution.
    return PlainUnit(inputs) if inputs == outputs else conv_bn_relu(inputs, outputs, 3)


def _stem(config: VoxelConfig) -> nn.Sequential:
    c = config.channels
    if config.unit == "plain":
        # Strided convolutions only: residual units on the half-size maps cost a quarter of the whole network.
        widths = (3, c // 2, c) if config.stride == 4 else (3, c // 4, c // 2, c)
        return nn.Sequential(*(conv_bn_relu(i, o, 3, 2) for i, o in pairwise(widths)), PlainUnit(c))
    return nn.Sequential(
        conv_bn_relu(3, c // 4, 7, 2, bias=True),
        Bottleneck(c // 4, c // 2),
        nn.MaxPool2d(2),
        Bottleneck(c // 2, c),
        *([nn.MaxPool2d(2)] if config.stride == 8 else []),
        Bottleneck(c, c),
    )


class Hourglass(nn.Module):
    """Down to a map 2^levels times smaller and up again, with a skip at each level (Newell et al., 2016)."""

    def __init__(self, config: VoxelConfig, level: int = 0) -> None:
        super().__init__()
        outer, inner = config.widths[level : level + 2]
        self.skip = _unit(config, outer, outer)
        self.down, self.up = _unit(config, outer, inner), _unit(config, inner, outer)
        self.inner = Hourglass(config, level + 1) if level + 1 < config.levels else _unit(config, inner, inner)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) -> the same shape."""
        low = self.up(self.inner(self.down(F.max_pool2d(x, 2))))
        return self.skip(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")


class VoxelNet(nn.Module):
    """Stacked hourglasses that regress the compact volume from coarse to fine.

    A volume's slices are the channels of a stack's head, without an activation. Features and volume are mapped back and
    added to the next stack's input. With maps smaller than the volumes (`VoxelConfig.stride`), a head has a channel for
    each of the cell's columns too, slices outermost.
    """

    def __init__(self, config: VoxelConfig) -> None:
        super().__init__()
        self.config = config
        c, last = config.channels, len(config.depths) - 1
        self.stem = _stem(config)
        self.hourglasses = nn.ModuleList(Hourglass(config) for _ in config.depths)
        self.residuals = nn.ModuleList(_unit(config, c, c) for _ in config.depths)
        self.features = nn.ModuleList(conv_bn_relu(c, c, 1, bias=True) for _ in config.depths)
        columns = config.upscale**2
        self.heads = nn.ModuleList(nn.Conv2d(c, d * columns, 1) for d in config.depths)
        self.merge_features = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in range(last))
        self.merge_predictions = nn.ModuleList(nn.Conv2d(d * columns, c, 1) for d in config.depths[:last])

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """One volume a stack, each (batch, depth, height / 4, width / 4), of RGB in [0, 1]."""
        return self.volumes(self.stem_maps(image)[-1])

    def stem_maps(self, image: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The stem's last map of each size, from half the image's side down; the last is what the hourglasses take."""
        x, maps = image - self.config.image_mean, {}
        for layer in self.stem:
            x = layer(x)
            maps[x.shape[-1]] = x
        return list(maps.values())

    def volumes(self, x: Float[Tensor, "batch channels height width"]) -> list[Tensor]:
        """As `forward`, from the last of the stem's maps."""
        volumes = []
        for m, (hourglass, residual, feature, head) in enumerate(
            zip(self.hourglasses, self.residuals, self.features, self.heads, strict=True)
        ):
            y = feature(residual(hourglass(x)))
            columns = head(y)
            volumes.append(F.pixel_shuffle(columns, self.config.upscale) if self.config.upscale > 1 else columns)
            if m < len(self.merge_features):
                x = x + self.merge_features[m](y) + self.merge_predictions[m](columns)
        return volumes
