"""What a wheel and a source distribution hold, and what their metadata say."""

import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
        (folder,) = {name.partition("/")[0] for name in names} - {"jvcr"}
        metadata = archive.read(f"{folder}/METADATA").decode()
    source = ROOT / "src"
    here = {path.relative_to(source).as_posix() for path in (source / "jvcr").rglob("*") if path.is_file()}
    inside = {name for name in names if name.startswith("jvcr/")}
    assert inside == {name for name in here if "__pycache__" not in name and not name.endswith(".safetensors")}
    wanted = """py.typed schemes/face68.toml web/static/index.html web/static/jvcr.js web/static/LICENSE.txt
        weights/LICENSE-WEIGHTS weights/MODEL_CARD.md weights/compact.onnx weights/nano.onnx
        weights/detector/MODEL_CARD.md weights/detector/proposal.onnx weights/detector/look.onnx"""
    assert {f"jvcr/{name}" for name in wanted.split()} <= inside
    licences = ["LICENSE", "src/jvcr/weights/LICENSE-WEIGHTS"]
    own = {"METADATA", "WHEEL", "RECORD", "entry_points.txt"} | {f"licenses/{name}" for name in licences}
    assert names - inside == {f"{folder}/{name}" for name in own}
    assert "Development Status" in metadata and "# jvcr" in metadata
    assert re.findall(r"\]\((?!https?:)[^)]*\)", metadata) == [], "an index shows the README without its folder"
    assert "License-Expression: MIT AND LicenseRef-jvcr-weights\n" in metadata
    assert [line for line in metadata.splitlines() if line.startswith("License-File: ")] == [
        f"License-File: {name}" for name in licences
    ]


@pytest.mark.slow
def test_the_sdist_has_its_own_tests_and_what_they_read(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "Makefile", "mkdocs.yml"}
    assert wanted <= names
    for folder in ("src", "tests", "recipes", "examples", "docs", "benchmarks", "containers"):
        here = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {name for name in here if "__pycache__" not in name} - names == set(), folder
    assert not any(name.startswith(("runs/", "shared/", ".venv")) for name in names)


def test_the_version_is_the_same_wherever_it_stands():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    package = json.loads((ROOT / "src" / "jvcr" / "web" / "static" / "package.json").read_text(encoding="utf-8"))
    assert package["version"] == version


def test_the_licence_of_every_dependency_is_listed():
    table = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = sum(project["optional-dependencies"].values(), project["dependencies"])
    names = {re.match(r"[\w-]+", need)[0] for need in needs} - {"jvcr"}
    assert set(re.findall(r"^\| ([\w-]+) \| (?!needed)", table, re.M)) == names
