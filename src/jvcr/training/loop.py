"""The loop: both stages, validation, checkpoints, resuming and stopping."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from jvcr.data.dataset import LandmarkDataset
from jvcr.evaluation.metrics import gte, nme_2d
from jvcr.export.weights import WeightsHeader, save_weights
from jvcr.files import replacing
from jvcr.model.network import JVCR
from jvcr.training.feed import Examples, StepSampler, to_input, training_batches
from jvcr.training.objective import Losses, Objective, Stage
from jvcr.training.progress import Progress
from jvcr.training.recipe import Recipe
from jvcr.training.schedule import learning_rate, make_optimizer

CHECKPOINT = "last.pt"
WEIGHTS = "best.safetensors"
LOG = "metrics.jsonl"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        finished: False if it was stopped before its last step.
        steps: steps done.
        faces: faces seen.
        seconds: time spent training, validation and earlier sittings included.
        best: the validation figures of the weights kept, percent.
        weights: where they are.
    """

    finished: bool
    steps: int
    faces: int
    seconds: float
    best: dict[str, float]
    weights: Path


@dataclass
class _State:
    """What a checkpoint holds beside weights and optimiser."""

    step: int = 0
    seconds: float = 0.0
    best: dict[str, float] | None = None


class Trainer:
    """One training run in its folder.

    Args:
        recipe: what to do.
        train: faces to train on.
        val: faces to validate on; never trained on.
        out: the run's folder: checkpoint, best weights and log.
        fabric: where it runs; None for this machine's processor or accelerator.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: LandmarkDataset,
        val: LandmarkDataset,
        out: Path,
        fabric: Fabric | None = None,
    ) -> None:
        scheme = train.scheme
        if recipe.network.points != scheme.points:
            raise ValueError(
                f"the network has {recipe.network.points} points, the scheme {scheme.name} {scheme.points}: set "
                f"network.points"
            )
        if val.scheme != scheme:
            raise ValueError(f"trained on landmarks of {scheme.name}, validated on {val.scheme.name}")
        self.recipe, self.scheme, self.out = recipe, scheme, out
        self.fabric = fabric or Fabric(accelerator="auto", devices=1, precision=precision(recipe.precision))  # type: ignore[arg-type]
        self.fabric.seed_everything(recipe.seed, verbose=False)
        size = recipe.network.voxel.image_size
        self.train_examples = Examples(train, size, recipe.augmentation, recipe.seed, recipe.data.in_memory)
        self.val_examples = Examples(val, size, None, recipe.seed, recipe.data.in_memory)
        self.sampler = StepSampler(train.sources, recipe.data.source_shares, recipe.batch_size, recipe.seed)
        network = JVCR(recipe.network)
        network.voxel.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.coordinate.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        objective = Objective(network, recipe.loss)
        self.objective, self.optimizer = self.fabric.setup(objective, make_optimizer(network, recipe.optimizer))
        decay = recipe.optimizer.average
        self.average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
        )
        self.network = network
        self.state = _State()
        self._stop = False

    # -- the run's length

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which as many faces are seen as there are."""
        return len(self.train_examples) / self.recipe.batch_size

    @property
    def separate_steps(self) -> int:
        """Steps of the first stage."""
        return round(self.recipe.stages.separate * self.steps_per_epoch)

    @property
    def total_steps(self) -> int:
        """Steps of both stages."""
        return self.separate_steps + round(self.recipe.stages.joint * self.steps_per_epoch)

    def stage(self, step: int) -> Stage:
        """The stage a step belongs to."""
        return "separate" if step < self.separate_steps else "joint"

    # -- running

    def run(self) -> Outcome:
        """Trains from the current step to the end, or until it is asked to stop, and keeps the best weights."""
        if self.total_steps == 0:
            raise ValueError(
                f"the stages are shorter than one step: {len(self.train_examples)} faces in batches of "
                f"{self.recipe.batch_size} make {self.steps_per_epoch:.3g} steps an epoch; lengthen stages"
            )
        progress = Progress(self.total_steps, enabled=self.fabric.is_global_zero)
        with progress, self._stopping_politely(progress):
            for examples, what in ((self.train_examples, "training"), (self.val_examples, "validation")):
                with progress.reading(what, len(examples)) as advance:
                    examples.load(advance)
            self._train(progress)
        finished = self.state.step >= self.total_steps
        faces = self.state.step * self.recipe.batch_size
        best = self.state.best or {}
        return Outcome(finished, self.state.step, faces, self.state.seconds, best, self.out / WEIGHTS)

    def _train(self, progress: Progress) -> None:
        state, recipe = self.state, self.recipe
        batches = training_batches(
            self.train_examples,
            self.sampler,
            state.step,
            self.total_steps,
            recipe.workers,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        last_saved = asked = time.monotonic()
        started = asked - state.seconds
        every = max(1, round(recipe.validate_epochs * self.steps_per_epoch))
        for pixels, points in batches:
            waited = time.monotonic() - asked
            losses = self._step(to_input(pixels), points)
            state.step += 1
            state.seconds = time.monotonic() - started
            progress.step(state.step, self.stage(state.step - 1), losses, recipe.batch_size, waited)
            ended = state.step == self.total_steps
            if state.step % every == 0 or ended:
                self._validate(progress)
                state.seconds = time.monotonic() - started
            stop = self._agreed(self._stop)
            if ended or stop or self._agreed(time.monotonic() - last_saved > 60 * recipe.checkpoint_minutes):
                self.save()
                last_saved = time.monotonic()
            if stop:
                return
            asked = time.monotonic()

    def _step(self, image: Tensor, points: Tensor) -> Losses:
        image, points = self.fabric.to_device((image, points))
        epoch = self.state.step / self.steps_per_epoch
        epochs = self.total_steps / self.steps_per_epoch
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe.optimizer, epoch, epochs)
        self.objective.train()
        losses = self.objective(image, points, self.stage(self.state.step))
        if not math.isfinite(total := float(losses.total.detach())):
            raise FloatingPointError(
                f"the loss is {total} at step {self.state.step}: start again with a lower optimizer.learning_rate, or "
                f"with optimizer.clip"
            )
        self.fabric.backward(losses.total)
        if self.recipe.optimizer.clip:
            self.fabric.clip_gradients(self.objective, self.optimizer, max_norm=self.recipe.optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return Losses(*(v.detach() for v in losses))

    @property
    def averaged_network(self) -> JVCR:
        """The network whose weights are validated and kept."""
        return self.average.module if self.average is not None else self.network  # type: ignore[return-value]

    # -- validation

    def _validate(self, progress: Progress) -> None:
        figures = self.validate()
        self._log({"step": self.state.step, "epoch": self.state.step / self.steps_per_epoch, "val": figures})
        progress.validated(figures)
        if self.stage(self.state.step - 1) != "joint":
            return  # P has not read G's volumes yet
        if self.state.best is None or figures["nme"] < self.state.best["nme"]:
            self.state.best = figures
            if self.fabric.is_global_zero:
                save_weights(self.out / WEIGHTS, self.averaged_network, self.header())

    @torch.inference_mode()
    def validate(self, batch_size: int = 64) -> dict[str, float]:
        """NME and GTE, percent, over the validation faces with true boxes; each rank takes its shard exactly once.

        Returns:
            ``nme`` and ``gte`` (z-mean aligned) over all faces, and ``nme_<source>`` where sources have names.
        """
        network = self.averaged_network.eval()
        mine = range(self.fabric.global_rank, len(self.val_examples), self.fabric.world_size)
        predicted, truth = [], []
        for start in range(0, len(mine), batch_size):
            pairs = [self.val_examples[(i, 0)] for i in mine[start : start + batch_size]]
            image = to_input(torch.from_numpy(np.stack([p for p, _ in pairs])))
            _, points = network(self.fabric.to_device(image))
            predicted.append(points.float().cpu().numpy())
            truth.append(np.stack([t for _, t in pairs]))
        self.network.train()
        errors = np.zeros((len(self.val_examples), 2))
        if predicted:
            p, t = np.concatenate(predicted), np.concatenate(truth)
            interocular = self.scheme.interocular
            errors[list(mine), 0] = 100 * nme_2d(p, t)
            if interocular:
                errors[list(mine), 1] = 100 * gte(p, t, interocular)
        if self.fabric.world_size > 1:
            errors = self._summed(torch.from_numpy(errors)).cpu().numpy()
        figures = {"nme": float(errors[:, 0].mean())}
        if self.scheme.interocular:
            figures["gte"] = float(errors[:, 1].mean())
        sources = self.val_examples.dataset.sources
        for source in sorted(set(sources.tolist()) - {""}):
            figures[f"nme_{source}"] = float(errors[sources == source, 0].mean())
        return figures

    # -- files

    def header(self) -> WeightsHeader:
        """What a weight file made now would say of itself."""
        training = {
            "recipe": {k: v for k, v in self.recipe.to_dict().items() if k != "network"},
            "faces_seen": self.state.step * self.recipe.batch_size,
            "minutes": round(self.state.seconds / 60, 1),
            "train_faces": len(self.train_examples),
            "val": self.state.best or {},
        }
        return WeightsHeader(self.recipe.name, self.recipe.network, self.scheme, training)

    def save(self) -> None:
        """Writes the checkpoint: everything that is needed to go on as if never stopped."""
        if not self.fabric.is_global_zero:
            return
        content = {
            "recipe": self.recipe.to_dict(),
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": vars(self.state),
            "faces": fingerprint(self.train_examples.dataset),
        }
        with replacing(self.out / CHECKPOINT) as temporary:
            torch.save(content, temporary)

    def resume(self) -> None:
        """Goes on from the checkpoint in the run's folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged, or was made by a recipe that differs in more than how long and how often.
        """
        path = self.out / CHECKPOINT
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: nothing to resume; leave --resume out to start")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            old = Recipe.from_dict(content["recipe"])
        except Exception as error:
            raise _no_checkpoint(path, error) from error
        if differing := differences(old, self.recipe):
            raise ValueError(
                f"{path} was made by a recipe that differs in {', '.join(differing)}: give the same recipe, "
                "or another --out"
            )
        if content.get("faces") != fingerprint(self.train_examples.dataset):
            raise ValueError(f"{path} was made with other training faces: give the same --data, or another --out")
        try:
            self.network.load_state_dict(content["network"])
            if self.average is not None:
                self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.state = _State(**content["state"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise _no_checkpoint(path, error) from error
        self._forget_log_after(self.state.step)

    def _log(self, entry: dict[str, Any]) -> None:
        if self.fabric.is_global_zero:
            entry = {**entry, "seconds": round(self.state.seconds, 1)}
            with (self.out / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def _forget_log_after(self, step: int) -> None:
        """Drops what a stopped run logged after its last checkpoint: it will be done and logged again."""
        path = self.out / LOG
        if path.is_file() and self.fabric.is_global_zero:
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if _logged_step(line) <= step]
            with replacing(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    # -- stopping

    @contextmanager
    def _stopping_politely(self, progress: Progress) -> Iterator[None]:
        """Ctrl-C finishes the step, saves and stops; a second one stops at once."""
        process = os.getpid()

        def ask(signum: int, frame: object) -> None:
            if os.getpid() != process:
                return  # a worker, which inherits this: it ends when the loop does
            self._stop = True
            progress.note("stopping after this step; press Ctrl-C again to stop without saving")
            for s, handler in before.items():
                signal.signal(s, handler)

        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for s in before:
                signal.signal(s, ask)
        except ValueError:  # not the main thread: nothing to catch there
            before = {}
        try:
            yield
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)

    def _agreed(self, wish: bool) -> bool:
        """Whether any rank wishes so: all must leave the loop, or save, at the same step."""
        if self.fabric.world_size == 1:
            return wish
        return bool(self._summed(torch.tensor(float(wish))) > 0)

    def _summed(self, value: Tensor) -> Tensor:
        total = self.fabric.all_reduce(value, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total


def _no_checkpoint(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read as a checkpoint ({type(error).__name__}: {error}): it is damaged, or of another version"
    )


def _logged_step(line: str) -> float:
    """The step of a line of the log; infinity for a line that was cut short when the run was killed."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf


def differences(old: Recipe, new: Recipe) -> list[str]:
    """The settings in which two recipes differ and that a resumed run must not change."""
    free = {"stages.joint", "optimizer.decay_epochs", "workers", "validate_epochs", "checkpoint_minutes", "precision"}
    a, b = _flat(old.to_dict()), _flat(new.to_dict())
    return sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k) and k not in free)


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def fingerprint(dataset: LandmarkDataset) -> str:
    """Tells the faces of a data set, their landmarks and their order from any others."""
    digest = hashlib.sha256("\n".join(dataset.images.tolist()).encode())
    digest.update(np.ascontiguousarray(dataset.points_px).tobytes())
    return digest.hexdigest()


def precision(name: str) -> str:
    """Fabric's name for "auto": bfloat16 where the processor or accelerator computes in it, else float32."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    native = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    )
    return "bf16-mixed" if native else "32-true"


def keep_freed_memory() -> None:
    """Tells glibc's malloc to keep what a step frees for the next one, instead of handing it back to the system.

    A step on the CPU takes and frees the same gigabyte of activations; getting it anew costs tens of thousands of page
    faults a second. On other systems this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 256 << 20)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(option, value)
