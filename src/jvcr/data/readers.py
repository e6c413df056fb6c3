"""Choosing the reader of a folder by what lies in it."""

from __future__ import annotations

from pathlib import Path

from jvcr.data.aflw2000 import read_aflw2000
from jvcr.data.dataset import LandmarkDataset
from jvcr.data.folder import MANIFEST, read_folder
from jvcr.scheme import FACE68, LandmarkScheme


def read_dataset(root: str | Path, scheme: LandmarkScheme = FACE68) -> LandmarkDataset:
    """Reads a data set of any layout the package knows.

    Args:
        root: the folder.
        scheme: the landmarks of a folder of the package's own layout; AFLW2000-3D always has the 68 of a face.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has none of the layouts (the message lists them), or the wrong landmarks for ``scheme``,
            or its reader refuses it.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"no such folder: {root}")
    if not root.is_dir():
        raise ValueError(f"{root} is a file: give the folder of a data set")
    if (root / MANIFEST).is_file():
        return read_folder(root, scheme)
    if any(root.glob("*.mat")) and any(root.glob("*.jpg")):
        if scheme.points != FACE68.points:
            raise ValueError(
                f"{root} looks like AFLW2000-3D, whose faces have 68 landmarks; {scheme.name} has {scheme.points}"
            )
        return read_aflw2000(root)
    raise ValueError(
        f"{root} is no data set of a known layout: looked for\n"
        f"  {MANIFEST}, which names images and landmarks (the package's own layout), or\n"
        f"  pairs such as image00002.jpg and image00002.mat (AFLW2000-3D)"
    )
