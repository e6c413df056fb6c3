"""The running average of the weights, which is what is validated and kept."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class RunningAverage(AveragedModel):
    """The exponential average of a network's weights and of its batch norms' statistics.

    The decay rises to its value: in the n-th update since `restart` the old average counts
    ``min(decay, (1 + n) / (10 + n))``. So the average covers about the last ninth of what it has seen until it covers
    ``1 / (1 - decay)`` steps, and what a network was at first is soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Takes in the network's present weights and statistics.

        torch's own update reads numbers back from an accelerator at every step, which would wait for it.
        """
        n = int(self.n_averaged)  # never moved to an accelerator
        pairs = list(zip(*(chain(m.parameters(), m.buffers()) for m in (self.module, model)), strict=True))
        smooth = [(a, c) for a, c in pairs if n and a.is_floating_point()]
        copied = [(a, c) for a, c in pairs if not n or not a.is_floating_point()]  # the batch norms' counters
        if smooth:
            averaged, current = map(list, zip(*smooth, strict=True))
            torch._foreach_lerp_(averaged, current, 1 - min(self.decay, (1 + n) / (10 + n)))
        if copied:
            averaged, current = map(list, zip(*copied, strict=True))
            torch._foreach_copy_(averaged, current)
        self.n_averaged += 1

    def restart(self) -> None:
        """Lets the next update begin the average anew."""
        self.n_averaged.zero_()
