"""``jvcr weights``."""

import hashlib
import json
from pathlib import Path

import pytest

from jvcr import cli
from jvcr.weights.header import FOLDER


def run(*arguments):
    with pytest.raises(SystemExit) as leaving:
        cli.main(list(arguments))
    return leaving.value.code


def test_every_file_of_weights_is_listed_with_its_terms(capsys):
    assert run("weights", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    files = {Path(file["path"]): file for file in told["files"]}
    assert files.keys() == {path for suffix in ("onnx", "safetensors") for path in FOLDER.rglob(f"*.{suffix}")}
    for path, file in files.items():
        assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file["terms"] == "research, non-commercial"
    assert files[FOLDER / "compact.onnx"]["faces_seen"] > 500_000
    assert "research that is not commercial" in " ".join(Path(told["terms"]).read_text().split())


def test_as_a_table(capsys):
    assert run("weights") == 0
    told = capsys.readouterr().out
    assert "compact.onnx" in told and "NME" in told and "research, non-commercial" in told
    assert hashlib.sha256((FOLDER / "compact.onnx").read_bytes()).hexdigest()[:16] in told
    assert str(FOLDER) in told


def test_the_terms_are_the_same_wherever_they_are_told():
    for card in FOLDER.rglob("MODEL_CARD*.md"):
        assert "| **terms of use** | **research, non-commercial**" in card.read_text(encoding="utf-8"), card
