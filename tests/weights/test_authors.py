"""The authors' checkpoint as a network of ours: a made-up one must give what their own graph gave for it."""

import os
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from jvcr.geometry.crop import Crop
from jvcr.geometry.volume import sample_volume
from jvcr.geometry.warp import stretch_contrast, warp_crop
from jvcr.inference.landmarker import Landmarker
from jvcr.model import AUTHORS, JVCR, CoordinateConfig, NetworkConfig, VoxelConfig
from jvcr.scheme import load_scheme
from jvcr.weights.authors import PARTS, PREFIX, authors_keys, read_authors_checkpoint, to_unit
from jvcr.weights.header import WeightsHeader
from jvcr.weights.onnx import export_onnx
from jvcr.weights.safetensors import load_network, read_header, save_weights

FIXTURE = Path(__file__).with_name("authors_fixture.npz")
"""What the authors' own graph gives for the tensors of `made_up` and the image below: their coordinates as they are,
the volumes every 8th row and column, of the last one every 8th slice too."""


def from_unit(points_unit):
    """As the authors' network gives them: 0 to 1 over 255 of 256 pixels, whose centres are integers on x and y."""
    edges = np.array([0.5, 0.5, 0.0])
    return ((np.asarray(points_unit, np.float64) + 1) * 128 - edges) / 255


@pytest.fixture(scope="module")
def shapes():
    """Entry -> their key -> shape."""
    with torch.device("meta"):
        network = JVCR(AUTHORS)
    states = {entry: getattr(network, part).state_dict() for part, entry in PARTS.items()}
    return {e: {theirs: tuple(states[e][ours].shape) for theirs, ours in k.items()} for e, k in authors_keys().items()}


def made_up(entry, key, shape):
    """A tensor by the rule that the fixture's were made by."""
    if not shape:
        return torch.tensor(0)
    name = f"{entry.removeprefix('state_dict_')}.{key}"
    r = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if key.endswith("running_mean"):
        r *= 0.1
    elif key.endswith("running_var"):
        r = 1 + 0.1 * np.abs(r)
    elif len(shape) >= 2:
        r /= np.sqrt(np.prod(shape[1:]))
    else:
        r = 0.05 * r if key.endswith("bias") else 1 + 0.05 * r
    return torch.from_numpy(r.astype(np.float32))


@pytest.fixture(scope="module")
def checkpoint_file(shapes, tmp_path_factory):
    path = tmp_path_factory.mktemp("authors") / "checkpoint.pth.tar"
    torch.save({e: {PREFIX + k: made_up(e, k, s) for k, s in keys.items()} for e, keys in shapes.items()}, path)
    return path


@pytest.fixture(scope="module")
def imported(checkpoint_file):
    return read_authors_checkpoint(checkpoint_file)


@pytest.fixture(scope="module")
def outputs(imported):
    image = torch.from_numpy(np.random.default_rng(0).random((1, 3, 256, 256), dtype=np.float32))
    with torch.inference_mode():
        volumes, _, points, _ = imported[0](image)
    return [volume[0].numpy() for volume in volumes], points[0].numpy()


