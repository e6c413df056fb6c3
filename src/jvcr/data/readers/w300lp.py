"""300W-LP: 300-W's faces turned out of plane, with the parameters of a morphable model (Zhu et al., 2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.readers.basel import LandmarkModel, pose_deg, to_image
from jvcr.data.readers.matfile import EXPRESSION, POSE, SHAPE, find_pairs, read_pairs
from jvcr.data.skipped import Skipped, raise_if_strict
from jvcr.scheme import FACE68

PARTS = ("AFW", "HELEN", "IBUG", "LFPW")
FLIP = "_Flip"


def find_parts(root: Path) -> list[Path]:
    """The folders of 300W-LP's parts in a folder, those with mirrored images included, in the order of their names."""
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
    lower edge. The 2D points that are in the files (``pt2d``) are others: of 300-W's labelling, in which the jaw
    follows the visible outline.

    ============== ========== =========================================================================
    key of .mat    numbers    use
    ============== ========== =========================================================================
    ``Shape_Para`` 199        the face's shape
    ``Exp_Para``   29         its expression
    ``Pose_Para``  7          pitch, yaw, roll in radians, tx, ty, tz, scale; ``pose_deg``, ``yaw_deg``
    ============== ========== =========================================================================

    In the data set x and y are counted from 0 and z grows away from the camera with mean 0. Sources are the folders'
    names. The set has no face boxes of its own here (``roi`` belongs to another image).

    Without the mirrored folders these are the 61,225 images of the paper; training mirrors by itself. Every face is
    there under several yaws, so that only whole parts can be held out without training on the faces held out.

    Args:
        root: the folder with the parts, or one part's folder alone.
        model: the Basel model at the 68 landmarks, see `LandmarkModel.load`.
        flips: read the ``_Flip`` folders too.
        leave_out: parts that are not read, such as "IBUG"; its mirrored images neither. "IBUG_Flip" is the mirrored
            images alone.
        hold_out: parts that make up the split "val", mirrored images included; all others are "train".
        strict: stop at files that cannot be used, instead of leaving them out and naming them in ``problems``.
        advance: called with 1 after each face.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has no such parts, a part named does not exist, no file can be used, or ``strict``.
        ModuleNotFoundError: scipy, which reads .mat files, is not installed.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
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

    images: list[str] = []
    sources: list[str] = []
    points: list[NDArray[np.float32]] = []
    poses: list[NDArray[np.float64]] = []
    skipped: list[Skipped] = []
    for folder in folders:
        pairs, wrong = read_pairs(find_pairs(folder), (SHAPE, EXPRESSION, POSE), heights=True, advance=advance)
        split = "val" if _among(folder.name, hold_out) else "train"
        skipped += [Skipped(f"{folder.name}/{text}", split) for text in wrong]
        if not pairs:
            continue
        shape, expression, pose = (np.stack([a[k] for _, a, _ in pairs.values()]) for k in (SHAPE, EXPRESSION, POSE))
        with np.errstate(over="ignore", invalid="ignore"):  # what no longer fits is found below
            heads = model.landmarks(shape, expression)
            points += [
                to_image(head, para, height).astype(np.float32)
                for head, para, (_, _, height) in zip(heads, pose, pairs.values(), strict=True)
            ]
        poses += list(pose)
        prefix = "" if folder == root else f"{folder.name}/"
        images += [f"{prefix}{image.name}" for image, _, _ in pairs.values()]
        sources += [folder.name] * len(pairs)
    raise_if_strict(root, skipped, len(images) + len(skipped), strict)
    if not images:
        raise ValueError(f"{root}: the folders {', '.join(f.name for f in folders)} hold no pairs of .jpg and .mat")
    angles = pose_deg(np.stack(poses))
    dataset = LandmarkDataset(
        root=root,
        images=np.array(images),
        points_px=np.stack(points),
        sources=np.array(sources),
        splits=np.array(["val" if _among(name, hold_out) else "train" for name in sources]),
        yaw_deg=angles[:, 1],
        scheme=FACE68,
        pose_deg=angles,
    )
    return dataset.without_unusable(skipped, strict)


def _among(folder: str, names: Sequence[str]) -> bool:
    return folder in names or folder.removesuffix(FLIP) in names
