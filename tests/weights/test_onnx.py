"""ONNX files against torch, in numbers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from jvcr.model import JVCR, RefinementConfig
from jvcr.scheme import FACE66
from jvcr.weights import onnx as exporting
from jvcr.weights.header import WeightsHeader, find_weights
from jvcr.weights.onnx import TOLERANCE, compare, export_onnx
from jvcr.weights.safetensors import load_network


@pytest.fixture(scope="module", params=["G and P", "G, P and R"])
def exported(request, tiny_config, tmp_path_factory):
    torch.manual_seed(0)
    patches = (3, 1) if "R" in request.param else ()
    config = replace(tiny_config, refinement=RefinementConfig(patches=patches, channels=4, features=8))
    network = JVCR(config)
    if network.refinement is not None:
        torch.nn.init.normal_(network.refinement.moves.weight)  # a new one moves nothing
    network.train()
    for _ in range(3):
        network(torch.rand(4, 3, 32, 32))  # batch norms with statistics of their own
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    return network, path, export_onnx(path, network, WeightsHeader("tiny", config.to_dict(), FACE66))


def test_equals_torch(exported):
    network, path, compared = exported
    assert [c.batch for c in compared] == [1, 7]
    for c in compare(network, path, (1, 3, 7), seed=4):
        assert c.coordinates <= TOLERANCE["coordinates"] and c.volume <= TOLERANCE["volume"]


def test_a_file_tells_no_paths(exported):
    """Of the machine that made it."""
    for place in (exporting.__file__, torch.__file__):
        assert str(Path(place).parent).encode() not in exported[1].read_bytes()


def test_comparison_can_fail(exported, tiny_config):
    _, path, _ = exported
    other = JVCR(tiny_config).eval()
    assert compare(other, path, (2,))[0].coordinates > TOLERANCE["coordinates"]


def test_a_wrong_export_is_not_written(exported, tiny_config, tmp_path, monkeypatch):
    def foreign(*_):
        model = onnx.load(exported[1])
        del model.metadata_props[:]
        return model

    monkeypatch.setattr(exporting, "traced", foreign)
    with pytest.raises(ValueError, match="differs from torch"):
        export_onnx(
            tmp_path / "wrong.onnx", JVCR(tiny_config), WeightsHeader("tiny", tiny_config.to_dict(), FACE66), half=False
        )
    assert list(tmp_path.iterdir()) == []


def test_weights_that_rounding_harms_stay_as_they_are(tiny_config, tmp_path, monkeypatch):
    network, header = JVCR(tiny_config), WeightsHeader("tiny", tiny_config.to_dict(), FACE66)
    monkeypatch.setattr(exporting, "TOLERANCE", {"coordinates": 0.0, "volume": 0.0})
    with pytest.raises(ValueError, match=r"rounded to float16; not written \(--no-half"):
        export_onnx(tmp_path / "half.onnx", network, header, half=True)
    assert list(tmp_path.iterdir()) == []
    compared = export_onnx(tmp_path / "whole.onnx", network, header)
    assert max(c.coordinates for c in compared) <= exporting.EXACT["coordinates"]
    stored = {t.data_type for t in onnx.load(tmp_path / "whole.onnx").graph.initializer if len(t.dims) > 1}
    assert stored == {onnx.TensorProto.FLOAT}


def test_inputs_outputs_and_header(exported, tiny_config):
    session = onnxruntime.InferenceSession(str(exported[1]))
    assert [i.name for i in session.get_inputs()] == ["image"]
    assert [o.name for o in session.get_outputs()] == ["coordinates", "volume"]
    header = json.loads(session.get_modelmeta().custom_metadata_map["jvcr"])
    assert header["image_size"] == 32 and header["scheme"]["name"] == "face66"
    coordinates, volume = session.run(None, {"image": np.zeros((5, 3, 32, 32), np.float32)})
    assert coordinates.shape == (5, tiny_config.num_landmarks, 3) and volume.shape == (
        5,
        *tiny_config.volume_shapes()[-1],
    )


def test_kernels_are_stored_in_half(exported):
    kernels = [t for t in onnx.load(exported[1]).graph.initializer if len(t.dims) > 1]
    assert kernels and {t.data_type for t in kernels} == {onnx.TensorProto.FLOAT16}


def test_shipped_files_agree(shipped_weights):
    onnx_path = shipped_weights
    for c in compare(load_network("compact"), onnx_path, (1, 7)):
        assert c.coordinates <= TOLERANCE["coordinates"] and c.volume <= TOLERANCE["volume"]


def test_shipped_files_are_small(shipped_weights):
    assert shipped_weights.stat().st_size < 12e6
    assert find_weights("compact", ".safetensors").stat().st_size < 12e6
