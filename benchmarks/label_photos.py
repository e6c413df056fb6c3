"""Labels for photographs with faces, as the detector's training and its benchmark take them.

    python benchmarks/label_photos.py detect labels.npz

DETECT is a folder of photographs with ``boxes.json``: file -> ``source``, and under ``labelled`` and ``teacher`` the
boxes that people and another detector gave. What a box of either kind, or of our own detector, shows is settled by the
landmark network: where its landmarks are confident, the face is the upright square around them. Heads without a face,
and faces that nobody is sure of, count neither way.

The file has ``files``, ``sources``, and of all faces ``faces`` (n, 5), see `jvcr.data.pasting.COUNTS`, and ``owner``,
the number of the file.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from jvcr.cli.progress import counting
from jvcr.files import replacing
from jvcr.geometry.crop import Crop, upright_squares
from jvcr.geometry.pose import leans_deg
from jvcr.inference import FaceDetector, Landmarker, read_image
from jvcr.inference.proposals import distinct
from jvcr.scheme import FACE68

SURE = 0.4
"""Mean confidence from which the landmarks say where a face is: 95 % of faces3d's validation faces have more."""

LEAST_SCORE = 0.3
"""Of our own detector; it is asked for more than it would say, as the landmarks judge."""


def labelled(image, entry, landmarker, detector):
    """(n, 5) faces of a photograph."""
    kinds = [(box, "label") for box in entry["labelled"] or []] + [(box, "teacher") for box in entry["teacher"] or []]
    heads = [box[:4] for box, _ in kinds if box[4] == "person_head"]
    known = [box[:4] for box, _ in kinds if box[4] != "person_head"]
    found, _ = detector(image)
    places = [[*box, 0.0] for box in (*known, *heads) if box[2] - box[0] >= 4 and box[3] - box[1] >= 4] + found.tolist()
    if not places:
        return np.zeros((0, 5))
    faces = landmarker(image, boxes=places, passes=2)
    points = np.stack([face.points for face in faces]).astype(float)
    squares = upright_squares(points, leans_deg(points, FACE68.template))
    confidence = np.array([face.confidence.mean() for face in faces])
    # Landmarks that are not sure may lie anywhere: then the box says where something is.
    crops = [Crop.from_detection(place) for place in places]
    boxes = np.array([[*crop.center[:2], crop.side, crop.angle_deg] for crop in crops])
    sure = confidence >= SURE
    rows = np.column_stack([np.where(sure[:, None], squares, boxes), sure])
    return rows[distinct(rows[:, :4].astype(np.float32), confidence.astype(np.float32))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    entries = json.loads((options.photos / "boxes.json").read_text(encoding="utf-8"))
    landmarker = Landmarker(threads=1)
    detector = FaceDetector(threads=1, min_score=LEAST_SCORE)
    faces, owner = [], []
    with counting("photographs", len(entries)) as advance:
        for number, (name, entry) in enumerate(entries.items()):
            if entry["source"] != "negative":
                rows = labelled(read_image(options.photos / name), entry, landmarker, detector)
                faces.append(rows)
                owner += [number] * len(rows)
            advance(1)
    made = {"files": list(entries), "sources": [entry["source"] for entry in entries.values()]}
    with replacing(options.out) as temporary, open(temporary, "wb") as file:
        np.savez(file, faces=np.concatenate(faces).astype(np.float32), owner=np.array(owner), **made)
    counts = np.concatenate(faces)[:, 4]
    print(f"{options.out}: {len(entries)} photographs, {int(counts.sum())} faces, {int((counts == 0).sum())} unsure")


if __name__ == "__main__":
    main()
