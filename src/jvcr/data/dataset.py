"""What every reader returns: images with their landmarks, in the one frame of the package."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.data.skipped import Skipped, raise_if_strict
from jvcr.scheme import FACE68, LandmarkScheme

Names: TypeAlias = NDArray[np.character]
"""An array of text. Not ``NDArray[np.str_]``: their dtype has a length, and beartype refuses it as np.str_."""


def _columns(num_landmarks: int) -> dict[str, tuple[int, ...]]:
    """What a data set may have for each face beside image and landmarks, and the shape of one entry."""
    of_faces = {"sources": (), "splits": (), "yaw_deg": (), "pose_deg": (3,), "boxes_xyxy": (4,), "subjects": ()}
    return {**of_faces, "hand_px": (num_landmarks, 2), "occlusion": (num_landmarks,)}


@dataclass(frozen=True)
class LandmarkDataset:
    """A data set's labels, by column; images are read when asked for.

    Attributes:
        root: folder that the image paths start from.
        images: (F,) paths below ``root``, with forward slashes.
        points_px: (F, N, 3) float32 landmarks in the image frame: pixels, integer = pixel centre, z away from the
            camera.
        sources: (F,) names of parts; all "" where parts have no names.
        splits: (F,) "train", "val" ...
        yaw_deg: (F,) yaw, degrees; NaN where unknown. Only its size counts, for bins.
        annotation: which labels these are, where a data set has several.
        pose_deg: (F, 3) the ground truth's pitch, yaw and roll, degrees, in 300W-LP's signs; NaN where unknown.
        boxes_xyxy: (F, 4) the face boxes that the data set comes with, pixels; NaN where unknown.
        subjects: (F,) faces of one name show the same face, with the same expression, from several sides: the pairs
            of the cross view error; "" where there is no other view.
        hand_px: (F, N, 2) what people labelled, x and y in the image frame; NaN where nobody did. ``points_px`` may be
            fitted to these and to others, and need not agree.
        occlusion: (F, N) 0 for a visible landmark, above 0 for a hidden one, -1 where unknown.
        notes: what else the reader has to say of the set.
        has_depth: whether the labels' depth belongs to their x and y, so that errors in three dimensions mean anything.
    """

    root: Path
    images: Names
    points_px: NDArray[np.float32]
    sources: Names
    splits: Names | None
    yaw_deg: NDArray[np.float32]
    annotation: str = ""
    scheme: LandmarkScheme = FACE68
    pose_deg: NDArray[np.float32] | None = None
    boxes_xyxy: NDArray[np.float32] | None = None
    subjects: Names | None = None
    hand_px: NDArray[np.float32] | None = None
    occlusion: NDArray[np.int8] | None = None
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    has_depth: bool = True

    def __post_init__(self) -> None:
        count, points = len(self.images), self.scheme.num_landmarks
        if self.points_px.shape != (count, points, 3):
            raise ValueError(
                f"{self.root}: {count} images of {points} landmarks ({self.scheme.name}) need points of shape "
                f"{(count, points, 3)}, got {self.points_px.shape}"
            )
        for name, width in _columns(points).items():
            column = getattr(self, name)
            if column is not None and column.shape != (count, *width):
                raise ValueError(
                    f"{self.root}: {name} must have one entry an image, {(count, *width)}, got shape {column.shape}"
                )

    def __len__(self) -> int:
        return len(self.images)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> LandmarkDataset:
        """The faces of a mask or of indices, in that order."""
        columns = ("images", "points_px", *_columns(self.scheme.num_landmarks))
        kept: dict[str, Any] = {name: v[keep] for name in columns if (v := getattr(self, name)) is not None}
        return replace(self, **kept)

    def without(self, wrong: Mapping[int, str], skipped: Sequence[Skipped], strict: bool) -> LandmarkDataset:
        """The faces but those of ``wrong``, index -> which face and why, which join ``skipped``.

        A ValueError if ``strict`` and faces were skipped, or no face is left.
        """
        keep = np.ones(len(self), bool)
        keep[list(wrong)] = False
        splits = [""] * len(self) if self.splits is None else self.splits.tolist()
        skipped = [*skipped, *(Skipped(text, splits[i]) for i, text in wrong.items())]
        raise_if_strict(self.root, skipped, int(keep.sum()), strict)
        return replace(self if keep.all() else self.select(keep), skipped=tuple(skipped))

    def unusable(self) -> dict[int, str]:
        """Index -> what is wrong with that face, for those that cannot be trained or measured on.

        Landmarks not finite or without extent, the two of `LandmarkScheme.normalizer` on one spot, unprintable
        image names.
        """
        wrong: dict[int, str] = {}
        points = self.points_px.astype(np.float64)
        finite = np.isfinite(points).all(axis=(1, 2))
        points[~finite] = 0
        wrong |= dict.fromkeys(np.flatnonzero(~finite).tolist(), "NaN or infinite landmarks")
        flat = np.ptp(points[..., :2], axis=1).min(axis=1) <= 0
        for i in np.flatnonzero(flat & finite).tolist():
            wrong[i] = "landmarks without extent: all in one row, column or spot"
        if self.scheme.normalizer is not None:
            a, b = self.scheme.normalizer
            same = (points[:, a] == points[:, b]).all(axis=1)
            for i in np.flatnonzero(same & finite & ~flat).tolist():
                wrong[i] = f"landmarks {a} and {b}, whose distance normalises errors, lie on one spot"
        for i, image in enumerate(self.images.tolist()):
            if not _is_text(image):
                wrong[i] = "the name of the image is not UTF-8"
        return dict(sorted(wrong.items()))

    @property
    def problems(self) -> tuple[str, ...]:
        """What the reader left out, and why: one line for each."""
        return tuple(face.text for face in self.skipped)

    def extended(self, scheme: LandmarkScheme) -> LandmarkDataset:
        """The same faces with the landmarks a scheme derives from theirs, as means; a ValueError if it does not."""
        if not scheme.extends(self.scheme):
            raise ValueError(
                f"{self.root} has the {self.scheme.num_landmarks} landmarks of {self.scheme.name}, and {scheme.name} "
                f"does not derive its {scheme.num_landmarks} from them"
            )
        points = _depth_centred(scheme.completed(self.points_px))
        return replace(self, points_px=points, scheme=scheme, **completed_labels(scheme, self.hand_px, self.occlusion))

    def without_derived(self) -> LandmarkDataset:
        """The same faces without the landmarks that their scheme derives from others, if it does."""
        if not self.scheme.derived:
            return self
        kept = self.scheme.num_base_landmarks
        return replace(
            self,
            points_px=_depth_centred(self.points_px[:, :kept]),
            hand_px=None if self.hand_px is None else self.hand_px[:, :kept],
            occlusion=None if self.occlusion is None else self.occlusion[:, :kept],
            scheme=self.scheme.without_derived(),
        )

    def seen_by_hand(self) -> NDArray[np.float32] | None:
        """(F, N, 2) labels by hand of landmarks not known to be hidden, NaN elsewhere; None without any."""
        return None if self.hand_px is None else _seen(self.hand_px, self.occlusion)

    def split(self, name: str) -> LandmarkDataset:
        """The faces of one split; a ValueError that lists the splits if there is no such one."""
        known = [] if self.splits is None else sorted(set(self.splits.tolist()))
        if self.splits is None or name not in known:
            raise ValueError(
                f"{self.root} has no split {name!r}"
                + (f"; it has {', '.join(known)}" if known else "")
                + (": of 300W-LP, parts can be held out for it (data.hold_out of a recipe)" if "train" in known else "")
            )
        skipped = tuple(face for face in self.skipped if face.split in (name, ""))
        return replace(self.select(self.splits == name), skipped=skipped)

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """The image of a face, (height, width, 3) uint8 RGB, as stored: labels belong to the stored pixels.

        A FileNotFoundError if the file is missing, a ValueError if it cannot be decoded.
        """
        return decode_image(self.image_file(index), self.root / str(self.images[index]))

    def image_file(self, index: int) -> NDArray[np.uint8]:
        """The bytes of a face's image file."""
        return np.fromfile(self.root / str(self.images[index]), dtype=np.uint8)

    def face(
        self, index: int, image: NDArray[np.uint8] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32] | None]:
        """What training takes of a face: its image, read unless it is given; its landmarks; `seen_by_hand` of it."""
        hand, occlusion = self.hand_px, self.occlusion
        seen = None if hand is None else _seen(hand[index], None if occlusion is None else occlusion[index])
        return self.read_image(index) if image is None else image, self.points_px[index], seen

    def fingerprint(self) -> str:
        """Tells these faces, their landmarks and their order from any others."""
        digest = hashlib.sha256("\n".join(self.images.tolist()).encode())
        digest.update(np.ascontiguousarray(self.points_px).tobytes())
        return digest.hexdigest()


