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
from jvcr.model.jvcr import JVCR, JVCROutput
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
    "JVCROutput",
    "NetworkConfig",
    "RefinementConfig",
    "RefinementNet",
    "VoxelConfig",
    "VoxelNet",
    "gaussian_volume",
]
