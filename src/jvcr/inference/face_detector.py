"""Our own face detector: a quick look at a small picture, a thorough one where that leaves doubt, a second look at all.

Each scale's proposals are looked at again in a small square of their own, twice where it may be a face: first as the
proposal has it, then upright. What comes out is what the landmark network wants to be shown.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.geometry.crop import DETECTOR_RISE, DETECTOR_SCALE, TRAINING_MARGIN, Crop
from jvcr.geometry.warp import warp_crop
from jvcr.inference.detector import Detections
from jvcr.inference.per_process import PerProcess
from jvcr.inference.proposals import Array, FoundFaces, Grid, apart, clues, distinct, logistic, looked_at, on_grid
from jvcr.inference.session import Providers, available_cores, open_session
from jvcr.weights.header import FOLDER

if TYPE_CHECKING:
    import onnxruntime

Image = NDArray[np.uint8]

MIN_SCORE = 0.6
"""Of `FaceDetector`. Of held-out photographs with people 0.5 finds 3 % more of the labelled faces, small or masked ones
most, and 40 % more of what nobody labelled."""

LONG_SIDE = 2560
"""Longest picture that faces are looked for in; those of 24 pixels in 6000 are then of 10, the smallest it knows."""

LONG_SIDES = (320, 640, 1280, 2560)
"""Lengths that pictures are reduced to, one after the other as long as there is doubt."""

_SMALLEST = 16.0
"""Side of a face's box that every face is found from, pixels of a reduced picture."""

_KINDS = ("face-detector-proposal", "face-detector-look")
"""What the two files call themselves."""


@dataclass(frozen=True)
class DetectorSettings:
    """How faces are looked for.

    Attributes:
        proposed: proposals below the first score are not looked at, in the last picture those below the second one.
        most: proposals of each length that are looked at.
        upright: what a first look gives this score or above is looked at again, upright; the rest is dropped.
        sure: a face of this score leaves no doubt.
        small: a face smaller than this in the reduced picture, pixels of its crop's side, says that there may be more
            that are too small to be found in it.
        doubt: joint score from which on a small one says so.
        grid: of the squares that are looked at, see `on_grid`.
        joining: weights of the `clues` in the logit of the joint score: logistic regression on the training part.
    """

    proposed: tuple[float, float] = (0.2, 0.1)
    most: int = 100
    upright: float = 0.42
    sure: float = 0.85
    small: float = 44.0
    doubt: float = 0.3
    grid: tuple[float, float] = (1 / 1024, 1 / 16)
    joining: tuple[float, ...] = (0.951, 0.939, 1.845, 0.529, 0.406, 6.043, -3.805)


class _Networks(NamedTuple):
    """Both networks, ready to run, and what decoding must know of them.

    Attributes:
        propose: takes a picture (1, h, w, 3) uint8 RGB, both multiples of the coarsest stride; gives (1, 6, cells).
        look: takes squares (n, S, S, 3) uint8 RGB; gives (n, 6).
        strides: side of a cell of each of the proposal network's maps, pixels.
        sides: side of the faces that each map is for, pixels.
        size: side of the second look's squares, pixels.
        view: side of these squares, in sides of the crop that is asked about.
    """

    propose: onnxruntime.InferenceSession
    look: onnxruntime.InferenceSession
    strides: tuple[int, ...]
    sides: tuple[float, ...]
    size: int
    view: float


