"""The face detector's two networks: proposals over a whole picture, and a second look at each.

A face is what the landmark network wants to be shown: the square `jvcr.geometry.Crop` around its landmarks, so a
centre, a side and the angle that it is turned by. Both networks take pictures whose mean and contrast were made the
same (`normalized`): at a fiftieth of its brightness little but the noise of a picture differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jvcr.model.config import STRICT

STRIDES = (8, 16, 32, 64)
"""Side of a cell of each map of proposals, pixels of the picture."""

OUTPUTS = 6
"""What either network says of a face: the score's logit, the shift along x and y, the logarithm of the size, and the
cosine and sine of its angle."""


@dataclass(frozen=True)
class ProposalConfig:
    """The proposal network.

    Attributes:
        stem: channels of the maps of a half and a quarter of the picture's side.
        channels: channels of the maps of an eighth and so on, one for each of `STRIDES`.
        units: depthwise units of each of them, the one that halves included.
        pyramid: channels of the feature pyramid.
        cells: side of the faces that a map is for, in its cells: from this to twice this; the first map is for smaller
            ones and the last for larger ones, too.
    """

    __pydantic_config__: ClassVar = STRICT

    stem: tuple[int, int] = (16, 32)
    channels: tuple[int, ...] = (48, 64, 96, 96)
    units: tuple[int, ...] = (3, 4, 3, 2)
    pyramid: int = 32
    cells: float = 2.5

    def __post_init__(self) -> None:
        if len(self.channels) != len(STRIDES) or len(self.units) != len(STRIDES) or min(self.units) < 1:
            raise ValueError(f"channels and units must name {len(STRIDES)} maps, got {self.channels}, {self.units}")
        if min(*self.stem, *self.channels, self.pyramid) < 1 or self.cells <= 0:
            raise ValueError(f"a proposal network has channels and cells above 0, got {self}")


@dataclass(frozen=True)
class LookConfig:
    """The second look's network.

    Attributes:
        size: side of the square it is shown, pixels; a multiple of 16.
        view: side of that square, in sides of the face's crop.
        channels: channels of the maps of a half, a quarter, an eighth and a sixteenth of the side.
        units: depthwise units behind each of the last two.
        squeezed: channels that the last map is squeezed to before all its cells are joined.
        features: width of the layer that joins them.
    """

    __pydantic_config__: ClassVar = STRICT

    size: int = 64
    view: float = 1.5
    channels: tuple[int, int, int, int] = (16, 32, 64, 96)
    units: int = 2
    squeezed: int = 48
    features: int = 96

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 16:
            raise ValueError(f"size must be a multiple of 16 of at least 32, got {self.size}")
        if self.view <= 0:
            raise ValueError(f"view must be above 0, got {self.view}")
        if min(*self.channels, self.squeezed, self.features) < 1 or self.units < 0:
            raise ValueError(f"a second look has channels above 0, got {self}")


@dataclass(frozen=True)
class DetectorConfig:
    """Both networks of the detector.

    Attributes:
        proposal: what finds places over the whole picture.
        look: what settles each of them.
    """

    __pydantic_config__: ClassVar = STRICT

    proposal: ProposalConfig = field(default_factory=ProposalConfig)
    look: LookConfig = field(default_factory=LookConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a weight file's header or a recipe."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DetectorConfig:
        """The opposite of `to_dict`; missing keys take the values of the detector that ships.

        Raises:
            ValueError: a key is unknown or a value does not fit; the message names it.
        """
        from pydantic import TypeAdapter  # only reading files needs it

        return TypeAdapter(cls).validate_python(data)


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class DepthwiseUnit(nn.Module):
    """A depthwise 3x3 convolution and a pointwise one; the input is added where it has the output's shape."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = inputs == outputs and stride == 1
        self.depthwise = _conv(inputs, inputs, stride=stride, groups=inputs)
        self.pointwise = _conv(inputs, outputs, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) -> (batch, outputs, h / stride, w / stride)."""
        y = self.pointwise(F.relu(self.depthwise(x)))
        return F.relu(x + y) if self.residual else F.relu(y)


class ProposalNet(nn.Module):
    """Anchor-free proposals: every cell of every map says whether a face has its centre there, and which.

    Example:
        >>> ProposalNet(ProposalConfig())(torch.zeros(1, 3, 64, 128)).shape
        torch.Size([1, 6, 170])
    """

    def __init__(self, config: ProposalConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter = config.stem
        self.stem = nn.Sequential(_conv(3, half, stride=2), nn.ReLU(inplace=True), DepthwiseUnit(half, quarter, 2))
        inputs = (quarter, *config.channels[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(DepthwiseUnit(i, o, 2), *(DepthwiseUnit(o, o) for _ in range(n - 1)))
            for i, o, n in zip(inputs, config.channels, config.units, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(c, config.pyramid, 1) for c in config.channels)
        self.smooth = nn.ModuleList(DepthwiseUnit(config.pyramid, config.pyramid) for _ in config.channels)
        self.head = DepthwiseUnit(config.pyramid, config.pyramid)
        heads = [nn.Conv2d(config.pyramid, OUTPUTS, 1) for _ in config.channels]
        for head in heads:
            assert head.bias is not None
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
            nn.init.constant_(head.bias[0], -4.6)  # a face in a hundred cells: the first steps then learn no blank
        self.predict = nn.ModuleList(heads)

    def forward(self, picture: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 6 cells"]:
        """What every cell says, the maps one after the other, each row by row.

        Args:
            picture: RGB, as `normalized` makes it; height and width are multiples of 64.

        Returns:
            The logit of the score; the shift from the cell's centre to the face's, in cells; the logarithm of the
            face's side over that of the faces the map is for (`face_sides`); the cosine and sine of its angle.
        """
        x, maps = self.stem(picture), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        found: list[Tensor] = []
        above: Tensor | None = None
        for level in reversed(range(len(maps))):
            y = self.lateral[level](maps[level])
            above = y if above is None else y + F.interpolate(above, scale_factor=2.0, mode="nearest")
            found.append(self.predict[level](self.head(self.smooth[level](F.relu(above)))).flatten(2))
        return torch.cat(found[::-1], dim=2)


class LookNet(nn.Module):
    """The second look: whether a square shows a face in its middle, and where exactly.

    Example:
        >>> LookNet(LookConfig())(torch.zeros(5, 3, 64, 64)).shape
        torch.Size([5, 6])
    """

    def __init__(self, config: LookConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        inputs = 3
        for halved, outputs in enumerate(config.channels, start=1):
            layers += [_conv(inputs, outputs, stride=2), nn.ReLU(inplace=True)]
            if halved > 2:
                layers += [DepthwiseUnit(outputs, outputs) for _ in range(config.units)]
            inputs = outputs
        layers += [_conv(inputs, config.squeezed, kernel=1), nn.ReLU(inplace=True), nn.Flatten()]
        self.encoder = nn.Sequential(*layers)
        cells = (config.size // 16) ** 2
        self.joined = nn.Sequential(
            nn.Linear(config.squeezed * cells, config.features, bias=False),
            nn.BatchNorm1d(config.features),
            nn.ReLU(inplace=True),
        )
        self.predict = nn.Linear(config.features, OUTPUTS)

    def forward(self, square: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch 6"]:
        """What is seen in each square.

        Args:
            square: RGB, as `normalized` makes it, ``view`` times as wide as the crop that is asked about.

        Returns:
            The logit of the score; the shift from the square's centre to the face's, along the square's own axes, in
            sides of that crop; the logarithm of the face's side over the crop's; cosine and sine of the angle that the
            face is turned by in the square.
        """
        features = self.joined(self.encoder(square))
        # In bfloat16 the angle would be rounded to a degree.
        with torch.autocast(features.device.type, enabled=False):
            return self.predict(features.to(self.predict.weight.dtype))


class Detector(nn.Module):
    """Both networks, as they are trained and kept together; each is exported to a file of its own."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.proposal, self.look = ProposalNet(config.proposal), LookNet(config.look)


_LEAST_CONTRAST = 1.0
"""Standard deviation, of 255, below which a picture's contrast is not stretched to the full: it would be noise."""


def normalized(pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Each picture with a mean of 0 and a standard deviation of about 1, over all its colours together.

    Args:
        pixels: 0 to 255.
    """
    centred = pixels - _mean(pixels)
    return centred / (_mean(centred.square()) + _LEAST_CONTRAST**2).sqrt()


def _mean(pixels: Tensor) -> Tensor:
    """(batch, 1, 1, 1) mean of each picture: of its rows, then of these.

    Runtimes add in single precision, some of them one number after the other. Over all pixels at once that loses so
    much that the same picture had other faces in a browser.
    """
    for axis in (3, 2, 1):
        pixels = pixels.mean(dim=axis, keepdim=True)
    return pixels


def face_sides(config: ProposalConfig) -> tuple[float, ...]:
    """For each of `STRIDES` the side of the face that its map is for, pixels: the middle of its range."""
    return tuple(stride * config.cells * 2**0.5 for stride in STRIDES)


def cells_of(height: int, width: int) -> Iterator[tuple[int, int, int]]:
    """Stride, rows and columns of each map of a picture."""
    return ((stride, height // stride, width // stride) for stride in STRIDES)
