"""``jvcr train`` and ``jvcr export`` as a user calls them."""

import json
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
    assert face.expected_error is None

    assert run("export", out / "best.safetensors", "--out", onnx, "--calibrate", face_folder) == 1
    assert "ten faces or more, got (4, 68)" in capsys.readouterr().err
    for image in face_folder.glob("*.png"):
        (tmp_path / image.name).write_bytes(image.read_bytes())
    np.savez(tmp_path / "landmarks.npz", **{**np.load(face_folder / "landmarks.npz"), "split": ["val"] * 16})
    assert run("export", out / "best.safetensors", "--out", onnx, "--calibrate", tmp_path) == 0
    calibrated = jvcr.Landmarker(onnx, threads=1)
    (face,) = calibrated(np.zeros((90, 100, 3), np.uint8), boxes=[[10, 10, 80, 80]])
    assert face.expected_error.shape == (68,) and (face.expected_error > 0).all()
    assert 0 < calibrated.low_confidence < 1 and jvcr.Face.from_dict(face.to_dict()).expected_error is not None


@pytest.mark.parametrize("method", ["direct", "two-step", "volumes"])
def test_rivals_are_trained_exported_and_used_alike(recipe, face_folder, tmp_path, method):
    out, onnx = tmp_path / "run", tmp_path / "rival.onnx"
    common = ("train", recipe(), "--data", face_folder, "--out", out, "--threads", "1")
    assert run(*common, "--set", f"network.method={method}", "--set", "network.refinement.patches=[]") == 0
    assert run("export", out / "best.safetensors", "--out", onnx) == 0
    (face,) = jvcr.Landmarker(onnx, threads=1)(np.zeros((90, 100, 3), np.uint8), boxes=[[10, 10, 80, 80]])
    assert face.points.shape == (68, 3) and ((face.confidence >= 0) & (face.confidence <= 1)).all()


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
    told = capsys.readouterr().err
    assert told.startswith("jvcr: --set optimizer.learnin_rate: ") and "did you mean optimizer.learning_rate?" in told
    assert run(*common, "--set", "batch_size.x=1") == 1
    assert "batch_size is a value" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def started(out, *command, **how):
    """A training in a group of processes of its own, and its folder, after the first validation."""
    command = [sys.executable, "-m", "jvcr", "train", *map(str, command), "--out", str(out), "--threads", "1"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, **how)
    deadline = time.monotonic() + 300
    while not (out / "metrics.jsonl").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    return process


