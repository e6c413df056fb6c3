"""``jvcr figure`` as it is called, with the tiny network of the tests."""

import json

import cv2
import pytest
from PIL import Image

from jvcr import cli


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("one.png", "two.jpg", "three.png"):
        Image.new("RGB", (60, 40), (200, 10, 10)).save(folder / name)
    (tmp_path / "boxes.json").write_text(
        '{"one.png": [[10, 5, 40, 30], [20, 5, 50, 30]], "two.jpg": [[10, 5, 40, 30]], "three.png": []}',
        encoding="utf-8",
    )
    return folder


@pytest.fixture
def run(tiny_weights, tmp_path):
    def call(*arguments):
        common = ["--boxes", str(tmp_path / "boxes.json"), "--weights", str(tiny_weights), "--threads", "1"]
        with pytest.raises(SystemExit) as leaving:
            cli.main(["figure", *map(str, arguments), *common, "--size", "80"])
        return leaving.value.code

    return call


def test_examples_of_a_folder(photos, run, tmp_path, capsys):
    out = tmp_path / "new" / "f.png"
    assert run("examples", photos, "--out", out) == 1
    assert cv2.imread(str(out)).shape == (3 * 80 + 2 * 3, 2 * 80 + 3, 3)
    printed = capsys.readouterr()
    assert printed.out == f"written: {out}, 2 faces; of 1 photograph with more faces the first one\n"
    assert printed.err.splitlines() == [f"jvcr: left out: {photos / 'three.png'}: no face in {tmp_path / 'boxes.json'}"]


def test_examples_in_rows_and_without_the_picture_of_before(photos, run, tmp_path):
    (photos / "three.png").unlink()
    out = photos / "f.png"
    for _ in range(2):  # the second time the first result lies among the photographs
        assert run("examples", photos, "--out", out, "--columns", "1") == 0
        assert cv2.imread(str(out)).shape == (2 * (3 * 80 + 2 * 3) + 3 * 3, 80, 3)


def test_photographs_of_one_name_in_two_folders(photos, run, tmp_path):
    other = tmp_path / "other" / "one.png"
    other.parent.mkdir()
    other.write_bytes((photos / "one.png").read_bytes())
    (tmp_path / "boxes.json").write_text(
        json.dumps({str(path): [[10, 5, 40, 30]] for path in (other, photos / "one.png")}), encoding="utf-8"
    )
    out = tmp_path / "f.png"
    assert run("examples", photos / "one.png", other, "--out", out) == 0
    assert cv2.imread(str(out)).shape == (3 * 80 + 2 * 3, 2 * 80 + 3, 3)


@pytest.mark.parametrize("face", [1, 2])
def test_the_volume_of_a_face(photos, run, tmp_path, face):
    out = tmp_path / "f.jpg"
    assert run("volume", photos / "one.png", "--out", out, "--face", face) == 0
    assert cv2.imread(str(out)).shape == (80 + 7, 4 * 80 + 3 * 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["volume", "three.png", "--out", "f.png"], "three.png: no face in"),
        (["volume", "two.jpg", "--out", "f.png", "--face", "2"], "two.jpg: no face 2, only 1 in"),
        (["volume", "two.jpg", "--out", "f.gif"], "--out must end in one of .png"),
        (["volume", "two.jpg", "--out", "f.png", "--face", "0"], "--face must be at least 1"),
        (["examples", "two.jpg", "--out", "f.png", "--columns", "0"], "--columns must be at least 1"),
        (["examples", "three.png", "--out", "f.png"], "no face to draw"),
        (["examples", "missing.png", "--out", "f.png"], "names none of the images"),
    ],
)
def test_what_cannot_be_drawn(photos, run, monkeypatch, arguments, message, capsys):
    monkeypatch.chdir(photos)
    assert run(*arguments) == 1
    assert message in capsys.readouterr().err
    assert not (photos / "f.png").exists()


def test_the_sample_photographs(examples, shipped_weights, tmp_path):
    out = tmp_path / "f.png"
    with pytest.raises(SystemExit) as leaving:
        cli.main(["figure", "examples", str(examples), "--out", str(out), "--size", "64"])
    assert leaving.value.code == 0
    assert cv2.imread(str(out)).shape == (3 * 64 + 2 * 2, 2 * 64 + 2, 3)