def by_source(sources: Names) -> dict[str, NDArray[np.bool_]]:
    """The sources that have a name, in the order of their names -> (F,) which faces are theirs."""
    return {name: sources == name for name in sorted(set(sources.tolist()) - {""})}


def decode_image(data: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """The image of a file's bytes, (height, width, 3) uint8 RGB as stored; a ValueError that names ``path`` if none."""
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    except cv2.error as error:  # a header that names more pixels than OpenCV takes
        raise ValueError(f"{path} cannot be decoded: {error}") from error
    if image is None:
        raise ValueError(f"{path} is not an image, or damaged: {data.size} bytes could not be decoded")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _seen(hand_px: NDArray[np.float32], occlusion: NDArray[np.int8] | None) -> NDArray[np.float32]:
    return hand_px if occlusion is None else np.where(occlusion[..., None] > 0, np.float32(np.nan), hand_px)


def _is_text(name: str) -> bool:
    """False for what Python makes of file names that are not UTF-8: it can be neither printed nor written."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def completed_labels(
    scheme: LandmarkScheme, hand_px: NDArray[np.floating] | None, occlusion: NDArray[np.integer] | None
) -> dict[str, Any]:
    """``hand_px`` and ``occlusion`` of a data set, with derived landmarks behind them, whose visibility is unknown."""
    labels: dict[str, Any] = {"hand_px": None, "occlusion": None}
    if hand_px is not None:
        labels["hand_px"] = scheme.completed(hand_px.astype(np.float32))
    if occlusion is not None:
        derived = len(scheme.derived) if occlusion.shape[-1] == scheme.num_base_landmarks else 0
        labels["occlusion"] = np.pad(occlusion.astype(np.int8), ((0, 0), (0, derived)), constant_values=-1)
    return labels


def _depth_centred(points_px: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = points_px.copy()
    centred[..., 2] -= centred[..., 2].mean(axis=1, keepdims=True)
    return centred
