"""The commands of pages of docs/, run as they stand there, but on little data and for few steps."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

SOON = ["--threads", "1", "--set", "workers=0"]

HAND = {
    "python": ["--count", "100"],
    "jvcr train": [*SOON, "--set", "stages.separate=0.4", "--set", "stages.joint=0.4"],
}
FACE98 = {
    "jvcr data synthetic": ["--faces", "60"],
    "jvcr train": [*SOON, "--set", "batch_size=8", "--set", "stages.joint=20", "--set", "validate_epochs=10"],
}


def run_page(page, folder, folders, smaller):
    """What each command said, by its first words.

    ``folders`` of the repository are copied into ``folder``, where the commands run; what ``smaller`` has for a
    command is put behind it.
    """
    for name in folders:
        shutil.copytree(ROOT / name, folder / name)
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    told = {}
    for line in (line for block in re.findall(r"```console\n(.*?)```", text, re.S) for line in block.splitlines()):
        words = shlex.split(line)
        key = words[0] if words[0] == "python" else " ".join(words[: 3 if words[1] == "data" else 2])
        program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "jvcr"]
        command = [*program, *words[1:], *smaller.get(key, [])]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        told[key] = done.stdout + done.stderr
    return told


@pytest.mark.slow
def test_from_the_scheme_to_the_landmarks(tmp_path):
    pytest.importorskip("torch", reason="training needs torch")
    told = run_page("tutorial.md", tmp_path, ["examples/hand"], HAND)
    assert list(told) == ["python", "jvcr data check", "jvcr train", "jvcr export", "jvcr evaluate", "jvcr predict"]
    assert "hand21" in told["jvcr data check"]
    assert "MPJPE" in told["jvcr evaluate"] and "inter-ocular" not in told["jvcr evaluate"]
    found = json.loads((tmp_path / "found" / "00000.png.json").read_text(encoding="utf-8"))
    (hand,) = found["faces"]
    assert (hand["scheme"], np.shape(hand["points"]), hand["yaw"]) == ("hand21", (21, 3), None)
    assert (tmp_path / "found" / "00000.png.png").stat().st_size > 0


@pytest.mark.slow
def test_98_landmarks_from_the_shipped_weights(tmp_path):
    pytest.importorskip("torch", reason="training needs torch")
    told = run_page("schemes.md", tmp_path, ["examples/face98", "recipes"], FACE98)
    assert "nothing suspicious" in told["jvcr data check"]
    assert "begins anew: coordinate.regressor.weight" in told["jvcr train"]
    validation = [float(value) for value in re.findall(r"validation: nme ([\d.]+)", told["jvcr train"])]
    assert validation[-1] < 6, "what the shipped weights know of faces serves other landmarks after some steps"
    (face,) = json.loads((tmp_path / "found" / "000000.jpg.json").read_text(encoding="utf-8"))["faces"]
    assert (face["scheme"], np.shape(face["points"])) == ("face98", (98, 3))
    assert (tmp_path / "found" / "000000.jpg.png").stat().st_size > 0


def test_the_scheme_is_the_mirror_of_itself():
    """The landmarks that the script makes of a symmetric face change places as the scheme says."""
    sys.path.insert(0, str(ROOT / "examples" / "face98"))
    try:
        from from_68 import to_98
    finally:
        sys.path.pop(0)
    from jvcr.scheme import FACE68, load_scheme

    scheme = load_scheme(str(ROOT / "examples" / "face98" / "face98.toml"))
    points = to_98(np.array(FACE68.template)[None])[0]
    np.testing.assert_allclose(points[scheme.mirror] * (-1, 1, 1), points, atol=2e-3)
    assert scheme.is_face and sorted(i for group in scheme.groups.values() for i in group) == list(range(96))


@pytest.fixture(scope="module")
def blinking(tmp_path_factory):
    """A folder of pictures, the frames of a drawn head that blinks twice."""
    from jvcr.synthetic.dataset import synthetic_face
    from jvcr.synthetic.modes import Expression

    folder = tmp_path_factory.mktemp("blinking")
    face = synthetic_face(4, size=256)
    for number in range(24):
        expression = face.expression * 0
        expression[Expression.CLOSE_EYES] = float(number in (6, 7, 15, 16, 17))
        pixels, _ = replace(face, expression=expression).draw()
        cv2.imwrite(str(folder / f"{number:03d}.png"), pixels[:, :, ::-1])
    return folder


def python_of(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.S)


def test_the_blink_counter(blinking, shipped_weights, monkeypatch, capsys):
    (block,) = python_of("blink.md")
    monkeypatch.setattr(sys, "argv", ["blink.py", str(blinking)])
    exec(compile(block, "blink.md", "exec"), {})
    assert capsys.readouterr().out == "face 1: 2 blinks in 24 frames\n"


@pytest.mark.parametrize("page", ["index", "frames", "volume", "confidence", "crops", "protocols", "questions"])
def test_python_of_a_page_runs(page, tmp_path, blinking, face_folder, shipped_weights, monkeypatch):
    """From its first block to the last, with results of the commands between them."""
    blocks = python_of(f"{page}.md")
    if any("jvcr.model" in block for block in blocks):
        pytest.importorskip("torch", reason="drawing the true volume needs torch")
    monkeypatch.chdir(tmp_path)
    for source, name in ((ROOT / "examples", "examples"), (face_folder, "mine"), (blinking, "talk.mp4")):
        shutil.copytree(source, tmp_path / name)
    names = {}
    for block in blocks:
        if "faces/astronaut.png.json" in block:
            (tmp_path / "faces").mkdir()
            record = json.dumps({"faces": [names["face"].to_dict()]})
            (tmp_path / "faces" / "astronaut.png.json").write_text(record)
        exec(compile(block, f"{page}.md", "exec"), names)


def test_the_notebook_runs(monkeypatch):
    """Its cells one after the other, each of which a notebook would show."""
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="the notebook draws with matplotlib")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(ROOT / "examples")
    notebook = json.loads((ROOT / "examples" / "volume.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        exec(compile(cell, "volume.ipynb", "exec"), names)
    pictures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    assert len(pictures) == 3
    for picture in pictures:
        picture.canvas.draw()
        assert np.ptp(np.asarray(picture.canvas.buffer_rgba())) > 200
    pyplot.close("all")
    assert len(eval(cells[-1].splitlines()[-1], names)) == 5
