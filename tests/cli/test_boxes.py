"""Boxes of faces, read from a file."""

import json

import pytest

from jvcr.cli.boxes import BoxFile
from jvcr.cli.photos import find_photos


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def photos(tmp_path, out):
    touch(tmp_path, "p/a.jpg", "p/sub/a.jpg", "p/b.jpg", "c.jpg")
    return find_photos([tmp_path / "p", tmp_path / "c.jpg"], out)


def box_file(tmp_path, content, name="boxes.csv"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def by_inside(photos):
    return {photo.inside.as_posix(): photo for photo in photos}


def test_csv(tmp_path, photos):
    lines = "﻿image,score,x0,y0,x1,y1\nb.jpg,1,1,2,3,4\nsub/a.jpg,1,5,6,7,8\nb.jpg,1,0.5,0,9,9\na.jpg,1,1,1,2,2\n"
    boxes = BoxFile(box_file(tmp_path, lines), photos)
    named = by_inside(photos)
    assert boxes.of(named["b.jpg"]).tolist() == [[1, 2, 3, 4], [0.5, 0, 9, 9]]
    assert boxes.of(named["sub/a.jpg"]).tolist() == [[5, 6, 7, 8]]
    assert boxes.of(named["a.jpg"]).tolist() == [[1, 1, 2, 2]]
    with pytest.raises(ValueError, match=r"boxes\.csv has no boxes for .*c\.jpg"):
        boxes.of(named["c.jpg"])


def test_json(tmp_path, photos):
    named = by_inside(photos)
    content = {str(named["b.jpg"].path): [[1, 2, 3, 4]], "c.jpg": []}
    boxes = BoxFile(box_file(tmp_path, content, "boxes.JSON"), photos)
    assert boxes.of(named["b.jpg"]).tolist() == [[1, 2, 3, 4]]
    assert boxes.of(named["c.jpg"]).shape == (0, 4)


def test_names_that_are_not_clear(tmp_path, out):
    touch(tmp_path, "p/x/a.jpg", "p/y/a.jpg")
    photos = find_photos([tmp_path / "p"], out)
    with pytest.raises(ValueError, match=r"a\.jpg can be 2 of the images"):
        BoxFile(box_file(tmp_path, {"a.jpg": []}, "b.json"), photos)
    with pytest.raises(ValueError, match="in two ways"):
        BoxFile(box_file(tmp_path, {"x/a.jpg": [], str(tmp_path / "p" / "x" / "a.jpg"): []}, "b.json"), photos)
    with pytest.raises(ValueError, match=r"names none of the images; it names z\.jpg, the images are .*a\.jpg"):
        BoxFile(box_file(tmp_path, {"z.jpg": []}, "b.json"), photos)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.csv", "", "no column image, x0, y0, x1, y1"),
        ("b.csv", "image,x0,y0,x1\nb.jpg,1,2,3\n", "no column y1"),
        ("b.csv", "image,x0,y0,x1,y1\nb.jpg,1,2,3\n", "line 2: the box .* is not four numbers"),
        ("b.csv", "image,x0,y0,x1,y1\nb.jpg,1,2,3,4\nb.jpg,1,2,nan,4\n", "line 3: the box .* holds NaN"),
        ("b.csv", "image,x0,y0,x1,y1\nb.jpg,5,2,3,4\n", "line 2: .*x0 < x1"),
        ("b.csv", "image,x0,y0,x1,y1\n,1,2,3,4\n", "line 2: the image has no name"),
        ("b.json", "{", "not a JSON file"),
        ("b.json", "[]", "must be an object"),
        ("b.json", {"b.jpg": {}}, "must be an object"),
        ("b.json", {"b.jpg": [1, 2, 3, 4]}, r"b\.jpg: the box 1 is not four numbers"),
        ("b.json", {"b.jpg": [[1, 2, 3]]}, "four numbers"),
        ("b.json", {"b.jpg": [[1, 2, 3, "x"]]}, "four numbers"),
        ("b.json", {"b.jpg": [[3, 2, 1, 4]]}, "x0 < x1"),
    ],
)
def test_box_files_refused(tmp_path, photos, name, content, message):
    with pytest.raises(ValueError, match=message) as error:
        BoxFile(box_file(tmp_path, content, name), photos)
    assert name in str(error.value)


def test_box_files_that_cannot_be_read(tmp_path, photos):
    with pytest.raises(FileNotFoundError):
        BoxFile(tmp_path / "none.csv", photos)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"binary\.csv is not a text file"):
        BoxFile(tmp_path / "binary.csv", photos)


@pytest.mark.parametrize(
    ("name", "content"), [("b.json", "[" * 100_000), ("b.csv", "image,x0,y0,x1,y1\n" + "9" * 200_000)]
)
def test_box_files_that_no_reader_takes(tmp_path, out, name, content):
    photos = find_photos([tmp_path / "a.png"], out)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"is not a (JSON|CSV) file of boxes"):
        BoxFile(tmp_path / name, photos)
