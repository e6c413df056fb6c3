"""The ``.mat`` files of 300W-LP and AFLW2000-3D: Matlab's arrays, checked, and what goes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

POSE = "Pose_Para"
SHAPE = "Shape_Para"
EXPRESSION = "Exp_Para"
POINTS = "pt3d_68"

_SIZES = {POSE: 7, SHAPE: 199, EXPRESSION: 29}
"""How many numbers each of these has; Matlab keeps them as rows or as columns."""


def read_mat(path: Path, keys: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Arrays of a .mat file: parameters as (n,), `POINTS` as (3, 68).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, lacks one of the keys, or one has another shape or values that are not finite.
        ModuleNotFoundError: scipy, which reads such files, is not installed.
    """
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the data set comes as .mat files, which scipy reads: pip install "jvcr[data]"', name=error.name
        ) from error
    keys = tuple(keys)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        content = loadmat(path, variable_names=keys)
    except Exception as error:  # what a damaged file makes scipy raise ranges from IndexError to zlib.error
        raise ValueError(f"{path.name} is damaged or not a .mat file ({error})") from error
    return {key: _checked(content, key, path.name) for key in keys}


def _checked(content: dict[str, Any], key: str, name: str) -> NDArray[np.float64]:
    if key not in content:
        raise ValueError(f"{name} has no {key!r}: cut short, or of another data set")
    value = content[key]
    if value.dtype.kind not in "fiu":
        raise ValueError(f"{name}: {key} should hold real numbers, got type {value.dtype}")
    if key in _SIZES:
        if value.size != _SIZES[key]:
            raise ValueError(f"{name}: {key} should be {_SIZES[key]} numbers, got shape {value.shape}")
        value = value.ravel()
    elif value.shape != (3, 68):
        raise ValueError(f"{name}: {key} should be 3x68, got {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} has NaN or infinite values in {key}")
    return np.asarray(value, dtype=np.float64)


def image_height(path: Path) -> int:
    """Height of an image from its header, pixels; Matlab's y axis starts there.

    Raises:
        ValueError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            return int(image.height)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path.name} is no image, or damaged ({error})") from error


def read_pairs(
    folder: Path, keys: Sequence[str], heights: bool, advance: Callable[[int], object] | None = None
) -> tuple[dict[str, tuple[dict[str, NDArray[np.float64]], int]], list[str]]:
    """All pairs of NAME.jpg and NAME.mat in a folder, in the order of their names.

    Args:
        folder: where they lie.
        keys: arrays wanted of each .mat.
        heights: whether the images' heights are wanted; they are 0 otherwise.
        advance: called with 1 after each pair.

    Returns:
        name -> its arrays and its image's height; and a line for each name that cannot be used.
    """
    mats, jpgs = ({p.stem for p in folder.glob(pattern)} for pattern in ("*.mat", "*.jpg"))
    pairs: dict[str, tuple[dict[str, NDArray[np.float64]], int]] = {}
    faults: list[str] = []
    for name in sorted(mats | jpgs):
        try:
            if name not in jpgs:
                raise ValueError(f"{name}.jpg is missing, {name}.mat is there")
            if name not in mats:
                raise ValueError(f"{name}.mat is missing, {name}.jpg is there")
            arrays = read_mat(folder / f"{name}.mat", keys)
            pairs[name] = (arrays, image_height(folder / f"{name}.jpg") if heights else 0)
        except ValueError as error:
            faults.append(str(error))
        if advance is not None:
            advance(1)
    return pairs, faults
