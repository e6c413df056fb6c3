"""Many photographs: which files they are, what is in them, and where their results go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jvcr.cli.boxes import BoxFile
    from jvcr.inference.landmarker import BoxKind, Landmarker, Result


@dataclass(frozen=True)
class Photo:
    """An image file to work on.

    Attributes:
        path: where it lies.
        inside: its path within the folder that it was found in; its name, where it was named itself.
        result: path without suffix of its results, within the output folder; no two photos share one.
    """

    path: Path
    inside: PurePath
    result: PurePath

    def target(self, out: Path, suffix: str) -> Path:
        """The result file of this suffix."""
        return out / self.result.with_name(self.result.name + suffix)


def find_photos(sources: Iterable[Path], out: Path) -> list[Photo]:
    """The photos of files and folders, in the order given; a folder's in the order of their names, sub-folders too.

    Results keep the name of their photo and, of a folder, its sub-folders; where two would have the same name, as
    ``a.jpg`` and ``a.png`` do, the later ones get a number. A file that is met twice is taken once. In folders, files
    and folders with a leading dot are left out, and so is the output folder.

    A file need not exist: it is for the one who reads it to complain.

    Raises:
        ValueError: a folder holds no image.
    """
    from jvcr.inference.image import IMAGE_SUFFIXES

    photos: list[Photo] = []
    met: set[Path] = set()
    taken: set[str] = set()
    for source in sources:
        folder = os.path.isdir(source)
        files = _images_in(source, out, IMAGE_SUFFIXES) if folder else [source]
        if not files:
            raise ValueError(
                f"{source} is a folder without images (of the suffixes {', '.join(sorted(IMAGE_SUFFIXES))})"
            )
        for path in files:
            if (real := real_path(path)) in met:
                continue
            met.add(real)
            inside = path.relative_to(source) if folder else PurePath(path.name)
            result, number = inside.with_name(inside.stem), 1
            while str(result).casefold() in taken:  # some file systems do not tell A from a
                number += 1
                result = inside.with_name(f"{inside.stem}-{number}")
            taken.add(str(result).casefold())
            photos.append(Photo(path, inside, result))
    return photos


def _images_in(folder: Path, out: Path, suffixes: Set[str]) -> list[Path]:
    images = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and real_path(here / n) != real_path(out))
        images += [here / n for n in sorted(names) if not n.startswith(".") and Path(n).suffix.lower() in suffixes]
    return images


def real_path(path: Path) -> Path:
    """The path without links; unlike ``Path.resolve`` it takes a loop of links as it is, for the reader to refuse."""
    return Path(os.path.realpath(path))


def prepare_output(out: Path, photos: Sequence[Photo], suffixes: Sequence[str], keep: Iterable[Path] = ()) -> None:
    """Makes the output folder and sees to it, before any work is done, that results can be written and harm nothing.

    Raises:
        OSError: the folder cannot be made or written to.
        ValueError: a photo's result, of one of the suffixes, would overwrite a photo or a file to keep.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"cannot write to the output folder ({error.strerror})", str(out)) from error
    inputs = {real_path(photo.path) for photo in photos} | {real_path(path) for path in keep}
    for photo in photos:
        for target in (photo.target(out, suffix) for suffix in suffixes):
            if real_path(target) in inputs:
                raise ValueError(
                    f"the result {target} would overwrite an input file of that name: choose another --out"
                )


def look_at(
    landmarker: Landmarker, photos: Sequence[Photo], boxes: BoxFile | None, box_kind: BoxKind, details: bool
) -> Iterator[tuple[Photo, Result, str]]:
    """Each photo, what became of it (`Landmarker.results`), and why it could not be used; "" if it could."""
    results = landmarker.results(
        (photo.path for photo in photos),
        # Also where the file says nothing of a photo it is read: that it cannot be is said first.
        None if boxes is None else (boxes.of(photo) if photo in boxes else [] for photo in photos),
        box_kind,
        details=details,
        on_error="yield",
    )
    for photo, result in zip(photos, results, strict=True):
        problem = ""
        if result.error is not None:
            problem = _with_path(result.error, photo.path)
        elif boxes is not None and photo not in boxes:
            problem = f"{boxes.path} has no boxes for {photo.path}"
        yield photo, result, problem


def _with_path(error: Exception, path: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error) if str(path) in str(error) else f"{path}: {error}"
