"""Optimisers and learning rates of the recipes."""

from __future__ import annotations

import torch
from torch import nn

from jvcr.training.recipe import OptimizerRecipe


def make_optimizer(network: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay acts on kernels and matrices, not on biases and batch norms.

    What needs no gradient is left out.
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    matrices, vectors = [p for p in learning if p.ndim > 1], [p for p in learning if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if recipe.name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=recipe.learning_rate)
    return (torch.optim.Adam if recipe.name == "adam" else torch.optim.AdamW)(groups, lr=recipe.learning_rate)


def learning_rate(recipe: OptimizerRecipe, epoch: float, epochs: float) -> float:
    """The learning rate at a point of the run.

    Args:
        recipe: names the schedule.
        epoch: epochs done so far, both stages counted.
        epochs: length of the whole run.
    """
    if recipe.schedule == "step":
        return recipe.learning_rate * 0.1 ** int(epoch / recipe.step_epochs)
    if recipe.schedule == "drop":
        return recipe.learning_rate if epoch < recipe.drop_epochs else recipe.drop_to
    rise = (epoch / recipe.warmup_epochs) if recipe.warmup_epochs else 1.0
    fall = (epochs - epoch) / recipe.decay_epochs if recipe.decay_epochs else 1.0
    return recipe.learning_rate * max(0.0, min(1.0, rise, fall))
