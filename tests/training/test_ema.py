"""The running average of the weights, by hand."""

import torch
from torch import nn

from jvcr.training.ema import RunningAverage


class One(nn.Module):
    """A weight, a statistic and a counter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("seen", torch.tensor(0))

    def set(self, value):
        with torch.no_grad():
            self.weight.fill_(value)
            self.mean.fill_(10 * value)
            self.seen.fill_(value)


def test_the_decay_rises_to_its_value_and_restarts():
    network = One()
    average = RunningAverage(network, decay=0.25)
    expected = None
    for n, value in enumerate([5.0, 1.0, 3.0, 7.0, 2.0]):
        network.set(value)
        average.update_parameters(network)
        # The first is taken as it is; then (1 + n) / (10 + n) until that exceeds 0.25, at n = 2 (3 / 12).
        decay = {1: 2 / 11, 2: 0.25, 3: 0.25, 4: 0.25}.get(n)
        expected = value if decay is None else decay * expected + (1 - decay) * value
        torch.testing.assert_close(average.module.weight, torch.full((2, 3), expected))
        torch.testing.assert_close(average.module.mean, torch.full((4,), 10 * expected))
        assert int(average.module.seen) == int(value)
    average.restart()
    network.set(-4.0)
    average.update_parameters(network)
    torch.testing.assert_close(average.module.weight, torch.full((2, 3), -4.0))
