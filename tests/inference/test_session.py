import json
import os
import shutil

import numpy as np
import pytest

from jvcr.inference import session as runtime
from jvcr.inference.session import OnnxNetwork, available_cores
from jvcr.scheme import FACE66, LandmarkScheme
from jvcr.weights import header
from jvcr.weights.header import find_weights


@pytest.fixture
def crops():
    return np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)


def test_what_the_file_says(tiny_weights):
    network = OnnxNetwork(tiny_weights)
    assert (network.info.name, network.info.image_size, network.info.scheme.name) == ("tiny", 24, "face68")
    assert network.path == tiny_weights


@pytest.mark.parametrize("batch", [1, 5])
def test_shapes_and_values(tiny_weights, crops, batch):
    coordinates, volume = OnnxNetwork(tiny_weights).run(crops[:batch])
    assert (coordinates.shape, coordinates.dtype) == ((batch, 68, 3), np.float32)
    assert (volume.shape, volume.dtype) == ((batch, 4, 6, 8), np.float32)
    # The network's definition, in float64: a quarter of the template, moved to where the red light's centre lies.
    red = crops[:batch, :, :, 0] / 255
    centres = (np.arange(24) + 0.5) / 12 - 1
    shift = np.stack([(red * centres).sum((1, 2)), (red * centres[:, None]).sum((1, 2))], -1) / red.sum((1, 2))[:, None]
    expected = (
        np.array(OnnxNetwork(tiny_weights).info.scheme.template)[None] / 4 + np.pad(shift, ((0, 0), (0, 1)))[:, None]
    )
    np.testing.assert_allclose(coordinates, expected, atol=1e-5)


def test_each_crop_has_its_own_result_whatever_the_batch(tiny_weights, crops):
    network = OnnxNetwork(tiny_weights)
    together = network.run(crops)[0]
    for crop, points in zip(crops, together, strict=True):
        np.testing.assert_allclose(network.run(crop[None])[0][0], points, atol=1e-6)


