"""What the landmarks of an object are: their names, the lines between them, which change places in a mirror."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]


@dataclass(frozen=True)
class LandmarkScheme:
    """The landmarks of one kind of object; nothing in the package depends on their number.

    Attributes:
        name: how files and weights refer to it.
        points: number of landmarks N.
        mirror_pairs: index pairs that change places when the image is mirrored.
        groups: group name -> landmark indices in drawing order.
        closed_groups: names of the groups whose last landmark is joined to the first.
        interocular: the two landmarks whose 3D distance normalises the ground truth error (GTE, section IV-C).
        template: N points (x right, y down, z away from the camera, any unit) of an average object seen from
            the front, for its pose; None where there is none, and results then carry no angles.

    Example:
        >>> FACE68.points, FACE68.mirror[36]
        (68, 45)
    """

    name: str
    points: int
    mirror_pairs: tuple[tuple[int, int], ...] = ()
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    closed_groups: frozenset[str] = frozenset()
    interocular: tuple[int, int] | None = None
    template: tuple[tuple[float, float, float], ...] | None = None

    def __post_init__(self) -> None:
        if self.points < 1:
            raise ValueError(f"scheme {self.name!r}: points must be at least 1, got {self.points}")
        used = [i for pair in self.mirror_pairs for i in pair]
        if len(set(used)) != len(used):
            raise ValueError(f"scheme {self.name!r}: a landmark stands in two mirror_pairs")
        indices = used + [i for g in self.groups.values() for i in g] + list(self.interocular or ())
        wrong = sorted({i for i in indices if not 0 <= i < self.points})
        if wrong:
            raise ValueError(f"scheme {self.name!r}: landmarks {wrong} are not in 0..{self.points - 1}")
        if self.template is not None and np.shape(self.template) != (self.points, 3):
            raise ValueError(f"scheme {self.name!r}: template must be {self.points} points of three numbers")

    @cached_property
    def mirror(self) -> NDArray[np.intp]:
        """(N,) permutation: landmark i of the mirrored object is landmark ``mirror[i]`` of the object."""
        order = np.arange(self.points)
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
    def names(self) -> tuple[str, ...]:
        """A name for each landmark: its group and the place in it."""
        names = [f"landmark_{i}" for i in range(self.points)]
        for group, indices in self.groups.items():
            for place, i in enumerate(indices):
                names[i] = f"{group}_{place}"
        return tuple(names)

    @classmethod
    def load(cls, path: str | Path) -> LandmarkScheme:
        """Reads a scheme from a TOML file; ``jvcr/schemes/face68.toml`` shows every key.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not TOML, or a key is missing, unknown or wrong.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls.from_dict(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a TOML file: {error}") from error

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LandmarkScheme:
        """A scheme from the content of such a file; the opposite of `to_dict`."""
        data = dict(data)
        known = {"name", "points", "mirror_pairs", "groups", "interocular", "template"}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"a landmark scheme has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        try:
            groups = data.get("groups", {})
            return cls(
                name=str(data["name"]),
                points=int(data["points"]),
                mirror_pairs=tuple((int(a), int(b)) for a, b in data.get("mirror_pairs", ())),
                groups={name: tuple(int(i) for i in g["landmarks"]) for name, g in groups.items()},
                closed_groups=frozenset(name for name, g in groups.items() if g.get("closed", False)),
                interocular=tuple(data["interocular"]) if data.get("interocular") else None,
                template=tuple(tuple(float(v) for v in p) for p in data["template"]["points"])  # type: ignore[misc]
                if data.get("template")
                else None,
            )
        except KeyError as error:
            raise ValueError(f"a landmark scheme needs the key {error}") from error
        except (TypeError, AttributeError) as error:
            raise ValueError(f"a landmark scheme has a value of the wrong kind: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain data of the layout of the TOML file, for a weight file's header."""
        return {
            "name": self.name,
            "points": self.points,
            "mirror_pairs": [list(p) for p in self.mirror_pairs],
            "groups": {n: {"landmarks": list(g), "closed": n in self.closed_groups} for n, g in self.groups.items()},
            "interocular": list(self.interocular) if self.interocular else None,
            "template": {"points": [list(p) for p in self.template]} if self.template else None,
        }


def load_scheme(name: str) -> LandmarkScheme:
    """The scheme of a built-in name ("face68", "face66") or of a TOML file's path.

    Raises:
        ValueError: it is neither.
    """
    folder = resources.files("jvcr") / "schemes"
    if (file := folder / f"{name}.toml").is_file():
        return LandmarkScheme.from_dict(tomllib.loads(file.read_text(encoding="utf-8")))
    if Path(name).is_file():
        return LandmarkScheme.load(name)
    built_in = ", ".join(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))
    raise ValueError(f"no landmark scheme {name!r}: give one of {built_in}, or the path of a TOML file")


FACE68 = load_scheme("face68")
FACE66 = load_scheme("face66")
