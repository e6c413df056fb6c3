"""``jvcr data``: check, pack, basis, synthetic."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jvcr.cli.options import Basis
from jvcr.cli.progress import count, counting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from jvcr.data.check import DatasetCheck
    from jvcr.data.dataset import LandmarkDataset

SHEET, REPORT = "contact-sheet.jpg", "check.json"

_SHEET_FACES, _SHEET_FINDINGS, _SHEET_COLUMNS, _SHEET_TILE = 48, 16, 8, 200
_FINDINGS_SHOWN = 20


def check(
    folder: Path,
    /,
    *,
    out: Path = Path("data-check"),
    scheme: str = "face68",
    annotation: Literal["original", "reannotated"] | None = None,
    reannotation: Path | None = None,
    basis: Basis = None,
    flips: bool = False,
    strict: bool = False,
) -> int:
    """Look a data set over: what is in it, and which faces deserve a look.

    Reads every label and every image; prints how many faces, parts, sizes and yaws there are, what cannot be used, and
    what is suspicious: landmarks outside of the image, images that are there twice, one face's landmarks on two images,
    shapes far from all others. Writes a contact sheet with the landmarks drawn (suspicious faces first, in red) and
    check.json.

        jvcr data check faces3d
        jvcr data check 300W-LP --basis basis.npz --out checks/300w-lp

    The exit code is 1 if some faces cannot be used.

    Parameters
    ----------
    folder
        Images with landmarks.npz or landmarks.csv, AFLW2000-3D, 300W-LP or 3DFAW.
    out
        Folder for the contact sheet and check.json; made if missing.
    scheme
        The landmarks: face68, face66, or a TOML file.
    annotation
        Which annotation of AFLW2000-3D; the original by default.
    reannotation
        The file of the re-annotated points; AFLW2000-3D-Reannotated.pts68.npy in the folder by default.
    flips
        Read the mirrored folders of 300W-LP too.
    strict
        Stop at faces that cannot be used.
    """
    from dataclasses import asdict

    from jvcr.cli import terminal
    from jvcr.data.check import check_dataset
    from jvcr.data.readers import read_dataset
    from jvcr.files import write_json
    from jvcr.scheme import load_scheme
    from jvcr.viz.tiles import write_picture

    if out.resolve() == folder.resolve():
        raise ValueError(f"--out is the data set's own folder, {folder}: choose another one")
    with counting("reading labels") as advance:
        dataset = read_dataset(
            folder,
            load_scheme(scheme),
            annotation,
            basis,
            flips,
            strict=strict,
            advance=advance,
            reannotation=reannotation,
        )
    out.mkdir(parents=True, exist_ok=True)
    with counting("reading images", len(dataset)) as advance:
        report = check_dataset(dataset, advance)
    write_json(out / REPORT, asdict(report))
    write_picture(out / SHEET, contact_sheet(dataset, report))

    console = terminal.console(soft_wrap=True)
    for line in describe(folder, report):
        console.print(line)
    console.print(f"written: {SHEET} and {REPORT} in {out}")
    damaged = any(finding.kind == "damaged" for finding in report.findings)
    return 1 if report.problems or damaged else 0


def describe(folder: Path, report: DatasetCheck) -> list[str]:
    """A check as lines for the terminal."""
    annotation = f", annotation {report.annotation}" if report.annotation else ""
    lines = [f"{folder}: {report.faces:,} faces in {report.images:,} images, {report.scheme}{annotation}"]
    for what, counts in (("parts", report.sources), ("splits", report.splits), ("image sizes", report.image_sizes)):
        if counts:
            shown = list(counts.items())[:8]
            more = f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else ""
            lines.append(f"{what}: {', '.join(f'{name} {count:,}' for name, count in shown)}{more}")
    low, small, middle, large, high = report.face_sizes
    lines.append(
        f"face sizes: median {middle:.0f} pixels, 90 % of them {small:.0f} to {large:.0f}, {low:.0f} to {high:.0f}"
    )
    if report.yaw.get("unknown") != report.faces:
        widest = max(report.yaw.values()) or 1
        lines.append("|yaw|, degrees:")
        lines += [
            f"  {band:>8} {count:>7,} {'#' * round(40 * count / widest)}".rstrip() for band, count in report.yaw.items()
        ]
    lines.append(f"landmarks outside of the image: {report.outside:,} faces have at least one")
    if report.beyond_depth:
        remedy = f"with depth = {report.depth_needed:g} in the scheme none would"
        lines.append(f"in front of or behind the volume: {report.beyond_depth:,} faces have a landmark; {remedy}")
    lines += report.notes
    if report.problems:
        lines.append(f"left out: {len(report.problems):,}")
        lines += _listed(report.problems)
    if report.findings:
        kinds = Counter(finding.kind for finding in report.findings)
        lines.append("look at: " + ", ".join(f"{kind} {count:,}" for kind, count in kinds.items()))
        lines += _listed([f"{f.image}: {f.text}" for f in report.findings])
    else:
        lines.append("nothing suspicious")
    return lines


def _listed(texts: list[str] | tuple[str, ...]) -> list[str]:
    more = [f"  ... and {len(texts) - _FINDINGS_SHOWN:,} more"] if len(texts) > _FINDINGS_SHOWN else []
    return [f"  {text}" for text in texts[:_FINDINGS_SHOWN]] + more


def contact_sheet(dataset: LandmarkDataset, report: DatasetCheck) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB: suspicious faces in red, the worst of each kind first, then others in green."""
    import numpy as np

    from jvcr.viz.tiles import PREDICTED_COLOR, TRUE_COLOR, blank_tile, face_tile, tile_sheet

    # Every kind gets its turn: a data set with a thousand faces of one kind would otherwise show no other.
    waiting: dict[str, list[int]] = {}
    for finding in report.findings:
        waiting.setdefault(finding.kind, []).append(finding.face)
    shown: list[tuple[int, str]] = []
    while len(shown) < _SHEET_FINDINGS and any(waiting.values()):
        shown += [(faces.pop(0), kind) for kind, faces in waiting.items() if faces]
    shown = shown[:_SHEET_FINDINGS]
    marked = {face for face, _ in shown}
    others = [i for i in range(len(dataset)) if i not in marked]
    spread = np.linspace(0, len(others) - 1, min(len(others), _SHEET_FACES - len(shown))).round().astype(int)
    tiles = []
    for face, kind in [*shown, *((others[i], "") for i in spread)]:
        color = PREDICTED_COLOR if kind else TRUE_COLOR
        caption = kind or str(dataset.images[face])
        try:
            layers = [(dataset.points_px[face], color)]
            tiles.append(face_tile(dataset.read_image(face), layers, dataset.scheme, caption, _SHEET_TILE))
        except (OSError, ValueError):
            tiles.append(blank_tile(caption, _SHEET_TILE))
    return tile_sheet(tiles, _SHEET_COLUMNS)


