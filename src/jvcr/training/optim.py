"""What moves the weights, and when: optimisers, the stages in steps, and learning rates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from jvcr.training.checkpoint import RunState
from jvcr.training.loss import Stage
from jvcr.training.recipe import OptimizerRecipe, Recipe


def make_optimizer(network: nn.Module, recipe: OptimizerRecipe, fused: bool = False) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay acts on kernels and matrices, not on biases and batch norms.

    What needs no gradient is left out. ``fused`` moves all weights in one go, on accelerators.
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    matrices, vectors = [p for p in learning if p.ndim > 1], [p for p in learning if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if recipe.name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=recipe.learning_rate)
    kind = torch.optim.Adam if recipe.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.learning_rate, fused=fused or None)


@dataclass(frozen=True)
class Schedule:
    """A run's stages in steps, counted from 0, and by the clock, if the recipe limits the time.

    An epoch is as many ``faces`` as the training split has.
    """

    recipe: Recipe
    faces: int

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which as many faces are seen as there are."""
        return self.faces / self.recipe.batch_size

    @property
    def separate_steps(self) -> int:
        """Steps of the first stage."""
        return round(self.recipe.stages.separate * self.steps_per_epoch)

    @property
    def total_steps(self) -> int:
        """Steps of both stages."""
        return self.separate_steps + round(self.recipe.stages.joint * self.steps_per_epoch)

    def stage(self, step: int) -> Stage:
        """The stage a step belongs to."""
        return "separate" if step < self.separate_steps else "joint"

    def learning_rate(self, state: RunState) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.recipe.optimizer, state.step / self.steps_per_epoch, self.expected_epochs(state))

    def expected_epochs(self, state: RunState) -> float:
        """Epochs of the whole run: those of both stages, or as many as the rate so far lets expect in its minutes."""
        epochs, limit = self.total_steps / self.steps_per_epoch, 60 * self.recipe.stages.minutes
        if not limit or not state.step:
            return epochs
        training = max(state.seconds - state.reading, 1e-3)
        left = max(limit - state.seconds, 0) * state.step / training
        return min(epochs, (state.step + left) / self.steps_per_epoch)

    def is_over(self, seconds: float) -> bool:
        """Whether the recipe's minutes have passed."""
        return bool(self.recipe.stages.minutes) and seconds > 60 * self.recipe.stages.minutes

    def validates(self, done: int) -> bool:
        """Whether the weights are validated after so many steps."""
        return done == self.total_steps or done % max(1, round(self.recipe.validate_epochs * self.steps_per_epoch)) == 0

    def check(self) -> None:
        """Raises ValueError if the stages have no step."""
        if self.total_steps == 0:
            raise ValueError(
                f"the stages are shorter than one step: {self.faces} faces in batches of {self.recipe.batch_size} make "
                f"{self.steps_per_epoch:.3g} steps an epoch; lengthen stages"
            )


def learning_rate(recipe: OptimizerRecipe, epoch: float, epochs: float) -> float:
    """The learning rate after so many epochs, both stages counted, of a run of so many."""
    if recipe.schedule == "step":
        return recipe.learning_rate * 0.1 ** int(epoch / recipe.step_epochs)
    if recipe.schedule == "drop":
        return recipe.learning_rate if epoch < recipe.drop_epochs else recipe.drop_to
    rise = (epoch / recipe.warmup_epochs) if recipe.warmup_epochs else 1.0
    fall = (epochs - epoch) / recipe.decay_epochs if recipe.decay_epochs else 1.0
    return recipe.learning_rate * max(0.0, min(1.0, rise, fall))