def assert_equal_to_four_digits(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


# ---- the numbers


def test_coordinates_are_those_of_the_authors_graph(outputs):
    _, points = outputs
    assert_equal_to_four_digits(from_unit(points), np.load(FIXTURE)["coordinates"])


@pytest.mark.parametrize("stack", [1, 2, 3, 4])
def test_volumes_are_those_of_the_authors_graph(outputs, stack):
    volume = outputs[0][stack - 1]
    assert volume.shape == ((1, 2, 4, 64)[stack - 1], 64, 64)
    slices = 8 if stack == 4 else 1
    assert_equal_to_four_digits(volume[::slices, ::8, ::8], np.load(FIXTURE)[f"volume{stack}"])


def test_keys_and_shapes_are_those_of_the_checkpoint(shapes):
    """Against the list of the real checkpoint's tensors, where it lies beside the data."""
    data = Path(os.environ.get("JVCR_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    table = data.parent / "design" / "authors_checkpoint.tsv"
    if not table.is_file():
        pytest.skip(f"the list of the checkpoint's tensors is not here: {table}")
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    listed = {(e, k): () if s == "scalar" else tuple(map(int, s.split("x"))) for e, k, s in rows}
    assert listed == {(e, PREFIX + k): s for e, keys in shapes.items() for k, s in keys.items()}


def test_some_keys_by_hand():
    keys = authors_keys()
    assert {e: len(k) for e, k in keys.items()} == {"state_dict_p2v": 1298, "state_dict_v2c": 32}
    for theirs, ours in {
        "conv1.weight": "stem.0.0.weight",
        "bn1.running_var": "stem.0.1.running_var",
        "layer1.0.downsample.0.bias": "stem.1.shortcut.bias",
        "layer3.0.bn3.weight": "stem.4.bn3.weight",
        "hg.2.hg.3.0.0.conv2.weight": "hourglasses.2.skip.conv2.weight",
        "hg.2.hg.0.2.0.conv2.weight": "hourglasses.2.inner.inner.inner.up.conv2.weight",
        "hg.2.hg.0.3.0.conv2.weight": "hourglasses.2.inner.inner.inner.inner.conv2.weight",
        "score_.0.bias": "merge_predictions.0.bias",
    }.items():
        assert keys["state_dict_p2v"][theirs] == ours
    assert keys["state_dict_v2c"]["encoder.3.1.weight"] == "encoder.10.weight"
    assert keys["state_dict_v2c"]["encoder.4.0.weight"] == "encoder.12.weight"


# ---- the frame


@pytest.mark.parametrize(
    ("pixels", "unit"),
    [
        ((0, 255, 0), (-255 / 256, 255 / 256, -1)),  # the centres of the border pixels; the cube's front
        ((127.5, 127.5, 128), (0, 0, 0)),
        ((-0.5, 63.5, 192), (-1, -0.5, 0.5)),  # the crop's edge; behind the mean depth is away from the camera
    ],
)
def test_their_pixels_in_the_unit_frame(pixels, unit):
    np.testing.assert_allclose(to_unit(np.array(pixels) / 255), unit, atol=1e-12)
    np.testing.assert_allclose(from_unit(np.array(unit, float)), np.array(pixels) / 255, atol=1e-12)


def test_the_frames_maps_are_inverse():
    points = np.random.default_rng(0).normal(size=(4, 7, 3))
    np.testing.assert_allclose(from_unit(to_unit(points)), points, atol=1e-12)
    np.testing.assert_allclose(to_unit(from_unit(points)), points, atol=1e-12)


# ---- the file


def test_survives_saving(imported, outputs, tmp_path):
    network, header = imported
    assert (header.name, header.config, header.scheme) == ("authors", AUTHORS, load_scheme("face71"))
    assert header.training["file"] == "checkpoint.pth.tar" and len(header.training["sha256"]) == 64
    save_weights(tmp_path / "a.safetensors", network, header)
    assert read_header(tmp_path / "a.safetensors") == header
    again = load_network(tmp_path / "a.safetensors")
    assert again.config == AUTHORS and (again.config.crop, again.config.stretch) == ("width", True)
    state = again.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


@pytest.mark.slow
def test_survives_export(imported, tmp_path):
    network, header = imported
    export_onnx(tmp_path / "a.onnx", network, header, half=False)  # compares the two in numbers
    landmarker = Landmarker(tmp_path / "a.onnx")
    assert landmarker.scheme == header.scheme
    image = np.random.default_rng(1).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    (face,) = landmarker(image, boxes=[[60, 40, 110, 120]])
    assert face.points.shape == (71, 3)


SMALL = NetworkConfig(
    num_landmarks=71,
    voxel=VoxelConfig(image_size=64, channels=8, depths=(16,), levels=1, unit="plain", image_mean=0.0),
    coordinate=CoordinateConfig(channels=(4, 8), features=6),
    crop="width",
    stretch=True,
)
"""A small network with the authors' crop and pixels."""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.manual_seed(0)
    network = JVCR(SMALL).eval()
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    export_onnx(path, network, WeightsHeader("small", SMALL.to_dict(), load_scheme("face71")), half=False)
    return network, Landmarker(path, threads=1)


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("box_kind", ["landmarks", "detector"])
def test_use_crops_and_stretches_as_the_network_expects(small, box_kind, passes):
    network, landmarker = small
    image = np.random.default_rng(1).integers(40, 130, (150, 200, 3), dtype=np.uint8)
    box = [60, 30, 120, 130]  # taller than wide
    (face,) = landmarker(image, boxes=[box], box_kind=box_kind, passes=passes)

    crop = Crop.from_box(box, rule="width") if box_kind == "landmarks" else Crop.from_detection(box, rule="width")
    assert crop.side == 1.25 * 60
    for _ in range(passes):
        pixels = stretch_contrast(warp_crop(image, crop, 64))
        with torch.inference_mode():
            volumes, _, points, _ = network(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
        used, crop = crop, Crop.around_landmarks(crop.to_image(points[0].numpy()), rule="width")
    expected = used.to_image(points[0].numpy()) - [0, 0, used.to_image(points[0].numpy())[:, 2].mean()]
    np.testing.assert_allclose(face.points, expected, atol=1e-3)
    confidence = sample_volume(volumes[-1][0].numpy(), points[0].numpy()).clip(0, 1)
    np.testing.assert_allclose(face.confidence, confidence, atol=1e-4)


# ---- files that are something else


@pytest.fixture
def hollow(shapes):
    """A checkpoint with every key and shape, of one number each that fills its tensor: a small file."""
    value = torch.full((), 0.5)
    return {e: {PREFIX + k: value.expand(s) for k, s in keys.items()} for e, keys in shapes.items()}


def written(content, tmp_path, **how):
    path = tmp_path / "c.pth.tar"
    torch.save(content, path, **how)
    return path


def test_reads_old_files_and_what_a_training_saves_beside_the_tensors(hollow, tmp_path):
    """As old versions of torch wrote them, which did not count a batch norm's batches; saved from a single GPU."""
    content = {
        entry: {k.removeprefix(PREFIX): v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
        for entry, tensors in hollow.items()
    }
    content |= {"epoch": 29, "arch": "hg", "best_acc": np.float64(0.93), "optimizer": {"lr": 2.5e-5}}
    path = written(content, tmp_path, _use_new_zipfile_serialization=False)
    network, _ = read_authors_checkpoint(path)
    assert network.voxel.heads[3].bias[63].item() == 0.5
    assert network.coordinate.encoder[0].weight[0, 0, 0, 0, 0].item() == 0.5
    # 0.5 is 127.5 of their pixels: the middle of x and y, half a pixel before that of z.
    np.testing.assert_allclose(network.coordinate.regressor.bias[-3:].detach(), [0, 0, -1 / 256], atol=1e-7)


def change(content, entry, key, value):
    tensors = dict(content[entry])
    tensors.pop(key, None)
    return {**content, entry: tensors if value is None else {**tensors, key: value}}


@pytest.mark.parametrize(
    ("entry", "key", "value", "message"),
    [
        ("state_dict_p2v", "module.conv1.weight", None, r"state_dict_p2v .*1 missing: conv1\.weight"),
        ("state_dict_v2c", "module.extra", torch.zeros(1), r"state_dict_v2c .*1 not known: extra"),
        ("state_dict_v2c", "module.fc_cord.weight", torch.zeros(204, 256), "204x256 instead of 213x256"),
        ("state_dict_p2v", "module.score.3.bias", 3.5, "a float instead of 64"),
    ],
)
def test_names_tensors_that_do_not_fit(hollow, tmp_path, entry, key, value, message):
    path = written(change(hollow, entry, key, value), tmp_path)
    with pytest.raises(ValueError, match=message):
        read_authors_checkpoint(path)


def test_names_a_few_of_many(hollow, tmp_path):
    with pytest.raises(ValueError, match=r"1116 missing: (\S+, ){4}\S+ \.\.\.$"):
        read_authors_checkpoint(written({**hollow, "state_dict_p2v": {}}, tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, "no checkpoint of the authors.*a dict with state_dict, epoch"),
        ({"state_dict_p2v": {}}, "no checkpoint of the authors"),
        (torch.zeros(3), "this one is a Tensor"),
        ({"state_dict_p2v": Path("x")}, "more than tensors and numbers"),
    ],
)
def test_refuses_checkpoints_of_something_else(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_authors_checkpoint(written(content, tmp_path))


def test_runs_nothing_of_the_file(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "made"),))

    path = written({"state_dict_p2v": Evil(), "state_dict_v2c": {}}, tmp_path)
    with pytest.raises(ValueError, match="more than tensors and numbers"):
        read_authors_checkpoint(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"no checkpoint at all", b"PK\x03\x04" + bytes(50), pickle.dumps([1, 2], protocol=2)[:-3], bytes(range(256))],
    ids=["empty", "text", "zip", "pickle", "bytes"],
)
def test_refuses_files_of_something_else(tmp_path, content):
    path = tmp_path / "c.pth.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"c\.pth\.tar: it is damaged"):
        read_authors_checkpoint(path)


def test_refuses_a_file_cut_short(hollow, tmp_path):
    path = written(hollow, tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="damaged, cut short"):
        read_authors_checkpoint(path)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        read_authors_checkpoint(tmp_path / "none.pth")
    with pytest.raises(IsADirectoryError):
        read_authors_checkpoint(tmp_path)
