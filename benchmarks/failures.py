"""Where the landmarks fail: the worst faces of a data set for looking at, and drawn heads that fail for a known reason.

    python benchmarks/failures.py worst faces3d --out worst --table docs/failures.md
    python benchmarks/failures.py pictures --out docs/images/failures

``worst`` writes sheets of the faces with the largest errors into --out, each face plain and with its landmarks: green
what the label says, red what was predicted. Photographs belong to their data set: keep --out outside of the repository.
With --table the rows between its markers become these faces; what was written about a face that is still among them
stays, and others say "not looked at yet".

``pictures`` draws heads of `jvcr.synthetic.dataset`, whose true landmarks are known exactly, and takes something away
from them step by step. Each picture is a row of steps with error (% of the box) and mean confidence.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import marked
import numpy as np

from jvcr.data.readers.basel import projection
from jvcr.data.readers.folder import read_folder
from jvcr.evaluation.metrics import nme_2d
from jvcr.evaluation.predictions import Predictions, landmark_box, predict
from jvcr.evaluation.summary import face_errors
from jvcr.geometry.warp import warp_crop
from jvcr.inference import Landmarker
from jvcr.scheme import FACE68
from jvcr.synthetic.dataset import synthetic_face
from jvcr.synthetic.head import head_model
from jvcr.synthetic.modes import EXPRESSION_MODES, Expression
from jvcr.viz.tiles import PREDICTED_COLOR, TRUE_COLOR, captioned, face_tile, tile_crop, tile_sheet, write_picture

START, END = "<!-- worst: benchmarks/failures.py -->", "<!-- end of worst -->"
NEW = "not looked at yet"
SHEET_FACES, SHEET_COLUMNS, SHEET_TILE = 6, 4, 400
PERSON, SIZE, TILE = 2, 256, 180
"""Of the pictures: which drawn head, the side of its image, the side of a tile."""

QUALITY = 82
"""Of the pictures, which are in the repository."""


# -- the worst faces of a data set


def worst(options):
    whole = read_folder(options.data)
    place = np.arange(len(whole)) if whole.splits is None else np.flatnonzero(whole.splits == options.split)
    dataset = whole.select(place)
    if options.predictions is None:
        made = predict(Landmarker(options.weights, threads=options.threads), dataset, options.box)
    else:
        made = Predictions.load(options.predictions)
    errors = 100 * face_errors(dataset, made)
    order = [int(i) for i in np.argsort(-errors, kind="stable") if np.isfinite(errors[i])][: options.count]
    tiles, rows = [], []
    for i in order:
        image, label, points = dataset.read_image(i), dataset.points_px[i], made.points_px[i]
        face = int(place[i]), str(dataset.sources[i]), float(dataset.yaw_deg[i]), float(errors[i])
        rows.append((*face, float(made.confidence[i].mean())))
        caption = "{}  {}  yaw {:.0f}  {:.1f} %".format(*face)
        tiles.append(captioned(warp_crop(image, tile_crop([label, points]), SHEET_TILE), caption))
        tiles.append(face_tile(image, ((label, TRUE_COLOR), (points, PREDICTED_COLOR)), dataset.scheme, "", SHEET_TILE))
    step = 2 * SHEET_FACES
    for number, first in enumerate(range(0, len(tiles), step), 1):
        write_picture(options.out / f"worst{number}.png", tile_sheet(tiles[first : first + step], SHEET_COLUMNS))
    if options.table is None:
        print("\n".join(table(rows, {})))
    else:
        _, old, _ = marked.split(options.table, START, END)
        lines = table(rows, words(old))
        marked.put(options.table, START, END, lines)
        new = sum(line.count(NEW) > 0 for line in lines)
        print(f"{options.table}: {len(rows)} faces, {new} of them {NEW}; they are in {options.out}")


def table(rows, known):
    """The Markdown table of the worst faces, with the words that are known of them."""
    lines = ["| face | source | yaw | NME | confidence | what is wrong | with |", "|---|---|---|---|---|---|---|"]
    for index, source, yaw, error, confidence in rows:
        seen = known.get(index, f"{NEW} | ")
        lines.append(f"| {index} | {source} | {yaw:.0f}° | {error:.1f} | {confidence:.2f} | {seen} |")
    return lines


def words(text):
    """Face -> the last two cells of its row."""
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.strip().splitlines()]
    return {int(row[0]): " | ".join(row[5:]) for row in cells if row[0].isdigit()}


# -- drawn heads


def drawn(pitch=0.0, yaw=0.0, roll=0.0, **movements):
    """A drawn head in the middle of its image: RGB pixels and (68, 3) true landmarks."""
    face = synthetic_face(PERSON, size=SIZE)
    expression = np.zeros(EXPRESSION_MODES)
    expression[Expression.OPEN_MOUTH] = -0.17  # a mouth at rest
    for name, value in movements.items():
        expression[Expression[name.upper()]] = value
    pose = np.array([*np.radians([pitch, yaw, roll]), 0, 0, 0, 1], np.float32)
    rotation, _, _ = projection(pose)
    turned = head_model().landmarks_um(face.shape, expression) @ rotation.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = 0.5 * SIZE / (high - low)[:2].max()
    shift = np.array([0.5, 0.46]) * SIZE + 0.5 - scale * (low + high)[:2] / 2
    pose[3:] = [*shift, 0, scale]
    face = replace(face, expression=expression, pose_para=pose)
    return face.draw()[0], face.points_px


def covered(share):
    """A grey box over the landmarks' box, from its right edge on."""
    image, points = drawn()
    x0, y0, x1, y1 = landmark_box(points)
    left = round(float(x1 - share * (x1 - x0)))
    if share:
        image[int(y0) - 10 : int(y1) + 10, left : int(x1) + 10] = 128
    return image, points


