"""The package's own layout: a folder of images and one ``landmarks.npz``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jvcr.data.dataset import LandmarkDataset
from jvcr.files import load_arrays
from jvcr.scheme import FACE68, LandmarkScheme

MANIFEST = "landmarks.npz"


def read_folder(root: str | Path, scheme: LandmarkScheme = FACE68) -> LandmarkDataset:
    """Reads a folder whose ``landmarks.npz`` names the images and their landmarks.

    ============ ============== ==========================================================================
    key          shape          meaning
    ============ ============== ==========================================================================
    ``image``    (F,) str       path below the folder
    ``points``   (F, N, 3)      pixels of that image, integer = pixel centre, x right, y down, z away from
                                the camera with mean 0
    ``split``    (F,) str       "train", "val" ... (optional)
    ``source``   (F,) str       name of a part, reported apart (optional)
    ``yaw_deg``  (F,)           yaw, degrees (optional)
    ============ ============== ==========================================================================

    Raises:
        FileNotFoundError: the folder or its manifest is missing.
        ValueError: the manifest is damaged, lacks a key, or its arrays do not fit together.
    """
    root = Path(root)
    path = root / MANIFEST
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    if not path.is_file():
        raise FileNotFoundError(f"{root} has no {MANIFEST}: it should name the images and their landmarks")
    columns = load_arrays(path)
    for key in ("image", "points"):
        if key not in columns:
            raise ValueError(f"{path} has no array {key!r}: a landmark folder needs 'image' and 'points'")
    if columns["image"].ndim != 1 or columns["points"].dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: 'image' should be a list of paths and 'points' numbers, got an image array of shape "
            f"{columns['image'].shape} and points of type {columns['points'].dtype}"
        )
    count = len(columns["image"])
    if count == 0:
        raise ValueError(f"{path} names no image")
    if "yaw_deg" in columns and columns["yaw_deg"].dtype.kind not in "fiu":
        raise ValueError(f"{path}: 'yaw_deg' should be numbers, got type {columns['yaw_deg'].dtype}")
    points = columns["points"].astype(np.float32)
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).reshape(len(points), -1).any(1).sum())
        raise ValueError(f"{path}: {bad} of {count} faces have NaN or infinite landmarks")
    return LandmarkDataset(
        root=root,
        images=np.char.replace(columns["image"].astype(str), "\\", "/"),
        points_px=points,
        sources=columns["source"].astype(str) if "source" in columns else np.full(count, ""),
        splits=columns["split"].astype(str) if "split" in columns else None,
        yaw_deg=columns["yaw_deg"].astype(np.float32) if "yaw_deg" in columns else np.full(count, np.nan, np.float32),
        scheme=scheme,
    )
