"""A recipe that trains on a tiny data set in seconds."""

import pytest

from jvcr.training.recipe import Recipe

TINY = {
    "name": "tiny",
    "network": {
        "preset": "compact",
        "voxel": {"image_size": 32, "channels": 8, "inner_channels": [], "depths": [1, 8], "levels": 2, "stride": 4},
        "coordinate": {"channels": [4, 8], "features": 16},
    },
    "batch_size": 4,
    "workers": 0,
    "precision": "32-true",
    "augmentation": {"rotate_deg": 10, "light": 0.1, "noise": 0.5, "occlude": 0.3},
    "stages": {"separate": 1, "joint": 2},
    "loss": {
        "voxel": "landmark",
        "coordinate": "l1",
        "coordinate_weight": 20,
        "aperture_weight": 0.5,
        "aperture_balance": 1,
    },
    "optimizer": {"name": "adamw", "learning_rate": 3e-3, "ema_decay": 0.9, "max_grad_norm": 10},
}


@pytest.fixture
def tiny_recipe():
    return Recipe.from_dict(TINY)


@pytest.fixture(scope="session")
def tiny_table():
    """The recipe as plain data, for other processes."""
    return TINY
