"""``jvcr import-weights``, from the command line on."""

import pytest
import torch

from jvcr import cli
from jvcr.model import JVCR, NetworkConfig
from jvcr.scheme import load_scheme
from jvcr.weights.header import WeightsHeader
from jvcr.weights.safetensors import load_network


def run(*arguments):
    with pytest.raises(SystemExit) as leaving:
        cli.main([str(a) for a in arguments])
    return leaving.value.code


def test_writes_weights_and_says_how_to_go_on(tiny_config, monkeypatch, tmp_path, capsys):
    config = NetworkConfig.from_dict({**tiny_config.to_dict(), "num_landmarks": 71, "crop": "width"})
    torch.manual_seed(0)
    network = JVCR(config).eval()
    asked = []

    def read(path):
        asked.append(path)
        return network, WeightsHeader("authors", config.to_dict(), load_scheme("face71"))

    monkeypatch.setattr("jvcr.weights.authors.read_authors_checkpoint", read)
    out = tmp_path / "sub" / "a.safetensors"
    assert run("import-weights", tmp_path / "c.pth", "--out", out) == 0
    assert asked == [tmp_path / "c.pth"]
    assert load_network(out).config == config
    printed = capsys.readouterr().out
    assert "71 landmarks (face71)" in printed
    assert f"jvcr export {out} --out {out.with_suffix('.onnx')}" in printed


def test_refuses_in_one_line(tmp_path, capsys):
    (tmp_path / "c.pth").write_bytes(b"text")
    assert run("import-weights", tmp_path / "c.pth", "--out", tmp_path / "a.safetensors") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"jvcr: {tmp_path / 'c.pth'}: it is damaged")
    assert not (tmp_path / "a.safetensors").exists()
    assert run("import-weights", tmp_path / "none.pth", "--out", tmp_path / "a.safetensors") == 1
    assert "none.pth: no such file" in capsys.readouterr().err
    assert run("import-weights", tmp_path / "c.pth", "--out", tmp_path / "a.onnx") == 1
    assert "--out must end in .safetensors" in capsys.readouterr().err
