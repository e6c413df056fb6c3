"""Weight files rebuild their own network, or say why they cannot."""

import json

import pytest
import torch
from safetensors.torch import save_file

from jvcr.model import JVCR
from jvcr.scheme import FACE66
from jvcr.weights.header import WeightsHeader
from jvcr.weights.safetensors import load_network, read_header, save_weights


@pytest.fixture
def saved(tiny_config, tmp_path):
    torch.manual_seed(0)
    network = JVCR(tiny_config).eval()
    path = tmp_path / "w.safetensors"
    save_weights(path, network, WeightsHeader("tiny", tiny_config.to_dict(), FACE66, {"faces_seen": 3}))
    return network, path


def test_round_trip(saved, tiny_config):
    network, path = saved
    header = read_header(path)
    assert (header.name, header.config, header.scheme) == ("tiny", tiny_config, FACE66)
    assert header.training == {"faces_seen": 3}
    again = load_network(path)
    image = torch.rand(2, 3, 32, 32)
    assert not again.training
    with torch.inference_mode():
        assert torch.equal(again(image).points, network(image).points)


def test_half_precision_halves_the_kernels(saved, tiny_config, tmp_path):
    network, path = saved
    half = tmp_path / "half.safetensors"
    save_weights(half, network, read_header(path), torch.float16)
    kernels = sum(v.numel() for v in network.state_dict().values() if v.ndim > 1)
    assert path.stat().st_size - half.stat().st_size == pytest.approx(
        2 * kernels, abs=500
    )  # the headers differ a little
    image = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(load_network(half)(image).points, network(image).points, atol=1e-3, rtol=0)


def test_no_such_weights():
    with pytest.raises(FileNotFoundError, match="shipped name"):
        load_network("nothing")


def test_a_wheel_has_no_torch_weights():
    with pytest.raises(FileNotFoundError, match="those of compact come with the source"):
        load_network("nano")  # no torch weights of it are in the source either


def test_the_file_for_use(tmp_path):
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match="without torch"):
        load_network(tmp_path / "w.onnx")


def test_cut_short(saved):
    _, path = saved
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="damaged"):
        read_header(path)


def test_foreign_weights(tmp_path):
    path = tmp_path / "f.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="not of jvcr"):
        load_network(path)


def test_of_a_later_format(saved, tmp_path):
    header = {**json.loads(read_header(saved[1]).to_json()), "format": 99}
    path = tmp_path / "f.safetensors"
    save_file({"a": torch.zeros(3)}, path, metadata={"jvcr": json.dumps(header)})
    with pytest.raises(ValueError, match="format 99"):
        load_network(path)


def test_of_another_network(saved, tmp_path):
    path = tmp_path / "f.safetensors"
    save_file({"a": torch.zeros(3)}, path, metadata={"jvcr": read_header(saved[1]).to_json()})
    with pytest.raises(ValueError, match="do not fit"):
        load_network(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 10**9}, "do not fit"),  # of which nothing is made
        ({"channels": 10**400}, "more than 18 digits"),
        ({"levels": 10**9}, "levels are 1 to 16"),
        ({"x": "nested"}, "nested too deeply"),
    ],
    ids=range(4),
)
def test_headers_that_no_network_has(saved, tmp_path, change, message):
    path, data = tmp_path / "f.safetensors", json.loads(read_header(saved[1]).to_json())
    data["network"]["voxel"] |= change
    text = json.dumps(data).replace('"nested"', "[" * 9000 + "]" * 9000)
    save_file({"a": torch.zeros(3)}, path, metadata={"jvcr": text})
    with pytest.raises(ValueError, match=message) as raised:
        load_network(path)
    assert str(path) in str(raised.value)
