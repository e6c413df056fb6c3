import json
import os

import numpy as np
import pytest
from PIL import Image

from jvcr.cli import photos as photo_files
from jvcr.cli.photos import BoxFile, find_photos, predict_photos, prepare_output
from jvcr.inference.face import Face
from jvcr.inference.landmarker import Landmarker


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def photograph(path, width=60, height=40, color=(200, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), color).save(path)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def landmarker(tiny_weights):
    return Landmarker(tiny_weights, threads=1, detector=lambda image: ([[10, 10, 40, 30]], [0.9]))


# ---- which files


def test_files_and_folders_in_order(tmp_path, out):
    touch(
        tmp_path,
        "b.jpg",
        "photos/2.PNG",
        "photos/1.jpeg",
        "photos/sub/3.webp",
        "photos/notes.txt",
        "photos/.hidden.jpg",
    )
    touch(tmp_path, "photos/.cache/4.jpg", "a.strange")
    photos = find_photos([tmp_path / "b.jpg", tmp_path / "photos", tmp_path / "a.strange", tmp_path / "none.jpg"], out)
    assert [p.path.relative_to(tmp_path).as_posix() for p in photos] == [
        *("b.jpg", "photos/1.jpeg", "photos/2.PNG", "photos/sub/3.webp", "a.strange", "none.jpg")
    ]
    assert [p.inside.as_posix() for p in photos] == ["b.jpg", "1.jpeg", "2.PNG", "sub/3.webp", "a.strange", "none.jpg"]
    assert [p.result.as_posix() for p in photos] == ["b", "1", "2", "sub/3", "a", "none"]
    assert photos[3].target(out, ".json") == out / "sub" / "3.json"


def test_results_of_equal_names_are_kept_apart(tmp_path, out):
    touch(tmp_path, "a/x.jpg", "b/x.jpg", "a/x.png", "c/X.jpg", "d/x-2.jpg", "e/x.y.jpg", "f/x.y.jpg")
    photos = find_photos([tmp_path / n for n in ("a", "b", "c/X.jpg", "d", "e", "f")], out)
    names = [p.result.name for p in photos]
    assert names == ["x", "x-2", "x-3", "X-4", "x-2-2", "x.y", "x.y-2"]
    assert len({name.casefold() for name in names}) == len(names)
    assert photos[-1].target(out, ".json").name == "x.y-2.json"


def test_a_file_given_twice_is_taken_once(tmp_path, out):
    touch(tmp_path, "a/x.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a" / "x.jpg")
    sources = [tmp_path / "a", tmp_path / "a" / "x.jpg", tmp_path / "a" / ".." / "a", tmp_path / "link.jpg"]
    assert len(find_photos(sources, out)) == 1


def test_the_output_folder_is_no_input(tmp_path):
    touch(tmp_path, "photos/x.jpg", "photos/out/x.png")
    photos = find_photos([tmp_path / "photos"], tmp_path / "photos" / "out")
    assert [p.inside.as_posix() for p in photos] == ["x.jpg"]


def test_a_folder_without_images(tmp_path, out):
    touch(tmp_path, "photos/notes.txt")
    with pytest.raises(ValueError, match="photos is a folder without images"):
        find_photos([tmp_path / "photos"], out)


# ---- the output folder


