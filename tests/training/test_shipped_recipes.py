"""The recipes of the repository run: with tiny networks of their kind, a few steps of each stage, on drawn faces."""

import json
from pathlib import Path

import pytest
import torch

from jvcr import cli
from jvcr.model import JVCR
from jvcr.scheme import FACE68
from jvcr.synthetic.dataset import make_synthetic
from jvcr.training.checkpoint import load_pretrained
from jvcr.training.recipe import Recipe
from jvcr.weights.safetensors import load_network, read_header

RECIPES = Path(__file__).parents[2] / "recipes"

SMALL = {
    "network.voxel.image_size": 32,
    "network.voxel.channels": 8,
    "network.voxel.depths": "[1, 2, 4, 8]",
    "network.voxel.levels": 2,
    "network.coordinate.channels": "[4, 8]",
    "network.coordinate.features": 16,
    "batch_size": 2,
    "stages.separate": 0.34,
    "stages.joint": 0.67,
    "workers": 0,
    "precision": "32-true",
}
"""Of six faces in batches of two, a step of the first stage and two of the second."""


@pytest.fixture(scope="module")
def lp(tmp_path_factory):
    """Eight faces in the layout of 300W-LP, two in each part."""
    pytest.importorskip("scipy.io", reason="scipy writes the .mat files")
    return make_synthetic(tmp_path_factory.mktemp("lp") / "300w-lp", faces=8, size=96, layout="300w-lp")


def test_the_weights_that_ship_are_of_the_recipe_of_their_name():
    """So that a run can begin with them."""
    network = JVCR(Recipe.load(RECIPES / "compact.toml").network)
    origin, notes = load_pretrained("compact", network, FACE68)
    assert origin["name"] == "compact" and notes == ["starting from the weights compact (compact)"]
    for name, value in load_network("compact").state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


@pytest.mark.parametrize("name", ["paper", "authors-code"])
def test_on_300w_lp(name, lp, tmp_path, capsys):
    changes = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    out = tmp_path / "run"
    command = ["train", str(RECIPES / f"{name}.toml"), "--data", str(lp), "--out", str(out), "--threads", "1", *changes]
    with pytest.raises(SystemExit) as leaving:
        cli.main(command)
    told = capsys.readouterr()
    assert leaving.value.code == 0, told.err
    assert "6 faces seen" in told.out
    (last,) = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert last["step"] == 3 and set(last["val"]) == {"nme", "gte", "nme_IBUG"}
    header = read_header(out / "best.safetensors")
    whole = Recipe.load(RECIPES / f"{name}.toml")
    assert (header.config.num_landmarks, header.scheme.num_landmarks) == (whole.network.num_landmarks,) * 2
    assert (header.crop, header.stretch) == (whole.network.crop, whole.network.stretch)
    assert header.training["train_faces"] == 6
    kept = torch.load(out / "last.pt", weights_only=True)["optimizer"]["param_groups"][0]
    assert kept["lr"] == pytest.approx(whole.optimizer.learning_rate)  # before the first fall
