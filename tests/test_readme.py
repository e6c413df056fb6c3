"""Every block of the README does what it says, on little data and for few steps."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
SHELL = [line for block in re.findall(r"```console\n(.*?)```", README, re.S) for line in block.splitlines()]
COMMANDS = [line for line in SHELL if re.match(r"(\.venv\\Scripts\\)?jvcr ", line)]
FEW_STEPS = ["--threads", "1", "--set", "stages.separate=1", "--set", "stages.joint=1", "--set", "workers=0"]


def test_there_are_blocks():
    assert PYTHON and len(COMMANDS) > 5


@pytest.mark.parametrize("block", PYTHON)
def test_python(block, monkeypatch, shipped_weights, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("(68, 3)")


@pytest.fixture
def folder(tmp_path):
    """Where the README's commands find what they name."""
    for name in ("examples", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "photos").mkdir()
    shutil.copy(ROOT / "examples" / "astronaut.png", tmp_path / "photos")
    return tmp_path


def run(line, folder, *more):
    words = shlex.split(line.replace("\\", "/"), comments=True)
    done = subprocess.run(
        [sys.executable, "-m", "jvcr", *words[1:], *more], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def commands(name):
    lines = [line for line in COMMANDS if line.split()[1] == name]
    assert lines, f"the README has no jvcr {name}"
    return lines


def test_photographs(folder, shipped_weights):
    for line in commands("predict"):
        run(line, folder)
    assert {"astronaut.png.json", "astronaut.png.png"} <= {path.name for path in (folder / "faces").iterdir()}


def test_a_video(folder, shipped_weights, examples):
    pytest.importorskip("av", reason='video files need pip install "jvcr[video]"')
    frame = cv2.resize(cv2.imread(str(examples / "astronaut.png")), (256, 256))
    writer = cv2.VideoWriter(str(folder / "talk.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (256, 256))
    for _ in range(4):
        writer.write(frame)
    writer.release()
    (line,) = commands("video")
    run(line, folder)
    assert (folder / "talk_faces.mp4").stat().st_size and len((folder / "talk.jsonl").read_text().splitlines()) >= 4


def test_a_page(folder, shipped_weights):
    from jvcr.web import runtime

    try:
        runtime.fetch_runtime()
    except (FileNotFoundError, ValueError) as error:
        pytest.skip(f"what runs networks in browsers cannot be fetched: {error}")
    (line,) = commands("page")
    run(line, folder)
    assert "<html" in (folder / "site" / "index.html").read_text(encoding="utf-8")


def test_the_service(folder, shipped_weights):
    pytest.importorskip("fastapi", reason='the service needs pip install "jvcr[serve]"')
    (line,) = commands("serve")
    words = shlex.split(line, comments=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "jvcr", *words[1:], "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        address = re.search(r"http://[^\s]+/", process.stdout.readline())[0]
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b"<html" in answer.read()
    finally:
        process.terminate()
        process.wait(60)


def test_annotation(folder, shipped_weights):
    pytest.importorskip("pyarrow", reason='annotation needs pip install "jvcr[annotate]"')
    (line,) = commands("annotate")
    run(line, folder)
    assert list((folder / "faces").rglob("*.parquet"))


def test_training(folder, face_folder):
    pytest.importorskip("torch", reason="training needs torch")
    shutil.copytree(face_folder, folder / "mine")
    (line,) = commands("train")
    run(line, folder, *FEW_STEPS, "--set", "batch_size=4", "--set", "data.source_shares={}")
    assert list((folder / "runs").rglob("*.safetensors"))


def test_no_command_is_left_out():
    tried = {"predict", "video", "page", "serve", "annotate", "train"}
    assert {line.split()[1] for line in COMMANDS} == tried


def test_what_is_set_up_is_there():
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {line.split()[1] for line in SHELL if line.startswith("make ")} <= set(rules)
    assert set(re.findall(r'"\.\[(\w+)\]"', README)) <= set(extras)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_the_tree_is_the_packages():
    named = re.findall(r"(\w+)(?:/|\.py)", README[README.index("src/jvcr/\n") : README.index("recipes/  ")])
    there = {path.stem for path in (ROOT / "src" / "jvcr").iterdir() if path.name[0] not in "_."}
    assert set(named) - {"jvcr", "src", "methods"} == there - {"py", "files", "frozen"}
    assert np.all([(ROOT / name).is_dir() for name in ("recipes", "benchmarks", "examples", "docs", "tests")])
