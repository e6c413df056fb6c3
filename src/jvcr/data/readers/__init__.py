"""Choosing the reader of a folder by what lies in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.readers.aflw2000 import REANNOTATION, Annotation, read_aflw2000
from jvcr.data.readers.basel import BASIS, LandmarkModel
from jvcr.data.readers.folder import MANIFEST, TABLE, read_folder
from jvcr.data.readers.matfile import POINTS, SHAPE, find_pairs, has_array
from jvcr.data.readers.shards import read_shards
from jvcr.data.readers.threedfaw import IMAGES, SPLITS, read_3dfaw
from jvcr.data.readers.w300lp import PARTS, find_parts, read_300wlp
from jvcr.scheme import FACE66, FACE68, LandmarkScheme


def read_dataset(
    root: str | Path,
    scheme: LandmarkScheme = FACE68,
    annotation: Annotation | None = None,
    basis: str | Path | None = None,
    flips: bool = False,
    leave_out: Sequence[str] = (),
    hold_out: Sequence[str] = (),
    strict: bool = False,
    advance: Callable[[int], object] | None = None,
    reannotation: str | Path | None = None,
) -> LandmarkDataset:
    """Reads a data set of any layout the package knows.

    Args:
        root: the folder.
        scheme: the landmarks wanted. 300W-LP and AFLW2000-3D have the 68 of a face, 3DFAW has 66; a scheme that derives
            further ones from those will do.
        annotation: AFLW2000-3D: which of its annotations; None is the original.
        basis: 300W-LP: the face model at the landmarks (`LandmarkModel`); None looks for ``basis.npz`` in the folder
            and beside it.
        flips: 300W-LP: read the mirrored folders too.
        leave_out: 300W-LP: parts not to read.
        hold_out: 300W-LP: parts that make up the split "val".
        strict: stop at faces that cannot be used, instead of leaving them out and naming them in ``problems``.
        advance: called with 1 after each face of a layout of many files.
        reannotation: AFLW2000-3D: the file of the re-annotated points; None looks for it in the folder.

    Raises:
        FileNotFoundError: there is no such folder, or a file that was asked for is missing.
        ValueError: the folder has none of the layouts (the message lists them), or the wrong landmarks for ``scheme``,
            or an option is for another layout, or its reader refuses it.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"no such folder: {root}")
    if not root.is_dir():
        raise ValueError(f"{root} is a file: give the folder of a data set")
    layout = find_layout(root)
    what = "of the package's own layout" if layout == "folder" else layout
    for_300wlp = {"basis": basis is not None, "flips": flips, "leave_out": leave_out, "hold_out": hold_out}
    if layout != "300W-LP" and (given := [name for name, value in for_300wlp.items() if value]):
        raise ValueError(
            f"{', '.join(given)}: for 300W-LP only, and {root} is {what}; where a recipe says so: --set "
            f"data.{given[0]}=[]"
        )
    if layout != "AFLW2000-3D" and (annotation or reannotation) is not None:
        raise ValueError(f"{root} is {what}, which has one annotation; only AFLW2000-3D has several")
    if layout == "folder":
        return read_folder(root, scheme, strict)
    if layout == "shards":
        return read_shards(root, scheme, strict, advance)
    own = FACE66 if layout == "3DFAW" else FACE68
    if scheme != own and not scheme.extends(own):
        raise ValueError(
            f"{root} has the layout of {layout}, whose faces have {own.num_landmarks} landmarks ({own.name}); wanted "
            f"are the {scheme.num_landmarks} of {scheme.name}: of a recipe, or of the weights"
        )
    if layout == "AFLW2000-3D":
        dataset = read_aflw2000(root, annotation or "original", strict, advance, reannotation)
    elif layout == "300W-LP":
        dataset = read_300wlp(root, _model(root, basis), flips, leave_out, hold_out, strict, advance)
    else:
        dataset = read_3dfaw(root, strict, advance)
    return dataset if scheme == own else dataset.extended(scheme)


def find_layout(root: Path) -> str:
    """A folder's layout, "folder" (the package's own), "shards", "AFLW2000-3D", "300W-LP", "3DFAW"; or a ValueError."""
    if (root / MANIFEST).is_file() or (root / TABLE).is_file():
        return "folder"
    if any(root.glob("*.tar")):
        return "shards"
    if find_parts(root):
        return "300W-LP"
    if any(len(files) == 2 for files in find_pairs(root).values()):
        return "AFLW2000-3D" if _has_points(root) else "300W-LP"
    if any((root / (name + IMAGES)).is_dir() for name in SPLITS):
        return "3DFAW"
    raise ValueError(
        f"{root} is no data set of a known layout: looked for\n"
        f"  {MANIFEST} or {TABLE}, which names images and landmarks (the package's own layout),\n"
        f"  shards such as train-000000.tar (images and landmarks, as jvcr data pack writes them),\n"
        f"  pairs such as image00002.jpg and image00002.mat (AFLW2000-3D; {REANNOTATION} beside them),\n"
        f"  the folders {', '.join(PARTS)} (300W-LP), or\n"
        f"  the folders {', '.join(name + IMAGES for name in SPLITS)} (3DFAW)"
    )


def _has_points(root: Path) -> bool:
    """Whether the .mat files of a folder are those of AFLW2000-3D: the first that names one or the other decides."""
    for files in find_pairs(root).values():
        for key in (POINTS, SHAPE):
            if ".mat" in files and has_array(files[".mat"], key):
                return key == POINTS
    return True


def _model(root: Path, basis: str | Path | None) -> LandmarkModel:
    if basis is not None:
        return LandmarkModel.load(basis)
    for path in (root / BASIS, root.resolve().parent / BASIS):
        if path.is_file():
            return LandmarkModel.load(path)
    raise FileNotFoundError(
        f"{root} is 300W-LP, which has parameters and no 3D points: give the face model that makes them, as basis or "
        f"as {BASIS} in that folder or beside it; `jvcr data basis AFLW2000-3D --out {BASIS}` recovers it from that "
        f"data set"
    )
