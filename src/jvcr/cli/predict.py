"""``jvcr predict``."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jvcr.cli.options import BoxKind, Detector, Device, Flag, MinFace, MinScore, Passes, Weights
from jvcr.cli.photos import Photo, check_results_differ, find_photos, look_at, of_unused, prepare_output
from jvcr.cli.progress import count, counting

if TYPE_CHECKING:
    from rich.table import Table

    from jvcr.cli.boxes import BoxFile
    from jvcr.inference.face import Face
    from jvcr.inference.landmarker import Landmarker, Result

TABLE = "faces.csv"
"""Name of the table that --csv writes."""

TABLE_ROWS = 50
"""The table shows this many faces; all of them are in the files."""

_FAULTS_OF_A_NAME = {errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What can be wrong with the name of one result, while the next one can well be written."""


def predict(
    images: list[Path],
    /,
    *,
    out: Path,
    json: Flag = False,
    csv: Flag = False,
    plot: Flag = False,
    plot_size: int | None = None,
    skip_existing: Flag = False,
    boxes: Path | None = None,
    box_kind: BoxKind = None,
    weights: Weights = "compact",
    threads: int | None = None,
    passes: Passes = 1,
    min_score: MinScore = None,
    detect_size: int | None = None,
    detector: Detector = None,
    device: Device = "cpu",
    min_face: MinFace = None,
) -> int:
    """Find the 3D landmarks of the faces in photographs.

    Every photograph gets a file with its own name and .json behind it in the output folder, as emma.jpg.json (with
    --plot a picture emma.jpg.png, with --csv a line in faces.csv for each face; or several of these), and a table sums
    up what was found. One that cannot be used is reported, and the others are still done; the exit code is then 1.

        jvcr predict portrait.jpg --out faces
        jvcr predict photos/ more/holiday.jpg --out faces --json --csv --plot

    Parameters
    ----------
    images
        Image files, and folders, which are searched with their sub-folders.
    out
        Folder for the results; it is made if need be.
    json
        Write the faces as JSON; this is what is done if none of --json, --csv and --plot is given.
    csv
        Write one table of all faces, faces.csv: a line for each face, its box, angles and landmarks.
    plot
        Write a picture: the photograph with its landmarks, and beside it the first three faces in 3D and their
        estimated volumes.
    plot_size
        Longer side of the photograph in that picture, pixels; it keeps its own size by default.
    skip_existing
        Go on where an earlier run stopped: photographs whose files are all there are left out.
    boxes
        CSV file with the columns image,x0,y0,x1,y1 (pixels), or JSON file {"image": [[x0, y0, x1, y1], ...]}, that says
        where the faces are; without it they are found.
    threads
        Processor threads, all available by default. Several photographs are worked on at once.
    detect_size
        Larger photographs are reduced to this longer side, in pixels, to look for faces: 2560 by default, from 320 on.
        Where 320 pixels show a face for sure, and no small ones, that is enough.
    """
    from rich.table import Table

    from jvcr.cli.boxes import BoxFile
    from jvcr.cli.terminal import console, printable
    from jvcr.inference.options import LandmarkerOptions

    finding = {"--min-score": min_score, "--detect-size": detect_size, "--detector": detector, "--min-face": min_face}
    for option, value in finding.items():
        if boxes is not None and value is not None:
            raise ValueError(f"{option} is for faces that are found, and --boxes says where they are: give one of them")
    if plot_size is not None and not 64 <= plot_size <= 16384:
        raise ValueError(f"--plot-size must be 64 to 16384 pixels, got {plot_size}")
    if skip_existing and csv:
        raise ValueError("--skip-existing is for --json and --plot: --csv writes one table of all photographs")
    unused: list[Path] = []
    photos = find_photos(images, out, unused)
    check_results_differ(photos, out)
    box_file = None if boxes is None else BoxFile(boxes, photos)
    wanted = Wanted(json or not (csv or plot), plot, plot_size)
    found, photos = photos, [photo for photo in photos if not (skip_existing and wanted.is_done(photo, out))]
    results = [photo.target(out, suffix) for photo in photos for suffix in wanted.suffixes] + [out / TABLE] * csv
    prepare_output(out, results, [photo.path for photo in photos] + ([] if boxes is None else [boxes]))
    options = LandmarkerOptions(weights, detector, device, passes, min_score, detect_size, min_face)
    # One face at a time: in batches last digits would go by the other photos.
    landmarker = options.landmarker(threads, detects=boxes is None, max_batch=1)

    errors, output = console(stderr=True), console()
    table = Table("image", "face", "score", "yaw", "pitch", "roll", "confidence", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    faces = failed = unsure = done = 0
    with contextlib.ExitStack() as stack:
        write_row = stack.enter_context(_table(out / TABLE, landmarker.scheme.num_landmarks)) if csv else None
        advance = stack.enter_context(counting("photographs", len(photos), len(photos) > 1, errors))
        try:
            for outcome in predict_photos(landmarker, photos, out, wanted, box_file, box_kind):
                if outcome.problem:
                    failed += 1
                    errors.print(f"jvcr: {printable(outcome.problem, kept='')}", soft_wrap=True)
                elif table.row_count < TABLE_ROWS:
                    _add_rows(table, outcome, landmarker.low_confidence)
                if write_row is not None:
                    write_row(outcome)
                faces += len(outcome.faces)
                unsure += sum(_is_unsure(face, landmarker.low_confidence) for face in outcome.faces)
                done += 1
                advance(1)
        except KeyboardInterrupt:
            kept = f"the results of {done - failed} of {count(len(photos), 'photograph')} are in {out}"
            errors.print(f"jvcr: interrupted; {kept}", soft_wrap=True)
            return 130

    if table.row_count:
        output.print(table)
    more = f", of which the table shows the first {table.row_count}" if faces > table.row_count else ""
    used = f"{count(faces, 'face')} in {count(len(photos) - failed, 'photograph')}"
    before = f"; {len(found) - len(photos)} of {count(len(found), 'photograph')} were done before" * (found != photos)
    output.print(f"{used}{more}; results in {out}{before}", soft_wrap=True)
    if unsure:
        low = f"low confidence, below {landmarker.low_confidence:.2f}: {count(unsure, 'face')}"
        output.print(f"{low}; covered, upside down, or none at all", soft_wrap=True)
    if failed:
        errors.print(f"jvcr: {failed} of {count(len(photos), 'photograph')} could not be used", soft_wrap=True)
    if unused:
        errors.print(f"jvcr: {of_unused(unused)}", soft_wrap=True)
    return 1 if failed else 0


@dataclass(frozen=True)
class Wanted:
    """What is written of each photo: ``EMMA.JPG.json``, and ``EMMA.JPG.png`` with the photo of this size in it."""

    json: bool = True
    plot: bool = False
    plot_size: int | None = None

    @property
    def suffixes(self) -> list[str]:
        """Of the files of each photo."""
        return [".json"] * self.json + [".png"] * self.plot

    def is_done(self, photo: Photo, out: Path) -> bool:
        """Whether all that is wanted of a photo is there; no file is there before the whole of it is."""
        return all(photo.target(out, suffix).is_file() for suffix in self.suffixes)


@dataclass(frozen=True)
class Outcome:
    """What became of a photo."""

    photo: Photo
    faces: tuple[Face, ...] = ()
    size: tuple[int, int] = (0, 0)  # width and height of the photo, pixels
    problem: str = ""  # why it could not be used


def predict_photos(
    landmarker: Landmarker,
    photos: Sequence[Photo],
    out: Path,
    wanted: Wanted,
    boxes: BoxFile | None = None,
    box_kind: BoxKind = None,
) -> Iterator[Outcome]:
    """Works on photos; when an outcome is given, its files are written.

    ``EMMA.JPG.json`` holds ``{"image": path, "width": pixels, "height": pixels, "jvcr": version, "weights": name,
    "faces": [Face.to_dict(), ...]}``, ``EMMA.JPG.png`` the picture of `overview`.
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
            _write(photo, result, out, wanted, landmarker)
        except OSError as error:
            if error.errno not in _FAULTS_OF_A_NAME:
                raise  # such as a full disk: the next photo would fare no better
            return Outcome(photo, problem=f"{photo.path}: its result cannot be written: {error}")
        return Outcome(photo, tuple(result.faces), result.size)

    looked = look_at(landmarker, photos, boxes, box_kind, details=wanted.plot)
    return parallel_map(write, looked, landmarker.threads)


def _write(photo: Photo, result: Result, out: Path, wanted: Wanted, landmarker: Landmarker) -> None:
    import json

    import jvcr
    from jvcr.files import replacing
    from jvcr.viz.overview import overview
    from jvcr.viz.tiles import write_picture

    if wanted.json:
        width, height = result.size
        made = {"jvcr": jvcr.__version__, "weights": landmarker.weights}
        faces = [face.to_dict() for face in result.faces]
        data = {"image": str(photo.path), "width": width, "height": height, **made, "faces": faces}
        with replacing(photo.target(out, ".json")) as temporary:
            temporary.write_text(json.dumps(data) + "\n", encoding="utf-8")
    if wanted.plot:
        picture = overview(result.image, result.faces, landmarker.scheme, result.volumes, wanted.plot_size)
        write_picture(photo.target(out, ".png"), picture)


@contextlib.contextmanager
def _table(path: Path, num_landmarks: int) -> Iterator[Callable[[Outcome], None]]:
    """Writes a table of faces; gives what adds those of a photo.

    Columns: image, its path; width and height, of the image; face, its number in it from 1; box_x0 to box_y1; score;
    yaw, pitch, roll; confidence, the mean over the landmarks; and of each landmark i xi, yi, zi and confidencei.
    """
    import csv

    from jvcr.files import replacing

    head = ["image", "width", "height", "face", "box_x0", "box_y0", "box_x1", "box_y1", "score", "yaw", "pitch", "roll"]
    each = [f"{what}{i}" for i in range(num_landmarks) for what in ("x", "y", "z", "confidence")]
    # Names of files need not be UTF-8: their bytes stay what they are.
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as f:
        writer = csv.writer(f)
        writer.writerow([*head, "confidence", *each])

        def write(outcome: Outcome) -> None:
            for number, face in enumerate(outcome.faces, 1):
                row = face.to_dict()
                whole = [*row["box"], row["score"], row["yaw"], row["pitch"], row["roll"]]
                pairs = zip(row["points"], row["confidence"], strict=True)
                values = [value for point, confidence in pairs for value in (*point, confidence)]
                mean = round(float(face.confidence.mean()), 3)
                writer.writerow([outcome.photo.path, *outcome.size, number, *whole, mean, *values])

        yield write


def _add_rows(table: Table, outcome: Outcome, low: float) -> None:
    """A row for each face of a photo, or one that says there is none."""
    from jvcr.cli.terminal import printable

    name = printable(outcome.photo.inside.as_posix(), kept="")
    if not outcome.faces:
        table.add_row(name, "none")
    for number, face in enumerate(outcome.faces, 1):
        # Adding 0 takes the sign off a negative zero.
        angles = ["-" if angle is None else str(round(angle, 1) + 0.0) for angle in (face.yaw, face.pitch, face.roll)]
        score = "-" if face.score is None else f"{face.score:.2f}"
        confidence = f"{'low ' * _is_unsure(face, low)}{face.confidence.mean():.2f}"
        table.add_row(name if number == 1 else "", str(number), score, *angles, confidence)


def _is_unsure(face: Face, low: float) -> bool:
    """Whether it has the confidence of what is no face."""
    return bool(face.confidence.mean() < low)
