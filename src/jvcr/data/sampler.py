"""Which faces make up a step.

They follow from the recipe's seed and the step's number alone, so that a resumed run sees the same examples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import Names

SHUFFLED = 16_384
"""Faces of shards that are shuffled with each other: those of as many shards as hold so many."""


class Sampler(ABC):
    """Says which faces each step of ``batch_size`` takes."""

    batch_size: int

    @abstractmethod
    def step(self, number: int) -> NDArray[np.intp]:
        """(batch_size,) faces of a step, counted from 0."""

    def examples(self, number: int, rank: int = 0, ranks: int = 1) -> list[tuple[int, int]]:
        """A rank's part of a step: each face, and the number of its drawing, which no other example of the run has."""
        start = number * self.batch_size
        return [(int(face), start + i) for i, face in enumerate(self.step(number))][rank::ranks]


@dataclass(frozen=True)
class StepSampler(Sampler):
    """Draws the faces of every step: each source is shuffled anew whenever all its faces have been seen.

    Attributes:
        sources: (F,) source of each face.
        shares: faces of a source in a batch, relative to each other; empty draws all alike.
        rare: (F,) the faces that ``rare_share`` is about.
        rare_share: share of each source's part of a batch, rounded to whole faces, that is drawn from its rare faces.
            A source whose faces are all rare, or none of them, is drawn as ever.
    """

    sources: Names
    shares: dict[str, float]
    batch_size: int
    seed: int
    rare: NDArray[np.bool_] | None = None
    rare_share: float = 0.0

    def __post_init__(self) -> None:
        remedy = "--set 'data.source_shares={}' draws all faces alike"
        check_sources("source_shares", self.shares, self.sources, remedy)
        if any(s < 0 for s in self.shares.values()) or (self.shares and sum(self.shares.values()) <= 0):
            raise ValueError("source_shares must not be negative, and not all 0")

    @cached_property
    def _streams(self) -> list[tuple[NDArray[np.intp], int]]:
        """Per stream: its faces and how many of them go into each batch."""
        if self.rare is None:
            return self._of_sources
        parts = []
        for members, count in self._of_sources:
            rare = self.rare[members]
            rares = round(self.rare_share * count) if rare.any() and not rare.all() else 0
            parts += [(members[~rare], count - rares), (members[rare], rares)] if rares else [(members, count)]
        return [(members, count) for members, count in parts if count]

    @cached_property
    def _orders(self) -> list[dict[int, NDArray[np.intp]]]:
        """Per stream: the orders of its faces in the rounds of the latest step."""
        return [{} for _ in self._streams]

    @property
    def _of_sources(self) -> list[tuple[NDArray[np.intp], int]]:
        """As `_streams`, without regard to rare faces."""
        if not self.shares:
            return [(np.arange(len(self.sources)), self.batch_size)]
        names = list(self.shares)
        exact = np.array([self.shares[n] for n in names]) * self.batch_size / sum(self.shares.values())
        counts = np.floor(exact).astype(int)
        for i in np.argsort(counts - exact, kind="stable")[: self.batch_size - counts.sum()]:
            counts[i] += 1
        return [(np.flatnonzero(self.sources == n), int(c)) for n, c in zip(names, counts, strict=True) if c]

    def step(self, number: int) -> NDArray[np.intp]:
        """(batch_size,) faces of a step, counted from 0."""
        faces = []
        for stream, (members, count) in enumerate(self._streams):
            position = np.arange(number * count, (number + 1) * count)
            rounds, places = np.divmod(position, len(members))
            # Shuffling anew at every step would take longer than all else that it does here.
            known = self._orders[stream]
            orders = {
                r: known[r] if r in known else np.random.default_rng([self.seed, stream, r]).permutation(members)
                for r in set(rounds.tolist())
            }
            self._orders[stream] = orders
            faces += [orders[r][p] for r, p in zip(rounds.tolist(), places, strict=True)]
        return np.array(faces)


@dataclass(frozen=True)
class ShardSampler(Sampler):
    """Draws the faces of every step: shards in an order of their own in each epoch, faces shuffled among some shards.

    So all that is read for a while lies in a few shards; and where a step's faces lie follows from its number alone.

    Attributes:
        counts: faces of each shard.
        batch_size: faces of a step.
        seed: of the order.
    """

    counts: tuple[int, ...]
    batch_size: int
    seed: int
    _known: dict[tuple[int, ...], Any] = field(default_factory=dict, repr=False)

    def step(self, number: int) -> NDArray[np.intp]:
        """(batch_size,) faces of a step, counted from 0."""
        total, parts, missing = int(self._firsts[-1]), [], self.batch_size
        while missing:
            epoch, place = divmod((number + 1) * self.batch_size - missing, total)
            shards, begins = self._epoch(epoch)
            group = int(np.searchsorted(begins, place, side="right")) - 1
            parts.append(self._shuffled(epoch, group, shards[group])[place - begins[group] :][:missing])
            missing -= len(parts[-1])
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> tuple[list[NDArray[np.intp]], NDArray[np.intp]]:
        """The groups of shards whose faces are shuffled together, and the place in the epoch at which each begins."""
        return self._remembered((epoch,), lambda: self._grouped(np.random.default_rng([self.seed, epoch])))

    def _grouped(self, rng: np.random.Generator) -> tuple[list[NDArray[np.intp]], NDArray[np.intp]]:
        order = rng.permutation(len(self.counts))
        ends = np.cumsum(np.array(self.counts)[order])
        # A shard belongs to the group in which its last face falls, if all had SHUFFLED faces.
        cuts = np.flatnonzero(np.diff((ends - 1) // SHUFFLED)) + 1
        return np.split(order, cuts), np.concatenate([[0], ends[cuts - 1]]).astype(np.intp)

    def _shuffled(self, epoch: int, group: int, shards: NDArray[np.intp]) -> NDArray[np.intp]:
        def shuffle() -> NDArray[np.intp]:
            faces = np.concatenate([np.arange(self._firsts[s], self._firsts[s + 1]) for s in shards])
            return np.random.default_rng([self.seed, epoch, group]).permutation(faces)

        return self._remembered((epoch, group), shuffle)

    @cached_property
    def _firsts(self) -> NDArray[np.intp]:
        return np.concatenate([[0], np.cumsum(self.counts)])

    def _remembered(self, key: tuple[int, ...], make: Callable[[], Any]) -> Any:
        """What ``make`` gives, kept until three others of its kind have been asked for."""
        if key not in self._known:
            same = [k for k in self._known if len(k) == len(key)]
            if len(same) > 2:
                del self._known[same[0]]
            self._known[key] = make()
        return self._known[key]


def check_sources(key: str, named: Iterable[str], sources: Names, remedy: str) -> None:
    """Raises ValueError, with what to do about it, if a recipe's key names sources that the data does not have."""
    known = sorted(set(sources.tolist()))
    if unknown := sorted(set(named) - set(known)):
        parts = ", ".join(filter(None, known)) or "no parts"
        raise ValueError(f"{key} names {', '.join(unknown)}, but the data has {parts}: {remedy}")
