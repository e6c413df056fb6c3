"""``jvcr weights``."""

import hashlib
import json
from pathlib import Path

import pytest

from jvcr import cli


def run(*arguments):
    with pytest.raises(SystemExit) as leaving:
        cli.main(list(arguments))
    return leaving.value.code


def test_every_file_of_weights_is_listed_with_its_terms(capsys):
    import jvcr

    folder = Path(jvcr.__file__).parent / "weights"
    assert run("weights", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    files = {Path(file["path"]): file for file in told["files"]}
    assert files.keys() == {path for suffix in ("onnx", "safetensors") for path in folder.rglob(f"*.{suffix}")}
    for path, file in files.items():
        assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file["terms"] == "research, non-commercial"
    assert files[folder / "compact.onnx"]["faces_seen"] > 500_000
    assert "not for commercial use" in Path(told["terms"]).read_text()


def test_as_a_table(capsys):
    assert run("weights") == 0
    told = capsys.readouterr().out
    assert "compact.onnx" in told and "NME" in told and "research, non-commercial" in told
