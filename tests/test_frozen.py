"""What applications made by PyInstaller are packed with."""

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jvcr.frozen import hook_folders

ROOT = Path(__file__).resolve().parents[1]


def test_pyinstaller_finds_the_hook():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pyinstaller40"] == {"hook-dirs": "jvcr.frozen:hook_folders"}
    assert [(Path(folder) / "hook-jvcr.py").is_file() for folder in hook_folders()] == [True]


def test_the_hook_collects_weights_schemes_and_commands():
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed")
    found = runpy.run_path(str(Path(hook_folders()[0]) / "hook-jvcr.py"))
    names = {Path(source).name for source, _ in found["datas"]}
    assert {"compact.onnx", "face68.toml", "index.html"} <= names
    assert not any(name.endswith(".safetensors") for name in names)  # these take torch
    assert {"jvcr.cli.predict", "jvcr.inference.landmarker"} <= set(found["hiddenimports"])


def test_without_its_files_the_package_says_so(tmp_path):
    code = f"""
from importlib import resources
from pathlib import Path
resources.files = lambda package: Path({str(tmp_path)!r})
try:
    import jvcr.scheme
except FileNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("jvcr was installed or packed without its schemes and weights"), done.stderr
