"""What every method is to training, export and use: a network from images to landmarks, and what its volumes should be.

A method is a module of `jvcr.model.methods` with a subclass of `Method` in it, found by the module's name.
"""

from __future__ import annotations

import difflib
import pkgutil
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model import methods
from jvcr.model.config import STRICT, NetworkConfig
from jvcr.model.heatmap import Centre


class Output(NamedTuple):
    """What a network gives for a batch of images.

    Attributes:
        volumes: what L_vox compares with `Method.targets`; of JVCR each stack's volume, coarse to fine, (batch, depth,
            height, width).
        coarse_points: (batch, N, 3) landmarks (x, y, z) before refinement, unit frame; of JVCR what P reads off the
            volume.
        points: (batch, N, 3) the landmarks, or the very ``coarse_points`` without refinement.
        volume: (batch, depth, height, width), all landmarks' in one: read at a landmark it is how sure that is, 0 to 1.
    """

    volumes: list[Tensor]
    coarse_points: Float[Tensor, "batch points 3"]
    points: Float[Tensor, "batch points 3"]
    volume: Float[Tensor, "batch depth height width"]


@dataclass(frozen=True)
class NoOptions:
    """Of a method that `NetworkConfig` describes in full."""

    __pydantic_config__: ClassVar = STRICT


class Method(nn.Module):
    """A network of one method.

    Its ``forward(image, truth=None)`` takes RGB in [0, 1] and gives an `Output`. Where a part of it reads another
    part's volumes, it reads ``truth``, the last of `targets`, instead, if that is given: in the first stage of training
    each part learns for itself.
    """

    Options: ClassVar[type] = NoOptions
    """What ``network.options`` of a recipe may say, a dataclass."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        from pydantic import TypeAdapter  # not needed to import this

        self.config = config
        self.options: Any = TypeAdapter(self.Options).validate_python(config.options)

    def targets(self, points_unit: Tensor, peak: float = 1.0, centre: Centre = "exact") -> list[Tensor]:
        """What `Output.volumes` should be for landmarks (batch, N, 3) in the unit frame; Gaussians of that height."""
        raise NotImplementedError


def method_class(name: str) -> type[Method]:
    """The method of a name.

    Raises:
        ValueError: there is none; the message names those there are.
    """
    names = sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(methods.__path__))
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"network.method: no method {name!r}, there are {', '.join(names)}{meant}")
    module = import_module(f"{methods.__name__}.{name.replace('-', '_')}")
    return module.METHOD


def build(config: NetworkConfig) -> Method:
    """A new network with random weights, of the method that the configuration names."""
    return method_class(config.method)(config)