def small(width):
    """The picture reduced until the landmarks' box is so many pixels wide."""
    image, points = drawn()
    shrink = width / float(np.ptp(points[:, 0]))
    side = round(SIZE * shrink)
    reduced = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    points = points * (side / SIZE)
    points[:, :2] += (side / SIZE - 1) / 2  # the centre of the first pixel stays half a pixel from the edge
    return reduced, points.astype(np.float32)


PICTURES = {
    "covered": [(f"{100 * share:.0f} % covered", covered, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
    "yaw": [(f"yaw {yaw}", lambda yaw: drawn(yaw=yaw), yaw) for yaw in (45, 70, 90, 105, 120)],
    "roll": [(f"roll {roll}", lambda roll: drawn(roll=roll), roll) for roll in (0, 45, 75, 105, 180)],
    "small": [(f"{width} pixels", small, width) for width in (100, 30, 20, 12, 8)],
    "eyes": [
        (f"{100 * shut:.0f} % shut", lambda shut: drawn(close_eyes=shut), shut) for shut in (0, 0.3, 0.6, 0.8, 1.0)
    ],
}
"""File -> its steps: caption, what draws it, of what."""


def pictures(options):
    landmarker = Landmarker(options.weights, threads=options.threads)
    total = 0
    for name, steps in PICTURES.items():
        tiles = []
        for caption, draw, value in steps:
            image, points = draw(value)
            (face,) = landmarker(image, landmark_box(points)[None], box_kind="landmarks")
            error = 100 * float(nme_2d(face.points[None], points[None])[0])
            print(f"{name}: {caption}: NME {error:.2f} %, mean confidence {face.confidence.mean():.2f}")
            layers = ((points, TRUE_COLOR), (face.points, PREDICTED_COLOR))
            text = f"{caption}: {error:.1f} %, {face.confidence.mean():.2f}"
            tiles.append(face_tile(image, layers, FACE68, text, TILE))
        write_picture(options.out / f"{name}.jpg", tile_sheet(tiles, len(tiles)), QUALITY)
        total += (options.out / f"{name}.jpg").stat().st_size
    print(f"{len(PICTURES)} pictures in {options.out}, {total / 1000:.0f} kB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="worst|pictures")
    of_set, of_heads = (commands.add_parser(name) for name in ("worst", "pictures"))
    of_set.set_defaults(run=worst)
    of_set.add_argument("data", type=Path, help="landmark folder")
    of_set.add_argument("--split", default="val")
    of_set.add_argument("--count", type=int, default=20)
    of_set.add_argument("--box", choices=("truth", "detector"), default="truth")
    of_set.add_argument("--predictions", type=Path, help="of jvcr evaluate on these faces; else they are made")
    of_set.add_argument("--table", type=Path, metavar="FILE.md", help="file whose table is brought up to date")
    of_heads.set_defaults(run=pictures)
    for command in (of_set, of_heads):
        command.add_argument("--out", type=Path, required=True, help="folder for the pictures")
        command.add_argument("--weights", default="compact")
        command.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
