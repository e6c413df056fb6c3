"""The ``.mat`` files of 300W-LP and AFLW2000-3D: Matlab's arrays, checked, and what goes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
        raise FileNotFoundError(f"{path.name} is missing, or no file")
    try:
        content = loadmat(path, variable_names=keys)
    except NotImplementedError as error:  # scipy's word for HDF5
        raise ValueError(f"{path.name} is of Matlab's version 7.3: save it with -v7") from error
    except Exception as error:  # what a damaged file makes scipy raise ranges from IndexError to zlib.error
        raise ValueError(f"{path.name} is damaged or not a .mat file ({error})") from error
    arrays = {key: _checked(content, key, path.name) for key in keys}
    # Two of the published files have angles beyond a full turn, and one of them a scale below 0.
    if POSE in arrays and SHAPE in arrays and arrays[POSE][6] == 0:
        raise ValueError(f"{path.name}: {POSE} should end with a scale, got 0")
    return arrays


def has_array(path: Path, key: str) -> bool:
    """Whether a .mat file names an array, in whatever state that is; False where the file cannot be read."""
    from scipy.io import whosmat

    try:
        return any(name == key for name, _, _ in whosmat(path))
    except Exception:  # as above; whoever reads the file will say what is wrong with it
        return False


def _checked(content: dict[str, Any], key: str, name: str) -> NDArray[np.float64]:
    if key not in content:
        raise ValueError(f"{name} has no {key!r}: cut short, or of another data set")
    value = content[key]
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name}: {key} should be an array, got {type(value).__name__}")
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
    """Height of an image from its header, pixels: Matlab's y axis starts there. A ValueError if it is no image."""
    try:
        with Image.open(path) as image:
            return int(image.height)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise ValueError(f"{path.name} is no image, or damaged ({error})") from error


def find_pairs(folder: Path) -> dict[str, dict[str, Path]]:
    """The .jpg and .mat files of a folder: name -> lower-case suffix -> path, sorted; hidden ones are passed over."""
    found: dict[str, dict[str, Path]] = {}
    for path in folder.iterdir():
        if (suffix := path.suffix.lower()) in (".jpg", ".mat") and not path.name.startswith("."):
            found.setdefault(path.stem, {})[suffix] = path
    return dict(sorted(found.items()))


class Pair(NamedTuple):
    """An image, the arrays of its .mat file, and the image's height, pixels; 0 where that was not asked for."""

    image: Path
    arrays: dict[str, NDArray[np.float64]]
    height: int


def read_pairs(
    files: Mapping[str, Mapping[str, Path]],
    keys: Sequence[str],
    heights: bool,
    advance: Callable[[int], object] | None = None,
) -> tuple[dict[str, Pair], list[str]]:
    """All pairs of ``files``, as `find_pairs` gives them, by name; and a line for each that is unusable."""
    pairs: dict[str, Pair] = {}
    skipped: list[str] = []
    for name, pair in files.items():
        try:
            for missing, there in ((".jpg", ".mat"), (".mat", ".jpg")):
                if missing not in pair:
                    raise ValueError(f"{name}{missing} is missing, {pair[there].name} is there")
            arrays = read_mat(pair[".mat"], keys)
            pairs[name] = Pair(pair[".jpg"], arrays, image_height(pair[".jpg"]) if heights else 0)
        except (ValueError, FileNotFoundError) as error:
            skipped.append(str(error))
        if advance is not None:
            advance(1)
    return pairs, skipped


def stacked(pairs: Mapping[str, Pair], key: str) -> NDArray[np.float64]:
    """One array of all pairs, along a first axis."""
    return np.stack([pair.arrays[key] for pair in pairs.values()])
