"""Drawn faces with exact labels, without a download: cartoons, whose figures say nothing about photographs."""

from __future__ import annotations

import functools
import io
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.data.readers.basel import BASIS, pose_deg, projection, to_image
from jvcr.data.readers.folder import MANIFEST
from jvcr.data.readers.w300lp import FLIP, PARTS
from jvcr.files import replacing, whole_folder
from jvcr.synthetic.head import HeadModel, head_model
from jvcr.synthetic.look import Look, in_random_light, random_background, random_person
from jvcr.synthetic.modes import Expression
from jvcr.synthetic.render import draw_head

Layout: TypeAlias = Literal["folder", "300w-lp", "aflw2000"]

SIZES: dict[Layout, int] = {"folder": 160, "300w-lp": 450, "aflw2000": 450}
"""Side of a layout's images, pixels, if none is given; the published sets' is 450."""

LARGEST_SIZE = 4096
"""Of an image's side, pixels: the heads have no detail that would show beyond."""

MOST_PITCH_DEG = MOST_ROLL_DEG = 25.0
MOST_YAW_DEG = 90.0

_PERSON, _VIEW = 1, 2
"""Streams of chance: one for what a subject is, one for each picture."""

_NEAR_UM = 5_000.0
"""A landmark is hidden by what lies this much before it."""

_JPEG_QUALITY = 95

_ONE_WAY = (
    *(Expression.FROWN, Expression.PUCKER, Expression.RAISE_UPPER_LIP),
    *(Expression.LOWER_LOWER_LIP, Expression.SQUINT, Expression.MOUTH_CORNERS_DOWN),
)


@dataclass(frozen=True)
class SyntheticFace:
    """One face of the set: everything that its picture and its labels follow from."""

    index: int
    subject: str  # other views of the same person, with the same expression, have the same
    seed: int
    size: int  # side of the image, pixels
    shape: NDArray[np.float64]  # (199,) parameters
    expression: NDArray[np.float64]  # (29,) parameters
    pose_para: NDArray[np.float32]  # (7,) as 300W-LP's: radians, shift in pixels, pixels for a micrometre
    look: Look

    @functools.cached_property
    def points_lp(self) -> NDArray[np.float64]:
        """(68, 3) landmarks V = s R (mean + S a + E b) + t: 300W-LP's pixels from 1, y *up*, z towards the camera."""
        rotation, shift, scale = projection(self.pose_para)
        return scale * head_model().landmarks_um(self.shape, self.expression) @ rotation.T + shift

    @property
    def points_px(self) -> NDArray[np.float32]:
        """(68, 3) landmarks in the image frame: integer = pixel centre, z away from the camera with mean 0."""
        head = head_model().landmarks_um(self.shape, self.expression)
        return to_image(head, self.pose_para, self.size).astype(np.float32)

    def mirrored(self) -> SyntheticFace:
        """The labels of the mirrored image: same model, parameters of modes with a direction change their sign."""
        model = head_model()
        pose = self.pose_para * np.array([1, -1, -1, -1, 1, 1, 1], np.float32)
        pose[3] += self.size + 1
        shape, expression = self.shape * model.shape_sign, self.expression * model.expression_sign
        return replace(self, shape=shape, expression=expression, pose_para=pose)

    def draw(self) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """The image, (size, size, 3) uint8 RGB, and (68,) what hides each landmark: 0 nothing, 2 head or hair.

        A `mirrored` face's image is the face's, mirrored; this does not draw it.
        """
        model = head_model()
        rng = np.random.default_rng((self.seed, _VIEW, self.index, 1))
        rotation, shift, scale = projection(self.pose_para)
        head = model.vertices_um(self.shape, self.expression)
        background = random_background(self.size, rng)
        picture, depth = draw_head(model, head, rotation, scale, shift, self.look, background)
        noise = rng.normal(0, rng.uniform(0.002, 0.025), picture.shape)
        image = (np.clip(picture + noise, 0, 1) * 255 + 0.5).astype(np.uint8)
        return image, _occlusion(self.points_lp, depth, _NEAR_UM * scale)


