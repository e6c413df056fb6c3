"""``jvcr compare``: equal data, runs that are not done twice, a table that says what they came to."""

import json
import re
from pathlib import Path

import pytest

from jvcr import cli
from jvcr.training.comparison import Comparison, step_cost

BASE = """
name = "tiny"
batch_size = 4
workers = 0
precision = "32-true"
validate_epochs = 0.5
[network]
preset = "compact"
voxel = { image_size = 32, channels = 8, inner_channels = [], depths = [1, 8], levels = 2, stride = 4 }
coordinate = { channels = [4, 8], features = 16 }
refinement = { patches = [] }
[stages]
separate = 0.5
joint = 0.5
"""
PLAN = """
recipe = "base.toml"
seeds = [0, 1]
set = ["loss.coordinate=l1"]
[runs.jvcr]
label = "JVCR"
[runs.direct]
label = "direct"
seeds = [3]
set = ["network.method=direct", "network.options.widths=[8, 8]"]
"""


@pytest.fixture
def plan(tmp_path):
    def write(more="", text=PLAN):
        (tmp_path / "base.toml").write_text(BASE)
        path = tmp_path / "plan.toml"
        path.write_text(text + more)
        return path

    return write


def compare(*arguments):
    with pytest.raises(SystemExit) as leaving:
        cli.main(["compare", *map(str, arguments)])
    return leaving.value.code


def test_the_shipped_comparison():
    comparison = Comparison.load(Path(__file__).parents[2] / "recipes" / "compare.toml")
    methods = {comparison.recipe_of(name, 0).network.method for name in comparison.runs}
    assert methods == {"jvcr", "two-step", "volumes", "direct"}
    assert comparison.all_runs()[: len(comparison.runs)] == [(name, 0) for name in comparison.runs]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[runs.short]\nlabel = 'x'\nset = ['stages.joint=0.4']", r"jvcr lasts 1 epochs, short 0\.9: .* same sum"),
        (
            "[runs.wrong]\nlabel = 'x'\nset = ['batchsize=4']",
            r"runs\.wrong: --set batchsize: .*did you mean batch_size",
        ),
        ("[runs.wrong]\nset = []", r"runs\.wrong\.label: "),
        ("[cost]\nruns = ['fan']\nlandmarks = [5]", "cost.runs names fan, there are jvcr, direct"),
    ],
)
def test_refuses(plan, more, message):
    with pytest.raises(ValueError, match=message):
        Comparison.load(plan(more))


@pytest.mark.slow
def test_compares_and_does_nothing_twice(plan, face_folder, tmp_path, capsys):
    path, out = plan("[cost]\nruns = ['direct']\nlandmarks = [5, 68]"), tmp_path / "out"
    assert compare(path, "--data", face_folder, "--out", out) == 0
    assert "run 3 of 3: jvcr, seed 1" in capsys.readouterr().err
    first, second = json.loads((out / "compare.json").read_text())["runs"]
    assert (first["seeds"], second["seeds"], first["examples"], second["examples"]) == ([0, 1], [3], 16, 16)
    figures = first["metrics"]["nme"]
    low, high = figures["interval"]
    assert low < figures["mean"] < high and figures["mean"] == pytest.approx(sum(figures["of_seeds"]) / 2)
    assert figures["difference"] == 0 and second["parameters"] > first["parameters"] > 0
    # What is measured are the last weights, on each face.
    result = json.loads((out / "direct-3" / "result.json").read_text())
    last = json.loads((out / "direct-3" / "metrics.jsonl").read_text().splitlines()[-1])["val"]["nme"]
    assert sum(e[0] for e in result["errors"]) / 4 == pytest.approx(last, abs=1e-3)
    table = (out / "compare.md").read_text()
    assert re.search(r"\| direct \| [\d.]+ \([\d.]+ to [\d.]+\) \|", table) and "| N = 5 | N = 68 |" in table
    assert {"curves.png", "cost.png"} <= {p.name for p in out.iterdir()}

    log = (out / "jvcr-1" / "metrics.jsonl").read_bytes()
    (out / "jvcr-0" / "result.json").unlink()  # as if it had been killed before its end was told
    assert compare(path, "--data", face_folder, "--out", out) == 0
    assert (out / "jvcr-0" / "result.json").is_file() and (out / "jvcr-1" / "metrics.jsonl").read_bytes() == log
    changed = plan(text=PLAN.replace("widths=[8, 8]", "widths=[8, 16]"))
    assert compare(changed, "--data", face_folder, "--out", out) == 1
    assert "direct-3 holds a run by another recipe" in capsys.readouterr().err


@pytest.mark.slow
def test_a_step_of_many_volumes_takes_more(plan):
    comparison = Comparison.load(plan("[runs.volumes]\nlabel = 'v'\nset = ['network.method=volumes']"))
    few, many = (step_cost(comparison.recipe_of("volumes", 0), n, threads=1) for n in (4, 400))
    assert many["seconds"] > few["seconds"] > 0 and many["parameters"] > few["parameters"]
    if few["bytes"] is not None:
        assert many["bytes"] > few["bytes"] + 2 * 4 * 400 * 8**3 * 4  # logits and shares of four faces
