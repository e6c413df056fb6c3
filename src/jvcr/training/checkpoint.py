"""The files of a run's folder, and the weights that a run may begin with."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jvcr.files import naming, replacing, sha256
from jvcr.model.config import NetworkConfig
from jvcr.model.method import Method, build
from jvcr.scheme import LandmarkScheme
from jvcr.training.recipe import Recipe
from jvcr.training.tables import flat
from jvcr.weights.header import WeightsHeader, find_weights
from jvcr.weights.safetensors import load_network, read_header

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CHECKPOINT = "last.pt"
WEIGHTS = "best.safetensors"
LOG = "metrics.jsonl"
TENSORBOARD = "tensorboard"

FREE_TO_CHANGE = {"stages.joint", "stages.minutes", "optimizer.decay_epochs", "precision"}
FREE_TO_CHANGE |= {"workers", "validate_epochs", "checkpoint_minutes"}
"""A resumed run may change these keys of its recipe."""


@dataclass
class RunState:
    """What a checkpoint holds beside weights and optimiser.

    Attributes:
        step: steps done.
        seconds: time spent, with reading images, validation and earlier sittings.
        reading: how much of it went by before the first step of each sitting.
        best: the validation figures of the weights kept.
        pretrained: what the weights were that the run began with; None for random ones.
    """

    step: int = 0
    seconds: float = 0.0
    reading: float = 0.0
    best: dict[str, float] | None = None
    pretrained: dict[str, Any] | None = None


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """A write that fails leaves the checkpoint before as it is."""
    with replacing(path) as temporary, temporary.open("wb") as file:  # by a name torch tells of no full disk
        torch.save(content, file)


def read_checkpoint(path: Path, recipe: Recipe, faces: str, precision: str) -> dict[str, Any]:
    """The content of a checkpoint with which a run of this recipe and precision on faces of this fingerprint can go on.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, was made by a recipe that differs in more than how long and how often, with other
            faces, or in another precision that nobody asked to change.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: nothing to resume; leave --resume out to start, with another --out if the folder "
            "holds other files of a run"
        )
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        old = Recipe.from_dict(content["recipe"])
    except Exception as error:
        raise damaged(path, error) from error
    if differing := sorted(differences(old.to_dict(), recipe.to_dict()).keys() - FREE_TO_CHANGE):
        raise ValueError(
            f"{path} was made by a recipe that differs in {', '.join(differing)}: give the same recipe, or another "
            "--out"
        )
    if content.get("faces") != faces:
        raise ValueError(f"{path} was made with other training faces: give the same --data, or another --out")
    before = content.get("precision", precision)
    if recipe.precision == "auto" and before != precision:
        raise ValueError(
            f'{path} was made in {before}, and precision = "auto" is {precision} on this machine: go on in {before} '
            f"with --set precision={before}, or change over with --set precision={precision}"
        )
    return content


def damaged(path: Path, error: Exception) -> ValueError:
    """The error of a file that is no checkpoint."""
    return ValueError(
        f"{path} cannot be read as a checkpoint ({type(error).__name__}: {error}): it is damaged, or of another version"
    )


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The keys, flat and with a prefix, in which two recipes or networks differ, each with both values."""
    a, b = flat(old, prefix), flat(new, prefix)
    return {k: (a.get(k), b.get(k)) for k in [*a, *(k for k in b if k not in a)] if a.get(k) != b.get(k)}


class RunLog:
    """A file with one line of JSON for each validation, and for the losses now and then.

    Args:
        path: of the file.
        tensorboard: folder in which TensorBoard finds the same figures; None for none.
    """

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        self.path, self.tensorboard = path, tensorboard
        self._writer: SummaryWriter | None = None

    def append(self, entry: dict[str, Any]) -> None:
        """Adds a line."""
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self.tensorboard is not None:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                # What a run had shown after its last checkpoint is hidden: it is done again.
                self._writer = SummaryWriter(str(self.tensorboard), purge_step=entry["step"])
            for group, figures in entry.items():
                for name, value in figures.items() if isinstance(figures, dict) else ():
                    self._writer.add_scalar(f"{group}/{name}", value, entry["step"])
            self._writer.flush()

    def forget_after(self, step: int) -> None:
        """Drops what a stopped run logged after its last checkpoint: it will be done and logged again."""
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            with replacing(self.path) as temporary:
                kept = [line + "\n" for line in lines if _logged_step(line) <= step]
                temporary.write_text("".join(kept), encoding="utf-8")


def _logged_step(line: str) -> float:
    """The step of a line of the log; infinity for a line that was cut short when the run was killed."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf


def weights_header(recipe: Recipe, scheme: LandmarkScheme, state: RunState, faces: int) -> WeightsHeader:
    """What a weight file made now would say of itself; ``faces`` are those trained on."""
    training = {
        "recipe": {k: v for k, v in recipe.to_dict().items() if k != "network"},
        "faces_seen": state.step * recipe.batch_size,
        "minutes": round(state.seconds / 60, 1),
        "train_faces": faces,
        "val": state.best or {},
    }
    if state.pretrained:
        training["pretrained"] = state.pretrained
    return WeightsHeader(recipe.name, recipe.network.to_dict(), scheme, training)


def load_pretrained(weights: str, network: Method, scheme: LandmarkScheme) -> tuple[dict[str, Any], list[str]]:
    """Gives a network, which is to learn the landmarks of a scheme, the weights of a file of a network of its shape.

    Of a network for another number of landmarks all is kept that does not depend on it. A refinement subnetwork that
    the file lacks stays as it is: a new one moves nothing, so the network begins with what the file's does.

    Returns:
        What a weight file says of them: name, SHA-256 and faces seen; and what the user should know of them.

    Raises:
        ValueError: the file is damaged, or of a network of another shape; the message names what differs.
    """
    path = find_weights(weights, ".safetensors")
    header = read_header(path)
    config = header.config
    differing = differences(config.to_dict(), network.config.to_dict(), "network.")
    there, here = load_network(path).state_dict(), network.state_dict()
    if not config.refinement.patches:
        there |= {k: v for k, v in here.items() if k.startswith("refinement.")}
    anew = _of_landmarks(there, config, network.config.num_landmarks)
    there |= {k: here[k] for k in anew if k in here}
    shapes = {k: (_shape(there, k), _shape(here, k)) for k in [*here, *(k for k in there if k not in here)]}
    if wrong := {k: v for k, v in shapes.items() if v[0] != v[1]}:
        first, (a, b) = next(iter(wrong.items()))
        settings = ", ".join(f"{k} {a} (here {b})" for k, (a, b) in differing.items())
        raise ValueError(
            f"{path} does not fit the recipe's network: it has {settings or 'another network'}; {len(wrong)} tensors "
            f"differ, the first is {first}, {a} there and {b} here. Give the recipe that network, or other weights"
        )
    network.load_state_dict(there)
    notes = [f"starting from the weights {header.name} ({weights})"]
    notes += [f"they were trained with {key} {a}, and go on with {b}" for key, (a, b) in differing.items()]
    if anew:
        notes.append(f"what depends on the number of landmarks begins anew: {', '.join(anew)}; the rest is kept")
    if header.scheme != scheme:
        notes.append(f"they were trained on landmarks of {header.scheme.name}, and go on with {scheme.name}")
    seen = header.training.get("faces_seen")
    return {"weights": weights, "name": header.name, "faces_seen": seen, "sha256": sha256(path)}, notes


def _of_landmarks(tensors: dict[str, Tensor], config: NetworkConfig, landmarks: int) -> list[str]:
    """Which tensors of a network would have another shape if it had so many landmarks."""
    if landmarks == config.num_landmarks:
        return []
    with torch.device("meta"):
        other = build(replace(config, num_landmarks=landmarks)).state_dict()
    return [k for k, v in other.items() if v.shape != tensors[k].shape]


def _shape(tensors: dict[str, Any], name: str) -> str:
    return "x".join(map(str, tensors[name].shape)) or "a number" if name in tensors else "missing"