def _occlusion(points_lp: NDArray[np.float64], depth: NDArray[np.float32], near_px: float) -> NDArray[np.int8]:
    """(68,) 2 for landmarks with something before them in all pixels around, else 0."""
    height, width = depth.shape
    columns = np.rint(points_lp[:, 0] - 1).astype(int)
    rows = np.rint(height - points_lp[:, 1]).astype(int)
    hidden = np.ones(len(points_lp), bool)
    for dy, dx in itertools.product((-1, 0, 1), repeat=2):
        y, x = np.clip(rows + dy, 0, height - 1), np.clip(columns + dx, 0, width - 1)
        hidden &= depth[y, x] > points_lp[:, 2] + near_px
    return np.where(hidden, 2, 0).astype(np.int8)


def synthetic_face(index: int, seed: int = 0, size: int = 160, views: int = 1) -> SyntheticFace:
    """Face ``index`` of the set of a seed: always the same, however many faces the set has.

    Yaws are spread evenly over -90 to 90 degrees, also over few faces; pitch and roll are -25 to 25. At another size
    the same face is larger, and so are its labels. Of ``views`` faces that follow each other all show one subject.
    A number that is out of range is a ValueError.

    Example:
        >>> face = synthetic_face(3)
        >>> image, occlusion = face.draw()
        >>> image.shape, face.points_px.shape
        ((160, 160, 3), (68, 3))
    """
    _check_numbers(("index", index, 0), seed, size, views)
    subject = index // views
    model = head_model()
    person = np.random.default_rng((seed, _PERSON, subject))
    shape = np.clip(person.standard_normal(len(model.shape_std)), -2.5, 2.5) * model.shape_std
    expression = _random_expression(model, person)
    look = random_person(person)

    rng = np.random.default_rng((seed, _VIEW, index, 0))
    # Steps of the golden ratio leave no gap, wherever one stops.
    start = np.random.default_rng((seed, _VIEW)).random()
    yaw = ((start + index * (math.sqrt(5) - 1) / 2) % 1 * 2 - 1) * MOST_YAW_DEG
    pitch, roll = rng.uniform(-MOST_PITCH_DEG, MOST_PITCH_DEG), rng.uniform(-MOST_ROLL_DEG, MOST_ROLL_DEG)
    angles = np.radians([pitch, yaw, roll]).astype(np.float32)
    pose_para = np.concatenate([angles, np.zeros(3, np.float32), np.ones(1, np.float32)])
    rotation, _, _ = projection(pose_para)
    turned = model.landmarks_um(shape, expression) @ rotation.T
    low, high = turned.min(0), turned.max(0)
    scale = rng.uniform(0.50, 0.66) * size / (high - low)[:2].max()
    # The landmarks' middle, a little below the image's: there is more of the head above it.
    middle = np.array([0.5, 0.46]) + rng.uniform(-0.05, 0.05, 2)
    shift = middle * size + 0.5 - scale * (low + high)[:2] / 2
    pose_para[3:] = [*shift, -0.2 * size, scale]
    look = in_random_light(look, rng)
    return SyntheticFace(index, f"subject{subject:06d}", seed, size, shape, expression, pose_para, look)