def group_ends(group):
    """Whether no process of it is left after a few seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize(
    ("send", "number", "workers"),
    [(os.kill, signal.SIGINT, 0), (os.killpg, signal.SIGTERM, 2)],
    ids=["ctrl-c", "group"],
)
def test_signals_save_and_say_how_to_go_on(recipe, face_folder, tmp_path, send, number, workers):
    """Also what timeout, SLURM and containers send: SIGTERM to all processes, the workers too."""
    out = tmp_path / "run"
    process = started(out, recipe(joint=4000), "--data", face_folder, "--set", f"workers={workers}")
    send(process.pid, number)
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume goes on" in told and "Traceback" not in errors
    assert (out / "last.pt").is_file() and group_ends(process.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers end at once there only")
def test_a_run_killed_after_its_first_validation_goes_on(recipe, face_folder, tmp_path, capsys):
    out = tmp_path / "run"
    command = (recipe(joint=4000), "--data", face_folder)
    process = started(out, *command, "--set", "workers=1")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert group_ends(process.pid), "workers outlive the training"
    (out / ".jvcr-left.pt").write_text("half")  # as of a process killed while it wrote
    train = ("train", *command, "--out", out, "--threads", "1")
    assert run(*train) == 1
    assert "add --resume" in capsys.readouterr().err
    assert run(*train, "--resume", "--set", "stages.joint=1") == 0
    assert {p.name for p in out.iterdir()} == {"last.pt", "best.safetensors", "metrics.jsonl"}
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [3, 6]


def test_the_log_of_a_run_without_its_checkpoint(recipe, face_folder, tmp_path, capsys):
    """Neither start nor --resume sends the user to the other one."""
    (tmp_path / "metrics.jsonl").write_text("")
    train = ("train", recipe(), "--data", face_folder, "--out", tmp_path)
    assert run(*train) == 1
    assert "choose another --out" in capsys.readouterr().err
    assert run(*train, "--resume") == 1
    assert "with another --out" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="files are limited so on POSIX only")
def test_a_full_disk(recipe, face_folder, tmp_path):
    """One line that names the file; what was there stays."""
    import resource

    out = tmp_path / "run"
    train = ("train", recipe(), "--data", face_folder, "--out", out, "--threads", "1")
    assert run(*train) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    done = subprocess.run(
        [sys.executable, "-m", "jvcr", *map(str, train), "--resume", "--set", "stages.joint=2"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("jvcr:")]
    assert "file too large" in line and str(out) in line and "Traceback" not in done.stderr
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert after.keys() == before.keys() and after["last.pt"] == before["last.pt"]
    assert after["best.safetensors"] == before["best.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "workers=100000"), "100000 are too many for"),
        (("--threads", "100000"), "100000 are too many for"),
        (("--devices", "100000", "--set", "batch_size=100000"), "100000 are too many for"),
        (("--set", "batch_size=1000000000000"), "GiB at the least"),
        (("--set", "network.voxel.channels=1000000000"), "GiB at the least"),
        (("--set", "network.coordinate.features=100000000000000000"), "GiB at the least"),
        (("--set", "network.num_landmarks=1000000000"), "GiB at the least"),
        (("--set", "network.voxel.levels=1000000000"), "levels are 1 to 16"),
        (("--set", "batch_size=" + "1" * 400), "more than 18 digits"),
        (("--set", ".".join("a" * 3000) + "=1"), "nested too deeply"),
    ],
    ids=range(10),
)
def test_what_no_machine_can_do_is_refused_in_one_line(recipe, face_folder, tmp_path, capsys, arguments, message):
    assert run("train", recipe(), "--data", face_folder, "--out", tmp_path / "run", *arguments) == 1
    told = capsys.readouterr().err
    assert message in told and len(told.splitlines()) == 1
    assert not (tmp_path / "run").exists()


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


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(recipe, face_folder, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    best = []
    for more in ([], ["--compile"]):
        out = tmp_path / f"run{len(best)}"
        # Another process: what checks types in the tests cannot be compiled.
        command = [sys.executable, "-m", "jvcr", "train", recipe(), "--data", face_folder, "--out", out, *more]
        command += ["--set", "stages.separate=0"]
        subprocess.run(command, check=True, capture_output=True, timeout=500)
        best.append(read_header(out / "best.safetensors").training["val"])
    assert best[0].keys() == best[1].keys()
    for name, value in best[0].items():
        assert best[1][name] == pytest.approx(value, rel=1e-3)


def test_data_packed_and_trained_on_with_tensorboard(recipe, face_folder, tmp_path, capsys):
    pytest.importorskip("tensorboard")
    shards, out = tmp_path / "shards", tmp_path / "run"
    assert run("data", "pack", face_folder, "--out", shards, "--faces-per-shard", 4) == 0
    assert "16 faces in 4 shards" in capsys.readouterr().out
    assert run("train", recipe(), "--data", shards, "--out", out, "--accelerator", "cpu", "--tensorboard") == 0
    assert read_header(out / "best.safetensors").training["val"]
    assert list((out / "tensorboard").glob("events.*"))
    assert run("train", recipe(), "--data", shards, "--out", tmp_path / "b", "--set", "data.rare_share=0.1") == 1
    assert "data.rare_share=0" in capsys.readouterr().err
