"""What a run trains: a network, its loss, the optimiser, and the running average of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from jvcr.data.loader import Batch, to_input
from jvcr.model.method import Method, build
from jvcr.scheme import LandmarkScheme
from jvcr.training.aperture_loss import ApertureLoss
from jvcr.training.distributed import Ranks, StoppedByAnother, synchronise_batch_norms
from jvcr.training.ema import RunningAverage
from jvcr.training.loss import JVCRLoss, Losses, Stage, outline
from jvcr.training.optim import make_optimizer
from jvcr.training.processes import precision
from jvcr.training.recipe import Recipe

STEPS_AHEAD = 25
"""An accelerator computes up to this many steps before the processor asks it for their losses, and waits for them."""


class LossReport:
    """The losses of the steps, over all processes, read from where they were computed ``every`` few steps."""

    def __init__(self, ranks: Ranks, every: int) -> None:
        self.ranks, self.every = ranks, every
        self.latest: Losses | None = None
        self._pending: list[tuple[int, Tensor]] = []

    def add(self, step: int, losses: Losses) -> None:
        """Takes in the losses of a step; those of the first are read at once. Raises as `read`."""
        self._pending.append((step, torch.stack([v.detach() for v in losses])))
        if self.latest is None or len(self._pending) >= self.every:
            self.read()

    def read(self) -> None:
        """Reads all that has not been read.

        Raises:
            FloatingPointError: a loss is not finite; on all processes but the first StoppedByAnother.
        """
        if not self._pending:
            return
        steps, losses = zip(*self._pending, strict=True)
        self._pending = []
        means = (self.ranks.summed(torch.stack(losses)) / self.ranks.total).cpu()
        self.latest = Losses(*means[-1])
        if wrong := (~means[:, 0].isfinite()).nonzero().flatten().tolist():
            if not self.ranks.is_first:
                raise StoppedByAnother("the first process tells of the loss")
            raise FloatingPointError(
                f"the loss is {float(means[wrong[0], 0])} at step {steps[wrong[0]]}: start again with a lower "
                f"optimizer.learning_rate, or with optimizer.max_grad_norm"
            )


class Learner:
    """A new network, ready to learn step by step.

    Args:
        recipe: what it is and how it learns.
        scheme: what its landmarks are.
        apertures: the error across apertures, where the loss counts it.
        fabric: where it learns, launched.
        compiled: let torch.compile make the network quicker.
    """

    def __init__(
        self,
        recipe: Recipe,
        scheme: LandmarkScheme,
        apertures: ApertureLoss | None,
        fabric: Fabric,
        compiled: bool = False,
    ) -> None:
        self.recipe, self.fabric, self.ranks = recipe, fabric, Ranks(fabric)
        self.on_gpu = fabric.device.type == "cuda"
        self.network = network = build(recipe.network)
        for part in network.children():
            if not any(p.ndim == 5 for p in part.parameters()):
                part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            elif not self.on_gpu:  # cuDNN takes 3D maps as they are
                part.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if self.on_gpu:
            torch.backends.cudnn.benchmark = True  # batches are all of one size
        if self.ranks.total > 1 and recipe.sync_batch_norm:
            synchronise_batch_norms(network, self.on_gpu)
        self.frozen, self.frozen_later = _parts(network, recipe.frozen), _parts(network, recipe.stages.frozen)
        for part in self.frozen:
            part.requires_grad_(False)
        loss = JVCRLoss(network, recipe.loss, apertures, outline(scheme))
        # Fused ones scale float16's gradients back by themselves, too late for them to be clipped before.
        fused = self.on_gpu and precision(recipe.precision, fabric.device.type) != "16-mixed"
        self.loss, self.optimizer = fabric.setup(loss, make_optimizer(network, recipe.optimizer, fused))
        decay = recipe.optimizer.ema_decay
        self.average = RunningAverage(network, decay) if decay else None
        if compiled:
            network.compile()  # the average, which only validates, stays as it is
        self.report = LossReport(self.ranks, STEPS_AHEAD if self.on_gpu else 1)

    @property
    def averaged_network(self) -> Method:
        """The network whose weights are validated and kept."""
        return self.average.module if self.average is not None else self.network  # type: ignore[return-value]

    def restart_average(self) -> None:
        """P sees other volumes from the second stage on: statistics of the old ones would spoil the average."""
        if self.average is not None:
            self.average.restart()

    def step(self, batch: Batch, number: int, stage: Stage, learning_rate: float) -> Losses:
        """One step of the optimiser, on this process's part of the batch; gives the losses of the whole batch.

        On a GPU they are those of one of the steps before, which is quicker. Raises as `LossReport.read`.
        """
        pixels, points_unit, hand_unit = self.fabric.to_device(batch)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if not self.network.training:  # after a validation
            self.network.train()
        if stage == "joint":
            self.frozen += self.frozen_later
            self.frozen_later = []
        for part in self.frozen:
            part.requires_grad_(False).eval()
        losses = self.loss(to_input(pixels), points_unit, stage, hand_unit)
        self.report.add(number, losses)
        self.fabric.backward(losses.total)
        if greatest := self.recipe.optimizer.max_grad_norm:
            # Whether the norm is finite a GPU would have to be waited for; the loss will tell.
            self.fabric.clip_gradients(self.loss, self.optimizer, max_norm=greatest, error_if_nonfinite=not self.on_gpu)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.network)
        assert self.report.latest is not None
        return self.report.latest

    def settle(self) -> None:
        """Makes sure, before weights are measured or kept, that all losses so far were finite.

        Where each process has its own batch norms, all get the mean of their running statistics.
        """
        self.report.read()
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


def _parts(network: Method, names: Sequence[str]) -> list[nn.Module]:
    """The subnetworks of these names; none for one that the network could have and has not, as JVCR's R."""
    parts = dict(network.named_children())
    if unknown := [name for name in names if not hasattr(network, name)]:
        raise ValueError(f"frozen names {', '.join(unknown)}: {network.config.method} has {', '.join(parts)}")
    return [parts[name] for name in names if name in parts]
