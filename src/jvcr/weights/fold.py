"""3D convolutions as 2D ones over stacked slices: the same sums, which runtimes compute faster on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from jvcr.model.coordinate import CoordinateNet


class FoldedConvolution(nn.Module):
    """A 3D convolution of kernel 4, stride 2 and padding 1 (`CoordinateNet`) and its batch norm, as one 2D convolution.

    A slice of the output depends on four slices of the input. Those are laid behind each other as channels, and the
    slices of the output become a batch. (Several slices of the output from one longer stack, which would fill the
    processor's vectors better, took no less time.)
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, convolution: nn.Conv3d, norm: nn.BatchNorm3d) -> None:
        super().__init__()
        fused = fuse_conv_bn_eval(convolution.eval(), norm.eval())
        assert fused.bias is not None
        self.register_buffer("weight", fused.weight.detach().transpose(1, 2).flatten(1, 2))
        self.register_buffer("bias", fused.bias.detach())

    def forward(self, volume: Float[Tensor, "batch depth channels height width"]) -> Tensor:
        """The output of the 3D convolution, with the slices before the channels: (batch, depth / 2, outputs, ...)."""
        depth = volume.shape[1]
        padded = F.pad(volume, (0, 0, 0, 0, 0, 0, 1, 1))
        stack = torch.cat([padded[:, s : s + depth - 1 : 2] for s in range(4)], dim=2)
        y = F.conv2d(stack.flatten(0, 1), self.weight, self.bias, stride=2, padding=1)
        return y.reshape(-1, depth // 2, *y.shape[1:])


class FoldedCoordinateNet(nn.Module):
    """A `CoordinateNet` in evaluation mode, computed with 2D convolutions.

    Example:
        >>> network = CoordinateNet(COMPACT).eval()
        >>> volume = torch.rand(2, 32, 32, 32)
        >>> torch.allclose(FoldedCoordinateNet(network)(volume), network(volume), atol=1e-5)
        True
    """

    def __init__(self, network: CoordinateNet) -> None:
        super().__init__()
        layers = list(network.encoder)
        *strided, last = (layer for layer in layers if isinstance(layer, nn.Conv3d))
        norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm3d)]
        self.layers = nn.ModuleList(map(FoldedConvolution, strided, norms))
        self.slopes = [layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)]
        # Down to one voxel, the last convolution is a matrix.
        self.last = nn.Linear(last.weight[0].numel(), last.out_channels)
        self.last.weight.data = last.weight.detach().transpose(1, 2).flatten(1)
        assert last.bias is not None
        self.last.bias.data = last.bias.detach().clone()
        self.regressor, self.points = network.regressor, network.num_landmarks

    def forward(self, volume: Float[Tensor, "batch depth height width"]) -> Float[Tensor, "batch points 3"]:
        """The landmarks (x, y, z) in the unit frame."""
        x = volume[:, :, None]
        for layer, slope in zip(self.layers, self.slopes, strict=True):
            x = F.leaky_relu(layer(x), slope)
        return self.regressor(self.last(x.flatten(1))).reshape(-1, self.points, 3)
