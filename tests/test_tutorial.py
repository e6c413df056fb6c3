"""The commands of docs/tutorial.md, on few hands and for few steps."""

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
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")

SMALLER = {
    "python": ["--count", "100"],
    "jvcr train": ["--threads", "1", "--set", "stages.separate=0.4", "--set", "stages.joint=0.4", "--set", "workers=0"],
}
"""What is put behind commands, so that they take seconds."""


def commands():
    return [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.S) for line in block.splitlines()]


@pytest.mark.slow
def test_from_the_scheme_to_the_landmarks(tmp_path):
    pytest.importorskip("torch", reason="training needs torch")
    shutil.copytree(ROOT / "examples" / "hand", tmp_path / "examples" / "hand")
    told = {}
    for line in commands():
        words = shlex.split(line)
        key = words[0] if words[0] == "python" else " ".join(words[:2])
        program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "jvcr"]
        command = [*program, *words[1:], *SMALLER.get(key, [])]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        told[key] = done.stdout
    assert list(told) == ["python", "jvcr data", "jvcr train", "jvcr export", "jvcr evaluate", "jvcr predict"]
    assert "hand21" in told["jvcr data"]
    assert "MPJPE" in told["jvcr evaluate"] and "inter-ocular" not in told["jvcr evaluate"]
    found = json.loads((tmp_path / "found" / "00000.png.json").read_text(encoding="utf-8"))
    (hand,) = found["faces"]
    assert (hand["scheme"], np.shape(hand["points"]), hand["yaw"]) == ("hand21", (21, 3), None)
    assert (tmp_path / "found" / "00000.png.png").stat().st_size > 0
