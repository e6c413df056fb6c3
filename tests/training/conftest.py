"""A tiny data set in the package's own layout, and a recipe that trains on it in seconds."""

import cv2
import numpy as np
import pytest

from jvcr.data import read_folder
from jvcr.scheme import FACE68
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
        "aperture_sources": ["b"],
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


@pytest.fixture(scope="session")
def face_folder(tmp_path_factory):
    """16 pictures of dots where the landmarks are: 12 to train on, 4 to validate."""
    root = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    template = np.array(FACE68.template)
    points, names = [], []
    for i in range(16):
        p = template * rng.uniform(14, 20) + [48, 48, 0] + rng.normal(0, 3, 3) * [1, 1, 0]
        image = np.full((96, 100, 3), 60, np.uint8)
        for x, y, _ in p:
            cv2.circle(image, (round(x), round(y)), 1, (200, 220, 240), -1)
        names.append(f"{i:02d}.png")
        cv2.imwrite(str(root / names[-1]), image)
        points.append(p - [0, 0, p[:, 2].mean()])
    np.savez(
        root / "landmarks.npz",
        image=np.array(names),
        points=np.array(points, np.float32),
        split=np.array(["train"] * 12 + ["val"] * 4),
        source=np.array(["a", "b"] * 8),
        yaw_deg=np.zeros(16, np.float32),
    )
    return root


@pytest.fixture
def faces(face_folder):
    return read_folder(face_folder)
