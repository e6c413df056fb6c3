"""The commands of pages of docs/, run as they stand there, but on little data and for few steps."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

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
