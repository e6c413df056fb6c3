"""What a recipe makes of its faces: the order in which they are seen, and the examples cut from them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.loader import Examples
from jvcr.data.sampler import Sampler, ShardSampler, StepSampler
from jvcr.data.shards import ShardedDataset
from jvcr.training.aperture_loss import rare_apertures
from jvcr.training.distributed import Ranks
from jvcr.training.limits import memory_bytes
from jvcr.training.recipe import Recipe

_KNOWN_FACES = 4096
"""Of shards: the faces whose labels stand for those of all."""

_SHARE_OF_MEMORY = 1 / 4
"""Images that take less of a machine's memory are kept in it."""


def check_landmarks(recipe: Recipe, train: LandmarkDataset | ShardedDataset, val: LandmarkDataset | None) -> None:
    """A ValueError if the network, the training and the validation faces are not of one scheme."""
    scheme = train.scheme
    if recipe.network.num_landmarks != scheme.num_landmarks:
        raise ValueError(
            f"the network has {recipe.network.num_landmarks} landmarks, the scheme {scheme.name} "
            f"{scheme.num_landmarks}: set network.num_landmarks"
        )
    if val is not None and val.scheme != scheme:
        raise ValueError(f"trained on landmarks of {scheme.name}, validated on {val.scheme.name}")


def make_sampler(recipe: Recipe, train: LandmarkDataset | ShardedDataset) -> Sampler:
    """Which faces each step takes.

    Raises:
        ValueError: the recipe wants faces drawn by what only all labels would tell, and they are in shards; or it names
            sources that there are not.
    """
    shares, rare_share = recipe.data.source_shares, recipe.data.rare_share
    if isinstance(train, ShardedDataset):
        if shares or rare_share:
            raise ValueError(
                "faces of shards are drawn all alike, as they come: give --set 'data.source_shares={}' and "
                "--set data.rare_share=0"
            )
        return ShardSampler(tuple(len(shard.spans) for shard in train.shards), recipe.batch_size, recipe.seed)
    rare = rare_apertures(train.points_px, train.scheme, train.seen_by_hand()) if rare_share else None
    return StepSampler(train.sources, shares, recipe.batch_size, recipe.seed, rare, rare_share)


def make_examples(recipe: Recipe, faces: LandmarkDataset | ShardedDataset, augmented: bool) -> Examples:
    """The crops of faces that a recipe's network takes."""
    network = recipe.network
    return Examples(
        faces,
        network.voxel.image_size,
        recipe.augmentation if augmented else None,
        recipe.seed,
        recipe.data.in_memory,
        network.crop,
        network.stretch,
    )


def known_labels(train: LandmarkDataset | ShardedDataset) -> LandmarkDataset:
    """Labels by which frequencies are counted: all of them, or of shards a few thousand from everywhere."""
    if isinstance(train, LandmarkDataset):
        return train
    return train.labels(np.unique(np.linspace(0, len(train) - 1, _KNOWN_FACES).astype(int)).tolist())


def load_images(examples: Examples, ranks: Ranks, advance: Callable[[int], None]) -> None:
    """Reads the images into memory if the recipe wants it and they fit: once for all processes of a machine."""
    most = memory_bytes(on_gpu=False) * _SHARE_OF_MEMORY
    if ranks.total == 1:
        examples.load(advance, most)
        return
    with contextlib.ExitStack() as stack:
        path = ""
        with ranks.together():
            if ranks.is_first_here:
                path = stack.enter_context(examples.sharing(advance, most))
        path = ranks.of_first_here(path)
        with ranks.together():
            examples.map_images(path)
