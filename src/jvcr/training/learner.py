"""What a run trains: a network, its loss, the optimiser, and the running average of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from jvcr.data.sampler import Batch, to_input
from jvcr.model.jvcr import JVCR
from jvcr.training.aperture_loss import ApertureLoss
from jvcr.training.distributed import Ranks, StoppedByAnother, synchronise_batch_norms
from jvcr.training.ema import RunningAverage
from jvcr.training.loss import JVCRLoss, Losses, Stage
from jvcr.training.optim import make_optimizer
from jvcr.training.recipe import Recipe


class Learner:
    """A new network, ready to learn step by step.

    Args:
        recipe: what it is and how it learns.
        apertures: the error across apertures, where the loss counts it.
        fabric: where it learns, launched.

    Attributes:
        network: whose weights the optimiser moves.
    """

    def __init__(self, recipe: Recipe, apertures: ApertureLoss | None, fabric: Fabric) -> None:
        self.recipe, self.fabric, self.ranks = recipe, fabric, Ranks(fabric)
        self.network = network = JVCR(recipe.network)
        network.voxel.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.coordinate.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if self.ranks.total > 1 and recipe.sync_batch_norm:
            synchronise_batch_norms(network, fabric.device.type == "cuda")
        self.frozen: list[nn.Module] = [part for name in recipe.frozen if (part := getattr(network, name)) is not None]
        for part in self.frozen:
            part.requires_grad_(False)
        loss = JVCRLoss(network, recipe.loss, apertures)
        self.loss, self.optimizer = fabric.setup(loss, make_optimizer(network, recipe.optimizer))
        decay = recipe.optimizer.ema_decay
        self.average = RunningAverage(network, decay) if decay else None

    @property
    def averaged_network(self) -> JVCR:
        """The network whose weights are validated and kept."""
        return self.average.module if self.average is not None else self.network  # type: ignore[return-value]

    def restart_average(self) -> None:
        """P sees other volumes from the second stage on: statistics of the old ones would spoil the average."""
        if self.average is not None:
            self.average.restart()

    def step(self, batch: Batch, stage: Stage, learning_rate: float) -> Losses:
        """One step of the optimiser: this process's part of the batch in, the losses of the whole batch out.

        Raises:
            FloatingPointError: the loss is not finite.
            StoppedByAnother: likewise, on all processes but the first.
        """
        batch = self.fabric.to_device(batch)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.loss.train()
        for part in self.frozen:
            part.eval()
        losses = self.loss(to_input(batch.pixels), batch.points_unit, stage, batch.sample_weight)
        means = self.ranks.summed(torch.stack([v.detach() for v in losses])) / self.ranks.total
        if not math.isfinite(total := float(means[0])):
            if not self.ranks.is_first:
                raise StoppedByAnother("the first process tells of the loss")
            raise FloatingPointError(
                f"the loss is {total}: start again with a lower optimizer.learning_rate, or with "
                f"optimizer.max_grad_norm"
            )
        self.fabric.backward(losses.total)
        if greatest := self.recipe.optimizer.max_grad_norm:
            self.fabric.clip_gradients(self.loss, self.optimizer, max_norm=greatest)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return Losses(*means)

    def share_statistics(self) -> None:
        """Where each process has its own batch norms: gives all of them the mean of their running statistics."""
        if self.ranks.total > 1 and not self.recipe.sync_batch_norm:
            for network in {id(n): n for n in (self.network, self.averaged_network)}.values():
                self.ranks.average_buffers(network)

    def state_dict(self) -> dict[str, Any]:
        """What has to be kept to go on."""
        return {
            "scaling": self.fabric.strategy.precision.state_dict(),
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], same_precision: bool) -> None:
        """The opposite of `state_dict`; gradients' scaling is that of the same precision only."""
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if same_precision and state.get("scaling"):
            self.fabric.strategy.precision.load_state_dict(state["scaling"])
