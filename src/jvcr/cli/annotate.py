"""``jvcr annotate``."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jvcr.cli.options import Detector, Device, MinFace, MinScore, Passes, Weights
from jvcr.cli.progress import count, counting

if TYPE_CHECKING:
    from jvcr.annotate.destination import Destination
    from jvcr.annotate.sources import Source
    from jvcr.annotate.work import Tally
    from jvcr.inference.options import LandmarkerOptions


def annotate(
    source: str,
    /,
    *,
    out: str,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    shard: str = "1/1",
    limit: int | None = None,
    images_per_part: int = 500,
    image_column: str = "image",
    id_column: str | None = None,
    weights: Weights = "compact",
    passes: Passes = 1,
    min_score: MinScore = None,
    detect_size: Annotated[int | None, Parameter(show_default=False)] = None,
    detector: Detector = None,
    device: Device = "cpu",
    min_face: MinFace = None,
) -> int:
    """Find the 3D landmarks of the faces in any number of images.

    The output folder gets Parquet files with a row for each face, which pandas, DuckDB and Spark read as one table. The
    same command goes on where a killed one stopped: every image is there once, and nothing is done twice. An image that
    cannot be used becomes a row that says why.

        jvcr annotate photos/ --out faces
        jvcr annotate "s3://bucket/laion/*.tar" --out s3://bucket/faces --engine ray
        jvcr annotate photos.txt --out faces --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT

    Parameters
    ----------
    source
        A folder, searched with its sub-folders; a text file with a path in each line (.txt, .lst, .list); WebDataset
        tars, or Parquet files with the bytes of images: a folder of them, one, or a pattern. A path, or whatever else
        fsspec opens, such as s3:// with the package s3fs.
    out
        Folder for the results; a path or as source. On many machines all of them must see it.
    engine
        local, all cores of this machine; or ray, the Ray cluster that RAY_ADDRESS names (pip install "jvcr[cluster]").
    workers
        How many images are worked on at once; one for each core by default.
    shard
        Only one of several equal shares, as 3/8: for machines that know nothing of each other, which may all write to
        the same folder.
    limit
        Only so many images, the first of the share; without it, the same command does the others later.
    images_per_part
        Images of a Parquet file. What was being worked on when a run is killed, at most this many and what is read
        ahead of them, is done anew.
    image_column
        Of Parquet files: what holds the images, as bytes or as Hugging Face's data sets have them.
    id_column
        Of Parquet files: what the images are called; without it their rows are numbered.
    detect_size
        Larger images are reduced to this longer side, in pixels, to look for faces: 2560 by default, from 320 on.
    """
    from jvcr.annotate.destination import Destination
    from jvcr.annotate.engines import annotate_on_cores, annotate_on_ray
    from jvcr.annotate.sources import Source, total
    from jvcr.annotate.work import Tally
    from jvcr.cli.terminal import console, printable
    from jvcr.inference.options import LandmarkerOptions
    from jvcr.inference.session import available_cores

    share = _shard(shard)
    for name, value in (("--limit", limit), ("--workers", workers), ("--images-per-part", images_per_part)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    images = Source(source, images_per_part, image_column, id_column, without=out)
    options = LandmarkerOptions(weights, detector, device, passes, min_score, detect_size, min_face)
    destination = Destination(out, images_per_part)

    errors, began, done = console(stderr=True), time.monotonic(), Tally()
    with counting("images", lambda: total(images.pieces(share, limit)), True, errors, speed=True) as advance:

        def tell(tally: Tally) -> None:
            done.add(tally)
            advance(tally.images + tally.before)
            for fault in tally.broken:
                errors.print(f"jvcr: {printable(fault, kept='')}", soft_wrap=True)

        try:
            options.landmarker(1)  # what is wrong with the options is said before anything is written
            any_images = next(images.pieces(share, limit), None) is not None
            destination.open(_manifest(options, images, destination))
            if any_images and engine == "local":
                annotate_on_cores(options, images.pieces(share, limit), destination, workers or available_cores(), tell)
            elif any_images:
                annotate_on_ray(options, list(images.pieces(share, limit)), destination, workers, tell)
        except KeyboardInterrupt:
            after = count(done.images + done.before, "image")
            errors.print(f"jvcr: interrupted; the same command goes on after {after}", soft_wrap=True)
            return 130
    print(_summary(done, time.monotonic() - began, out))
    return 1 if done.broken else 0


def _manifest(options: LandmarkerOptions, images: Source, destination: Destination) -> dict[str, Any]:
    """What makes the rows what they are: whoever goes on must have the same."""
    import fsspec

    import jvcr
    from jvcr.annotate.table import COLUMNS_VERSION
    from jvcr.files import sha256
    from jvcr.weights.header import find_weights

    fs, path = fsspec.core.url_to_fs(images.location)
    return {
        "format": 1,
        "jvcr": jvcr.__version__,
        "columns": COLUMNS_VERSION,
        "source": fs.unstrip_protocol(path),
        "image_column": images.image_column,
        "id_column": images.id_column,
        "images_per_part": destination.images_per_part,
        **asdict(options),
        "weights_sha256": sha256(find_weights(options.weights, ".onnx")),
    }


def _shard(text: str) -> tuple[int, int]:
    """``3/8`` as (2, 8)."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        raise ValueError(f"--shard must be a share such as 3/8, from 1/8 to 8/8, got {text}")
    return number - 1, of


def _summary(done: Tally, seconds: float, out: str) -> str:
    rate = f", {done.images / seconds:,.1f} a second" if done.images else ""
    if not done.images and done.before and not done.broken:
        return f"nothing was missing: all of {count(done.before, 'image')} were done before; results in {out}"
    parts = [
        f"{count(done.faces, 'face')} in {count(done.images, 'image')}{rate}",
        f"{done.empty:,} without a face" * bool(done.empty),
        f"{done.errors:,} that cannot be used" * bool(done.errors),
        f"{count(done.before, 'image')} done before" * bool(done.before),
        f"{count(len(done.broken), 'file')} not read to the end" * bool(done.broken),
        f"results in {out}",
    ]
    return "; ".join(part for part in parts if part)