def test_threads(tiny_weights, monkeypatch):
    used = []
    real = runtime.open_session
    monkeypatch.setattr(
        runtime, "open_session", lambda path, threads, *rest: used.append(threads) or real(path, threads, *rest)
    )
    OnnxNetwork(tiny_weights)
    OnnxNetwork(tiny_weights, threads=1)
    OnnxNetwork(tiny_weights, threads=3)
    assert used == [available_cores(), 1, 3]
    with pytest.raises(ValueError, match="threads must be at least 1"):
        OnnxNetwork(tiny_weights, threads=0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_available_cores_are_those_of_the_process():
    cores = os.sched_getaffinity(0)
    assert available_cores() == len(cores)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_providers(tiny_weights, crops):
    chosen = OnnxNetwork(tiny_weights, providers=["CPUExecutionProvider"])
    options = OnnxNetwork(tiny_weights, providers=[("CPUExecutionProvider", {"use_arena": "0"})])
    np.testing.assert_array_equal(chosen.run(crops)[0], options.run(crops)[0])
    with pytest.raises(
        ValueError, match=r"no execution provider MagicExecutionProvider; it has .*CPUExecutionProvider"
    ):
        OnnxNetwork(tiny_weights, providers=["MagicExecutionProvider"])


def test_a_provider_that_does_not_start_is_no_silent_fallback(tiny_weights, monkeypatch):
    import onnxruntime

    class Session(onnxruntime.InferenceSession):
        def __init__(self, path, options, providers):
            assert providers == ["CUDAExecutionProvider", "CPUExecutionProvider"]
            super().__init__(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(ValueError, match="could not start it"):
        OnnxNetwork(tiny_weights, providers=["CUDAExecutionProvider"])


# ---- weights that cannot be used


def test_names_and_paths(tiny_weights, tmp_path, monkeypatch):
    assert find_weights(tiny_weights, ".onnx") == tiny_weights
    assert find_weights(str(tiny_weights), ".onnx") == tiny_weights
    (tmp_path / "weights").mkdir()
    shutil.copy(tiny_weights, tmp_path / "weights" / "small.onnx")
    monkeypatch.setattr(header, "FOLDER", tmp_path / "weights")
    assert OnnxNetwork("small").path == tmp_path / "weights" / "small.onnx"
    with pytest.raises(FileNotFoundError, match=r"no weights 'large'.*\.onnx.*small"):
        find_weights("large", ".onnx")


def test_missing_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.onnx.*jvcr export"):
        OnnxNetwork(tmp_path / "none.onnx")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        OnnxNetwork(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_cut_short(tiny_weights, tmp_path, share):
    data = tiny_weights.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"cut\.onnx (is damaged, cut short|is an ONNX file, but not one)"):
        OnnxNetwork(path)


def test_not_onnx_at_all(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("just a text", encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.onnx is damaged, cut short or not an ONNX file"):
        OnnxNetwork(path)
    (tmp_path / "net.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="jvcr export"):
        OnnxNetwork(tmp_path / "net.safetensors")


def test_someone_elses_onnx_file(make_network):
    with pytest.raises(ValueError, match="not one of this package"):
        OnnxNetwork(make_network(metadata=False))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {"format": 2}}, "format 2, this version of jvcr reads 1: update"),
        ({"metadata": "{"}, "cannot be used"),
        ({"metadata": "[]"}, "cannot be used"),
        ({"metadata": json.dumps({"format": 1})}, "lacks the key 'name'"),
        ({"metadata": {"scheme": {"points": 3}}}, "needs the key 'name'"),
        ({"metadata": {"scheme": FACE66.to_dict()}}, "does not fit the scheme 'face66' of 66 landmarks"),
        ({"landmarks": 66, "scheme": LandmarkScheme("dots", 68)}, "does not fit the scheme 'dots' of 68"),
        ({"metadata": {"image_size": 128}}, "images of 128 pixels"),
        ({"outputs": ("points", "volume")}, "no 'coordinates', only image, points, volume"),
        ({"batch": 1}, "open batch size"),
    ],
)
def test_metadata_that_does_not_fit(make_network, changes, message):
    with pytest.raises(ValueError, match=rf"tiny\.onnx cannot be used: .*{message}|tiny\.onnx {message}"):
        OnnxNetwork(make_network(**changes))


def test_weights_of_another_scheme_are_used_as_such(make_network, crops):
    scheme = LandmarkScheme("hand", 5)
    network = OnnxNetwork(make_network(scheme=scheme))
    assert network.info.scheme == scheme
    assert network.run(crops)[0].shape == (5, 5, 3)


def test_landmarks_that_are_not_finite(make_network, crops):
    nan = ((float("nan"),) * 3,)
    broken = make_network(
        scheme=LandmarkScheme("dot", 1, template=nan), metadata={"scheme": LandmarkScheme("dot", 1).to_dict()}
    )
    with pytest.raises(ValueError, match="not finite: its weights are damaged"):
        OnnxNetwork(broken).run(crops)


def test_what_the_crops_are(make_network, tiny_weights, shipped_weights):
    for path in (tiny_weights, shipped_weights):  # files that do not say take the first rule, and pixels as they are
        info = OnnxNetwork(path).info
        assert (info.crop, info.stretch) == ("longer", False)
    info = OnnxNetwork(make_network(metadata={"network": {"crop": "width", "stretch": True, "num_landmarks": 68}})).info
    assert (info.crop, info.stretch) == ("width", True)


@pytest.mark.parametrize("network", [{"crop": "round"}, {"stretch": 1}, {"crop": None}, "paper"])
def test_unknown_crops_are_refused(make_network, network):
    with pytest.raises(ValueError, match="cannot be used"):
        OnnxNetwork(make_network(metadata={"network": network}))
