"""Batch norm over a batch that is divided over processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class SynchronisedBatchNorm(_BatchNorm):
    """Batch norm whose statistics are those of all processes' parts together, and so of the whole batch.

    The parts have to be equally large. Every process gets the same running statistics, and gradients that, averaged
    over the processes, are those of one process with the whole batch. `torch.nn.SyncBatchNorm` does so on GPUs only.
    In evaluation, and with one process, it is an ordinary batch norm; weight files do not tell them apart.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes: the second is the channels'."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channels, ...) -> the same shape; ``batch`` is this process's part."""
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        output, mean, variance = _WholeBatchNorm.apply(input, self.weight, self.bias, self.eps)
        count = input.numel() // input.shape[1] * dist.get_world_size()
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * (count / max(count - 1, 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return output


class _WholeBatchNorm(torch.autograd.Function):
    """The normalisation; gives the output, and mean and biased variance of the whole batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.promote_types(x.dtype, torch.float32)
        own = torch.stack(torch.var_mean(x.to(wide), _all_but_channels(x), correction=0))
        every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(every, own)
        variances, means = torch.stack(every, dim=1)
        # Parts of equal size: variances add up with those of the parts' means. Sums of squares would cancel.
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor, on_mean: Tensor, on_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse = ctx.saved_tensors
        shape = [1, -1] + [1] * (x.ndim - 2)
        g = gradient.to(mean.dtype)
        normalised = (x.to(mean.dtype) - mean.view(shape)) * inverse.view(shape)
        dims = _all_but_channels(x)
        # What this part gives to the gradients of bias and weight: those are added up with all other gradients.
        own = torch.stack([g.sum(dims), (g * normalised).sum(dims)])
        total = own.clone()
        dist.all_reduce(total)
        on_bias, on_weight = total / (x.numel() // x.shape[1] * dist.get_world_size())
        g = g - on_bias.view(shape) - normalised * on_weight.view(shape)
        g = g * (weight.to(mean.dtype) * inverse).view(shape)
        return g.to(x.dtype), own[1].to(weight.dtype), own[0].to(weight.dtype), None


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def synchronise_batch_norms(network: nn.Module) -> None:
    """Puts a `SynchronisedBatchNorm` with the same weights and statistics in place of each batch norm of a network."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and not isinstance(child, SynchronisedBatchNorm):
                new = SynchronisedBatchNorm(child.num_features, child.eps, child.momentum)
                new.weight, new.bias = child.weight, child.bias
                new.running_mean, new.running_var = child.running_mean, child.running_var
                new.num_batches_tracked = child.num_batches_tracked
                new.train(child.training)
                setattr(parent, name, new)
