"""The networks: tensors in, tensors out. Importing this imports torch."""

from jvcr.model.config import (
    AUTHORS,
    COMPACT,
    PAPER,
    PRESETS,
    CoordinateConfig,
    NetworkConfig,
    RefinementConfig,
    VoxelConfig,
)
from jvcr.model.coordinates import CoordinateNet
from jvcr.model.hourglass import VoxelNet
from jvcr.model.network import JVCR
from jvcr.model.refinement import RefinementNet
from jvcr.model.volume import draw_volume, equation_1_peak

__all__ = [
    "AUTHORS",
    "COMPACT",
    "JVCR",
    "PAPER",
    "PRESETS",
    "CoordinateConfig",
    "CoordinateNet",
    "NetworkConfig",
    "RefinementConfig",
    "RefinementNet",
    "VoxelConfig",
    "VoxelNet",
    "draw_volume",
    "equation_1_peak",
]
