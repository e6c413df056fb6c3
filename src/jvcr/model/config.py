"""The shape of the networks, as data: a preset's name or a weight file's header is enough to build them again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from jvcr.geometry.crop import CROP_RULES, CropRule

Unit = Literal["bottleneck", "plain"]

STRICT = {"extra": "forbid"}
"""For pydantic, which reads these from files: a mistyped key is an error and never a silent default."""


@dataclass(frozen=True)
class VoxelConfig:
    """The voxel regression subnetwork G: an image to M volumes, coarse to fine (section III-B.1).

    Attributes:
        image_size: side of the square input, pixels.
        channels: width of the hourglasses.
        inner_channels: width of each of an hourglass's halved maps, outside to inside; empty is ``channels`` for all,
            as in the paper. More channels on the small maps than on the large buy accuracy where it costs little.
        depths: slices d of each stack's volume, coarse to fine; their number is M.
        levels: how often an hourglass halves its map.
        stride: side of a cell of the hourglasses' maps, pixels of the image: 4 in the paper. With 8 maps have half the
            volumes' width and height, and each cell's head regresses 2x2 columns of the volume.
        unit: the residual unit. "bottleneck" (1x1, 3x3, 1x1, pre-activation) is the stacked hourglass's own; "plain" is
            one 3x3 convolution, which does more arithmetic a second on a CPU and folds its batch norm away for use.
        image_mean: what the network subtracts from its image's RGB in [0, 1]. The zeros that pad its convolutions are
            pixels of this value, so no bias can stand for it.
    """

    __pydantic_config__: ClassVar = STRICT

    image_size: int = 256
    channels: int = 256
    depths: tuple[int, ...] = (1, 2, 4, 64)
    levels: int = 4
    inner_channels: tuple[int, ...] = ()
    unit: Unit = "bottleneck"
    stride: int = 4
    image_mean: float = 0.5

    def __post_init__(self) -> None:
        if self.stride not in (4, 8):
            raise ValueError(f"stride must be 4 or 8, got {self.stride}")
        if self.unit not in ("bottleneck", "plain"):
            raise ValueError(f"unit must be 'bottleneck' or 'plain', got {self.unit!r}")
        if wrong := [c for c in (self.channels, *self.inner_channels) if c < 4 or c % 4]:
            raise ValueError(f"channels must be a multiple of 4, got {wrong[0]}")
        if self.inner_channels and len(self.inner_channels) != self.levels:
            raise ValueError(
                f"inner_channels must name the width of each of the {self.levels} levels, got {self.inner_channels}"
            )
        if not self.depths or min(self.depths) < 1:
            raise ValueError(f"depths must name one or more volumes of at least one slice, got {self.depths}")
        if not 0 <= self.image_mean <= 1:
            raise ValueError(f"image_mean is a value of pixels in [0, 1], got {self.image_mean}")
        if not 1 <= self.levels <= 16 or len(self.depths) > 64:
            raise ValueError(f"levels are 1 to 16 and depths at most 64, got {self.levels} and {len(self.depths)}")
        smallest = self.stride * 2**self.levels
        if self.image_size < 1 or self.image_size % smallest:
            raise ValueError(
                f"image_size must be a multiple of {smallest} for hourglasses of {self.levels} levels, "
                f"got {self.image_size}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of an hourglass's maps, outside to inside: one more than its levels."""
        return (self.channels, *(self.inner_channels or (self.channels,) * self.levels))

    @property
    def map_size(self) -> int:
        """Width and height of the volumes: a quarter of the image's side."""
        return self.image_size // 4

    @property
    def upscale(self) -> int:
        """Columns of the volume along each side of a cell of the hourglasses' maps."""
        return self.stride // 4

    @property
    def stem_channels(self) -> tuple[int, ...]:
        """Width of the stem's maps of a half, a quarter and, with a stride of 8, an eighth of the image's side."""
        c = self.channels
        if self.unit == "plain":
            return (c // 2, c) if self.stride == 4 else (c // 4, c // 2, c)
        return (c // 2, c) if self.stride == 4 else (c // 2, c, c)


@dataclass(frozen=True)
class CoordinateConfig:
    """The coordinate regression subnetwork P: the last volume to N points (section III-B.2).

    ``channels`` are the widths after each 3D convolution of kernel 4 and stride 2, ``features`` that of the last one.
    """

    __pydantic_config__: ClassVar = STRICT

    channels: tuple[int, ...] = (64, 128, 256, 512)
    features: int = 256

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1 or self.features < 1:
            raise ValueError(f"channels and features must be at least 1, got {self.channels} and {self.features}")


@dataclass(frozen=True)
class RefinementConfig:
    """The refinement subnetwork R, not in the paper: it moves P's landmarks by what the stem's maps show there.

    Attributes:
        patches: side, in cells and odd, of the square that R sees around each landmark on the map of half the image's
            side, on that of a quarter, and so on. Empty is no R, as in the paper.
        channels: numbers that are kept of each landmark's patches.
        features: width of the layer that sees those of all landmarks.
    """

    __pydantic_config__: ClassVar = STRICT

    patches: tuple[int, ...] = ()
    channels: int = 8
    features: int = 256

    def __post_init__(self) -> None:
        if wrong := [w for w in self.patches if w < 1 or w % 2 == 0]:
            raise ValueError(f"patches must have an odd number of cells on each side, got {wrong[0]}")
        if self.channels < 1 or self.features < 1:
            raise ValueError(f"channels and features must be at least 1, got {self.channels} and {self.features}")


@dataclass(frozen=True)
class NetworkConfig:
    """The subnetworks and what joins them: ``sigma`` is the size of the volume's Gaussians, voxels (Eq. 1).

    ``crop`` is the `jvcr.geometry.crop.CropRule` of the crops. With ``stretch`` each crop's pixels get the full range
    (`jvcr.geometry.warp.stretch_contrast`), as in the authors' released code. ``method`` is that of JVCR or a rival
    (`jvcr.model.methods`), which takes of the rest what it has use for, and its own ``options``.
    """

    __pydantic_config__: ClassVar = STRICT

    num_landmarks: int = 68
    voxel: VoxelConfig = field(default_factory=VoxelConfig)
    coordinate: CoordinateConfig = field(default_factory=CoordinateConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    sigma: float = 1.0
    crop: CropRule = "longer"
    stretch: bool = False
    method: str = "jvcr"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size, shrink = self.voxel.map_size, 2 ** len(self.coordinate.channels)
        if self.voxel.depths[-1] != size:
            raise ValueError(
                f"the last volume must be a cube for the coordinate network: depths ends with {self.voxel.depths[-1]}, "
                f"width and height are {size}"
            )
        if size % shrink:
            raise ValueError(
                f"a volume of side {size} cannot be halved {len(self.coordinate.channels)} times: give the coordinate "
                f"network fewer channels or the image another size"
            )
        if len(self.refinement.patches) > len(self.voxel.stem_channels):
            raise ValueError(
                f"the stem has {len(self.voxel.stem_channels)} sizes of maps: refinement.patches cannot name "
                f"{len(self.refinement.patches)}"
            )
        for halved, patch in enumerate(self.refinement.patches, start=1):
            if patch > self.voxel.image_size // 2**halved:
                raise ValueError(
                    f"refinement.patches has {patch} cells for a map of {self.voxel.image_size // 2**halved} a side"
                )
        if self.num_landmarks < 1 or self.sigma <= 0:
            raise ValueError(
                f"num_landmarks must be at least 1 and sigma above 0, got {self.num_landmarks} and {self.sigma}"
            )
        if self.crop not in CROP_RULES:
            raise ValueError(f"crop must be one of {', '.join(map(repr, CROP_RULES))}, got {self.crop!r}")

    def volume_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(depth, height, width) of every stack's volume."""
        size = self.voxel.map_size
        return tuple((d, size, size) for d in self.voxel.depths)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a weight file's header or a recipe."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> NetworkConfig:
        """The opposite of `to_dict`; missing keys take the `paper` preset's values.

        Raises:
            ValueError: a key is unknown or a value does not fit; the message names it.
        """
        from pydantic import TypeAdapter  # only reading files needs it

        return TypeAdapter(cls).validate_python(_with_new_names(data))


def _with_new_names(data: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the keys of older files renamed."""
    data = {("num_landmarks" if key == "points" else key): value for key, value in data.items()}
    if isinstance(refinement := data.get("refinement"), dict):
        data["refinement"] = {("patches" if key == "windows" else key): value for key, value in refinement.items()}
    return data


PAPER = NetworkConfig()
"""The paper's network: 256x256 images, four hourglasses, volumes of 64x64 x 1, 2, 4, 64 (section IV-A)."""

COMPACT = NetworkConfig(
    voxel=VoxelConfig(
        image_size=128,
        channels=48,
        inner_channels=(64, 64, 64),
        depths=(1, 4, 32),
        levels=3,
        stride=8,
        unit="plain",
    ),
    coordinate=CoordinateConfig(channels=(8, 24, 48, 96), features=256),
    refinement=RefinementConfig(patches=(5, 3)),
)
"""The weights that ship: 128x128 images, three hourglasses on 16x16 maps, volumes of 32x32 x 1, 4, 32, refinement."""

NANO = NetworkConfig(
    voxel=VoxelConfig(
        image_size=128,
        channels=32,
        inner_channels=(48, 48),
        depths=(4, 32),
        levels=2,
        stride=8,
        unit="plain",
    ),
    coordinate=CoordinateConfig(channels=(8, 12, 24, 48), features=128),
    refinement=RefinementConfig(patches=(5, 3), channels=6, features=128),
)
"""For small machines: 128x128 images, two narrow hourglasses on 16x16 maps, volumes of 32x32 x 4, 32, refinement."""

LARGE = NetworkConfig(
    voxel=VoxelConfig(
        image_size=160,
        channels=64,
        inner_channels=(96, 96),
        depths=(1, 4, 10, 40),
        levels=2,
        stride=8,
        unit="plain",
    ),
    coordinate=CoordinateConfig(channels=(16, 32, 64), features=256),
    refinement=RefinementConfig(patches=(7, 5)),
)
"""The most accurate: 160x160 images, four hourglasses on 20x20 maps, volumes of 40x40 x 1, 4, 10, 40, refinement."""

AUTHORS = NetworkConfig(num_landmarks=71, voxel=VoxelConfig(image_mean=0.0), crop="width", stretch=True)
"""The paper's network as its authors released it: for 71 landmarks, with their crop and their pixels."""

PRESETS = {"paper": PAPER, "nano": NANO, "compact": COMPACT, "large": LARGE, "authors": AUTHORS}
