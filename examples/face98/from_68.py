"""Turns a folder with 68 landmarks a face into one with 98, to try the scheme without WFLW.

    python examples/face98/from_68.py faces3d --out faces98

The 98 lie on the lines through the 68, so they say no more than those: good for trying, not for measuring.
"""

import argparse
from pathlib import Path

import numpy as np

from jvcr.data import read_folder
from jvcr.scheme import load_scheme


def along(points, places):
    """Points at fractional places of a polyline, (F, n, 3) and (m,) to (F, m, 3)."""
    whole = np.minimum(np.floor(places).astype(int), points.shape[1] - 2)
    part = (np.asarray(places) - whole)[:, None]
    return points[:, whole] * (1 - part) + points[:, whole + 1] * part


def to_98(points):
    """The 98 landmarks of WFLW on the lines through the 68: (F, 68, 3) to (F, 98, 3)."""
    parts = [along(points[:, 0:17], np.linspace(0, 16, 33))]
    for first in (17, 22):
        brow, size = points[:, first : first + 5], np.ptp(points[..., 1], axis=1)
        lower = along(brow, np.linspace(3.6, 0.4, 4))
        lower[..., 1] += 0.03 * size[:, None]  # WFLW's brows have a lower edge
        parts += [brow, lower]
    parts += [points[:, 27:31], points[:, 31:36]]
    for first in (36, 42):
        eye = points[:, first : first + 6]
        ring = np.concatenate([eye, eye[:, :1]], axis=1)
        parts.append(along(ring, np.array([0, 0.75, 1.5, 2.25, 3, 3.75, 4.5, 5.25])))
    parts += [points[:, 48:60], points[:, 60:68]]
    parts += [points[:, 36:42].mean(axis=1, keepdims=True), points[:, 42:48].mean(axis=1, keepdims=True)]
    made = np.concatenate(parts, axis=1)
    made[..., 2] -= made[..., 2].mean(axis=1, keepdims=True)
    return made.astype(np.float32)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for the labels; images are linked to")
    parser.add_argument("--count", type=int, help="so many faces of each split, from everywhere")
    arguments = parser.parse_args()
    faces = read_folder(arguments.folder)
    splits = np.full(len(faces), "train") if faces.splits is None else faces.splits
    keep = [np.flatnonzero(splits == split) for split in sorted(set(splits.tolist()))]
    if arguments.count:
        keep = [members[:: max(1, len(members) // arguments.count)][: arguments.count] for members in keep]
    faces = faces.select(np.concatenate(keep))
    scheme = load_scheme(str(Path(__file__).with_name("face98.toml")))
    points = to_98(faces.points_px)
    assert points.shape[1] == scheme.num_landmarks
    arguments.out.mkdir(parents=True)
    for number, image in enumerate(faces.images.tolist()):
        (arguments.out / f"{number:06d}{Path(image).suffix}").symlink_to((faces.root / image).resolve())
    np.savez(
        arguments.out / "landmarks.npz",
        image=np.array([f"{number:06d}{Path(image).suffix}" for number, image in enumerate(faces.images.tolist())]),
        points=points,
        split=splits[np.concatenate(keep)],
    )
    print(f"{len(faces)} faces with 98 landmarks in {arguments.out}")


if __name__ == "__main__":
    main()
