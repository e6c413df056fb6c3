"""Many photographs: which files they are, what is in them, and where their results go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from jvcr.cli.progress import count

if TYPE_CHECKING:
    from jvcr.cli.boxes import BoxFile
    from jvcr.inference.landmarker import BoxKind, Landmarker, Result


@dataclass(frozen=True)
class Photo:
    """An image file to work on."""

    path: Path
    inside: PurePath  # its path within the folder that it was found in; its name, where it was named itself

    def target(self, out: Path, suffix: str) -> Path:
        """Its result of this suffix: of ``sub/emma.jpg`` it is ``sub/emma.jpg.json``, whatever lies beside it."""
        return out / self.inside.with_name(self.inside.name + suffix)


def find_photos(sources: Iterable[Path], out: Path, unused: list[Path] | None = None) -> list[Photo]:
    """The photos of files and folders, in the order given; a folder's in the order of their names, sub-folders too.

    A file that is met twice is taken once; it need not exist: it is for the one who reads it to complain. In folders,
    files and folders with a leading dot are left out, and so is the output folder. ``unused`` gets what looks like a
    photograph there and is of a format that is not read. A ValueError where a folder holds no image.
    """
    from jvcr.inference.image import FORMATS, IMAGE_SUFFIXES, OTHER_PHOTOGRAPHS

    photos: list[Photo] = []
    met: set[Path] = set()
    unused = [] if unused is None else unused
    for source in sources:
        folder = os.path.isdir(source)
        files = list(_files_in(source, out)) if folder else [source]
        if folder:
            unused += [path for path in files if path.suffix.lower() in OTHER_PHOTOGRAPHS]
            files = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            reasons = [f"{source} is a folder without images of the formats {', '.join(FORMATS)}", of_unused(unused)]
            raise ValueError("; ".join(filter(None, reasons)))
        for path in files:
            if (real := real_path(path)) in met:
                continue
            met.add(real)
            photos.append(Photo(path, path.relative_to(source) if folder else PurePath(path.name)))
    return photos


def check_results_differ(photos: Iterable[Photo], out: Path) -> None:
    """A ValueError where two photos would have one result."""
    met: dict[str, Photo] = {}
    for photo in photos:
        other = met.setdefault(os.path.normcase(photo.inside), photo)
        if other is not photo:
            raise ValueError(
                f"{other.path} and {photo.path} would both have the result {photo.target(out, '')}.json: give the "
                "folder that holds both, or call once for each with another --out"
            )


def of_unused(unused: Sequence[Path]) -> str:
    """What to say of photographs that are not read; "" if there are none."""
    if not unused:
        return ""
    names = ", ".join(path.name for path in unused[:3]) + ", ..." * (len(unused) > 3)
    return f"{count(len(unused), 'photograph')} of other formats not used: {names}; export them as JPEG or PNG"


def _files_in(folder: Path, out: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and real_path(here / n) != real_path(out))
        yield from (here / name for name in sorted(names) if not name.startswith("."))


def real_path(path: Path) -> Path:
    """The path without links; unlike ``Path.resolve`` it takes a loop of links as it is, for the reader to refuse."""
    return Path(os.path.realpath(path))


def prepare_output(out: Path, results: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Makes the output folder and sees to it, before any work is done, that results can be written and harm nothing.

    Raises:
        OSError: the folder cannot be made or written to.
        ValueError: a result would overwrite an input.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"cannot write to the output folder ({error.strerror})", str(out)) from error
    taken = {real_path(path) for path in inputs}
    for target in results:
        if real_path(target) in taken:
            raise ValueError(f"the result {target} would overwrite an input file of that name: choose another --out")


def look_at(
    landmarker: Landmarker, photos: Sequence[Photo], boxes: BoxFile | None, box_kind: BoxKind | None, details: bool
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
