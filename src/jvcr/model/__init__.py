"""The networks: tensors in, tensors out. Importing this imports torch."""

from jvcr.model.config import (
    AUTHORS,
    COMPACT,
    LARGE,
    NANO,
    PAPER,
    PRESETS,
    CoordinateConfig,
    NetworkConfig,
    RefinementConfig,
    VoxelConfig,
)
from jvcr.model.coordinate import CoordinateNet
from jvcr.model.heatmap import gaussian_volume
from jvcr.model.hourglass import VoxelNet
from jvcr.model.method import Method, Output, build
from jvcr.model.methods.jvcr import JVCR
from jvcr.model.refinement import RefinementNet

__all__ = [
    "AUTHORS",
    "COMPACT",
    "JVCR",
    "LARGE",
    "NANO",
    "PAPER",
    "PRESETS",
    "CoordinateConfig",
    "CoordinateNet",
    "Method",
    "NetworkConfig",
    "Output",
    "RefinementConfig",
    "RefinementNet",
    "VoxelConfig",
    "VoxelNet",
    "build",
    "gaussian_volume",
]
