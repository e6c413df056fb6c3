"""300W-LP: 300-W's faces turned out of plane, with the parameters of a morphable model (Zhu et al., 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.readers.basel import LandmarkModel, pose_deg, to_image
from jvcr.data.readers.labelled import LabelledFace, existing_folder, make_dataset
from jvcr.data.readers.matfile import EXPRESSION, POSE, SHAPE, find_pairs, read_pairs, stacked
from jvcr.data.skipped import Skipped

PARTS = ("AFW", "HELEN", "IBUG", "LFPW")
FLIP = "_Flip"


def find_parts(root: Path) -> list[Path]:
    """The folders of 300W-LP's parts, those with mirrored images included, in the order of their names."""
    names = {part + suffix for part in PARTS for suffix in ("", FLIP)}
    return sorted(p for p in root.iterdir() if p.is_dir() and p.name in names)


def read_300wlp(
    root: str | Path,
    model: LandmarkModel,
    flips: bool = False,
    leave_out: Sequence[str] = (),
    hold_out: Sequence[str] = (),
    strict: bool = False,
    advance: Callable[[int], object] | None = None,
) -> LandmarkDataset:
    """Reads 300W-LP: the folders AFW, HELEN, IBUG, LFPW and, if asked for, their mirrored ones.

    The files have no 3D points. They come from the parameters: ``landmarks = mean + shape_basis Shape_Para +
    expression_basis Exp_Para`` (`jvcr.data.readers.basel`), turned and moved by Pose_Para, y measured from the image's
    lower edge. The files' own 2D points (``pt2d``) are of 300-W's labelling, in which the jaw follows the visible
    outline.

    ============== ========== =========================================================================
    key of .mat    numbers    use
    ============== ========== =========================================================================
    ``Shape_Para`` 199        the face's shape
    ``Exp_Para``   29         its expression
    ``Pose_Para``  7          pitch, yaw, roll in radians, tx, ty, tz, scale; ``pose_deg``, ``yaw_deg``
    ============== ========== =========================================================================

    In the data set x and y are counted from 0 and z grows away from the camera with mean 0. Sources are the folders'
    names. There are no face boxes (``roi`` belongs to another image).

    Without the mirrored folders these are the 61,225 images of the paper; training mirrors by itself. Every face is
    there under several yaws, so only whole parts can be held out. ``root`` has the parts, or is one part's folder. A
    part left out or held out takes its mirrored images along; "IBUG_Flip" is the mirrored images alone. Other
    arguments are those of `jvcr.data.readers.read_dataset`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has no such parts, a part named does not exist, no file can be used, or ``strict``.
    """
    root = existing_folder(root)
    folders = _chosen_folders(root, flips, leave_out, hold_out)
    faces: list[LabelledFace] = []
    skipped: list[Skipped] = []
    for folder in folders:
        pairs, wrong = read_pairs(find_pairs(folder), (SHAPE, EXPRESSION, POSE), heights=True, advance=advance)
        split = "val" if _among(folder.name, hold_out) else "train"
        skipped += [Skipped(f"{folder.name}/{text}", split) for text in wrong]
        if not pairs:
            continue
        paras = stacked(pairs, POSE)
        prefix = "" if folder == root else f"{folder.name}/"
        with np.errstate(over="ignore", invalid="ignore"):  # what no longer fits is found later
            heads = model.landmarks(stacked(pairs, SHAPE), stacked(pairs, EXPRESSION))
            for pair, head, para, pose in zip(pairs.values(), heads, paras, pose_deg(paras), strict=True):
                points = to_image(head, para, pair.height).astype(np.float32)
                faces.append(LabelledFace(f"{prefix}{pair.image.name}", points, pose, folder.name, split))
    names = ", ".join(folder.name for folder in folders)
    return make_dataset(root, faces, skipped, strict, empty=f"the folders {names} hold no pairs of .jpg and .mat")


def _chosen_folders(root: Path, flips: bool, leave_out: Sequence[str], hold_out: Sequence[str]) -> list[Path]:
    folders = find_parts(root) or ([root] if any(".mat" in files for files in find_pairs(root).values()) else [])
    if not folders:
        raise ValueError(
            f"{root} is not 300W-LP: looked for the folders {', '.join(PARTS)}, the same with {FLIP}, or pairs such as "
            f"AFW_134212_1_0.jpg and AFW_134212_1_0.mat directly in it"
        )
    for option, names in (("leave_out", leave_out), ("hold_out", hold_out)):
        known = {name for folder in folders for name in (folder.name, folder.name.removesuffix(FLIP))}
        if unknown := sorted(set(names) - known):
            raise ValueError(f"{root}: {option} names {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if mirrored := [name for name in hold_out if name.endswith(FLIP)]:
        raise ValueError(
            f"{root}: hold_out names {', '.join(mirrored)}, whose faces are those of the part without {FLIP}: hold "
            f"that out"
        )
    if not flips and any(not folder.name.endswith(FLIP) for folder in folders):
        folders = [folder for folder in folders if not folder.name.endswith(FLIP)]
    folders = [folder for folder in folders if not _among(folder.name, leave_out)]
    if not folders:
        raise ValueError(f"{root}: leave_out leaves no part to read")
    return folders


def _among(folder: str, names: Sequence[str]) -> bool:
    return folder in names or folder.removesuffix(FLIP) in names
