"""``jvcr train`` and ``jvcr export`` as a user calls them."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import jvcr
from jvcr import cli
from jvcr.inference.session import OnnxNetwork
from jvcr.weights.safetensors import read_header

RECIPE = """
name = "tiny"
batch_size = 4
workers = 0
precision = "32-true"
{more}
[network]
preset = "compact"
num_landmarks = {points}
voxel = {{ image_size = 32, channels = 8, inner_channels = [], depths = [1, 8], levels = 2, stride = 4 }}
coordinate = {{ channels = [4, 8], features = 16 }}
[stages]
separate = 1
joint = {joint}
[loss]
voxel = "landmark"
coordinate = "l1"
[optimizer]
name = "adamw"
learning_rate = 1e-3
"""


@pytest.fixture
def recipe(tmp_path):
    def write(more="", points=68, joint=1):
        path = tmp_path / "tiny.toml"
        path.write_text(RECIPE.format(more=more, points=points, joint=joint))
        return str(path)

    return write


def run(*arguments):
    with pytest.raises(SystemExit) as leaving:
        cli.main([str(a) for a in arguments])
    return leaving.value.code


def test_train_then_export_then_use(recipe, face_folder, tmp_path, capsys):
    out = tmp_path / "run"
    train = ("train", recipe(), "--data", face_folder, "--out", out, "--threads", "1")
    assert run(*train) == 0
    assert "24 faces seen" in capsys.readouterr().out
    assert {p.name for p in out.iterdir()} == {"last.pt", "best.safetensors", "metrics.jsonl"}

    # A second start must not touch the first one's files; --resume of a finished run has nothing left to do.
    before = (out / "last.pt").read_bytes()
    assert run(*train) == 1
    assert "--resume" in capsys.readouterr().err
    assert (out / "last.pt").read_bytes() == before
    assert run(*train, "--resume") == 0

    onnx = tmp_path / "tiny.onnx"
    assert run("export", out / "best.safetensors", "--out", onnx) == 0
    assert "batch 7" in capsys.readouterr().out
    image = np.zeros((90, 100, 3), np.uint8)
    (face,) = jvcr.Landmarker(onnx, threads=1)(image, boxes=[[10, 10, 80, 80]])
    assert face.points.shape == (68, 3)


def test_half_weights_and_wrong_names(recipe, face_folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert run("train", recipe(), "--data", face_folder, "--out", out) == 0
    full = out / "best.safetensors"
    assert run("export", full, "--out", tmp_path / "half.safetensors") == 0
    assert (tmp_path / "half.safetensors").stat().st_size < full.stat().st_size
    assert run("export", full, "--out", tmp_path / "weights.txt") == 1
    assert ".onnx or .safetensors" in capsys.readouterr().err


def test_landmarks_of_another_scheme(recipe, face_folder, tmp_path):
    """Three landmarks of a made-up object, from a TOML file, all the way to an ONNX file."""
    scheme = tmp_path / "triangle.toml"
    scheme.write_text('name = "triangle"\npoints = 3\nmirror_pairs = [[0, 1]]\n')
    data = dict(np.load(face_folder / "landmarks.npz"))
    root = tmp_path / "triangles"
    root.mkdir()
    for name in data["image"]:
        (root / name).write_bytes((face_folder / name).read_bytes())
    np.savez(root / "landmarks.npz", **{**data, "points": data["points"][:, [36, 45, 8]]})

    out = tmp_path / "run"
    path = recipe(more=f'scheme = "{scheme.as_posix()}"', points=3)
    assert run("train", path, "--data", root, "--out", out) == 0
    assert read_header(out / "best.safetensors").scheme.mirror.tolist() == [1, 0, 2]
    assert run("export", out / "best.safetensors", "--out", tmp_path / "t.onnx") == 0
    assert OnnxNetwork(tmp_path / "t.onnx").info.scheme.name == "triangle"
    result = tmp_path / "result"
    assert run("evaluate", root, "--weights", tmp_path / "t.onnx", "--out", result, "--threads", "1") == 0
    assert (result / "summary.json").is_file()


def test_set_and_wrong_keys(recipe, face_folder, tmp_path, capsys):
    common = ("train", recipe(), "--data", face_folder, "--out", tmp_path / "run")
    assert run(*common, "--set", "optimizer.learnin_rate=1") == 1
    assert "optimizer.learnin_rate" in capsys.readouterr().err
    assert run(*common, "--set", "batch_size.x=1") == 1
    assert "batch_size is a value" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_saves_and_says_how_to_go_on(recipe, face_folder, tmp_path):
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "jvcr",
        "train",
        recipe(joint=4000),
        "--data",
        str(face_folder),
        "--out",
        str(out),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists():  # the first validation: it is training
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume goes on" in told
    assert (out / "last.pt").is_file()


def test_faces_that_cannot_be_used_are_left_out_and_told(recipe, face_folder, tmp_path, capsys):
    face_folder = shutil.copytree(face_folder, tmp_path / "faces")
    path = face_folder / "landmarks.npz"
    with np.load(path) as file:
        columns = dict(file)
    columns["points"][np.flatnonzero(columns["split"] == "train")[0], 3] = np.nan
    np.savez(path, **columns)
    train = ("train", recipe(), "--data", face_folder, "--out", tmp_path / "run", "--threads", "1")
    assert run(*train, "--set", "data.strict=true") == 1
    assert "1 of" in (told := capsys.readouterr().err)
    assert "cannot be used: entry" in told
    assert run(*train) == 0
    assert f"left out 1 of {len(columns['image'])} faces: entry" in capsys.readouterr().err
