"""A training run as data: a TOML file, checked when it is read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from jvcr.data.augment import Augmentation
from jvcr.files import read_toml
from jvcr.model.config import PAPER, STRICT, NetworkConfig
from jvcr.model.method import method_class
from jvcr.training import tables

PRECISIONS = ("auto", "32-true", "16-mixed", "bf16-mixed", "64-true")
"""Fabric's, and "auto"."""


Subnetwork = Literal["voxel", "coordinate", "refinement"]
"""A part of `jvcr.model.JVCR`, by the name of its attribute."""


@dataclass(frozen=True)
class DataRecipe:
    """Which faces.

    Attributes:
        train_split: trained on.
        val_split: validated on: the weights that do best on it are kept. "" trains without, and keeps the last ones, as
            where the only other faces are the test set.
        source_shares: how many faces of each source go into a batch, relative to each other; empty draws all alike.
        rare_share: share of each batch, from 0 to below 1, drawn from faces with rare apertures, eyes shut or wide,
            lips apart or pressed (`jvcr.training.aperture_loss.rare_apertures`): a network that sees few of them tends
            to the usual face. 0 draws all alike.
        in_memory: keep the decoded images in memory, in each process; False reads each when it is its turn. Where it is
            not given they are kept if they take at most a quarter of the machine's memory, all processes together.
        hold_out: of 300W-LP: the parts that make up the split "val", such as IBUG; the others are "train".
        leave_out: of 300W-LP: parts not to read.
        flips: of 300W-LP: read the mirrored images too. `augmentation.flip` mirrors any.
        strict: stop at faces that cannot be used; they are left out and named otherwise.
    """

    __pydantic_config__: ClassVar = STRICT

    train_split: str = "train"
    val_split: str = "val"
    source_shares: dict[str, float] = field(default_factory=dict)
    rare_share: float = 0.0
    in_memory: bool | None = None
    hold_out: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    flips: bool = False
    strict: bool = False


@dataclass(frozen=True)
class StageRecipe:
    """How long each stage lasts, in epochs; an epoch is as many faces as the training split has (section III-B.3).

    Attributes:
        separate: stage 1, G on images and P on ground-truth volumes, each for itself.
        joint: stage 2, P on G's last volume, gradients through both.
        minutes: time after which the run is at its end, if the stages are not over before; 0 sets no limit. Reading the
            images counts. The schedule of the learning rate ends with it: of a trapezoid the fall begins as many epochs
            before the end as the rate so far lets expect. Such a run cannot be repeated to the digit.
        frozen: subnetworks that stay in stage 2 as stage 1 has left them.
    """

    __pydantic_config__: ClassVar = STRICT

    separate: float = 15.0
    joint: float = 10.0
    minutes: float = 0.0
    frozen: tuple[Subnetwork, ...] = ()


@dataclass(frozen=True)
class LossRecipe:
    """Eq. 3-5: L = L_vox + lambda L_coord.

    Attributes:
        voxel: reduction of the squared voxel error of a stack: "mean" over its voxels, or "landmark", the sum over its
            voxels divided by the number of landmarks, which does not fade when the volume grows. Stacks are added up,
            faces averaged.
        coordinate: "l2", the squared error of a coordinate, or "l1", its size, which forgives wrong labels; averaged
            over coordinates (unit frame) and faces.
        coordinate_weight: lambda.
        aperture_weight: how much the vectors between landmarks that face each other across an aperture, as upper and
            lower lid do, count in L_coord beside the landmarks: their error, reduced alike, times this is added. It
            is counted of the network's last landmarks only: of R's where there is R, of P's otherwise. Where people
            labelled all of a contour and could see it, their labels are the truth of these vectors, in x and y;
            elsewhere the fitted landmarks are.
        aperture_fitted: how much an aperture without labels by hand counts beside one with them. It teaches little but
            what a fitted model takes for usual.
        aperture_balance: how much more an aperture counts the rarer it is, from 0, all alike, to 1, all parts of its
            range alike (`jvcr.training.aperture_loss.ApertureLoss`).
        hand_weight: how much the error against labels by hand counts in L_coord, in x and y, where landmarks could be
            seen; the outline of the jaw is left out, since people label it where they see it.
        peak: height of the Gaussians in the ground truth: 1, or Eq. 1's 1 / (2 pi sigma^2). Confidences are read off
            the volume as shares of 1, and so need 1.
        centre: where they lie: "exact", at the landmarks, or "towards-origin", in whole voxels and one to two voxels
            nearer to the origin along each axis, as the authors' released code draws them.
    """

    __pydantic_config__: ClassVar = STRICT

    voxel: Literal["mean", "landmark"] = "mean"
    coordinate: Literal["l2", "l1"] = "l2"
    coordinate_weight: float = 10.0
    aperture_weight: float = 0.0
    aperture_fitted: float = 1.0
    aperture_balance: float = 0.0
    hand_weight: float = 0.0
    peak: float = 1.0
    centre: Literal["exact", "towards-origin"] = "exact"


