"""What the processes of a training do together: sums, agreement, and batch norm over the whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class StoppedByAnother(Exception):  # noqa: N818 (nothing is wrong here)
    """This process has nothing wrong, but another one cannot go on, and tells why."""


class Ranks:
    """All processes of a training, seen from one of them, whose Fabric is launched."""

    def __init__(self, fabric: Fabric) -> None:
        self.rank, self.total, self._device = fabric.global_rank, fabric.world_size, fabric.device
        self._rank_here = fabric.local_rank

    @property
    def is_first(self) -> bool:
        """The first process writes the files and says how it goes."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """The first process of each machine reads what all on it share."""
        return self._rank_here == 0

    def of_first_here(self, value: str) -> str:
        """The value that the first process of this machine gives. All have to ask."""
        values: list[str] = [value] * self.total
        if self.total > 1:
            dist.all_gather_object(values, value)
        return values[self.rank - self._rank_here]

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.total == 1:
            return value
        total = value.to(self._device, copy=True)
        dist.all_reduce(total)
        return total

    def agreed(self, error: Exception | None, *wishes: bool) -> list[bool]:
        """Which of the wishes any process has: all must leave the loop, or save, at the same step.

        Raises:
            Exception: ``error``, if this is the first process that has one.
            StoppedByAnother: another one is.
        """
        flags = torch.zeros(self.total + len(wishes))
        flags[self.rank] = error is not None
        flags[self.total :] = torch.tensor(wishes)
        flags = self.summed(flags)
        if failing := flags[: self.total].nonzero().flatten().tolist():
            if error is not None and failing[0] == self.rank:
                raise error
            raise StoppedByAnother(f"process {failing[0]} of {self.total} cannot go on") from error
        return [bool(w) for w in flags[self.total :] > 0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What one process fails to do in this block stops all of them behind it, instead of leaving some to wait.

        Nothing in the block may wait for another process.
        """
        error = None
        try:
            yield
        except Exception as failed:
            error = failed
        self.agreed(error)

    def average_buffers(self, network: nn.Module) -> None:
        """Gives the batch norms of all processes the mean of their running statistics."""
        statistics = [b for b in network.buffers() if b.is_floating_point()]
        means = self.summed(torch.cat([b.flatten() for b in statistics])) / self.total
        for old, new in zip(statistics, means.split([b.numel() for b in statistics]), strict=True):
            old.copy_(new.view_as(old))


class SynchronisedBatchNorm(_BatchNorm):
    """Batch norm whose statistics are those of all processes' parts together: `torch.nn.SyncBatchNorm` for processors.

    The parts have to be equally large. Gradients, averaged over the processes, are those of one process with the whole
    batch. In evaluation, and with one process, it is an ordinary batch norm.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes: the second is the channels'."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channels, ...) -> the same shape; ``batch`` is this process's part."""
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        own_variance, own_mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0, keepdim=True)
        # Parts of equal size: variances add up with those of the parts' means. Sums of squares would cancel.
        mean = all_reduce(own_mean) / dist.get_world_size()
        variance = all_reduce(own_variance + (own_mean - mean).square()) / dist.get_world_size()
        with torch.no_grad():
            count = x.numel() // x.shape[1] * dist.get_world_size()
            unbiased = variance * (count / max(count - 1, 1))
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.flatten().to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.flatten().to(self.running_var.dtype), self.momentum)
        scale = self.weight.view_as(mean) * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.view_as(mean) - mean * scale, x, scale).to(input.dtype)


def synchronise_batch_norms(network: nn.Module, on_gpu: bool) -> None:
    """Makes each batch norm of a network a synchronised one with the same weights and statistics."""
    if on_gpu:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # changes the network itself, which is no batch norm
        return
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = SynchronisedBatchNorm
