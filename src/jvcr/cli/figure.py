"""``jvcr figure volume`` and ``jvcr figure examples``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jvcr.cli.options import BoxKind, Detector, Passes, Threads, Weights

if TYPE_CHECKING:
    from jvcr.viz.volume import Example


def volume(
    image: Path,
    /,
    *,
    out: Path,
    face: int = 1,
    boxes: Path | None = None,
    box_kind: BoxKind = None,
    size: int = 480,
    weights: Weights = "compact",
    threads: Threads = None,
    passes: Passes = 1,
    detector: Detector = None,
) -> int:
    """Draw a face's landmarks and its volume in 3D: Figure 2 of the paper, from one photograph.

    Four pictures side by side: the photograph with its landmarks; the landmarks in 3D; their compact volume, as Eq. 1-2
    define it; and the volume that the network estimated. Warm is near the camera, cold is far.

        jvcr figure volume portrait.jpg --out volume.png

    Parameters
    ----------
    image
        The photograph.
    out
        The picture: .png, .jpg or .webp.
    face
        Which face, where there are several: 1 is the most certain one, or the first of --boxes.
    boxes
        File that says where the faces are, as for jvcr predict; without it they are found.
    size
        Width and height of each of the four pictures, pixels.
    """
    from jvcr.viz.tiles import write_picture
    from jvcr.viz.volume import volume_figure

    _check([image], out, size, face)
    found, missing, _ = _examples([image], out, boxes, box_kind, weights, threads, passes, detector, face)
    if missing:
        raise ValueError(missing[0])
    write_picture(out, volume_figure(found[0], size))
    print(f"written: {out}")
    return 0


def examples(
    images: list[Path],
    /,
    *,
    out: Path,
    columns: int = 6,
    boxes: Path | None = None,
    box_kind: BoxKind = None,
    size: int = 300,
    weights: Weights = "compact",
    threads: Threads = None,
    passes: Passes = 1,
    detector: Detector = None,
) -> int:
    """Draw photographs, volumes and landmarks of several faces, as Figures 4 and 5 of the paper do.

    A column for each photograph: on top the face with its 2D landmarks, in the middle the estimated volume, below the
    landmarks in 3D. Of each photograph the most certain face alone is drawn, or the first of --boxes. Photographs
    without a face are named and left out; the exit code is then 1.

        jvcr figure examples photos/ portrait.jpg --out examples.png --columns 6

    Parameters
    ----------
    images
        Image files, and folders, which are searched with their sub-folders.
    out
        The picture: .png, .jpg or .webp.
    columns
        Faces side by side; further ones follow below.
    boxes
        File that says where the faces are, as for jvcr predict; without it they are found.
    size
        Width and height of each picture, pixels.
    """
    import sys

    from jvcr.cli.progress import count
    from jvcr.viz.tiles import write_picture
    from jvcr.viz.volume import examples_figure

    _check(images, out, size, columns, "columns")
    found, missing, several = _examples(images, out, boxes, box_kind, weights, threads, passes, detector)
    for reason in missing:
        print(f"jvcr: left out: {reason}", file=sys.stderr)
    if not found:
        raise ValueError("no face to draw")
    write_picture(out, examples_figure(found, columns, size))
    first = "first" if boxes is not None else "most certain"
    more = f"; of {count(several, 'photograph')} with more faces the {first} one" if several else ""
    print(f"written: {out}, {count(len(found), 'face')}{more}")
    return 1 if missing else 0


def _check(images: list[Path], out: Path, size: int, number: int, name: str = "face") -> None:
    from jvcr.viz.tiles import QUALITY

    if out.resolve() in {image.resolve() for image in images}:
        raise ValueError(f"--out {out} is one of the photographs: choose another name")
    if out.suffix.lower() not in QUALITY:
        raise ValueError(f"--out must end in one of {', '.join(QUALITY)}, got {out.name}")
    if not 64 <= size <= 4096:
        raise ValueError(f"--size must be 64 to 4096 pixels, got {size}")
    if number < 1:
        raise ValueError(f"--{name} must be at least 1, got {number}")
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder: name the picture")


def _examples(
    images: list[Path],
    out: Path,
    boxes: Path | None,
    box_kind: BoxKind,
    weights: str,
    threads: int | None,
    passes: int,
    detector: str | None,
    number: int = 1,
) -> tuple[list[Example], list[str], int]:
    """A face of each photograph with what the network saw, why others have none, and how many have several."""
    from jvcr.cli.boxes import BoxFile
    from jvcr.cli.photos import find_photos, look_at
    from jvcr.cli.progress import counting
    from jvcr.inference.options import LandmarkerOptions
    from jvcr.viz.volume import Example

    photos = [photo for photo in find_photos(images, out.parent / ".nothing") if photo.path.resolve() != out.resolve()]
    file = None if boxes is None else BoxFile(boxes, photos)
    landmarker = LandmarkerOptions(weights, detector, passes=passes).landmarker(threads)
    found: list[Example] = []
    missing: list[str] = []
    several = 0
    with counting("photographs", len(photos), enabled=len(photos) > 1) as advance:
        for photo, result, problem in look_at(landmarker, photos, file, box_kind, details=True):
            advance(1)
            faces = result.faces
            if problem:
                missing.append(problem)
                continue
            if len(faces) < number:
                few = "no face" if not faces else f"no face {number}, only {len(faces)}"
                missing.append(f"{photo.path}: {few} {'found' if file is None else f'in {boxes}'}")
                continue
            i = number - 1
            several += len(faces) > 1
            found.append(Example(result.image, faces[i], result.volumes[i], result.crops[i], landmarker.scheme))
    return found, missing, several