def _check_numbers(first: tuple[str, int, int], seed: int, size: int, views: int) -> None:
    for name, value, least in (first, ("seed", seed, 0), ("size", size, 32), ("views", views, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if size > LARGEST_SIZE:
        raise ValueError(f"size must be at most {LARGEST_SIZE} pixels, got {size}")


def _random_expression(model: HeadModel, rng: np.random.Generator) -> NDArray[np.float64]:
    """(29,) parameters: mostly a closed mouth and open eyes, now and then not; lips and lids do not cross."""
    values = np.clip(rng.standard_normal(len(model.expression_std)), -2.5, 2.5) * model.expression_std
    for mode in _ONE_WAY:
        values[mode] = abs(values[mode])
    values[Expression.SMILE] = np.clip(values[Expression.SMILE], -0.3, 1.3)
    open_mouth = rng.normal(-0.17, 0.03), abs(rng.normal(0, 0.45)) - 0.15
    values[Expression.OPEN_MOUTH] = np.clip(open_mouth[int(rng.random() < 0.45)], -0.2, 1.0)
    closed = rng.uniform(0.85, 1.0) if rng.random() < 0.1 else float(np.clip(rng.normal(0.05, 0.15), -0.3, 0.6))
    wink = float(values[Expression.WINK])
    if rng.random() < 0.05:
        closed = 0.5
        wink = float(rng.choice([-0.45, 0.45]))
    most = min(1 - closed, closed + 0.35)
    values[Expression.CLOSE_EYES], values[Expression.WINK] = closed, np.clip(wink, -most, most)
    values[Expression.SQUINT] *= max(0.0, 1 - closed - abs(values[Expression.WINK]))
    return values


def make_synthetic(
    out: str | Path,
    faces: int,
    seed: int = 0,
    size: int | None = None,
    layout: Layout = "folder",
    views: int = 1,
    advance: Callable[[int], object] | None = None,
) -> Path:
    """Writes a set of drawn faces, in the package's own layout or in that of 300W-LP or AFLW2000-3D.

    The same seed, index and size give the same face in every layout, and the labels are the same bytes each time.

    =========== ============================================================================================
    layout      what is written
    =========== ============================================================================================
    "folder"    ``images/000000.jpg`` ... and ``landmarks.npz`` as `jvcr.data.readers.folder.read_folder` takes it, with
                ``occlusion`` 2 for landmarks hidden by the head itself, hair included. Every fifth subject is in the
                split "val", the others in "train"
    "300w-lp"   ``AFW/AFW_0001_0.jpg`` and ``.mat`` ..., HELEN, IBUG, LFPW, the last number being the view; for
                each a mirrored image with its own parameters in AFW_Flip ...: twice ``faces`` images
    "aflw2000"  ``image00001.jpg`` and ``.mat`` ...
    =========== ============================================================================================

    The last two come with ``basis.npz``, the model at the landmarks: ``mean`` (68, 3), ``shape_basis`` (199, 68, 3),
    ``expression_basis`` (29, 68, 3), ``shape_std``, ``expression_std``; micrometres, x right, y up, z towards the
    camera. It takes the place of the Basel model's, with which these parameters make no sense.

    All is written beside ``out`` first and then renamed: a folder of that name is a whole set. ``size`` is the side of
    the images, pixels; ``views`` are the pictures of each subject.

    Raises:
        ValueError: an argument is out of range, or ``out`` is a file or a folder with something in it.
    """
    out = Path(out).resolve()
    if layout not in get_args(Layout):
        raise ValueError(f"layout must be one of {', '.join(get_args(Layout))}, got {layout!r}")
    size = SIZES[layout] if size is None else size
    _check_numbers(("faces", faces, 1), seed, size, views)
    if faces % views:
        raise ValueError(f"faces must be a multiple of views, {views}, so that no subject lacks one, got {faces}")
    write = {"folder": _write_folder, "300w-lp": _write_300w_lp, "aflw2000": _write_aflw2000}[layout]
    if layout != "folder":
        _savemat()
    with whole_folder(out) as folder:
        write(folder, _drawn(faces, seed, size, views, advance), views)
        if layout != "folder":
            model = head_model()
            arrays = vars(model.at_landmarks)
            with replacing(folder / BASIS) as path:
                np.savez(path, shape_std=model.shape_std, expression_std=model.expression_std, **arrays)
        with replacing(folder / "README.txt") as path:
            text = _README.format(faces=faces, seed=seed, size=size, layout=layout, views=views)
            path.write_text(text if layout == "folder" else text + _README_BASIS, encoding="utf-8")
    return out


_README = """\
Synthetic faces, made by jvcr
=============================

{faces} faces, seed {seed}, {size} x {size} pixels, layout "{layout}", {views} view(s) of each subject.

No person is shown: these are drawings of a head made of formulas, with exact 3D landmarks. They are good for trying the
software and for testing it. What is measured on them says nothing about photographs of real faces.
"""

_README_BASIS = """
The parameters in the .mat files belong to the model in basis.npz, and to no other: not to the Basel model either.
"""


_Drawn: TypeAlias = tuple[SyntheticFace, NDArray[np.uint8], NDArray[np.int8]]
"""A face, its image, and what hides its landmarks."""


def _drawn(faces: int, seed: int, size: int, views: int, advance: Callable[[int], object] | None) -> Iterator[_Drawn]:
    for index in range(faces):
        face = synthetic_face(index, seed, size, views)
        yield face, *face.draw()
        if advance is not None:
            advance(1)


def _write_folder(root: Path, faces: Iterator[_Drawn], views: int) -> None:
    (root / "images").mkdir()
    columns: dict[str, list[Any]] = {}
    for face, image, occlusion in faces:
        name = f"images/{face.index:06d}.jpg"
        _write_image(root / name, image)
        labels = {
            "image": name,
            "points": face.points_px,
            "split": "val" if face.index // views % 5 == 2 else "train",
            "source": "synthetic",
            "pose_deg": pose_deg(face.pose_para[None])[0],
            "subject": face.subject,
            "occlusion": occlusion,
        }
        for key, value in labels.items():
            columns.setdefault(key, []).append(value)
    arrays = {key: np.array(values) for key, values in columns.items()}
    with replacing(root / MANIFEST) as path:
        np.savez(path, yaw_deg=arrays["pose_deg"][:, 1], **arrays)  # type: ignore[arg-type]


def _write_300w_lp(root: Path, faces: Iterator[_Drawn], views: int) -> None:
    for part in PARTS:
        (root / part).mkdir()
        (root / (part + FLIP)).mkdir()
    for face, image, _ in faces:
        subject, view = divmod(face.index, views)
        number, which = divmod(subject, len(PARTS))
        part = PARTS[which]
        mirrored = face.mirrored(), np.ascontiguousarray(image[:, ::-1])
        for folder, labels, pixels in ((part, face, image), (part + FLIP, *mirrored)):
            path = root / folder / f"{part}_{number + 1:04d}_{view}"
            _write_image(path.with_suffix(".jpg"), pixels)
            x, y, _ = labels.points_lp.T
            _write_mat(path.with_suffix(".mat"), labels, {"pt2d": np.stack([x, labels.size + 1 - y])})


def _write_aflw2000(root: Path, faces: Iterator[_Drawn], views: int) -> None:
    for face, image, _ in faces:
        path = root / f"image{face.index + 1:05d}"
        _write_image(path.with_suffix(".jpg"), image)
        x, y, z = face.points_lp.T
        points = np.stack([x, face.size + 1 - y, z]).astype(np.float32)
        _write_mat(path.with_suffix(".mat"), face, {"pt3d_68": points})


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    # No chroma subsampling: it would move the colours of features as small as these.
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, *sampling])
    path.write_bytes(data.tobytes())


def _write_mat(path: Path, face: SyntheticFace, points: dict[str, NDArray[Any]]) -> None:
    content = {
        **points,
        "Shape_Para": face.shape[:, None],
        "Exp_Para": face.expression[:, None],
        "Pose_Para": face.pose_para[None],
    }
    buffer = io.BytesIO()
    _savemat()(buffer, content, do_compression=True)
    data = bytearray(buffer.getvalue())
    # The file begins with a text that scipy puts the date into: the labels shall be the same bytes each time.
    data[:116] = b"MATLAB 5.0 MAT-file, synthetic faces made by jvcr".ljust(116)
    path.write_bytes(bytes(data))


def _savemat() -> Callable[..., None]:
    try:
        from scipy.io import savemat
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'this layout has .mat files, which scipy writes: pip install "jvcr[data]"', name=error.name
        ) from error
    return savemat