def pack(
    folder: Path,
    /,
    *,
    out: Path,
    faces_per_shard: int = 1000,
    scheme: str = "face68",
    basis: Basis = None,
    flips: bool = False,
    strict: bool = False,
) -> int:
    """Write a data set as shards: tars with images and labels, for training on millions of faces.

    jvcr train reads them as it goes: nothing is held in memory but where each face lies. The tars are called
    SPLIT-NUMBER.tar and are those of WebDataset, 000000123.jpg beside 000000123.json; sets that were written as such by
    other programs are read as well. Faces are written in a random order, images as they are.

        jvcr data pack faces3d --out faces3d-shards
        jvcr train recipes/large.toml --data faces3d-shards --set 'data.source_shares={}' --set data.rare_share=0

    Parameters
    ----------
    folder
        The data set, of any layout that jvcr data check reads.
    out
        Folder for the shards; it must not be there yet, or be empty.
    faces_per_shard
        Faces in each tar.
    scheme
        The landmarks: face68, face66, or a TOML file.
    flips
        Read the mirrored folders of 300W-LP too; training mirrors by itself.
    strict
        Stop at faces that cannot be used.
    """
    from jvcr.cli import terminal
    from jvcr.data import pack as packing
    from jvcr.data.readers import read_dataset
    from jvcr.data.skipped import summary
    from jvcr.scheme import load_scheme

    with counting("reading labels") as advance:
        dataset = read_dataset(folder, load_scheme(scheme), basis=basis, flips=flips, strict=strict, advance=advance)
    with counting("packing faces", len(dataset)) as advance:
        packing.pack(dataset, out, faces_per_shard, advance=advance)
    if dataset.problems:
        errors = terminal.console(stderr=True, soft_wrap=True)
        errors.print(f"jvcr: left out {len(dataset.problems)}: {summary(dataset.problems)}")
    print(f"{len(dataset):,} faces in {len(list(out.glob('*.tar'))):,} shards in {out}")
    return 0


