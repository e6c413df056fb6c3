"""Measuring a network on faces that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from jvcr.data.dataset import Names, by_source
from jvcr.data.loader import Examples, collate, to_input
from jvcr.model.method import Method
from jvcr.training.distributed import Ranks

Metrics: TypeAlias = Mapping[str, Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]]
"""By name, functions of predicted and true landmarks, (F, N, 3) each in the unit frame, to the error of each face, (F,)
percent. By the mean of the first the best weights are chosen."""


class Validation:
    """The validation faces with true boxes; each process measures its part, and no face counts twice."""

    def __init__(self, examples: Examples, sources: Names, metrics: Metrics, ranks: Ranks) -> None:
        if not metrics:
            raise ValueError("validation needs a metric to choose the best weights by")
        self.examples, self.sources, self.metrics, self.ranks = examples, sources, metrics, ranks

    def __call__(self, network: Method) -> dict[str, float]:
        """Means of all metrics over all faces, and of the first over those of each source that has a name."""
        errors = self.errors(network)
        figures = {name: float(errors[:, i].mean()) for i, name in enumerate(self.metrics)}
        first = next(iter(self.metrics))
        for source, faces in by_source(self.sources).items():
            figures[f"{first}_{source}"] = float(errors[faces, 0].mean())
        return figures

    @torch.inference_mode()
    def errors(self, network: Method, batch_size: int = 64) -> NDArray[np.float64]:
        """(F, metrics) of all faces, percent. The network is left in evaluation mode."""
        network.eval()
        mine = range(self.ranks.rank, len(self.examples), self.ranks.total)
        errors = np.zeros((len(self.examples), len(self.metrics)))
        with self.ranks.together():
            for start in range(0, len(mine), batch_size):
                faces = list(mine[start : start + batch_size])
                errors[faces] = self._errors(network, faces)
        return self.ranks.summed(torch.from_numpy(errors)).cpu().numpy()

    def _errors(self, network: Method, faces: list[int]) -> NDArray[np.float64]:
        """(F, metrics) of some faces."""
        batch = collate([self.examples[(i, 0)] for i in faces])
        weight = next(network.parameters())
        points = network(to_input(batch.pixels.to(weight.device)).to(weight.dtype)).points.float().cpu().numpy()
        truth = batch.points_unit.numpy()
        return np.stack([error(points, truth) for error in self.metrics.values()], axis=1)
