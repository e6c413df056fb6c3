"""From predictions and labels to the figures, the table and the picture of the worst faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from jvcr.data.dataset import LandmarkDataset
from jvcr.evaluation.metrics import YAW_BINS, bin_summary, gte, nme_2d, yaw_bins
from jvcr.evaluation.protocol import Predictions
from jvcr.files import replacing
from jvcr.geometry.crop import Crop
from jvcr.geometry.warp import cut


def summarise(dataset: LandmarkDataset, predictions: Predictions) -> dict[str, Any]:
    """The figures of an evaluation, plain data for ``summary.json``; every error in percent.

    Averages are over the faces that were found. A figure that has no face to average, or that the data set cannot
    give (yaw unknown, a scheme without eye corners), is None; nothing is ever NaN.

    ============= ==================================================================================================
    ``nme``       ``bins`` (yaw band -> mean), ``bin_mean``, ``bin_std``, ``image_mean``: see `nme_2d`, `bin_summary`
    ``gte``       ``aligned_z`` and ``raw``, means over faces: see `gte`. The two are the same where truth and
                  prediction both have their mean z at 0, as the readers' and the landmarker's have
    ``images``    faces evaluated, those not found included
    ``by_source`` name of a part -> the keys of ``nme``; empty if parts have no names
    ``found``     faces with a prediction: those that the averages are over
    ``counts``    ``found``, ``not_found``, and both for each yaw band under ``bins``; the three again for each part
                  under ``by_source``. Faces of unknown yaw are in no band, but in ``image_mean``
    ============= ==================================================================================================

    What ``predictions.about`` says follows: the rule for boxes, the annotation, seconds, weights and so on.

    Args:
        dataset: the labels.
        predictions: of exactly its faces, in its order.

    Raises:
        ValueError: the predictions are of other faces or of other landmarks.
    """
    _check_same(dataset, predictions)
    found, bands = predictions.found, yaw_bins(dataset.yaw_deg)
    nme = face_errors(dataset, predictions)

    def averages(part: NDArray[np.bool_]) -> dict[str, Any]:
        summary = bin_summary(100 * nme[part & found], bands[part & found])
        return {key: getattr(summary, key) for key in ("bins", "bin_mean", "bin_std", "image_mean")}

    def counts(part: NDArray[np.bool_]) -> dict[str, Any]:
        def both(mask: NDArray[np.bool_]) -> dict[str, int]:
            return {"found": int((mask & found).sum()), "not_found": int((mask & ~found).sum())}

        return both(part) | {"bins": {name: both(part & (bands == i)) for i, name in enumerate(YAW_BINS)}}

    everything = np.ones(len(dataset), bool)
    sources = {name: dataset.sources == name for name in sorted(set(dataset.sources.tolist()) - {""})}
    figures = {
        "nme": averages(everything),
        "gte": _gte(dataset, predictions),
        "images": len(dataset),
        "by_source": {name: averages(part) for name, part in sources.items()},
        "found": int(found.sum()),
        "counts": counts(everything) | {"by_source": {name: counts(part) for name, part in sources.items()}},
    }
    return figures | {key: value for key, value in predictions.about.items() if key not in figures}


def face_errors(dataset: LandmarkDataset, predictions: Predictions) -> NDArray[np.float64]:
    """(F,) `nme_2d` of each face as a fraction; NaN where not found."""
    _check_same(dataset, predictions)
    errors = np.full(len(dataset), np.nan)
    found = predictions.found
    errors[found] = nme_2d(predictions.points_px[found], dataset.points_px[found])
    return errors


def write_summary(path: str | Path, summary: dict[str, Any]) -> None:
    """Writes ``summary.json``; one that is there stays whole until the new one is.

    Raises:
        OSError: the folder cannot be written to.
        ValueError: the summary holds NaN, which JSON does not know.
    """
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def summary_table(summary: dict[str, Any]) -> Table:
    """The NME of a summary as a table for the terminal: a row for all faces and for each source."""
    title = f"NME, % of the true landmarks' box, by |yaw|; input box: {summary.get('box', 'not stated')}"
    table = Table(title=title, title_justify="left")
    table.add_column("faces")
    for band in YAW_BINS:
        table.add_column(f"{band}°", justify="right")
    for name in ("bin mean", "std", "image mean", "found"):
        table.add_column(name, justify="right")
    counts = summary["counts"]
    rows = [("all", summary["nme"], counts)]
    rows += [(name, nme, counts["by_source"][name]) for name, nme in summary["by_source"].items()]
    for name, nme, count in rows:
        cells = [*nme["bins"].values(), nme["bin_mean"], nme["bin_std"], nme["image_mean"]]
        table.add_row(escape(name), *map(figure, cells), f"{count['found']} of {count['found'] + count['not_found']}")
    return table


def figure(value: float | None) -> str:
    """An error in percent with two decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def _gte(dataset: LandmarkDataset, predictions: Predictions) -> dict[str, float | None]:
    found, corners = predictions.found, dataset.scheme.interocular
    if corners is None or not found.any():
        return {"aligned_z": None, "raw": None}
    pred, truth = predictions.points_px[found], dataset.points_px[found]
    return {
        "aligned_z": float(100 * gte(pred, truth, corners).mean()),
        "raw": float(100 * gte(pred, truth, corners, align_z=False).mean()),
    }


