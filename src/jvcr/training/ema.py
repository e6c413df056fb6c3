"""The running average of the weights, which is what is validated and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors: TypeAlias = "tuple[Tensor, ...] | list[Tensor]"


def exponential_moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """The exponential average of a network's weights and of its batch norms' statistics.

    The decay rises to its value: in the n-th update since `restart` the old average counts
    ``min(decay, (1 + n) / (10 + n))``. So the average covers about the last ninth of what it has seen until it covers
    ``1 / (1 - decay)`` steps, and what a network was at first is soon forgotten.

    Args:
        network: its weights are where the average starts.
        decay: below 1.
    """
    return AveragedModel(network, multi_avg_fn=_average(decay), use_buffers=True)


def restart(average: AveragedModel) -> None:
    """Lets the next update begin the average anew."""
    average.n_averaged.zero_()


def _average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        n = int(count)
        new = 1 - min(decay, (1 + n) / (10 + n))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, new)
        else:  # the batch norms' counters
            torch._foreach_copy_(averaged, current)

    return update
