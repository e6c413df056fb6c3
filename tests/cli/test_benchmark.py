"""``jvcr benchmark`` as it is called."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from jvcr import cli

KEYS = {
    *("format", "command", "date", "machine", "versions", "weights", "photo", "frame", "threads", "batches"),
    *("repeats", "warm_up", "notes", "timings", "frame_rate", "throughput", "peers"),
}


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr("jvcr.cli.benchmark.WARM_UP", 0)

    def call(*arguments):
        typed = ["benchmark", *([] if "--repeats" in arguments else ["--repeats", "1"]), *map(str, arguments)]
        monkeypatch.setattr("sys.argv", ["/usr/bin/jvcr", *typed])
        with pytest.raises(SystemExit) as leaving:
            cli.main(typed)
        return leaving.value.code

    return call


def test_everything_of_the_shipped_weights(run, shipped_weights, tmp_path, capsys):
    shutil.copy(shipped_weights, tmp_path / "other.onnx")
    out = tmp_path / "new" / "speed.json"
    assert run("--threads", 1, "--batch", 2, 1, "--against", tmp_path / "other.onnx", "--json", out) == 0
    printed = capsys.readouterr().out
    assert "other.onnx" in printed and "frames a second" in printed
    assert re.search(
        r"^Of a photograph, (decode|detect|crop|network|read-out|drawing) takes \d+% on 1 thread", printed, re.M
    )

    results = json.loads(out.read_text(encoding="utf-8"))
    assert set(results) == KEYS
    assert results["command"].startswith("jvcr benchmark --repeats 1 --threads 1 --batch 2 1 --against ")
    assert results["weights"]["num_landmarks"] == 68
    assert results["photo"] == {"width": 640, "height": 480, "faces": 1}
    assert (results["threads"], results["batches"], results["repeats"]) == ([1], [1, 2], 1)
    timed = {(t["subject"], t["part"], t["batch"]) for t in results["timings"]}
    stages = ["crop", "network", "read-out", "together"]
    assert timed == {
        *(("photo", part, 1) for part in ("decode", "detect", "drawing", *stages)),
        *(("frame", part, 1) for part in ("drawing", *stages)),
        *(("face", part, batch) for part in stages for batch in (1, 2)),
        *(("network", "whole", batch) for batch in (1, 2)),
        ("peer", "other.onnx", 1),
    }
    assert all(t["q1_ms"] <= t["median_ms"] <= t["q3_ms"] for t in results["timings"])
    assert [p["name"] for p in results["peers"]] == ["other.onnx"]


def test_a_photograph_of_ones_own(run, tiny_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "jvcr.inference.named.default_detector", lambda threads: lambda image: ([[1, 1, 20, 20]] * 3, [0.9] * 3)
    )
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(photo)
    assert run("--weights", tiny_weights, "--image", photo, "--threads", 1, "--batch", 1) == 0
    assert "60 x 40 pixels with 3 faces" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "none"], "--threads takes numbers from 1 on and \"all\", got 'none'"),
        (["--threads", "0"], "got '0'"),
        (["--batch", "0"], "numbers from 1 on"),
        (["--repeats", "0"], "numbers from 1 on"),
        (["--image", "missing.jpg"], "missing.jpg: no such file"),
        (["--weights", "missing"], "no weights 'missing'"),
        (["--against", "missing.onnx"], "no ONNX file missing.onnx"),
        (["--against", "a/one.onnx", "b/one.onnx"], "two files of the name one.onnx"),
    ],
)
def test_what_cannot_be_timed(run, tiny_weights, arguments, message, capsys):
    weights = [] if "--weights" in arguments else ["--weights", str(tiny_weights)]
    assert run(*weights, *arguments) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_an_image_without_a_face(run, tiny_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("jvcr.inference.named.default_detector", lambda threads: lambda image: ([], []))
    photo = tmp_path / "photo.png"
    Image.new("RGB", (60, 40)).save(photo)
    assert run("--weights", tiny_weights, "--image", photo) == 1
    assert "no face was found in the image" in capsys.readouterr().err