class FaceDetector:
    """The detector of this package: on every machine, at every angle; its boxes say how far a face is turned.

    It looks at a picture of 320 pixels first, at larger ones where that leaves doubt, and again at each candidate.

    Args:
        long_side: length of the largest picture that is looked at, at least 320 pixels.
        min_score: detections below it are dropped, 0 to 1.
        min_face: faces whose box is smaller, pixels, are dropped, and pictures that only they would need are not looked
            at; 0 is none.
        threads: how many threads a run may use; None is one for each core that this process may use.
        providers: execution providers of ONNX Runtime; None is the CPU.
        folder: of ``proposal.onnx`` and ``look.onnx``; None is that of the networks that ship.
        settings: how faces are looked for.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: a file is damaged or another kind of network, or an argument is out of its range.
    """

    concurrent = True

    def __init__(
        self,
        long_side: int = LONG_SIDE,
        min_score: float = MIN_SCORE,
        threads: int | None = None,
        providers: Providers | None = None,
        folder: str | Path | None = None,
        settings: DetectorSettings | None = None,
        min_face: float = 0.0,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, or None for all cores, got {threads}")
        if not 0 <= min_face < np.inf:
            raise ValueError(f"min_face must be a number of pixels from 0 on, got {min_face}")
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score must be from 0 to 1, got {min_score}")
        self.long_side = _checked_long_side(long_side)
        self.min_score, self.min_face = min_score, min_face
        self.settings = settings or DetectorSettings()
        self.threads = threads or available_cores()
        where = FOLDER / "detector" if folder is None else Path(folder)
        self._networks = PerProcess(partial(_open, where, self.threads, providers))
        self._single = PerProcess(partial(_open, where, 1, providers))
        self._networks()

    def on_one_thread(self) -> FaceDetector:
        """The same detector for one of several threads that call it at once, each for an image of its own."""
        other = copy.copy(self)
        other.threads, other._networks = 1, self._single
        return other

    def decoding(self) -> dict[str, Any]:
        """What the networks' files say of their maps and squares, for who reads their outputs elsewhere."""
        networks = self._networks()
        return {
            "strides": networks.strides,
            "sides": networks.sides,
            "size": networks.size,
            "view": networks.view,
        }

    def at(self, long_side: int) -> FaceDetector:
        """The same detector with another length of the largest picture that is looked at."""
        other = copy.copy(self)
        other.long_side = _checked_long_side(long_side)
        return other

    def __call__(self, image: Image, /) -> Detections:
        """As `Detector` asks for; the boxes have a fifth column, the angle."""
        squares, scores = self.find(image)
        x, y, side, angle = squares.T.astype(np.float64)
        size = side / TRAINING_MARGIN * DETECTOR_SCALE
        radians = np.radians(angle)
        x, y = x + DETECTOR_RISE * size * np.sin(radians), y - DETECTOR_RISE * size * np.cos(radians)
        return Detections(np.stack([x - size / 2, y - size / 2, x + size / 2, y + size / 2, angle], axis=1), scores)

    def find(self, image: Image) -> FoundFaces:
        """The faces of an (h, w, 3) RGB image, uint8, each once, as the squares that the next network is shown."""
        settings = self.settings
        squares, logits = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        long_side: float = self.long_side
        if self.min_face:
            enough = max(image.shape[:2]) * _SMALLEST / self.min_face
            long_side = min(long_side, max(LONG_SIDES[0], enough))
        pictures = _Pyramid(image, (*(v for v in LONG_SIDES if v < long_side), round(long_side)))
        fill = cv2.mean(pictures[0])[:3]
        for number, places, proposed in self._proposals(pictures, fill):
            scale = float(pictures.scales[number].min())
            known = squares[logistic(logits) >= settings.sure]
            known[:, :3] /= scale
            fresh = ~_covered(places, known)
            found, found_logits = self._looked(places[fresh], proposed[fresh], pictures, number, fill)
            squares, logits = np.concatenate([squares, found]), np.concatenate([logits, found_logits])
            scores, sides = logistic(logits), squares[:, 2] / scale
            small_ones = (sides < settings.small) & (scores >= settings.doubt)
            if (scores >= settings.sure).any() and not small_ones.any():
                break
        scores = logistic(logits)
        kept = distinct(squares, logits)  # scores near 1 are all alike
        large = squares[kept, 2] / TRAINING_MARGIN * DETECTOR_SCALE >= self.min_face
        kept = kept[large & (scores[kept] >= self.min_score)]
        return FoundFaces(squares[kept].astype(np.float32), scores[kept].astype(np.float32))

    def _proposals(self, pictures: _Pyramid, fill: tuple[float, ...]) -> Iterator[tuple[int, Array, Array]]:
        """A picture's number, places in it, and their logits: of each picture the likely ones; at last, the rest."""
        places, logits = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        likely = np.zeros(0, bool)
        for number in range(len(pictures)):
            places, logits = self._proposed(pictures[number], fill)
            likely = logistic(logits) >= self.settings.proposed[0]
            yield number, places[likely], logits[likely]
        yield len(pictures) - 1, places[~likely], logits[~likely]

    def _looked(
        self, places: Array, proposed: Array, pictures: _Pyramid, number: int, fill: tuple[float, ...]
    ) -> tuple[Array, Array]:
        """Squares in the image, and logits of their joint scores, of what places in one of the pictures show."""
        settings = self.settings
        if not len(places):
            return places, proposed
        places = places.copy()
        sides = places[:, 2].copy()
        scale = pictures.scales[number]
        places[:, :2] = (places[:, :2] + 0.5) * scale - 0.5
        places[:, 2] *= scale.mean()
        places = on_grid(places, settings.grid)
        first = self._seen(self._squares(pictures, places, fill))
        again = np.flatnonzero(logistic(first[:, 0]) >= settings.upright)
        if not len(again):
            return places[:0], proposed[:0]
        first, places = first[again], looked_at(places[again], first[again])
        shown = on_grid(places, settings.grid)
        second = self._seen(self._squares(pictures, shown, fill))
        found = looked_at(shown, second)
        facts = clues(proposed[again], sides[again], first, second, apart(found, places))
        return found, facts @ np.array(settings.joining, np.float32)

    def _proposed(self, small: Image, fill: tuple[float, ...]) -> tuple[Array, Array]:
        """Squares and logits of the proposal network, in the reduced picture."""
        networks = self._networks()
        height, width = small.shape[:2]
        below, right = -height % networks.strides[-1], -width % networks.strides[-1]
        padded = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT, value=fill)
        grid = _grid(*padded.shape[:2], networks.strides, networks.sides)
        (outputs,) = networks.propose.run(None, {"pixels": np.asarray(padded, np.uint8)[None]})
        least, most = self.settings.proposed[1], self.settings.most
        places, logits = grid.places(outputs[0], float(np.log(least / (1 - least))), 4 * most)
        kept = distinct(places, logits, 0.5, 0.85)[:most]
        return places[kept], logits[kept]

    def _seen(self, squares: Image) -> Array:
        """(n, 6) what the second look says of squares."""
        (outputs,) = self._networks().look.run(None, {"pixels": squares})
        return np.asarray(outputs, np.float32)

    def _squares(self, pictures: _Pyramid, places: Array, fill: tuple[float, ...]) -> Image:
        """The second look's squares (n, S, S, 3), each cut out of the smallest picture that shows it finely enough."""
        networks = self._networks()
        size, view = networks.size, networks.view
        result = np.empty((len(places), size, size, 3), np.uint8)
        coarseness = [float(scale.max()) for scale in pictures.scales]
        for i, (x, y, side, angle) in enumerate(places.tolist()):
            fine = next((n for n, pixels in enumerate(coarseness) if view * side >= size * pixels), None)
            picture, scale = (pictures.image, np.ones(2)) if fine is None else (pictures[fine], pictures.scales[fine])
            center = (float((x + 0.5) / scale[0] - 0.5), float((y + 0.5) / scale[1] - 0.5), 0.0)
            result[i] = warp_crop(picture, Crop(center, view * side / float(scale.mean()), angle), size, fill=fill)
        return result


