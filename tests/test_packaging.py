"""What a wheel and a source distribution hold, and that the public names are those that were decided on."""

import importlib
import inspect
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PUBLIC = {
    "jvcr": """Crop FACE66 FACE68 Face LandmarkScheme Landmarker TrackedFace Tracker __version__ load_network
        load_scheme""",
    "jvcr.data": "Augmentation LandmarkDataset make_example read_aflw2000 read_dataset read_folder",
    "jvcr.geometry": "Crop HeadPose euler_to_rotation rotation_to_euler similarity_transform",
    "jvcr.inference": """BoxKind Detections Detector Face FaceDetector ImageError ImageSource Landmarker
        MediaPipeDetector OpenCVFaceDetector TrackedFace Tracker default_detector read_image""",
    "jvcr.model": """AUTHORS COMPACT CoordinateConfig CoordinateNet JVCR LARGE Method NANO NetworkConfig Output PAPER
        PRESETS RefinementConfig RefinementNet VoxelConfig VoxelNet build gaussian_volume""",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling builds the packages: pip install 'jvcr[dev]'")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no pyproject.toml: these are not the tests of a checkout")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return out


@pytest.mark.slow
def test_the_wheel_holds_what_use_takes_and_no_more(built):
    (wheel,) = built.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < 20e6
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    source = ROOT / "src"
    listed = subprocess.run(
        ["git", "ls-files", "src/jvcr"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if listed:
        assert {str((ROOT / name).relative_to(source)) for name in listed} <= names
    others = {name for name in names if not name.startswith("jvcr/")}
    assert {Path(name).name for name in others} == {"METADATA", "WHEEL", "RECORD", "entry_points.txt"} | {
        "LICENSE",
        "LICENSE-WEIGHTS",
    }
    assert "jvcr/py.typed" in names and "jvcr/weights/compact.onnx" in names and "jvcr/web/static/jvcr.js" in names
    assert "License-Expression: MIT AND LicenseRef-jvcr-weights" in metadata


@pytest.mark.slow
def test_the_sdist_has_its_own_tests_and_what_they_read(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "Makefile", "mkdocs.yml"}
    assert wanted <= names
    for folder in ("tests", "recipes", "examples", "docs", "benchmarks", "containers"):
        assert any(name.startswith(f"{folder}/") for name in names), folder
    assert not any(name.startswith(("runs/", "shared/", ".venv")) for name in names)


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_public_names_are_a_decision(module):
    """A name that comes or goes is written down here, and in CHANGELOG.md."""
    if module == "jvcr.model":
        pytest.importorskip("torch")
    names = importlib.import_module(module).__all__
    assert sorted(names) == sorted(PUBLIC[module].split())
    for name in names:
        thing = getattr(importlib.import_module(module), name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"{module}.{name} has no docstring"


def test_the_licence_of_every_dependency_is_listed():
    table = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [needs for extra, needs in project["optional-dependencies"].items() if extra != "dev"]
    names = {re.match(r"[\w-]+", need)[0] for need in sum(extras, project["dependencies"])} - {"jvcr"}
    assert {name for name in names if f"| {name} |" not in table} == set()