def basis(folder: Path, /, *, out: Path) -> int:
    """Recover the Basel face model at the 68 landmarks from AFLW2000-3D, for reading 300W-LP.

    300W-LP has parameters and no 3D points. The model that turns one into the other need not be downloaded: the files
    of AFLW2000-3D hold both, and least squares over its 2000 faces gives the model. Fewer than 229 independent faces do
    not determine it, and are refused.

        jvcr data basis AFLW2000-3D --out 300W-LP/basis.npz

    Parameters
    ----------
    folder
        AFLW2000-3D, as published.
    out
        Where to write the model: an .npz file with mean, shape_basis and expression_basis, in micrometres.
    """
    from jvcr.cli import terminal
    from jvcr.data.readers.basel import recover_model
    from jvcr.data.skipped import summary

    if out.suffix != ".npz":
        raise ValueError(f"--out must end in .npz, got {out}")
    with counting("reading faces") as advance:
        recovery = recover_model(folder, advance)
    recovery.model.save(out)
    console = terminal.console(soft_wrap=True)
    console.print(
        f"{out}: the model of {recovery.faces:,} faces; rank {recovery.rank} of 229, condition "
        f"{recovery.condition:.0f}, residual {recovery.residual_um:.4f} micrometres (root of the mean square)"
    )
    if recovery.problems:
        errors = terminal.console(stderr=True, soft_wrap=True)
        errors.print(f"jvcr: left out {len(recovery.problems)}: {summary(recovery.problems)}")
    return 0  # the model is right, whoever was left out: what is not is refused


def synthetic(
    *,
    out: Path,
    faces: int = 500,
    seed: int = 0,
    size: int | None = None,
    layout: Literal["folder", "300w-lp", "aflw2000"] = "folder",
    views: int = 1,
) -> int:
    """Draw a set of synthetic faces with exact 3D landmarks, to try and to test everything without a download.

    The faces are cartoons of a head made of formulas: whatever is measured on them says nothing about photographs. The
    same seed gives the same faces.

        jvcr data synthetic --out synthetic
        jvcr data synthetic --out synthetic-lp --faces 1000 --layout 300w-lp
        jvcr data synthetic --out pairs --faces 200 --views 2

    Parameters
    ----------
    out
        Folder for the set; it must not be there yet, or be empty.
    faces
        How many faces; in the layout 300w-lp each comes a second time, mirrored.
    seed
        Another number gives other faces.
    size
        Side of the images in pixels; 160 by default, and 450 in the published sets' layouts, as theirs are.
    layout
        "folder" is the package's own: images and landmarks.npz, a fifth of the subjects for validation. "300w-lp" and
        "aflw2000" are those of the published sets: .mat files with the parameters of a morphable model, and that model
        at the landmarks as basis.npz.
    views
        Pictures of each subject, from different sides with the same expression.
    """
    from jvcr.synthetic.dataset import make_synthetic

    with counting("drawing faces", faces) as advance:
        make_synthetic(out, faces, seed, size, layout, views, advance)
    number = count(faces, "synthetic face")
    print(f"{number} in {out} (layout {layout}); no photographs: figures measured on them say nothing about real faces")
    return 0
