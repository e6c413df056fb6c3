"""What the landmarks of an object are: their names, the lines between them, which change places in a mirror."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jvcr.files import read_toml

MOST_LANDMARKS = 10_000
"""A scheme of more is a mistake, and would take memory by the gigabyte."""


@dataclass(frozen=True)
class LandmarkScheme:
    """The landmarks of one kind of object; nothing in the package depends on their number.

    Attributes:
        name: how files and weights refer to it.
        num_landmarks: how many landmarks there are, N.
        mirror_pairs: index pairs that change places when the image is mirrored.
        groups: group name -> landmark indices in drawing order.
        closed_groups: names of the groups whose last landmark is joined to the first.
        normalizer: the two landmarks whose 3D distance normalises the ground truth error (GTE, section IV-C): of a face
            the outer eye corners.
        template: N points (x right, y down, z away from the camera, any unit) of an average object seen from
            the front, for its pose; None where there is none, and results then carry no angles.
        derived: name -> the landmarks whose mean it is. These are the last landmarks of the scheme, in this order.
        depth: how deep the volume is over how wide: for faces 1, a cube. Of an object that reaches further along z than
            1.25 times the longer side of its x-y box, landmarks would lie outside: ``jvcr data check`` says which
            depth would hold all.
        base: name of the scheme of the landmarks before them; None where none are derived. Data labelled by that
            scheme can train and measure networks of this one.

    Example:
        >>> FACE68.num_landmarks, FACE68.mirror[36]
        (68, 45)
    """

    name: str
    num_landmarks: int
    mirror_pairs: tuple[tuple[int, int], ...] = ()
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    closed_groups: frozenset[str] = frozenset()
    normalizer: tuple[int, int] | None = None
    template: tuple[tuple[float, float, float], ...] | None = None
    derived: dict[str, tuple[int, ...]] = field(default_factory=dict)
    base: str | None = None
    depth: float = 1.0

    def __post_init__(self) -> None:
        if not 0.05 <= self.depth <= 20:
            raise ValueError(f"scheme {self.name!r}: depth must be 0.05 to 20, got {self.depth}")
        if not 1 <= self.num_landmarks <= MOST_LANDMARKS:
            raise ValueError(
                f"scheme {self.name!r}: num_landmarks must be 1 to {MOST_LANDMARKS}, got {self.num_landmarks}"
            )
        used = [i for pair in self.mirror_pairs for i in pair]
        if len(set(used)) != len(used):
            raise ValueError(f"scheme {self.name!r}: a landmark stands in two mirror_pairs")
        indices = used + [i for g in self.groups.values() for i in g] + list(self.normalizer or ())
        wrong = sorted({i for i in indices if not 0 <= i < self.num_landmarks})
        if wrong:
            raise ValueError(f"scheme {self.name!r}: landmarks {wrong} are not in 0..{self.num_landmarks - 1}")
        if self.template is not None and np.shape(self.template) != (self.num_landmarks, 3):
            raise ValueError(f"scheme {self.name!r}: template must be {self.num_landmarks} points of three numbers")
        if bool(self.derived) != (self.base is not None):
            raise ValueError(f"scheme {self.name!r}: base and derived go together, one is missing")
        for name, sources in self.derived.items():
            if not sources or min(sources) < 0 or max(sources) >= self.num_base_landmarks:
                raise ValueError(
                    f"scheme {self.name!r}: {name} must be the mean of one or more of the landmarks before the derived "
                    f"ones, 0..{self.num_base_landmarks - 1}, got {list(sources)}"
                )

    @cached_property
    def mirror(self) -> NDArray[np.intp]:
        """(N,) permutation: landmark i of the mirrored object is landmark ``mirror[i]`` of the object."""
        order = np.arange(self.num_landmarks)
        for a, b in self.mirror_pairs:
            order[a], order[b] = b, a
        order.flags.writeable = False
        return order

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Index pairs to draw a line between."""
        lines = [pair for group in self.groups.values() for pair in pairwise(group)]
        lines += [(g[-1], g[0]) for name, g in self.groups.items() if name in self.closed_groups and len(g) > 2]
        return tuple(lines)

    @cached_property
    def contours(self) -> tuple[tuple[int, ...], ...]:
        """Groups around an aperture, such as eyes and lips: closed, with as many landmarks on one side as on the other.

        The first landmark and the one half way round are the corners.
        """
        closed = (self.groups[name] for name in self.groups if name in self.closed_groups)
        return tuple(group for group in closed if len(group) >= 4 and len(group) % 2 == 0)

    @property
    def is_face(self) -> bool:
        """Whether it has the eyes of a face: a face detector then finds the object."""
        return {"left_eye", "right_eye"} <= self.groups.keys()

    @property
    def box_kind(self) -> Literal["detector", "landmarks"]:
        """What boxes surround where nobody says: a face as detectors box it, or the landmarks of any other object."""
        return "detector" if self.is_face else "landmarks"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each landmark: its group and the place in it."""
        names = [f"landmark_{i}" for i in range(self.num_landmarks)]
        for group, indices in self.groups.items():
            for place, i in enumerate(indices):
                names[i] = f"{group}_{place}"
        names[self.num_base_landmarks :] = self.derived
        return tuple(names)

    @property
    def num_base_landmarks(self) -> int:
        """Number of landmarks that are not derived: they come first."""
        return self.num_landmarks - len(self.derived)

    def extends(self, other: LandmarkScheme) -> bool:
        """Whether this scheme is the landmarks of the other one, by name and number, and further ones derived of them.

        Example:
            >>> load_scheme("face71").extends(FACE68)
            True
        """
        return self.base == other.name and self.num_base_landmarks == other.num_landmarks

    def completed(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """The landmarks with the derived ones behind them.

        Args:
            points: (..., B, 3) landmarks of the base, B = `num_base_landmarks`. Others, (..., N, 3) for one, are given
                back as they are: who takes them sees whether they fit.

        Returns:
            (..., N, 3) in the type of ``points``.
        """
        if not self.derived or points.ndim < 2 or points.shape[-2] != self.num_base_landmarks:
            return points
        means = [points[..., list(sources), :].mean(axis=-2, keepdims=True) for sources in self.derived.values()]
        return np.concatenate([points, *means], axis=-2)

    def without_derived(self) -> LandmarkScheme:
        """The scheme of the base's landmarks; a scheme that derives none is its own."""
        if self.base is None:
            return self
        count = self.num_base_landmarks
        groups = {name: group for name, group in self.groups.items() if all(i < count for i in group)}
        return replace(
            self,
            name=self.base,
            num_landmarks=count,
            mirror_pairs=tuple(pair for pair in self.mirror_pairs if max(pair) < count),
            groups=groups,
            closed_groups=frozenset(name for name in groups if name in self.closed_groups),
            normalizer=self.normalizer if max(self.normalizer or (0,)) < count else None,
            template=None if self.template is None else self.template[:count],
            derived={},
            base=None,
        )

    @classmethod
    def load(cls, path: str | Path) -> LandmarkScheme:
        """Reads a scheme from a TOML file; ``jvcr/schemes/face68.toml`` and ``face71.toml`` show every key.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not TOML, or a key is missing, unknown or wrong.
        """
        return cls.from_dict(read_toml(path))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LandmarkScheme:
        """A scheme from the content of such a file; the opposite of `to_dict`."""
        data = dict(data)
        for older, name in (("points", "num_landmarks"), ("interocular", "normalizer")):  # names in older files
            if older in data:
                data[name] = data.pop(older)
        known = {
            "name",
            "num_landmarks",
            "mirror_pairs",
            "groups",
            "normalizer",
            "template",
            "derived",
            "base",
            "depth",
        }
        if unknown := sorted(set(data) - known):
            raise ValueError(f"a landmark scheme has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        try:
            groups, template = data.get("groups", {}), data.get("template")
            return cls(
                name=str(data["name"]),
                num_landmarks=int(data["num_landmarks"]),
                mirror_pairs=tuple((int(a), int(b)) for a, b in data.get("mirror_pairs", ())),
                groups={name: tuple(int(i) for i in g["landmarks"]) for name, g in groups.items()},
                closed_groups=frozenset(name for name, g in groups.items() if g.get("closed", False)),
                normalizer=tuple(data["normalizer"]) if data.get("normalizer") else None,
                template=tuple(tuple(float(v) for v in p) for p in template["points"])  # type: ignore[misc]
                if template
                else None,
                derived={name: tuple(int(i) for i in sources) for name, sources in data.get("derived", {}).items()},
                base=None if data.get("base") is None else str(data["base"]),
                depth=float(data.get("depth", 1.0)),
            )
        except KeyError as error:
            raise ValueError(f"a landmark scheme needs the key {error}") from error
        except (TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"a landmark scheme has a value of the wrong kind: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain data of the layout of the TOML file, for a weight file's header."""
        data: dict[str, Any] = {
            "name": self.name,
            "num_landmarks": self.num_landmarks,
            "mirror_pairs": [list(p) for p in self.mirror_pairs],
            "groups": {n: {"landmarks": list(g), "closed": n in self.closed_groups} for n, g in self.groups.items()},
            "normalizer": list(self.normalizer) if self.normalizer else None,
            "template": {"points": [list(p) for p in self.template]} if self.template else None,
        }
        if self.depth != 1:  # so that versions which know of none of these read all other schemes
            data["depth"] = self.depth
        if self.derived:
            data |= {"derived": {name: list(sources) for name, sources in self.derived.items()}, "base": self.base}
        return data


def load_scheme(name: str) -> LandmarkScheme:
    """The scheme of a built-in name ("face68", "face66", "face71") or of a TOML file's path.

    Raises:
        ValueError: it is neither.
    """
    folder = resources.files("jvcr") / "schemes"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"jvcr was installed or packed without its schemes and weights ({folder}): an application made of it must "
            "take the package's data files along; PyInstaller does so by itself, by the hook that comes with jvcr"
        )
    if (file := folder / f"{name}.toml").is_file():
        return LandmarkScheme.from_dict(tomllib.loads(file.read_text(encoding="utf-8")))
    if Path(name).is_file():
        return LandmarkScheme.load(name)
    built_in = ", ".join(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))
    raise ValueError(f"no landmark scheme {name!r}: give one of {built_in}, or the path of a TOML file")


FACE68 = load_scheme("face68")
FACE66 = load_scheme("face66")
