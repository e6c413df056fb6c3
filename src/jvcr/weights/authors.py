"""The weights that the paper's authors released, as a network of this package.

Their checkpoint is a dictionary whose entries ``state_dict_p2v`` and ``state_dict_v2c`` hold the tensors of G and P.
The two graphs are the `paper` preset's, so every tensor has one place here; only the last linear layer is changed, to
give the package's unit frame. What else their network expects is the configuration `jvcr.model.config.AUTHORS`:

- 71 landmarks: the 68, the centres of both eyes and of the mouth (the scheme face71).
- Crops of 1.25 times the *width* of the landmarks' box, in depth around the landmarks' mean.
- Pixels stretched to the full range of each crop, RGB in [0, 1], with nothing subtracted.

Their volumes have this package's axes, (depth, height, width), z, y, x; P, which was trained on them, reads off them
coordinates whose z grows away from the camera. But the Gaussians they learned lie one or two voxels off, towards the
volume's origin. A face's *confidence* is the volume at the landmark itself, there a Gaussian's flank: one voxel off on
every axis leaves exp(-3/2) = 0.22 of its height, two leave 0.002. So with these weights confidence ranks the landmarks
of one face roughly at best, its size means nothing, and no threshold that suits other weights carries over.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from jvcr.files import sha256
from jvcr.model.config import AUTHORS, NetworkConfig
from jvcr.model.methods.jvcr import JVCR
from jvcr.scheme import load_scheme
from jvcr.weights.header import WeightsHeader

PARTS = {"voxel": "state_dict_p2v", "coordinate": "state_dict_v2c"}
"""Our subnetworks, G and P, and their entries in the checkpoint."""

PREFIX = "module."
"""What their keys begin with, as they were saved from several GPUs; keys without it are read too."""

LISTED = 5
"""So many of the keys that are wrong are named in a message."""

_CROP_PIXELS = 256
_PIXELS = 255.0
"""Pixels of their crop for one unit of their output."""

# On x and y a pixel's centre is an integer of theirs; on z 128 is the mean depth, the middle of the cube.
_SCALE = 2 * _PIXELS / _CROP_PIXELS
_OFFSET = np.array([1 / _CROP_PIXELS - 1, 1 / _CROP_PIXELS - 1, -1.0])


def to_unit(coordinates: ArrayLike) -> NDArray[np.float64]:
    """What the authors' network gives, in the unit frame of its crop.

    Their output times 255 is in pixels of their crop of 256 x 256: an integer is a pixel's centre on x and y; z has the
    same scale, 128 at the landmarks' mean depth, and grows away from the camera.

    Example:
        >>> to_unit([127.5 / 255, 127.5 / 255, 128 / 255]).tolist()
        [0.0, 0.0, 0.0]
    """
    return np.asarray(coordinates, dtype=np.float64) * _SCALE + _OFFSET


def read_authors_checkpoint(path: str | Path) -> tuple[JVCR, WeightsHeader]:
    """The authors' released network, in evaluation mode, and what a weight file should say of it.

    Only tensors are read: nothing that a checkpoint may bring along is run.

    Raises:
        OSError: no such file, or it is a folder.
        ValueError: it is damaged, or another kind of file, or its tensors are not those of their network; the message
            names keys that are missing, not known or of the wrong shape.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a folder, where a checkpoint is expected", str(path))
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "No such file", str(path))
    with torch.device("meta"):  # its tensors come from the file
        network = JVCR(AUTHORS)
    try:
        checkpoint = _load(path)
        for part, entry in PARTS.items():
            tensors = _converted(checkpoint[entry], entry, network, part)
            getattr(network, part).load_state_dict(tensors, assign=True)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    with torch.no_grad():
        _give_unit_frame(network)
    origin = {"imported": "the authors' released checkpoint", "file": path.name, "sha256": sha256(path)}
    return network.eval(), WeightsHeader("authors", AUTHORS.to_dict(), load_scheme("face71"), origin)


def authors_keys(config: NetworkConfig = AUTHORS) -> dict[str, dict[str, str]]:
    """For each entry of the checkpoint, their key without `PREFIX` -> ours in that part; of a network like theirs."""
    with torch.device("meta"):
        network = JVCR(config)
    return {entry: _keys(getattr(network, part), part, config) for part, entry in PARTS.items()}