class _Pyramid:
    """An image with shorter sides, the smallest picture first, each made when it is first needed.

    Attributes:
        scales: for each picture the pixels of the image for one of its own, along x and y.
    """

    def __init__(self, image: Image, long_sides: Sequence[int]) -> None:
        height, width = image.shape[:2]
        longest = max(height, width)
        self.image = image
        self._sizes = [
            tuple(max(1, round(side * min(1.0, long_side / longest))) for side in (width, height))
            for below, long_side in zip((0, *long_sides), long_sides, strict=False)
            if longest > 1.2 * below
        ]
        self.scales = [np.array([width / w, height / h]) for w, h in self._sizes]
        self._made: dict[int, Image] = {}

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, number: int) -> Image:
        if number not in self._made:
            self._made[number] = _resized(self.image, self._sizes[number])
        return self._made[number]


def _resized(image: Image, size: tuple[int, ...]) -> Image:
    """The image averaged down to a size, first by a whole number, which OpenCV does several times as fast."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    step = min(width // size[0], height // size[1])
    if step > 1:
        whole = image[: height // step * step, : width // step * step]
        image = np.asarray(cv2.resize(whole, (width // step, height // step), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _checked_long_side(long_side: int) -> int:
    if not LONG_SIDES[0] <= long_side <= 4 * LONG_SIDE:
        raise ValueError(
            f"the longer side of the picture to look for faces in must be from {LONG_SIDES[0]} to {4 * LONG_SIDE} "
            f"pixels, got {long_side}"
        )
    return long_side


def _covered(places: Array, known: Array) -> NDArray[np.bool_]:
    """Which places show a face that is known: they lie in its middle and are about as large."""
    apart = np.hypot(*(places[:, None, :2] - known[None, :, :2]).transpose(2, 0, 1))
    alike = np.abs(np.log2(places[:, None, 2] / known[None, :, 2])) < 0.8
    return np.asarray((alike & (apart < 0.35 * known[None, :, 2])).any(axis=1))


def network_files(folder: Path = FOLDER / "detector") -> tuple[Path, Path]:
    """Where the files of both networks lie: the proposal network's and the second look's."""
    first, second = (folder / f"{kind.rpartition('-')[2]}.onnx" for kind in _KINDS)
    return first, second


def _open(folder: Path, threads: int, providers: Providers | None) -> _Networks:
    sessions: list[onnxruntime.InferenceSession] = []
    headers = []
    for kind, path in zip(_KINDS, network_files(folder), strict=True):
        if not path.is_file():
            raise FileNotFoundError(f"the face detector's file {path} is not there")
        session = open_session(path, threads, providers)
        text = session.get_modelmeta().custom_metadata_map.get("jvcr", "{}")
        try:
            header = json.loads(text)
            if header["kind"] != kind:
                raise KeyError(header["kind"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is an ONNX file, but no {kind} of this package") from error
        sessions.append(session)
        headers.append(header)
    first, second = headers
    strides, sides = tuple(map(int, first["strides"])), tuple(map(float, first["sides"]))
    return _Networks(sessions[0], sessions[1], strides, sides, int(second["size"]), float(second["view"]))


_grid = lru_cache(maxsize=16)(Grid)
