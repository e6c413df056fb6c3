"""A data set to distil weights into a smaller network: labels averaged with what a teacher says of the same faces.

    python benchmarks/distil.py faces3d distilled --teacher compact
    jvcr train recipes/nano.toml --data distilled

FACES is a folder with ``landmarks.npz``; OUT gets one of its own and links to the images. The teacher looks at each
training face in the box of its true landmarks, as it is and mirrored. Validation faces keep their labels, and so do
the few faces on which people labelled a closed eye: a teacher that takes one for open would teach just that.
"""

import argparse
from pathlib import Path

import numpy as np

from jvcr.cli.progress import counting
from jvcr.evaluation.hand import CLOSED_BELOW
from jvcr.files import replacing
from jvcr.geometry.aperture import contour_aperture
from jvcr.inference import Landmarker, read_image
from jvcr.scheme import FACE68


def taught(landmarker, image, points):
    """(N, 3) what the teacher says of a face with these landmarks: the mean over the image and its mirror image."""
    box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
    (seen,) = landmarker(image, boxes=[box], box_kind="landmarks")
    last = image.shape[1] - 1
    (other,) = landmarker(
        np.ascontiguousarray(image[:, ::-1]),
        boxes=[[last - box[2], box[1], last - box[0], box[3]]],
        box_kind="landmarks",
    )
    back = other.points[landmarker.scheme.mirror] * (-1, 1, 1) + (last, 0, 0)
    return (seen.points + back) / 2


def closed_by_hand(hand):
    """(F,) whether people labelled one eye of a face as closed; ``hand`` is (F, 68, 2), NaN without labels."""
    apertures = [contour_aperture(hand[:, FACE68.groups[eye]]) for eye in ("left_eye", "right_eye")]
    return np.any(np.array(apertures) < CLOSED_BELOW, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", default="compact", help="weights by name, or an .onnx file")
    parser.add_argument("--share", type=float, default=0.5, help="of the teacher in the labels, 0 to 1")
    options = parser.parse_args()
    labels = dict(np.load(options.faces / "landmarks.npz"))
    landmarker = Landmarker(options.teacher, threads=1)
    chosen = np.flatnonzero((labels["split"] == "train") & ~closed_by_hand(labels["hand"]))
    points = labels["points"]
    with counting("faces", len(chosen)) as advance:
        for i in chosen:
            seen = taught(landmarker, read_image(options.faces / str(labels["image"][i])), points[i])
            points[i] += options.share * (seen - points[i])
            advance(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for top in sorted({str(name).split("/")[0] for name in labels["image"]}):
        if not (options.out / top).exists():
            (options.out / top).symlink_to((options.faces / top).resolve())
    with replacing(options.out / "landmarks.npz") as temporary, open(temporary, "wb") as file:
        np.savez(file, **labels)
    print(f"{options.out}: {len(chosen)} training faces, the teacher's share in their labels {options.share}")


if __name__ == "__main__":
    main()