def _modules(part: str, config: NetworkConfig) -> Iterator[tuple[str, str]]:
    """Names of modules: ours and theirs."""
    if part == "coordinate":
        last = len(config.coordinate.channels)
        for i in range(last):
            yield f"encoder.{3 * i}", f"encoder.{i}.0"
            yield f"encoder.{3 * i + 1}", f"encoder.{i}.1"
        yield f"encoder.{3 * last}", f"encoder.{last}.0"
        yield "regressor", "fc_cord"
        return
    yield "stem.0.0", "conv1"
    yield "stem.0.1", "bn1"
    yield from (("stem.1", "layer1.0"), ("stem.3", "layer2.0"), ("stem.4", "layer3.0"))
    for m in range(len(config.voxel.depths)):
        # Ours is nested from the outside to the inside; theirs counts levels from the inside, 0, to the outside.
        inside = f"hourglasses.{m}"
        for level in reversed(range(config.voxel.levels)):
            for place, name in enumerate(("skip", "down", "up")):
                yield f"{inside}.{name}", f"hg.{m}.hg.{level}.{place}.0"
            inside += ".inner"
        yield inside, f"hg.{m}.hg.0.3.0"
        yield f"residuals.{m}", f"res.{m}.0"
        yield f"features.{m}.0", f"fc.{m}.0"
        yield f"features.{m}.1", f"fc.{m}.1"
        yield f"heads.{m}", f"score.{m}"
        yield f"merge_features.{m}", f"fc_.{m}"
        yield f"merge_predictions.{m}", f"score_.{m}"


def _keys(module: torch.nn.Module, part: str, config: NetworkConfig) -> dict[str, str]:
    """Their keys -> ours, for one subnetwork."""
    theirs_of = dict(_modules(part, config))
    keys = {}
    for key in module.state_dict():
        parents = key.split(".")
        place = next(n for n in range(len(parents), 0, -1) if ".".join(parents[:n]) in theirs_of)
        rest = ".".join(["", *parents[place:]]).replace(".shortcut.", ".downsample.0.")
        keys[theirs_of[".".join(parents[:place])] + rest] = key
    return keys


def _load(path: Path) -> Mapping[str, Any]:
    """The content of a checkpoint, tensors and plain values only."""
    # Scores of a training are often numpy's numbers, which are harmless; older versions of it named them otherwise.
    scalar = np.float64(0).__reduce__()[0]
    numbers: list[Any] = [np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar")]
    numbers += [type(np.dtype(kind)) for kind in ("f4", "f8", "i8")]
    entries = " and ".join(PARTS.values())
    try:
        with torch.serialization.safe_globals(numbers):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what unpickling damaged or foreign bytes raises has no common base but this
        if "GLOBAL" in str(error) and "weights_only" in str(error):
            reason = str(error).partition("WeightsUnpickler error: ")[2].partition(". ")[0]
            raise ValueError(
                "it holds more than tensors and numbers, which is not read, as it could run code: "
                f"{reason.strip() or 'an unknown type'}; is it the released checkpoint? If you trust the file, save "
                f"its entries {entries} alone with torch.save"
            ) from error
        raise ValueError(
            f"it is damaged, cut short or no checkpoint of torch ({type(error).__name__}); fetch it again"
        ) from error
    if not isinstance(checkpoint, Mapping) or not all(isinstance(checkpoint.get(e), Mapping) for e in PARTS.values()):
        has = f" with {_listed(map(str, checkpoint))}" if isinstance(checkpoint, Mapping) and checkpoint else ""
        raise ValueError(
            f"it is no checkpoint of the authors, which has the entries {entries}; this one is a "
            f"{type(checkpoint).__name__}{has}"
        )
    return checkpoint


def _converted(tensors: Mapping[str, Any], entry: str, network: JVCR, part: str) -> dict[str, Tensor]:
    """One entry of the checkpoint under our keys, each key and shape checked."""
    expected = getattr(network, part).state_dict()
    keys = _keys(getattr(network, part), part, network.config)
    given = {str(key).removeprefix(PREFIX): value for key, value in tensors.items()}
    # Versions of torch before 0.4.1 did not count a batch norm's batches, and nothing here goes by the count.
    given = {**{k: torch.tensor(0) for k in keys if k.endswith("num_batches_tracked")}, **given}
    wrong = {
        "missing": [key for key in keys if key not in given],
        "not known": [key for key in given if key not in keys],
        "of the wrong shape": [
            f"{key} is {_shape(given[key])} instead of {_shape(expected[ours])}"
            for key, ours in keys.items()
            if key in given and _shape(given[key]) != _shape(expected[ours])
        ],
    }
    if any(wrong.values()):
        raise ValueError(
            f"the tensors of {entry} are not those of the authors' network: "
            + "; ".join(f"{len(names)} {what}: {_listed(names)}" for what, names in wrong.items() if names)
        )
    # Copies, as tensors of a checkpoint may share memory or be laid out in other ways.
    return {ours: given[key].detach().to(expected[ours].dtype, copy=True).contiguous() for key, ours in keys.items()}


def _shape(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return "x".join(map(str, value.shape)) or "one number"


def _listed(names: Iterable[str]) -> str:
    first = list(names)
    return ", ".join(first[:LISTED]) + (" ..." if len(first) > LISTED else "")


def _give_unit_frame(network: JVCR) -> None:
    """Changes the last linear layer so that it gives the unit frame: `to_unit` is affine on each coordinate."""
    last = network.coordinate.regressor
    last.weight *= _SCALE
    last.bias.view(-1, 3).mul_(_SCALE).add_(torch.from_numpy(_OFFSET).float())
