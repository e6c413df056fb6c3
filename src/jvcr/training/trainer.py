"""The loop: both stages, validation, checkpoints, resuming and stopping."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lightning_fabric import Fabric

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.loader import Batch, training_batches
from jvcr.data.shards import ShardedDataset
from jvcr.training.aperture_loss import ApertureLoss
from jvcr.training.checkpoint import (
    CHECKPOINT,
    LOG,
    TENSORBOARD,
    WEIGHTS,
    RunLog,
    RunState,
    damaged,
    load_pretrained,
    read_checkpoint,
    weights_header,
    write_checkpoint,
)
from jvcr.training.distributed import Ranks
from jvcr.training.faces import check_landmarks, known_labels, load_images, make_examples, make_sampler
from jvcr.training.interrupt import Interrupt
from jvcr.training.learner import Learner
from jvcr.training.optim import Schedule
from jvcr.training.processes import Processes, precision
from jvcr.training.progress import Progress
from jvcr.training.recipe import Recipe
from jvcr.training.validation import Metrics, Validation
from jvcr.weights.safetensors import save_weights

LOG_STEPS = 100
"""The log gets a line with the mean losses of so many steps."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: whether it came to its end, and what was done in all its sittings.

    ``best`` are the validation figures of the ``weights`` kept, percent.
    """

    finished: bool
    steps: int
    faces: int
    seconds: float
    best: dict[str, float]
    weights: Path


class Trainer:
    """One training run in its folder.

    With several processes each has a trainer, and all do the same steps: each takes its part of every batch, and
    losses, gradients and batch norms are those of the whole batch. So they come to what one process comes to, up to
    rounding.

    Args:
        recipe: what to do.
        train: faces to train on.
        val: faces to validate on, never trained on: the weights that do best on them are kept. None keeps the last.
        metrics: what is measured on them.
        out: the run's folder: checkpoint, best weights and log. The first process writes them, all read them to resume.
        fabric: where it runs, launched; None for one process on this machine's processor or accelerator.
        compiled: let torch.compile make the network quicker.
        tensorboard: write what the log gets for TensorBoard, too, into the folder ``tensorboard``.

    Raises:
        ValueError: recipe and faces do not fit each other, or the processes cannot share a batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: LandmarkDataset | ShardedDataset,
        val: LandmarkDataset | None,
        metrics: Metrics,
        out: Path,
        fabric: Fabric | None = None,
        compiled: bool = False,
        tensorboard: bool = False,
    ) -> None:
        check_landmarks(recipe, train, val)
        self.recipe, self.scheme, self.out = recipe, train.scheme, out
        fabric = fabric or Processes().fabric(precision(recipe.precision))
        self.precision = precision(recipe.precision, fabric.device.type)
        self.ranks = Ranks(fabric)
        Processes(self.ranks.total).check_batch(recipe.batch_size)
        fabric.seed_everything(recipe.seed, verbose=False)
        self.schedule, self.sampler = Schedule(recipe, len(train)), make_sampler(recipe, train)
        self.examples = make_examples(recipe, train, augmented=True)
        self.validation = None
        if val is not None:
            self.validation = Validation(make_examples(recipe, val, augmented=False), val.sources, metrics, self.ranks)
        apertures = None
        if recipe.loss.aperture_weight and self.scheme.contours:
            known = known_labels(train)
            apertures = ApertureLoss(self.scheme, recipe.loss, known.points_px, known.seen_by_hand())
        self.learner = Learner(recipe, self.scheme, apertures, fabric, compiled)
        self.log, self.state = RunLog(out / LOG, out / TENSORBOARD if tensorboard else None), RunState()
        self._has_checkpoint = False

    def run(self) -> Outcome:
        """Trains from the current step to the end, or until it is asked to stop, and keeps the best weights.

        Raises:
            FloatingPointError: the loss is not finite any more.
            StoppedByAnother: another process has an error, which it raises.
        """
        state, schedule, last = self.state, self.schedule, self.schedule.total_steps
        schedule.check()
        progress = Progress(last, enabled=self.ranks.is_first)
        with progress, Interrupt(progress.note_interrupt) as interrupt:
            begun = time.monotonic() - state.seconds
            self._prepare(progress)
            batches, saved = _timed(self._loader()), time.monotonic()
            state.reading += saved - begun - state.seconds
            finished = state.step >= last
            while not finished:
                batch, waited, error = next(batches)
                now = time.monotonic()
                is_due, is_over = now - saved > 60 * self.recipe.checkpoint_minutes, schedule.is_over(now - begun)
                stop, save, finished = self.ranks.agreed(error, interrupt.requested, is_due, is_over)
                validates = finished or schedule.validates(state.step + 1)
                logs = validates or (state.step + 1) % LOG_STEPS == 0
                # A log or weights without a checkpoint, as of a run killed then, could neither go on nor begin anew.
                if stop or save or (logs and not self._has_checkpoint):
                    self.save()
                    saved = time.monotonic()
                if stop:
                    finished = False
                    break
                assert batch is not None  # all have agreed that none has an error
                stage = schedule.stage(state.step)
                if state.step == schedule.separate_steps:
                    self.learner.restart_average()
                losses = self.learner.step(batch, state.step, stage, schedule.learning_rate(state))
                state.step += 1
                state.seconds = time.monotonic() - begun
                progress.step(state.step, stage, losses, self.recipe.batch_size, waited)
                finished = finished or state.step == last
                if state.step % LOG_STEPS == 0:
                    self._note({"train": progress.mean_losses(LOG_STEPS)})
                if validates:
                    self._validate(progress, finished)
                    state.seconds = time.monotonic() - begun
                if finished:
                    self.save()
        faces = state.step * self.recipe.batch_size
        return Outcome(finished, state.step, faces, state.seconds, state.best or {}, self.out / WEIGHTS)

    def _prepare(self, progress: Progress) -> None:
        """Gives the network the weights it begins with, and reads the images."""
        if self.recipe.pretrained and self.state.step == 0 and self.state.pretrained is None:
            with self.ranks.together():
                origin, notes = load_pretrained(self.recipe.pretrained, self.learner.network, self.scheme)
            self.state.pretrained = origin
            for note in notes:
                progress.note(note)
        if self.recipe.loss.aperture_weight and not self.scheme.contours:
            progress.note(f"the scheme {self.scheme.name} has no contours: loss.aperture_weight counts nothing")
        validated = None if self.validation is None else self.validation.examples
        for examples, what in ((self.examples, "training"), (validated, "validation")):
            if examples is not None:
                with progress.reading(what, len(examples)) as advance:
                    load_images(examples, self.ranks, advance)

    def _loader(self) -> Iterable[Batch]:
        first, last, workers = self.state.step, self.schedule.total_steps, self.recipe.workers
        where = self.ranks.rank, self.ranks.total, self.learner.on_gpu
        return training_batches(self.examples, self.sampler, first, last, workers, *where)

    def _validate(self, progress: Progress, last: bool) -> None:
        """Measures the weights and keeps them if they are the best so far; in stage 1 only those at the run's end."""
        state = self.state
        if self.validation is None:
            return  # each checkpoint keeps the weights
        self.learner.settle()
        figures = self.validation(self.learner.averaged_network)
        self._note({"val": figures})
        progress.validated(figures)
        if self.schedule.stage(state.step - 1) != "joint" and not last:
            return  # P has not read G's volumes yet
        first = next(iter(figures))
        if state.best is None or figures[first] < state.best[first]:
            state.best = figures
            self._keep_weights()

    def _note(self, figures: dict[str, dict[str, float]]) -> None:
        """A line of the log."""
        epoch, seconds = self.state.step / self.schedule.steps_per_epoch, round(self.state.seconds, 1)
        with self.ranks.together():
            if self.ranks.is_first:
                self.log.append({"step": self.state.step, "epoch": epoch, **figures, "seconds": seconds})

    def _keep_weights(self) -> None:
        with self.ranks.together():
            if self.ranks.is_first:
                header = weights_header(self.recipe, self.scheme, self.state, len(self.examples))
                save_weights(self.out / WEIGHTS, self.learner.averaged_network, header)

    def save(self) -> None:
        """Writes the checkpoint: everything that is needed to go on as if never stopped.

        With nothing to validate on, its weights are those that are kept. All processes have to call it; the first one
        writes.
        """
        self.learner.settle()
        if self.validation is None:
            self._keep_weights()
        with self.ranks.together():
            if self.ranks.is_first:
                content = {
                    "recipe": self.recipe.to_dict(),
                    "precision": self.precision,
                    "state": vars(self.state),
                    "faces": self.examples.dataset.fingerprint(),
                    **self.learner.state_dict(),
                }
                write_checkpoint(self.out / CHECKPOINT, content)
        self._has_checkpoint = True

    def resume(self) -> None:
        """Goes on from the checkpoint in the run's folder, be it made by as many processes or not.

        Raises as `read_checkpoint`, or StoppedByAnother.
        """
        path, faces = self.out / CHECKPOINT, self.examples.dataset.fingerprint()
        with self.ranks.together():
            content = read_checkpoint(path, self.recipe, faces, self.precision)
            try:
                self.learner.load_state_dict(content, content.get("precision", self.precision) == self.precision)
                self.state, self._has_checkpoint = RunState(**content["state"]), True
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise damaged(path, error) from error
            if self.ranks.is_first:
                self.log.forget_after(self.state.step)


def _timed(batches: Iterable[Batch]) -> Iterator[tuple[Batch | None, float, Exception | None]]:
    """The batches, the seconds waited for each, and in place of a batch what went wrong with it."""
    iterator = iter(batches)
    while True:
        asked, batch, error = time.monotonic(), None, None
        try:
            batch = next(iterator)
        except Exception as failed:
            error = failed
        yield batch, time.monotonic() - asked, error