@dataclass(frozen=True)
class OptimizerRecipe:
    """How weights move.

    Attributes:
        name: "rmsprop" (the paper), "adam" (the authors' released code) or "adamw".
        learning_rate: at its height.
        weight_decay: of convolutions and linear layers; with "adamw" apart from the gradient, else as part of it.
        schedule: "step", a factor 0.1 every ``step_epochs`` (the paper); "drop", one fall to the rate ``drop_to`` after
            ``drop_epochs`` (the authors' released code); or "trapezoid", a linear rise over ``warmup_epochs``, a
            plateau, and a linear fall to 0 over the last ``decay_epochs``. A plateau can be prolonged or cut short on
            ``--resume``.
        max_grad_norm: greatest norm of the gradient; a greater one is scaled down to it. 0 for none.
        ema_decay: decay a step of the running average of the weights, which is what is validated and kept, reached by a
            ramp in each stage (`jvcr.training.ema`); 0 for none.
    """

    __pydantic_config__: ClassVar = STRICT

    name: Literal["rmsprop", "adam", "adamw"] = "rmsprop"
    learning_rate: float = 2.5e-4
    weight_decay: float = 0.0
    schedule: Literal["step", "drop", "trapezoid"] = "step"
    step_epochs: float = 10.0
    drop_epochs: float = 10.0
    drop_to: float = 2.5e-5
    warmup_epochs: float = 0.0
    decay_epochs: float = 0.0
    max_grad_norm: float = 0.0
    ema_decay: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a training run, but the data's place.

    Attributes:
        name: of the weights it makes.
        scheme: the landmarks: a built-in name or the path of a TOML file.
        network: the networks; in a file a preset's name, or a table with ``preset`` and what differs.
        pretrained: weights to begin with, a shipped name or a .safetensors file; "" begins with random ones.
        frozen: subnetworks that stay as they are, weights and batch norms' statistics: "voxel" (G), "coordinate" (P),
            "refinement" (R). For runs that begin with weights.
        batch_size: faces a step, over all processes.
        sync_batch_norm: with several processes, normalise by the statistics of the whole batch, as one process does,
            and not of each process's part.
        seed: of weights, order and augmentation.
        precision: Fabric's name, such as "32-true" or "bf16-mixed", or "auto": bfloat16 where the processor computes in
            it.
        workers: processes that make examples, for each training process; 0 makes them in line.
        validate_epochs: epochs from one validation to the next.
        checkpoint_minutes: minutes from one checkpoint to the next.
    """

    __pydantic_config__: ClassVar = STRICT

    name: str
    scheme: str = "face68"
    network: NetworkConfig = PAPER
    pretrained: str = ""
    frozen: tuple[Subnetwork, ...] = ()
    data: DataRecipe = field(default_factory=DataRecipe)
    augmentation: Augmentation = field(default_factory=Augmentation)
    stages: StageRecipe = field(default_factory=StageRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    batch_size: int = 16
    sync_batch_norm: bool = True
    seed: int = 0
    precision: str = "auto"
    workers: int = 1
    validate_epochs: float = 1.0
    checkpoint_minutes: float = 3.0

    def __post_init__(self) -> None:
        for name, value in tables.flat(asdict(self)).items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if is_number and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number from 0 on, got {float(value)}")
        if self.optimizer.ema_decay >= 1:
            raise ValueError(f"optimizer.ema_decay is below 1, got {self.optimizer.ema_decay}")
        if self.optimizer.learning_rate == 0 or self.optimizer.step_epochs == 0:
            raise ValueError("optimizer.learning_rate and optimizer.step_epochs must be above 0")
        if self.data.rare_share >= 1:
            raise ValueError(f"data.rare_share is below 1, got {self.data.rare_share}")
        if self.loss.aperture_balance > 1:
            raise ValueError(f"loss.aperture_balance is at most 1, got {self.loss.aperture_balance}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        if self.stages.separate + self.stages.joint <= 0:
            raise ValueError("stages: nothing to train, both stages last 0 epochs")
        method_class(self.network.method)
        parts = {"voxel", "coordinate", *(["refinement"] if self.network.refinement.patches else [])}
        if parts <= set(self.frozen):
            raise ValueError(f"frozen names all subnetworks, {', '.join(sorted(parts))}: nothing is left to train")
        if self.frozen and not self.pretrained:
            raise ValueError(f"frozen ({', '.join(self.frozen)}) needs weights to begin with: give pretrained")
        if self.validate_epochs <= 0 or self.checkpoint_minutes <= 0:
            raise ValueError("validate_epochs and checkpoint_minutes must be above 0")

    @classmethod
    def load(cls, path: str | Path, changes: tuple[str, ...] = ()) -> Recipe:
        """Reads a recipe.

        Args:
            path: a TOML file.
            changes: "key=value" pairs that replace what it says, such as "loss.coordinate=l1"; values in TOML.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not TOML, or a key or value is wrong; every wrong one is named, and whose it is.
        """
        data = read_toml(path)
        keys = [tables.apply(data, change) for change in changes]
        try:
            return cls.from_dict(data)
        except RecursionError:
            raise ValueError(f"{path}: its values are nested too deeply") from None
        except ValueError as error:
            given = [key for key in keys if tables.blames(str(error), key)]
            raise ValueError(f"{'--set ' + ', '.join(given) if given else path}: {error}") from error

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """A recipe from a TOML file's content, or from `to_dict`.

        Raises:
            ValueError: a key or value is wrong; every wrong one is named.
        """
        data = {**data, "network": tables.network(data.get("network", "paper"))}
        try:
            return TypeAdapter(cls).validate_python(data)
        except ValidationError as error:
            known = [f.name for f in fields(cls)], tables.flat(cls("any").to_dict())
            raise ValueError(tables.explained(error, [*known[0], *known[1]])) from error

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` reads it back."""
        return asdict(self)
