"""Data that several tests use: made up where that is enough, and the real sets where they lie beside the repository."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest

# jvcr is imported in the fixtures, not here: jaxtyping has to come first.


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real data sets: $JVCR_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("JVCR_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real data sets not found: set JVCR_DATA to their folder (looked in {folder})")
    return folder


@dataclass(frozen=True)
class MadeFaces:
    """Data sets of the same three faces, one for each yaw band, and what a reader should make of them."""

    root: Path
    images: tuple[str, ...]
    points_px: np.ndarray
    yaw_deg: tuple[float, ...]


IMAGE_HEIGHT, IMAGE_WIDTH = 120, 150
YAWS = (-12.0, 45.0, -88.0)


@pytest.fixture
def made_points() -> np.ndarray:
    """(3, 68, 3) landmarks: the average face, turned by `YAWS`, 60 to 80 pixels wide; z of mean 0."""
    from jvcr.scheme import FACE68

    face = np.array(FACE68.template)
    face = (face - face.mean(0)) / np.ptp(face[:, 0]) * 70
    points = []
    for yaw, size in zip(np.radians(YAWS), (1, 1.1, 0.9), strict=True):
        turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        points.append(face @ turn.T * size)
    return (np.stack(points) + np.array([70, 60, 0])).astype(np.float32)


@pytest.fixture
def aflw2000(tmp_path: Path, made_points: np.ndarray) -> MadeFaces:
    """A folder in the layout of AFLW2000-3D, written from the definition of that layout, not with our code."""
    savemat = pytest.importorskip("scipy.io", reason="scipy writes the .mat files").savemat
    root = tmp_path / "aflw2000"
    root.mkdir()
    names = ("image00004", "image00030", "image00200")
    for i in (2, 0, 1):  # not in the order of the names
        x, y, z = made_points[i].T.astype(np.float64)
        pt3d_68 = np.stack([x + 1, y + 1, 100 - z]).astype(np.float32)  # Matlab's pixels; towards the camera, any zero
        pose = np.array([[0.1, np.radians(YAWS[i]), -0.2, 70, 60, -50, 0.001]], np.float32)
        savemat(
            root / f"{names[i]}.mat",
            {"pt3d_68": pt3d_68, "Pose_Para": pose, "roi": np.array([[1, 1, 9, 9]])},
            do_compression=True,
        )
        _write_image(root / f"{names[i]}.jpg", i)
    return MadeFaces(root, tuple(f"{n}.jpg" for n in names), made_points, YAWS)


@pytest.fixture
def landmark_folder(tmp_path: Path, made_points: np.ndarray) -> MadeFaces:
    """A folder in the package's own layout: sources a, b, a; the first face for training, two for validation."""
    root = tmp_path / "folder"
    names = ("a/one.jpg", "b/two.jpg", "a/three.jpg")
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        _write_image(root / name, i)
    np.savez(
        root / "landmarks.npz",
        image=np.array(names),
        points=made_points,
        split=np.array(["train", "val", "val"]),
        source=np.array(["a", "b", "a"]),
        yaw_deg=np.array(YAWS, np.float32),
    )
    return MadeFaces(root, names, made_points, YAWS)


