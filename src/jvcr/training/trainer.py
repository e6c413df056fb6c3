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
import torch.distributed as dist
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.sampler import Examples, StepSampler, to_input, training_batches
from jvcr.evaluation.metrics import gte, nme_2d
from jvcr.files import replacing
from jvcr.model.jvcr import JVCR
from jvcr.training.aperture_loss import ApertureLoss, counted_faces, rare_apertures
from jvcr.training.distributed import Processes, StoppedByAnother
from jvcr.training.ema import exponential_moving_average, restart
from jvcr.training.loss import JVCRLoss, Losses, Stage
from jvcr.training.optim import learning_rate, make_optimizer
from jvcr.training.pretrained import config_differences, load_pretrained
from jvcr.training.progress import Progress
from jvcr.training.recipe import Recipe, flat
from jvcr.training.sync_batch_norm import synchronise_batch_norms
from jvcr.weights.safetensors import WeightsHeader, save_weights

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
    """What a checkpoint holds beside weights and optimiser; ``start`` tells of the weights the run began with."""

    step: int = 0
    seconds: float = 0.0
    best: dict[str, float] | None = None
    start: dict[str, Any] | None = None


class Trainer:
    """One training run in its folder.

    With several processes each has a trainer, and all do the same steps: each takes its part of every batch, and
    losses, gradients and batch norms are those of the whole batch. So they come to what one process comes to, up to
    rounding.

    Args:
        recipe: what to do.
        train: faces to train on.
        val: faces to validate on, never trained on: the weights that do best on them are kept. None keeps the last.
        out: the run's folder: checkpoint, best weights and log. The first process writes them, all read them to resume.
        fabric: where it runs, launched; None for one process on this machine's processor or accelerator.

    Raises:
        ValueError: recipe and faces do not fit each other, or the processes cannot share a batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: LandmarkDataset,
        val: LandmarkDataset | None,
        out: Path,
        fabric: Fabric | None = None,
    ) -> None:
        scheme = train.scheme
        if recipe.network.num_landmarks != scheme.num_landmarks:
            raise ValueError(
                f"the network has {recipe.network.num_landmarks} points, the scheme {scheme.name} {scheme.num_landmarks}: set "
                f"network.num_landmarks"
            )
        if val is not None and val.scheme != scheme:
            raise ValueError(f"trained on landmarks of {scheme.name}, validated on {val.scheme.name}")
        self.recipe, self.scheme, self.out = recipe, scheme, out
        self.precision = precision(recipe.precision)
        self.fabric = fabric or Processes().fabric(self.precision)
        Processes(self.fabric.world_size).check_batch(recipe.batch_size)
        self.fabric.seed_everything(recipe.seed, verbose=False)
        size = recipe.network.voxel.image_size
        seed, kept, shown = recipe.seed, recipe.data.in_memory, (recipe.network.crop, recipe.network.stretch)
        self.train_examples = Examples(train, size, recipe.augmentation, seed, kept, *shown)
        self.val_examples = None if val is None else Examples(val, size, None, seed, kept, *shown)
        share = recipe.data.rare_share
        rare = rare_apertures(train.points_px, scheme) if share else None
        self.sampler = StepSampler(
            train.sources, recipe.data.source_shares, recipe.batch_size, recipe.seed, rare, share
        )
        counts = bool(recipe.loss.aperture_weight and scheme.contours)
        self.counted = counted_faces(train, recipe.loss.aperture_sources if counts else ())
        apertures = ApertureLoss(scheme, recipe.loss, train.points_px[self.counted]) if counts else None
        network = JVCR(recipe.network)
        network.voxel.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.coordinate.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if self.fabric.world_size > 1 and recipe.sync_batch_norm:
            synchronise_batch_norms(network)
        self.fixed = [part for name in recipe.fixed if (part := getattr(network, name)) is not None]
        for part in self.fixed:
            part.requires_grad_(False)
        objective = JVCRLoss(network, recipe.loss, apertures)
        self.objective, self.optimizer = self.fabric.setup(objective, make_optimizer(network, recipe.optimizer))
        decay = recipe.optimizer.average
        self.average = exponential_moving_average(network, decay) if decay else None
        self.network = network
        self.state = _State()
        self._stop = False
        self._resumed = False

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
        """Trains from the current step to the end, or until it is asked to stop, and keeps the best weights.

        Raises:
            StoppedByAnother: another process has an error, which it raises.
        """
        if self.total_steps == 0:
            raise ValueError(
                f"the stages are shorter than one step: {len(self.train_examples)} faces in batches of "
                f"{self.recipe.batch_size} make {self.steps_per_epoch:.3g} steps an epoch; lengthen stages"
            )
        progress = Progress(self.total_steps, enabled=self.fabric.is_global_zero)
        with progress, self._stopping_politely(progress):
            if self.recipe.start and not self._resumed:
                self._start(progress)
            if self.recipe.loss.aperture_weight and not self.scheme.contours:
                progress.note(f"the scheme {self.scheme.name} has no openings: loss.aperture_weight counts nothing")
            for examples, what in ((self.train_examples, "training"), (self.val_examples, "validation")):
                if examples is None:
                    continue
                with self._together(), progress.reading(what, len(examples)) as advance:
                    examples.load(advance)
            self._train(progress)
        finished = self.state.step >= self.total_steps
        faces = self.state.step * self.recipe.batch_size
        best = self.state.best or {}
        return Outcome(finished, self.state.step, faces, self.state.seconds, best, self.out / WEIGHTS)

    def _start(self, progress: Progress) -> None:
        """Begins with the recipe's weights instead of random ones."""
        with self._together():
            header, digest = load_pretrained(self.recipe.start, self.network)
        seen = header.training.get("faces_seen")
        self.state.start = {"weights": self.recipe.start, "name": header.name, "faces_seen": seen, "sha256": digest}
        progress.note(f"starting from the weights {header.name} ({self.recipe.start})")
        for key, there, here in config_differences(header.network, self.recipe.network):
            progress.note(f"they were trained with {key} {there}, and go on with {here}")
        if header.scheme != self.scheme:
            progress.note(f"they were trained on landmarks of {header.scheme.name}, and go on with {self.scheme.name}")

    def _train(self, progress: Progress) -> None:
        state, recipe = self.state, self.recipe
        batches = iter(
            training_batches(
                self.train_examples,
                self.sampler,
                state.step,
                self.total_steps,
                recipe.workers,
                self.fabric.global_rank,
                self.fabric.world_size,
            )
        )
        last_saved = time.monotonic()
        started = last_saved - state.seconds
        every = max(1, round(recipe.validate_epochs * self.steps_per_epoch))
        while state.step < self.total_steps:
            asked = time.monotonic()
            error = None
            try:
                pixels, points = next(batches)
            except Exception as failed:
                error = failed
            waited = time.monotonic() - asked
            stop, save = self._agreed(error, self._stop, time.monotonic() - last_saved > 60 * recipe.checkpoint_minutes)
            if stop or save:
                self.save()
                last_saved = time.monotonic()
            if stop:
                return
            losses = self._step(to_input(pixels), points)
            state.step += 1
            state.seconds = time.monotonic() - started
            progress.step(state.step, self.stage(state.step - 1), losses, recipe.batch_size, waited)
            if state.step % every == 0 or state.step == self.total_steps:
                self._validate(progress)
                state.seconds = time.monotonic() - started
            if state.step == self.total_steps:
                self.save()

    def _step(self, image: Tensor, points: Tensor) -> Losses:
        examples = self.sampler.examples(self.state.step, self.fabric.global_rank, self.fabric.world_size)
        counted = torch.from_numpy(self.counted[[face for face, _ in examples]].astype(np.float32))
        image, points, counted = self.fabric.to_device((image, points, counted))
        epoch = self.state.step / self.steps_per_epoch
        epochs = self.total_steps / self.steps_per_epoch
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe.optimizer, epoch, epochs)
        self.objective.train()
        for part in self.fixed:
            part.eval()
        losses = self.objective(image, points, self.stage(self.state.step), counted)
        told = self._summed(torch.stack([v.detach() for v in losses])) / self.fabric.world_size
        if not math.isfinite(total := float(told[0])):
            if not self.fabric.is_global_zero:
                raise StoppedByAnother("the first process tells of the loss")
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
            if self.state.step == self.separate_steps:
                # P sees other volumes from here on: statistics of the old ones would spoil the average.
                restart(self.average)
            self.average.update_parameters(self.network)
        return Losses(*told)

    @property
    def averaged_network(self) -> JVCR:
        """The network whose weights are validated and kept."""
        return self.average.module if self.average is not None else self.network  # type: ignore[return-value]

    # -- validation

    def _validate(self, progress: Progress) -> None:
        """Measures the weights and keeps them if they are the best so far; with nothing to measure on, the last."""
        if self.val_examples is None:
            if self.state.step == self.total_steps:
                self._share_statistics()
                self._keep()
            return
        figures = self.validate()
        self._log({"step": self.state.step, "epoch": self.state.step / self.steps_per_epoch, "val": figures})
        progress.validated(figures)
        if self.stage(self.state.step - 1) != "joint":
            return  # P has not read G's volumes yet
        if self.state.best is None or figures["nme"] < self.state.best["nme"]:
            self.state.best = figures
            self._keep()

    def _keep(self) -> None:
        with self._together():
            if self.fabric.is_global_zero:
                save_weights(self.out / WEIGHTS, self.averaged_network, self.header())

    @torch.inference_mode()
    def validate(self, batch_size: int = 64) -> dict[str, float]:
        """NME and GTE, percent, over the validation faces with true boxes; each rank takes its shard exactly once.

        Returns:
            ``nme`` and ``gte`` (z-mean aligned) over all faces, and ``nme_<source>`` where sources have names.
        """
        assert self.val_examples is not None
        self._share_statistics()
        mine = range(self.fabric.global_rank, len(self.val_examples), self.fabric.world_size)
        errors = np.zeros((len(self.val_examples), 2))
        with self._together():
            for start in range(0, len(mine), batch_size):
                faces = list(mine[start : start + batch_size])
                errors[faces] = self._errors(faces)
        errors = self._summed(torch.from_numpy(errors)).cpu().numpy()
        figures = {"nme": float(errors[:, 0].mean())}
        if self.scheme.interocular:
            figures["gte"] = float(errors[:, 1].mean())
        sources = self.val_examples.dataset.sources
        for source in sorted(set(sources.tolist()) - {""}):
            figures[f"nme_{source}"] = float(errors[sources == source, 0].mean())
        return figures

    def _errors(self, faces: list[int]) -> NDArray[np.float64]:
        """(F, 2) NME and GTE, percent, of some validation faces; GTE is 0 where the scheme has no eye corners."""
        assert self.val_examples is not None
        network = self.averaged_network.eval()
        pairs = [self.val_examples[(i, 0)] for i in faces]
        image = self.fabric.to_device(to_input(torch.from_numpy(np.stack([p for p, _ in pairs]))))
        points = network(image.to(next(network.parameters()).dtype)).points
        self.network.train()
        predicted, truth = points.float().cpu().numpy(), np.stack([t for _, t in pairs])
        errors = np.zeros((len(faces), 2))
        errors[:, 0] = 100 * nme_2d(predicted, truth)
        if self.scheme.interocular:
            errors[:, 1] = 100 * gte(predicted, truth, self.scheme.interocular)
        return errors

    def _share_statistics(self) -> None:
        """Where each process has its own batch norms: gives all of them the mean of their running statistics."""
        if self.fabric.world_size == 1 or self.recipe.sync_batch_norm:
            return
        for network in {id(n): n for n in (self.network, self.averaged_network)}.values():
            statistics = [b for b in network.buffers() if b.is_floating_point()]
            means = self._summed(torch.cat([b.flatten() for b in statistics])) / self.fabric.world_size
            for old, new in zip(statistics, means.split([b.numel() for b in statistics]), strict=True):
                old.copy_(new.view_as(old))

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
        if self.state.start:
            training["start"] = self.state.start
        return WeightsHeader(self.recipe.name, self.recipe.network, self.scheme, training)

    def save(self) -> None:
        """Writes the checkpoint: everything that is needed to go on as if never stopped.

        All processes have to call it; the first one writes.
        """
        self._share_statistics()
        with self._together():
            if self.fabric.is_global_zero:
                self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        content = {
            "recipe": self.recipe.to_dict(),
            "precision": self.precision,
            "scaling": self.fabric.strategy.precision.state_dict(),
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": vars(self.state),
            "faces": fingerprint(self.train_examples.dataset),
        }
        with replacing(self.out / CHECKPOINT) as temporary:
            torch.save(content, temporary)

    def resume(self) -> None:
        """Goes on from the checkpoint in the run's folder, be it made by as many processes or not.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged, was made by a recipe that differs in more than how long and how often, or in
                another precision that nobody asked to change.
            StoppedByAnother: another process has an error, which it raises.
        """
        with self._together():
            self._read_checkpoint()
            if self.fabric.is_global_zero:
                self._forget_log_after(self.state.step)
        self._resumed = True

    def _read_checkpoint(self) -> None:
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
        before = content.get("precision", self.precision)
        if self.recipe.precision == "auto" and before != self.precision:
            raise ValueError(
                f'{path} was made in {before}, and precision = "auto" is {self.precision} on this machine: go on in '
                f"{before} with --set precision={before}, or change over with --set precision={self.precision}"
            )
        try:
            self.network.load_state_dict(content["network"])
            if self.average is not None:
                self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            if before == self.precision and content.get("scaling"):
                self.fabric.strategy.precision.load_state_dict(content["scaling"])
            self.state = _State(**content["state"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise _no_checkpoint(path, error) from error

    def _log(self, entry: dict[str, Any]) -> None:
        with self._together():
            if self.fabric.is_global_zero:
                entry = {**entry, "seconds": round(self.state.seconds, 1)}
                with (self.out / LOG).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")

    def _forget_log_after(self, step: int) -> None:
        """Drops what a stopped run logged after its last checkpoint: it will be done and logged again."""
        path = self.out / LOG
        if path.is_file():
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if _logged_step(line) <= step]
            with replacing(path) as temporary:
                temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    # -- stopping, and all processes alike

    @contextmanager
    def _stopping_politely(self, progress: Progress) -> Iterator[None]:
        """Ctrl-C finishes the step, saves and stops; a second one stops at once."""
        process = os.getpid()

        def ask(signum: int, frame: object) -> None:
            if os.getpid() != process:
                return  # a worker, which inherits this: it ends when the loop does
            self._stop = True
            progress.note_from_signal("stopping after this step; press Ctrl-C again to stop without saving")
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

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What one process fails to do in this block stops all of them behind it, instead of leaving some to wait.

        Nothing in the block may wait for another process.
        """
        error = None
        try:
            yield
        except Exception as failed:
            error = failed
        self._agreed(error)

    def _agreed(self, error: Exception | None, *wishes: bool) -> list[bool]:
        """Which of the wishes any process has: all must leave the loop, or save, at the same step.

        Raises:
            Exception: ``error``, if this is the first process that has one.
            StoppedByAnother: another one is.
        """
        ranks, rank = self.fabric.world_size, self.fabric.global_rank
        flags = torch.zeros(ranks + len(wishes))
        flags[rank] = error is not None
        flags[ranks:] = torch.tensor(wishes)
        flags = self._summed(flags)
        if failing := flags[:ranks].nonzero().flatten().tolist():
            if error is not None and failing[0] == rank:
                raise error
            raise StoppedByAnother(f"process {failing[0]} of {ranks} cannot go on") from error
        return [bool(w) for w in flags[ranks:] > 0]

    def _summed(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.fabric.world_size == 1:
            return value
        total = value.to(self.fabric.device, copy=True)
        dist.all_reduce(total)
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
    a, b = flat(old.to_dict()), flat(new.to_dict())
    return sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k) and k not in free)


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