def _check_same(dataset: LandmarkDataset, predictions: Predictions) -> None:
    if predictions.points_px.shape != dataset.points_px.shape:
        raise ValueError(
            f"the predictions are {predictions.points_px.shape} (faces, landmarks, 3), "
            f"the labels of {dataset.root} {dataset.points_px.shape}: they belong to another data set or split"
        )
    if different := np.flatnonzero(predictions.images != dataset.images).tolist():
        i = different[0]
        raise ValueError(
            f"the predictions are of other images than the labels of {dataset.root}: {len(different)} differ, "
            f"the first is {predictions.images[i]} against {dataset.images[i]}"
        )


# -- the worst faces

_TILE = 240
_MARGIN = 1.3
_SUBPIXEL_BITS = 4
_TRUE_COLOR, _PREDICTED_COLOR = (60, 220, 60), (255, 70, 70)


def worst_faces(
    dataset: LandmarkDataset, predictions: Predictions, count: int = 12, columns: int = 4
) -> NDArray[np.uint8]:
    """A picture of the faces with the largest `nme_2d`: truth in green, prediction in red, the error in percent.

    Returns:
        (height, width, 3) uint8 RGB: rows of ``columns`` tiles, the worst first; one dark tile if no face was found.
    """
    errors = face_errors(dataset, predictions)
    order = np.argsort(-errors, kind="stable")  # NaN, not found, comes last
    worst = [int(i) for i in order[:count] if np.isfinite(errors[i])]
    tiles = [_tile(dataset, predictions, i, errors[i]) for i in worst]
    blank = np.full((_TILE, _TILE, 3), 30, np.uint8)
    columns = max(1, min(columns, len(tiles)))
    tiles += [blank] * (-len(tiles) % columns if tiles else 1)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def write_worst(path: str | Path, dataset: LandmarkDataset, predictions: Predictions) -> None:
    """Writes `worst_faces` as an image file."""
    with replacing(path) as temporary:
        picture = cv2.cvtColor(worst_faces(dataset, predictions), cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(temporary), picture):
            raise OSError(f"{path} could not be written as a picture")


def _tile(dataset: LandmarkDataset, predictions: Predictions, index: int, error: float) -> NDArray[np.uint8]:
    truth, pred = dataset.points_px[index], predictions.points_px[index]
    crop = Crop.around_landmarks(np.concatenate([truth, pred]), _MARGIN)
    tile = cut(dataset.read_image(index), crop, _TILE)
    to_tile = cv2.invertAffineTransform(crop.crop_to_image_matrix(_TILE))
    for points, color in ((truth, _TRUE_COLOR), (pred, _PREDICTED_COLOR)):
        xy = points[:, :2] @ to_tile[:, :2].T + to_tile[:, 2]
        fixed = np.round(xy * 2**_SUBPIXEL_BITS).astype(np.int32)
        for a, b in dataset.scheme.edges:
            cv2.line(tile, fixed[a].tolist(), fixed[b].tolist(), color, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
        for point in fixed:
            cv2.circle(tile, point.tolist(), 24, color, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    text = f"{100 * error:.1f} %  {dataset.images[index]}"
    cv2.rectangle(tile, (0, 0), (_TILE, 16), (0, 0, 0), cv2.FILLED)
    cv2.putText(tile, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return tile