def _write_image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (IMAGE_HEIGHT // 10, IMAGE_WIDTH // 10, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, (IMAGE_WIDTH, IMAGE_HEIGHT)))


class FakeLandmarker:
    """Recognises an image of a data set by its pixels and answers with its true landmarks, moved by ``offset``.

    Attributes:
        detections: image index -> boxes that its detector finds; the landmarks' box, a bit larger, if not listed.
        calls: (image index, box, box_kind) of every face asked for.
        training: it had none.
    """

    training = MappingProxyType({})

    def __init__(self, dataset, offset=(0.0, 0.0, 0.0), detections=None):
        self.dataset, self.offset, self.detections = dataset, np.array(offset), detections or {}
        self.calls = []

    @property
    def scheme(self):
        return self.dataset.scheme

    def index(self, image) -> int:
        for i in range(len(self.dataset)):
            try:
                if np.array_equal(self.dataset.read_image(i), image):
                    return i
            except (OSError, ValueError):
                pass
        raise AssertionError("an image that the data set does not have")

    threads = 1
    detector = None

    def detect(self, image):
        i = self.index(image)
        low, high = self.dataset.points_px[i, :, :2].min(0), self.dataset.points_px[i, :, :2].max(0)
        boxes = self.detections.get(i, [[*(low - 4), *(high + 2)]])
        return np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32)

    def stream(self, images, boxes=None, box_kind="detector"):
        from jvcr.inference.face import Face

        for image, around in zip(images, boxes, strict=True):
            i = self.index(image)
            assert np.shape(around) == (1, 4)
            self.calls.append((i, around[0].tolist(), box_kind))
            points = self.dataset.points_px[i] + self.offset
            yield [Face(np.float32(points), around[0], np.full(len(points), 0.75, np.float32))]


@pytest.fixture
def fake_landmarker():
    return FakeLandmarker


@pytest.fixture(scope="session")
def tiny_config():
    """A network of the compact kind that runs in a moment."""
    from jvcr.model import CoordinateConfig, NetworkConfig, VoxelConfig

    return NetworkConfig(
        num_landmarks=66,
        voxel=VoxelConfig(image_size=32, channels=8, depths=(2, 8), levels=2, unit="plain"),
        coordinate=CoordinateConfig(channels=(4, 8), features=16),
    )


@pytest.fixture(scope="session")
def shipped_weights() -> Path:
    """The compact weights' ONNX file, which is part of the package: a test fails, and does not skip, without it."""
    path = Path(__file__).resolve().parents[1] / "src" / "jvcr" / "weights" / "compact.onnx"
    assert path.is_file(), f"{path} is missing: the package is incomplete"
    return path


TINY_SIZE = 24
"""Side of the image that the tiny network takes, pixels."""


