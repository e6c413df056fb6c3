"""Files to samples: the readers of data sets and what training does to their faces."""

from jvcr.data.augment import Augmentation, make_example
from jvcr.data.dataset import LandmarkDataset
from jvcr.data.readers import read_dataset
from jvcr.data.readers.aflw2000 import read_aflw2000
from jvcr.data.readers.folder import read_folder

__all__ = [
    "Augmentation",
    "LandmarkDataset",
    "make_example",
    "read_aflw2000",
    "read_dataset",
    "read_folder",
]
