"""``jvcr evaluate``, with a landmarker that knows the truth."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from jvcr.cli.evaluate import evaluate
from jvcr.data.readers import read_dataset
from jvcr.evaluation.predictions import Predictions
from jvcr.evaluation.summary import summarise


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "made_up.onnx"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def landmarker(monkeypatch, fake_landmarker):
    """Puts the fake, over all faces of a folder, in the place of the real one."""
    asked = []

    def use(folder, **how):
        def make(weights, **options):
            asked.append({"weights": weights, **options})
            return fake_landmarker(read_dataset(folder.root), **how)

        monkeypatch.setattr("jvcr.inference.landmarker.Landmarker", make)
        return asked

    return use


def test_a_folder_with_splits_is_evaluated_on_val(landmark_folder, landmarker, weights, tmp_path, capsys):
    asked = landmarker(landmark_folder, offset=(3, 4, 0))
    out = tmp_path / "new" / "out"
    assert evaluate([landmark_folder.root], out=out, weights=str(weights), threads=1, passes=2) == 0
    assert asked == [{"weights": str(weights), "threads": 1, "providers": None, "passes": 2}]
    assert sorted(p.name for p in out.iterdir()) == ["predictions.npz", "summary.json", "worst.jpg"]

    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    sizes = np.sqrt(np.ptp(landmark_folder.points_px[1:, :, :2], axis=1).prod(axis=1))
    assert summary["images"] == 2
    assert summary["nme"]["image_mean"] == pytest.approx((500 / sizes).mean(), rel=1e-5)
    assert set(summary["by_source"]) == {"a", "b"}
    assert (summary["split"], summary["box"], summary["annotation"]) == ("val", "truth", "")
    assert summary["weights_sha256"] == "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert summary["command"].startswith("jvcr evaluate ")
    assert cv2.imread(str(out / "worst.jpg")) is not None

    printed = capsys.readouterr().out
    assert "bin mean" in printed
    assert "GTE" in printed


def test_the_figures_come_from_the_file_of_predictions(landmark_folder, landmarker, weights, tmp_path):
    landmarker(landmark_folder, offset=(1, 0, 2))
    evaluate([landmark_folder.root], out=tmp_path, weights=str(weights), split="all")
    again = summarise(read_dataset(landmark_folder.root), Predictions.load(tmp_path / "predictions.npz")).to_dict()
    assert again == json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert again["images"] == 3


def test_another_split_and_an_unknown_one(landmark_folder, landmarker, weights, tmp_path):
    landmarker(landmark_folder)
    evaluate([landmark_folder.root], out=tmp_path, weights=str(weights), split="train")
    assert json.loads((tmp_path / "summary.json").read_text())["images"] == 1
    with pytest.raises(ValueError, match="no split 'test'; it has train, val"):
        evaluate([landmark_folder.root], out=tmp_path, weights=str(weights), split="test")


def test_aflw2000_by_the_detector(aflw2000, landmarker, weights, tmp_path):
    landmarker(aflw2000, detections={1: []})
    evaluate([aflw2000.root], box=("detector",), out=tmp_path, weights=str(weights))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["images"], summary["detected"], summary["box"]) == (3, 2, "detector")
    assert (summary["annotation"], summary["split"], summary["by_source"]) == ("original", None, {})
    assert summary["nme"]["bins"] == {"0-30": 0.0, "30-60": None, "60-90": 0.0}
    assert Predictions.load(tmp_path / "predictions.npz").detected.tolist() == [True, False, True]


def test_faces_with_angles_beyond_a_full_turn_count_as_published(aflw2000, landmarker, weights, tmp_path, capsys):
    """image03123 and image04157 of AFLW2000-3D: no face is left out, the exit code is 0, both are in the last band."""
    io = pytest.importorskip("scipy.io")
    for name, yaw, scale in (("image03123", -351.2, 0.001), ("image04157", 187.8, -0.0015)):
        content = io.loadmat(aflw2000.root / "image00030.mat")
        pose = [0.1, np.radians(yaw), 7.5, 70, 60, -50, scale]
        io.savemat(aflw2000.root / f"{name}.mat", {"pt3d_68": content["pt3d_68"], "Pose_Para": [pose]})
        shutil.copy(aflw2000.root / "image00030.jpg", aflw2000.root / f"{name}.jpg")
    landmarker(aflw2000)
    assert evaluate([aflw2000.root], out=tmp_path, weights=str(weights), like="table4") == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["images"], summary["problems"]) == (5, [])
    bins = [count["detected"] for count in summary["counts"]["bins"].values()]
    assert bins == [1, 1, 3]
    assert summary["head_pose"]["left_out"] == 2  # beyond 99 degrees, as is common
    assert "faces: 5, not 2000" in capsys.readouterr().out


def test_a_missing_image_is_reported_and_the_exit_code_says_so(landmark_folder, landmarker, weights, tmp_path, capsys):
    landmarker(landmark_folder)
    (landmark_folder.root / "b" / "two.jpg").unlink()
    assert evaluate([landmark_folder.root], out=tmp_path, weights=str(weights)) == 1
    assert "two.jpg" in capsys.readouterr().err
    assert json.loads((tmp_path / "summary.json").read_text())["detected"] == 1


def test_an_out_folder_that_cannot_be_made_shows_before_anything_runs(landmark_folder, landmarker, weights, tmp_path):
    asked = landmarker(landmark_folder)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        evaluate([landmark_folder.root], out=tmp_path / "file" / "out", weights=str(weights))
    assert asked == []


@pytest.mark.parametrize("out", ["out", "new/out"])
def test_a_run_that_cannot_begin_leaves_no_folder(landmark_folder, landmarker, weights, tmp_path, out):
    landmarker(landmark_folder)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no split 'test'"):
        evaluate([landmark_folder.root], out=tmp_path / out, weights=str(weights), split="test")
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "mine").mkdir()  # a folder that was there stays
    with pytest.raises(ValueError, match="no split 'test'"):
        evaluate([landmark_folder.root], out=tmp_path / "mine", weights=str(weights), split="test")
    assert (tmp_path / "mine").is_dir()


def test_the_network_is_opened_once(landmark_folder, tiny_weights, tmp_path, monkeypatch):
    import onnxruntime

    opened = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: opened.append(a) or session(*a, **k))
    evaluate([landmark_folder.root], out=tmp_path / "out", weights=str(tiny_weights), threads=1)
    assert len(opened) == 1


def test_what_the_weights_say_of_their_training(landmark_folder, make_network, tmp_path):
    said = {"training": {"recipe": {"name": "mine"}, "train_faces": 7, "steps": 3}}
    weights = make_network("trained", metadata=said)
    evaluate([landmark_folder.root], out=tmp_path / "out", weights=str(weights), threads=1)
    assert summary_of(tmp_path / "out")["training"] == {"recipe": "mine", "train_faces": 7}


def test_importing_the_command_is_light():
    code = (
        "import sys, jvcr.cli.evaluate; "
        "print([m for m in ('torch', 'onnxruntime', 'cv2', 'numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("box", "limit"), [("truth", 3.4), ("detector", 3.8)])
def test_the_shipped_weights_on_the_real_sample(real_data, tmp_path, box, limit):
    """Forty faces are too few for a result, but a wrong frame, index or box shows at once."""
    pytest.importorskip("scipy.io", reason="scipy reads the .mat files")
    folder = real_data / "aflw2000_sample"
    if not folder.is_dir():
        pytest.skip(f"aflw2000_sample not found in {real_data}")
    assert evaluate([folder], box=(box,), out=tmp_path, threads=1) == 0
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["detected"] >= 37  # two are cut by the border, one is on the edge of the threshold
    assert summary["nme"]["image_mean"] < limit
    assert summary["gte"]["aligned_z"] < 2.5 * limit


# -- several runs, boxes, annotations


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture
def with_annotations(aflw2000):
    """AFLW2000-3D with re-annotated points: the original ones, 2 pixels to the right."""
    points = aflw2000.points_px[..., :2].transpose(0, 2, 1) + np.array([[2], [0]])
    np.save(aflw2000.root / "AFLW2000-3D-Reannotated.pts68.npy", points)
    return aflw2000


def test_annotations_and_boxes_get_a_folder_each(with_annotations, landmarker, weights, tmp_path, capsys):
    landmarker(with_annotations)
    out = tmp_path / "out"
    code = evaluate(
        [with_annotations.root],
        box=("truth", "detector"),
        annotation=("original", "reannotated"),
        out=out,
        weights=str(weights),
        plot=True,
        like="table4",
    )
    assert code == 0
    names = [f"aflw2000-{a}-{b}" for a in ("original", "reannotated") for b in ("truth", "detector")]
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [*names, "summaries.json", "ced.png", "reliability.png", "yaw.png"]
    )
    summaries = json.loads((out / "summaries.json").read_text(encoding="utf-8"))
    assert list(summaries) == names
    sizes = np.sqrt(np.ptp(with_annotations.points_px[..., :2], axis=1).prod(axis=1))
    for name, summary in summaries.items():
        assert summary == summary_of(out / name)
        files = sorted(p.name for p in (out / name).iterdir())
        assert files == ["ced.png", "predictions.npz", "reliability.png", "summary.json", "worst.jpg", "yaw.png"]
        expected = (200 / sizes).mean() if "reannotated" in name else 0
        assert summary["nme"]["image_mean"] == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert (summary["annotation"], summary["box"]) == tuple(name.split("-")[1:])
        assert summary["layout"] == "AFLW2000-3D"
    printed = capsys.readouterr().out
    assert "3DSTN [35]" in printed
    assert "SynergyNet *" in printed
    assert "faces: 3, not 2000" in printed
    assert "annotation: reannotated, not original" in printed


def test_several_data_sets(landmark_folder, aflw2000, monkeypatch, fake_landmarker, weights, tmp_path):
    class Both:
        """Finds the faces of either data set."""

        def __init__(self, *arguments, **options):
            self.fakes = [fake_landmarker(read_dataset(made.root)) for made in (landmark_folder, aflw2000)]
            self.scheme, self.detector, self.training = self.fakes[0].scheme, None, {}
            self.threads, self.detect = 1, self.fakes[0].detect

        def stream(self, images, boxes, box_kind):
            pairs = list(zip(images, boxes, strict=True))
            fake = self.fakes[0] if len(pairs) == 2 else self.fakes[1]
            return fake.stream(*zip(*pairs, strict=True), box_kind)

    monkeypatch.setattr("jvcr.inference.landmarker.Landmarker", Both)
    assert (
        evaluate(
            [landmark_folder.root, aflw2000.root], out=tmp_path / "out", weights=str(weights), annotation=("original",)
        )
        == 0
    )
    runs = json.loads((tmp_path / "out" / "summaries.json").read_text())
    assert {name: (s["images"], s["layout"]) for name, s in runs.items()} == {
        "folder-truth": (2, "folder"),
        "aflw2000-original-truth": (3, "AFLW2000-3D"),
    }


def test_the_boxes_of_a_file(landmark_folder, landmarker, weights, tmp_path, capsys):
    landmarker(landmark_folder)
    low, high = landmark_folder.points_px[1, :, :2].min(0), landmark_folder.points_px[1, :, :2].max(0)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\nb/two.jpg," + ",".join(map(str, [*low - 1, *high + 1])), encoding="utf-8")
    options = {"box": ("file",), "boxes": boxes, "out": tmp_path / "out", "weights": str(weights)}
    assert evaluate([landmark_folder.root], **options) == 0
    summary = summary_of(tmp_path / "out")
    assert (summary["box"], summary["detected"], summary["images"]) == ("file", 1, 2)
    assert (summary["boxes"], summary["box_kind"]) == (str(boxes), "detector")
    assert "does not name 1 of 2 images" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"has no boxes for .*three\.jpg"):
        evaluate([landmark_folder.root], **options, strict=True)


def test_the_boxes_that_the_data_set_comes_with(landmark_folder, landmarker, weights, tmp_path, monkeypatch):
    landmarker(landmark_folder)
    with pytest.raises(ValueError, match="comes without face boxes"):
        evaluate([landmark_folder.root], box=("dataset",), out=tmp_path, weights=str(weights))
    own = np.array([[10, 10, 90, 90]] * 3, np.float32)
    monkeypatch.setattr(
        "jvcr.evaluation.runs.read_dataset", lambda root, *a, **k: replace(read_dataset(root, *a, **k), boxes_xyxy=own)
    )
    assert evaluate([landmark_folder.root], box=("dataset",), out=tmp_path, weights=str(weights)) == 0
    assert Predictions.load(tmp_path / "predictions.npz").box_xyxy.tolist() == own[1:].tolist()


def test_strict_stops_where_a_lenient_run_goes_on(aflw2000, landmarker, weights, tmp_path, capsys):
    landmarker(aflw2000)
    (aflw2000.root / "image00030.mat").write_bytes(b"cut short")
    assert evaluate([aflw2000.root], out=tmp_path, weights=str(weights)) == 1
    summary = summary_of(tmp_path)
    assert (summary["images"], len(summary["problems"])) == (2, 1)
    assert "image00030.mat" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"image00030\.mat"):
        evaluate([aflw2000.root], out=tmp_path, weights=str(weights), strict=True)


# -- predictions of before, and of others


def test_predictions_are_scored_again_without_running_anything(with_annotations, landmarker, weights, tmp_path):
    asked = landmarker(with_annotations, offset=(1, 0, 0))
    evaluate([with_annotations.root], out=tmp_path / "one", weights=str(weights))
    assert len(asked) == 1
    file = tmp_path / "one" / "predictions.npz"
    evaluate([with_annotations.root], out=tmp_path / "same", predictions=file)
    first, again = summary_of(tmp_path / "one"), summary_of(tmp_path / "same")
    told = ("command", "predictions", "predicted_by")
    assert {k: v for k, v in again.items() if k not in told} == {k: v for k, v in first.items() if k not in told}
    assert again["predicted_by"] == first["command"]
    assert sorted(p.name for p in (tmp_path / "same").iterdir()) == ["summary.json", "worst.jpg"]

    again = tmp_path / "elsewhere.npy"
    (with_annotations.root / "AFLW2000-3D-Reannotated.pts68.npy").rename(again)
    options = {"annotation": ("original", "reannotated"), "reannotation": again}
    evaluate([with_annotations.root], out=tmp_path / "other", predictions=file, **options)
    assert summary_of(tmp_path / "other" / "aflw2000-reannotated")["annotation"] == "reannotated"
    with pytest.raises(ValueError, match="--reannotation goes with --annotation reannotated"):
        evaluate([with_annotations.root], out=tmp_path / "other", predictions=file, reannotation=again)
    assert len(asked) == 1


def test_another_system_s_predictions_against_ours(landmark_folder, landmarker, weights, tmp_path, capsys):
    landmarker(landmark_folder, offset=(1, 0, 0))
    evaluate([landmark_folder.root], out=tmp_path / "ours", weights=str(weights), split="all")
    images = np.array(landmark_folder.images)
    theirs = tmp_path / "theirs.npz"
    np.savez(theirs, image=images, points_px=landmark_folder.points_px + np.array([0, 2, 0]), detected=np.ones(3, bool))
    ours = tmp_path / "ours" / "predictions.npz"
    assert evaluate([landmark_folder.root], out=tmp_path / "out", predictions=theirs, against=ours, split="all") == 0
    sizes = np.sqrt(np.ptp(landmark_folder.points_px[..., :2], axis=1).prod(axis=1))
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert comparison["all"]["mean"] == pytest.approx((100 / sizes).mean(), rel=1e-4)
    assert comparison["all"] | {"mean": 0, "low": 0, "high": 0} == {
        "faces": 3, "mean": 0, "low": 0, "high": 0, "wins": 0, "losses": 3, "ties": 0,
    }  # fmt: skip
    assert summary_of(tmp_path / "out")["box"] == "not stated"
    assert "below 0 is better" in capsys.readouterr().out

    with pytest.raises(ValueError, match="another data set or split"):
        evaluate([landmark_folder.root], out=tmp_path / "out", predictions=theirs, against=ours, split="val")
    np.savez(theirs, image=images[::-1], points_px=landmark_folder.points_px, detected=np.ones(3, bool))
    with pytest.raises(ValueError, match="of other images than the labels"):
        evaluate([landmark_folder.root], out=tmp_path / "out", predictions=ours, against=theirs, split="all")
    (tmp_path / "p.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="damaged or not an npz file"):
        evaluate([landmark_folder.root], out=tmp_path / "out", predictions=ours, against=tmp_path / "p.npz")


def test_predictions_of_other_numbers_of_landmarks_need_their_scheme(landmark_folder, tmp_path):
    file = tmp_path / "p.npz"
    np.savez(file, image=np.array(["a"]), points_px=np.arange(15.0).reshape(1, 5, 3), detected=np.ones(1, bool))
    with pytest.raises(ValueError, match="have 5 landmarks a face: say with --scheme"):
        evaluate([landmark_folder.root], out=tmp_path / "out", predictions=file)
    (tmp_path / "five.toml").write_text('name = "five"\npoints = 5\n', encoding="utf-8")
    np.savez(
        landmark_folder.root / "landmarks.npz",
        image=np.array(landmark_folder.images),
        points=landmark_folder.points_px[:, 20:25],
    )
    np.savez(
        file, image=np.array(landmark_folder.images), points_px=landmark_folder.points_px[:, 20:25], detected=[1, 1, 0]
    )
    scheme = str(tmp_path / "five.toml")
    evaluate([landmark_folder.root], out=tmp_path / "out", predictions=file, scheme=scheme)
    summary = summary_of(tmp_path / "out")
    assert (summary["detected"], summary["nme"]["image_mean"], summary["gte"]["aligned_z"]) == (2, 0.0, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box": ()}, "--box needs one of truth"),
        ({"box": ("file",)}, "belong together"),
        ({"boxes": "boxes.csv"}, "belong together"),
        ({"scheme": "face66"}, "--scheme goes with --predictions"),
        ({"predictions": "p.npz", "box": ("detector",)}, "leave --box out"),
        ({"predictions": "none.npz"}, "no predictions: none.npz"),
        ({"against": "none.npz"}, "no predictions: none.npz"),
        ({"annotation": ("reannotated",)}, "has one annotation"),
    ],
)
def test_options_that_do_not_go_together(landmark_folder, landmarker, weights, tmp_path, options, message):
    landmarker(landmark_folder)
    paths = {k: Path(v) if k in ("boxes", "predictions", "against") else v for k, v in options.items()}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        evaluate([landmark_folder.root], out=tmp_path / "out", weights=str(weights), **paths)


def test_a_comparison_is_of_one_run(aflw2000, landmarker, weights, tmp_path):
    landmarker(aflw2000)
    evaluate([aflw2000.root], out=tmp_path / "one", weights=str(weights))
    with pytest.raises(ValueError, match="--against compares one run, and this makes 2"):
        evaluate(
            [aflw2000.root],
            out=tmp_path / "out",
            box=("truth", "detector"),
            against=tmp_path / "one" / "predictions.npz",
            weights=str(weights),
        )


def test_folders_without_faces(tmp_path, landmarker, landmark_folder, weights):
    landmarker(landmark_folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no data set of a known layout"):
        evaluate([tmp_path / "empty"], out=tmp_path / "out", weights=str(weights))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        evaluate([tmp_path / "missing"], out=tmp_path / "out", weights=str(weights))


def test_the_command_line_takes_lists(landmark_folder, tiny_weights, tmp_path):
    from jvcr import cli

    options = ["--out", str(tmp_path / "out"), "--weights", str(tiny_weights), "--threads", "1"]
    with pytest.raises(SystemExit) as leaving:
        cli.main(["evaluate", str(landmark_folder.root), "--split", "all", "--plot", *options])
    assert leaving.value.code == 0
    assert (tmp_path / "out" / "ced.png").is_file()
    summary = summary_of(tmp_path / "out")
    assert summary["command"] == (
        f"jvcr evaluate {landmark_folder.root} --out {tmp_path / 'out'} --split all --plot "
        f"--weights {tiny_weights} --threads 1"
    )


def test_faults_of_other_splits_are_none_of_this_one(landmark_folder, tiny_weights, tmp_path, capsys):
    path = landmark_folder.root / "landmarks.npz"
    with np.load(path) as file:
        columns = dict(file)
    columns["points"][0, 0] = np.nan  # the face for training
    np.savez(path, **columns)
    how = {"weights": str(tiny_weights), "threads": 1}
    assert evaluate([landmark_folder.root], out=tmp_path / "val", strict=True, **how) == 0
    assert summary_of(tmp_path / "val")["problems"] == []
    assert evaluate([landmark_folder.root], out=tmp_path / "all", split="all", **how) == 1
    assert "not evaluated: entry 0, a/one.jpg: NaN" in capsys.readouterr().err
    with pytest.raises(ValueError, match="1 of 3 faces cannot be used"):
        evaluate([landmark_folder.root], out=tmp_path / "strict", split="all", strict=True, **how)


def test_a_folder_named_twice_is_evaluated_once(landmark_folder, tiny_weights, tmp_path):
    twice = [landmark_folder.root, landmark_folder.root / "a" / ".."]
    assert evaluate(twice, out=tmp_path / "out", weights=str(tiny_weights), threads=1) == 0
    assert (tmp_path / "out" / "summary.json").is_file()  # one run: no folders of their own


def test_predicted_landmarks_that_have_no_truth_do_not_count(landmark_folder, tmp_path):
    points = np.concatenate([landmark_folder.points_px, np.random.default_rng(0).uniform(0, 99, (3, 3, 3))], axis=1)
    theirs = tmp_path / "theirs.npz"
    np.savez(theirs, image=np.array(landmark_folder.images), points_px=points, detected=np.ones(3, bool))
    how = {"predictions": theirs, "scheme": "face71", "against": theirs, "split": "all"}
    assert evaluate([landmark_folder.root], out=tmp_path / "out", **how) == 0
    assert summary_of(tmp_path / "out")["nme"]["image_mean"] == 0
    assert summary_of(tmp_path / "out")["scheme"] == "face68"