@pytest.fixture(scope="session")
def make_network(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes ONNX files of the package's contract around a network whose answers can be worked out by hand.

    Its landmarks are a quarter of the average face, moved in x and y to where the centre of the red light of the image
    lies; its volume, of 4 x 6 x 8 voxels, holds (x + 1) / 2 of each voxel's centre.
    """
    return lambda name="tiny", **changes: _write_tiny_network(
        tmp_path_factory.mktemp("onnx") / f"{name}.onnx", **changes
    )


@pytest.fixture(scope="session")
def tiny_weights(make_network: Callable[..., Path]) -> Path:
    """Such a file, for 68 landmarks."""
    return make_network()


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of sample photographs."""
    return Path(__file__).resolve().parents[1] / "examples"


_TINY_NETWORK = """
<ir_version: 8, opset_import: ["": 17]>
tiny (float[{batch}, 3, {size}, {size}] image) => (float[{batch}, {landmarks}, 3] {outputs[0]},
                                                   float[{batch}, 4, 6, 8] {outputs[1]}) {{
    red = Gather <axis = 1> (image, red_channel)
    light = ReduceSum <keepdims = 0> (red, plane)
    some_light = Add(light, little)
    red_x = Mul(red, x)
    sum_x = ReduceSum <keepdims = 0> (red_x, plane)
    mean_x = Div(sum_x, some_light)
    shift_x = Reshape(mean_x, column)
    red_y = Mul(red, y)
    sum_y = ReduceSum <keepdims = 0> (red_y, plane)
    mean_y = Div(sum_y, some_light)
    shift_y = Reshape(mean_y, column)
    shift_z = Mul(shift_x, zero)
    shift = Concat <axis = 2> (shift_x, shift_y, shift_z)
    {outputs[0]} = Add(template, shift)
    nothing = Reshape(shift_z, cell)
    {outputs[1]} = Add(ramp, nothing)
}}
"""


def _write_tiny_network(
    path: Path,
    scheme: object = None,
    landmarks: int | None = None,
    batch: int | str = "batch",
    metadata: object = None,
    outputs: tuple[str, str] = ("coordinates", "volume"),
) -> Path:
    """The file of `make_network`.

    Args:
        path: where to write it.
        scheme: what its landmarks are; FACE68 if None.
        landmarks: how many it gives; as many as the scheme has if None.
        batch: size of its batches, a name if open.
        metadata: changes to its metadata, a text instead of them, or False for none.
        outputs: names of its outputs.
    """
    import onnx
    from onnx import helper, numpy_helper, parser

    from jvcr.scheme import FACE68

    scheme = scheme or FACE68
    landmarks = landmarks or scheme.num_landmarks
    template = np.zeros((1, landmarks, 3)) if scheme.template is None else np.array([scheme.template]) / 4
    centres = ((np.arange(TINY_SIZE) + 0.5) / TINY_SIZE * 2 - 1).astype(np.float32)
    arrays = {
        "template": template.astype(np.float32),
        "x": centres.reshape(1, 1, -1),
        "y": centres.reshape(1, -1, 1),
        "ramp": np.broadcast_to((np.arange(8) + 0.5) / 8, (1, 4, 6, 8)).astype(np.float32),
        "red_channel": np.array(0),
        "plane": np.array([1, 2]),
        "little": np.array(1e-6, np.float32),
        "zero": np.array(0, np.float32),
        "column": np.array([-1, 1, 1]),
        "cell": np.array([-1, 1, 1, 1]),
    }
    text = _TINY_NETWORK.format(batch=batch, size=TINY_SIZE, landmarks=landmarks, outputs=outputs)
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    if metadata is not False:
        header = {"format": 1, "name": "tiny", "image_size": TINY_SIZE, "scheme": scheme.to_dict()}
        text = metadata if isinstance(metadata, str) else json.dumps({**header, **(metadata or {})})
        helper.set_model_props(model, {"jvcr": text})
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def face_folder(tmp_path_factory):
    """16 pictures of dots where the landmarks are: 12 to train on, 4 to validate."""
    from jvcr.scheme import FACE68

    root = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    template = np.array(FACE68.template)
    points, names = [], []
    for i in range(16):
        p = template * rng.uniform(14, 20) + [48, 48, 0] + rng.normal(0, 3, 3) * [1, 1, 0]
        image = np.full((96, 100, 3), 60, np.uint8)
        for x, y, _ in p:
            cv2.circle(image, (round(x), round(y)), 1, (200, 220, 240), -1)
        names.append(f"{i:02d}.png")
        cv2.imwrite(str(root / names[-1]), image)
        points.append(p - [0, 0, p[:, 2].mean()])
    np.savez(
        root / "landmarks.npz",
        image=np.array(names),
        points=np.array(points, np.float32),
        split=np.array(["train"] * 12 + ["val"] * 4),
        source=np.array(["a", "b"] * 8),
        yaw_deg=np.zeros(16, np.float32),
    )
    return root


@pytest.fixture
def faces(face_folder):
    """The data set of `face_folder`."""
    from jvcr.data import read_folder

    return read_folder(face_folder)


CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--enable-unsafe-webgpu",  # on a GPU that a program imitates
    "--use-webgpu-adapter=swiftshader",
]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, driven by Playwright, whose camera sees a photograph."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install 'jvcr[dev]'"
    )
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed (Debian's package is chromium)")
    video = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    frame = np.full((480, 640, 3), 90, np.uint8)
    frame[:, 64:576] = cv2.imread(str(Path(__file__).parents[1] / "examples" / "astronaut.png"))[:480]
    encoded = cv2.imencode(".jpg", frame)[1].tobytes()
    video.write_bytes(encoded * 10)  # one JPEG file after the other
    with playwright.sync_playwright() as started:
        arguments = [*CHROMIUM_ARGUMENTS, f"--use-file-for-fake-video-capture={video}"]
        browser = started.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()
