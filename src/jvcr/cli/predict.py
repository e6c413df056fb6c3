"""``jvcr predict``."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jvcr.cli.photos import Photo, find_photos, look_at, prepare_output
from jvcr.cli.progress import count, counting

if TYPE_CHECKING:
    from rich.table import Table

    from jvcr.cli.boxes import BoxFile
    from jvcr.inference.face import Face
    from jvcr.inference.landmarker import BoxKind, Landmarker, Result

TABLE_ROWS = 50
"""The table shows this many faces; all of them are in the files."""

_FAULTS_OF_A_NAME = {errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What can be wrong with the name of one result, while the next one can well be written."""


def predict(
    images: list[Path],
    /,
    *,
    out: Path,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    plot: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    boxes: Path | None = None,
    box_kind: Literal["detector", "landmarks"] = "detector",
    weights: str = "compact",
    threads: int | None = None,
    passes: int = 1,
    min_score: float | None = None,
    detect_size: int | None = None,
) -> int:
    """Find the 3D landmarks of the faces in photographs.

    Every photograph gets a file NAME.json in the output folder (with --plot a picture NAME.png, with --json --plot
    both), and a table sums up what was found. One that cannot be used is reported, and the others are still done; the
    exit code is then 1.

        jvcr predict portrait.jpg --out faces
        jvcr predict photos/ more/holiday.jpg --out faces --json --plot

    Parameters
    ----------
    images
        Image files, and folders, which are searched with their sub-folders.
    out
        Folder for the results; it is made if need be.
    json
        Write the faces as JSON; this is what is done if neither --json nor --plot is given.
    plot
        Write a picture: the photograph with its landmarks, and beside it the first three faces in 3D and their
        estimated volumes.
    boxes
        CSV file with the columns image,x0,y0,x1,y1 (pixels), or JSON file {"image": [[x0, y0, x1, y1], ...]}, that says
        where the faces are; without it they are found.
    box_kind
        What those boxes surround: a face as detectors box it, forehead to chin, or the landmarks themselves.
    weights
        Name of shipped weights, or an .onnx file.
    threads
        Processor threads, all available by default. Several photographs are worked on at once.
    passes
        2 looks at each face again, around the landmarks found first: a little more exact, twice the time.
    min_score
        Faces of which the detector is less sure are left out, 0 to 1; 0.6 by default.
    detect_size
        Larger photographs are reduced to this longer side, in pixels, to look for faces. 640, the default, finds faces
        from 1/30 of that side on; 320 from 1/15 on, in a quarter of the time.
    """
    from rich.console import Console
    from rich.table import Table

    from jvcr.cli.boxes import BoxFile
    from jvcr.inference.detector import LONG_SIDE, MIN_SCORE, SlimeFaceDetector
    from jvcr.inference.landmarker import Landmarker
    from jvcr.inference.tracker import MIN_CONFIDENCE

    write_json = json or not plot
    for option, value in (("--min-score", min_score), ("--detect-size", detect_size)):
        if boxes is not None and value is not None:
            raise ValueError(f"{option} is for faces that are found, and --boxes says where they are: give one of them")
    photos = find_photos(images, out)
    box_file = None if boxes is None else BoxFile(boxes, photos)
    suffixes = [suffix for suffix, wanted in ((".json", write_json), (".png", plot)) if wanted]
    prepare_output(out, photos, suffixes, () if boxes is None else (boxes,))
    # One face at a time: in batches, with which processors are no quicker, last digits would go by the other photos.
    landmarker = Landmarker(weights, threads, passes=passes, max_batch=1)
    if boxes is None:
        # Where none is installed, that is said now and once.
        landmarker.detector = SlimeFaceDetector(
            LONG_SIDE if detect_size is None else detect_size,
            MIN_SCORE if min_score is None else min_score,
            landmarker.threads,
        )

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    table = Table("image", "face", "score", "yaw", "pitch", "roll", "confidence", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    faces = failed = unsure = done = 0
    try:
        with counting("photographs", len(photos), len(photos) > 1, errors) as advance:
            for outcome in predict_photos(landmarker, photos, out, write_json, plot, box_file, box_kind):
                if outcome.problem:
                    failed += 1
                    errors.print(f"jvcr: {outcome.problem}", markup=False)
                elif table.row_count < TABLE_ROWS:
                    _add_rows(table, outcome)
                faces += len(outcome.faces)
                unsure += sum(_is_unsure(face) for face in outcome.faces)
                done += 1
                advance(1)
    except KeyboardInterrupt:
        text = f"jvcr: interrupted; the results of {done - failed} of {count(len(photos), 'photograph')} are in {out}"
        errors.print(text, markup=False)
        return 130

    output = Console(highlight=False)
    if table.row_count:
        output.print(table)
    more = f", of which the table shows the first {table.row_count}" if faces > table.row_count else ""
    used = f"{count(faces, 'face')} in {count(len(photos) - failed, 'photograph')}"
    output.print(f"{used}{more}; results in {out}", markup=False, soft_wrap=True)
    if unsure:
        text = f"low confidence, below {MIN_CONFIDENCE}: {count(unsure, 'face')}; covered, upside down, or none at all"
        output.print(text, markup=False, soft_wrap=True)
    if failed:
        errors.print(f"jvcr: {failed} of {count(len(photos), 'photograph')} could not be used", markup=False)
    return 1 if failed else 0


@dataclass(frozen=True)
class Outcome:
    """What became of a photo.

    Attributes:
        photo: which one.
        faces: no face is an empty tuple.
        problem: why it could not be used; empty if it could.
    """

    photo: Photo
    faces: tuple[Face, ...] = ()
    problem: str = ""


def predict_photos(
    landmarker: Landmarker,
    photos: Sequence[Photo],
    out: Path,
    write_json: bool = True,
    write_plot: bool = False,
    boxes: BoxFile | None = None,
    box_kind: BoxKind = "detector",
) -> Iterator[Outcome]:
    """Works on photos; when an outcome is given, its files are written.

    ``NAME.json`` holds ``{"image": path, "faces": [Face.to_dict(), ...]}``, ``NAME.png`` the picture of `overview`.
    A photo that cannot be used gets an outcome with the reason, and no file; the next ones go on.

    Raises:
        OSError: a result cannot be written. Those before it stay.
    """
    from jvcr.inference.parallel import parallel_map

    def write(looked: tuple[Photo, Result, str]) -> Outcome:
        photo, result, problem = looked
        if problem:
            return Outcome(photo, problem=problem)
        try:
            _write(photo, result, out, write_json, write_plot, landmarker)
        except OSError as error:
            if error.errno not in _FAULTS_OF_A_NAME:
                raise  # such as a full disk: the next photo would fare no better
            return Outcome(photo, problem=f"{photo.path}: its result cannot be written: {error}")
        return Outcome(photo, tuple(result.faces))

    looked = look_at(landmarker, photos, boxes, box_kind, details=write_plot)
    return parallel_map(write, looked, landmarker.threads)


def _write(photo: Photo, result: Result, out: Path, as_json: bool, as_plot: bool, landmarker: Landmarker) -> None:
    import json

    from jvcr.files import replacing
    from jvcr.viz.overview import overview
    from jvcr.viz.tiles import write_picture

    if as_json:
        data = {"image": str(photo.path), "faces": [face.to_dict() for face in result.faces]}
        with replacing(photo.target(out, ".json")) as temporary:
            temporary.write_text(json.dumps(data) + "\n", encoding="utf-8")
    if as_plot:
        picture = overview(result.image, result.faces, landmarker.scheme, result.volumes)
        write_picture(photo.target(out, ".png"), picture)


def _add_rows(table: Table, outcome: Outcome) -> None:
    """A row for each face of a photo, or one that says there is none."""
    from rich.markup import escape

    name = escape(outcome.photo.inside.as_posix())
    if not outcome.faces:
        table.add_row(name, "none")
    for number, face in enumerate(outcome.faces, 1):
        # Adding 0 takes the sign off a negative zero.
        angles = ["-" if angle is None else str(round(angle, 1) + 0.0) for angle in (face.yaw, face.pitch, face.roll)]
        score = "-" if face.score is None else f"{face.score:.2f}"
        confidence = f"{'low ' * _is_unsure(face)}{face.confidence.mean():.2f}"
        table.add_row(name if number == 1 else "", str(number), score, *angles, confidence)


def _is_unsure(face: Face) -> bool:
    """Whether it has the confidence of what is no face."""
    from jvcr.inference.tracker import MIN_CONFIDENCE

    return bool(face.confidence.mean() < MIN_CONFIDENCE)