def test_it_is_made_with_its_parents(tmp_path):
    prepare_output(tmp_path / "a" / "b", [], [".json"])
    assert (tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_it_cannot_be_made(tmp_path):
    touch(tmp_path, "file")
    with pytest.raises(OSError, match=r"cannot write to the output folder.*file"):
        prepare_output(tmp_path / "file", [], [".json"])
    with pytest.raises(NotADirectoryError, match="cannot write to the output folder"):
        prepare_output(tmp_path / "file" / "below", [], [".json"])


def test_it_cannot_be_written_to(tmp_path, monkeypatch):
    # As root every folder can be written to, so the system's answer is played.
    def denied(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(photo_files.tempfile, "TemporaryFile", denied)
    with pytest.raises(PermissionError, match=r"cannot write to the output folder \(Permission denied\)"):
        prepare_output(tmp_path, [], [".json"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_it_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot write to the output folder"):
        prepare_output(tmp_path, [], [".json"])


def test_a_result_never_overwrites_an_input(tmp_path):
    touch(tmp_path, "x.png", "boxes.json")
    photos = find_photos([tmp_path / "x.png"], tmp_path)
    prepare_output(tmp_path, photos, [".json"])
    with pytest.raises(ValueError, match=r"x\.png would overwrite an input"):
        prepare_output(tmp_path, photos, [".json", ".png"])
    touch(tmp_path, "boxes.jpg")
    with pytest.raises(ValueError, match=r"boxes\.json would overwrite an input"):
        prepare_output(tmp_path, find_photos([tmp_path / "boxes.jpg"], tmp_path), [".json"], [tmp_path / "boxes.json"])


# ---- the work


def test_one_result_file_for_each_photo(tmp_path, out, landmarker):
    paths = [photograph(tmp_path / "a.png"), photograph(tmp_path / "sub" / "b.jpg")]
    photos = find_photos([tmp_path / "a.png", tmp_path / "sub"], out)
    outcomes = list(predict_photos(landmarker, photos, out, write_json=True, write_plot=True))
    assert [len(o.faces) for o in outcomes] == [1, 1]
    assert sorted(p.name for p in out.iterdir()) == ["a.json", "a.png", "b.json", "b.png"]
    for path, name in zip(paths, "ab", strict=True):
        data = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        assert set(data) == {"image", "faces"}
        assert data["image"] == str(path)
        assert [Face.from_dict(face).to_dict() for face in data["faces"]] == [f.to_dict() for f in landmarker(path)]


def test_only_what_was_asked_for(tmp_path, out, landmarker):
    photograph(tmp_path / "a.png")
    photos = find_photos([tmp_path / "a.png"], out)
    list(predict_photos(landmarker, photos, out, write_json=False, write_plot=True))
    assert [p.name for p in out.iterdir()] == ["a.png"]


def test_a_bad_file_is_told_and_the_rest_is_done(tmp_path, out, landmarker):
    good = [photograph(tmp_path / f"good{i}.png") for i in range(2)]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    photos = find_photos([good[0], bad, tmp_path / "none.jpg", good[1]], out)
    outcomes = list(predict_photos(landmarker, photos, out))
    assert [bool(o.problem) for o in outcomes] == [False, True, True, False]
    assert "bad.jpg is not an image" in outcomes[1].problem
    assert outcomes[2].problem == f"{tmp_path / 'none.jpg'}: no such file or directory"
    assert sorted(p.name for p in out.iterdir()) == ["good0.json", "good1.json"]


def test_no_face_is_an_empty_list(tmp_path, out, tiny_weights):
    photograph(tmp_path / "a.png")
    nobody = Landmarker(tiny_weights, threads=1, detector=lambda image: (np.zeros((0, 4)), []))
    (outcome,) = predict_photos(nobody, find_photos([tmp_path / "a.png"], out), out, write_plot=True)
    assert (outcome.faces, outcome.problem) == ((), "")
    assert json.loads((out / "a.json").read_text(encoding="utf-8"))["faces"] == []
    assert (out / "a.png").is_file()


def test_results_are_written_as_they_come_and_stay(tmp_path, out, landmarker, monkeypatch):
    paths = [photograph(tmp_path / f"{i}.png") for i in range(3)]
    work = predict_photos(landmarker, find_photos(paths, out), out)
    next(work)
    assert [p.name for p in out.iterdir()] == ["0.json"]

    def full(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        next(work)
    assert [p.name for p in out.iterdir()] == ["0.json"]


def test_a_failed_write_leaves_the_older_result(tmp_path, out, landmarker, monkeypatch):
    photos = find_photos([photograph(tmp_path / "a.png")], out)
    list(predict_photos(landmarker, photos, out))
    before = (out / "a.json").read_bytes()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(predict_photos(landmarker, photos, out))
    assert [p.name for p in out.iterdir()] == ["a.json"]
    assert (out / "a.json").read_bytes() == before


# ---- boxes from a file


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
        ("b.csv", "image,x0,y0,x1,y1\nb.jpg,1,2,3\n", "line 2: a box is four numbers"),
        ("b.csv", "image,x0,y0,x1,y1\nb.jpg,1,2,3,4\nb.jpg,1,2,nan,4\n", "line 3: a box is x0, y0, x1, y1 with"),
        ("b.csv", "image,x0,y0,x1,y1\nb.jpg,5,2,3,4\n", "line 2: .*x0 < x1"),
        ("b.csv", "image,x0,y0,x1,y1\n,1,2,3,4\n", "line 2: the image has no name"),
        ("b.json", "{", "not a JSON file"),
        ("b.json", "[]", "must be an object"),
        ("b.json", {"b.jpg": {}}, "must be an object"),
        ("b.json", {"b.jpg": [1, 2, 3, 4]}, r"b\.jpg: a box is four numbers"),
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


def test_boxes_reach_the_faces(tmp_path, out, landmarker):
    photograph(tmp_path / "a.png")
    photograph(tmp_path / "b.png")
    photos = find_photos([tmp_path / "a.png", tmp_path / "b.png"], out)
    boxes = BoxFile(
        box_file(tmp_path, {"a.png": [[5, 5, 30, 35], [1, 1, 9, 9]], "b.png": [[90, 90, 95, 95]]}, "b.json"), photos
    )
    first, second = predict_photos(landmarker, photos, out, boxes=boxes, box_kind="landmarks")
    assert [face.box.tolist() for face in first.faces] == [[5, 5, 30, 35], [1, 1, 9, 9]]
    assert list(first.faces) == landmarker(tmp_path / "a.png", [[5, 5, 30, 35], [1, 1, 9, 9]], "landmarks")
    assert second.problem.startswith(f"{tmp_path / 'b.png'}: boxes[0]")
    assert "outside of the image" in second.problem


# ---- names that cannot be used do not end the run


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes are made otherwise here")
def test_loops_of_links_pipes_and_long_names(tmp_path, out, landmarker):
    good = photograph(tmp_path / "good.png")
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    long = tmp_path / ("n" * 300 + ".png")
    fits = photograph(tmp_path / ("m" * 251 + ".png"))  # as a photo, but its result has a longer suffix
    photos = find_photos([loop, pipe, long, fits, good], out)
    prepare_output(out, photos, [".json"])
    outcomes = list(predict_photos(landmarker, photos, out))
    assert [bool(outcome.problem) for outcome in outcomes] == [True, True, True, True, False]
    assert "pipe" in outcomes[1].problem
    assert [path.name for path in out.iterdir()] == ["good.json"]


@pytest.mark.parametrize(
    ("name", "content"), [("b.json", "[" * 100_000), ("b.csv", "image,x0,y0,x1,y1\n" + "9" * 200_000)]
)
def test_box_files_that_no_reader_takes(tmp_path, out, name, content):
    photos = find_photos([photograph(tmp_path / "a.png")], out)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"is not a (JSON|CSV) file of boxes"):
        BoxFile(tmp_path / name, photos)
