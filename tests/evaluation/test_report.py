"""The figures, against values worked out by hand; their file, table and picture."""

import json
import math

import cv2
import numpy as np
import pytest
from rich.console import Console

from jvcr.data.folder import read_folder
from jvcr.evaluation.protocol import predict
from jvcr.evaluation.report import face_errors, summarise, summary_table, worst_faces, write_summary, write_worst


@pytest.fixture
def dataset(landmark_folder):
    return read_folder(landmark_folder.root)


@pytest.fixture
def box_sizes(dataset):
    """sqrt(width * height) of each face's landmarks."""
    return np.sqrt(np.ptp(dataset.points_px[..., :2], axis=1).prod(axis=1))


def test_a_known_offset_gives_known_figures(dataset, box_sizes, fake_landmarker):
    # 5 pixels in the image plane for every landmark; the depth is off by 7, which alignment takes out.
    predictions = predict(fake_landmarker(dataset, offset=(3, 4, 7)), dataset)
    summary = summarise(dataset, predictions)
    nme = 100 * 5 / box_sizes  # one face in each band
    assert list(summary["nme"]) == ["bins", "bin_mean", "bin_std", "image_mean"]
    assert summary["nme"]["bins"] == pytest.approx(dict(zip(("0-30", "30-60", "60-90"), nme, strict=True)), rel=1e-5)
    assert summary["nme"]["bin_mean"] == pytest.approx(nme.mean(), rel=1e-5)
    assert summary["nme"]["image_mean"] == pytest.approx(nme.mean(), rel=1e-5)
    assert summary["nme"]["bin_std"] == pytest.approx(np.sqrt(((nme - nme.mean()) ** 2).sum() / 2), rel=1e-5)

    eyes = np.linalg.norm(dataset.points_px[:, 36] - dataset.points_px[:, 45], axis=1)
    assert summary["gte"]["aligned_z"] == pytest.approx((100 * 5 / eyes).mean(), rel=1e-5)
    assert summary["gte"]["raw"] == pytest.approx((100 * math.sqrt(9 + 16 + 49) / eyes).mean(), rel=1e-5)

    assert (summary["images"], summary["found"]) == (3, 3)
    assert summary["box"] == "truth"
    # Source a has the first and the last face, b the one between.
    assert list(summary["by_source"]) == ["a", "b"]
    assert summary["by_source"]["a"]["bins"]["30-60"] is None
    assert summary["by_source"]["a"]["bins"]["60-90"] == pytest.approx(nme[2], rel=1e-5)
    assert summary["by_source"]["a"]["bin_mean"] == pytest.approx((nme[0] + nme[2]) / 2, rel=1e-5)
    assert summary["by_source"]["b"]["bin_std"] is None
    assert summary["counts"]["by_source"]["a"]["bins"]["30-60"] == {"found": 0, "not_found": 0}


def test_faces_not_found_are_counted_and_not_averaged(dataset, box_sizes, fake_landmarker):
    landmarker = fake_landmarker(dataset, offset=(0, 2, 0), detections={2: []})
    summary = summarise(dataset, predict(landmarker, dataset, "detector"))
    assert (summary["images"], summary["found"]) == (3, 2)
    assert summary["nme"]["bins"]["60-90"] is None
    assert summary["nme"]["image_mean"] == pytest.approx((200 / box_sizes[:2]).mean(), rel=1e-5)
    assert summary["counts"]["not_found"] == 1
    assert summary["counts"]["bins"] == {
        "0-30": {"found": 1, "not_found": 0},
        "30-60": {"found": 1, "not_found": 0},
        "60-90": {"found": 0, "not_found": 1},
    }
    assert summary["counts"]["by_source"]["a"]["not_found"] == 1


def test_nothing_found_is_a_summary_without_figures_and_without_nan(dataset, fake_landmarker, tmp_path):
    predictions = predict(fake_landmarker(dataset, detections={0: [], 1: [], 2: []}), dataset, "detector")
    summary = summarise(dataset, predictions)
    assert summary["nme"]["image_mean"] is None
    assert summary["gte"] == {"aligned_z": None, "raw": None}
    write_summary(tmp_path / "summary.json", summary)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert worst_faces(dataset, predictions).shape == (240, 240, 3)


def test_a_set_without_sources_and_yaw(dataset, box_sizes, fake_landmarker):
    np.savez(dataset.root / "landmarks.npz", image=dataset.images, points=dataset.points_px)
    plain = read_folder(dataset.root)
    summary = summarise(plain, predict(fake_landmarker(plain, offset=(1, 0, 0)), plain))
    assert summary["by_source"] == {}
    assert summary["nme"]["bins"] == {"0-30": None, "30-60": None, "60-90": None}
    assert summary["nme"]["bin_mean"] is None
    assert summary["nme"]["image_mean"] == pytest.approx((100 / box_sizes).mean(), rel=1e-5)


def test_what_predictions_say_of_themselves_follows_but_replaces_no_figure(dataset, fake_landmarker):
    predictions = predict(fake_landmarker(dataset), dataset)
    predictions.about.update(weights="compact", images="many")
    summary = summarise(dataset, predictions)
    assert summary["weights"] == "compact"
    assert summary["images"] == 3


def test_predictions_of_other_faces_are_refused(dataset, fake_landmarker):
    predictions = predict(fake_landmarker(dataset), dataset)
    with pytest.raises(ValueError, match="another data set or split"):
        summarise(dataset.split("val"), predictions)
    with pytest.raises(ValueError, match=r"2 differ, the first is a/one\.jpg against a/three\.jpg"):
        summarise(dataset.select(np.array([2, 1, 0])), predictions)


def test_the_table_has_a_row_for_each_source(dataset, fake_landmarker):
    summary = summarise(dataset, predict(fake_landmarker(dataset, detections={1: []}), dataset, "detector"))
    console = Console(width=120, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(summary_table(summary))
    text = capture.get()
    assert "input box: detector" in text
    assert "2 of 3" in text
    assert "0 of 1" in text
    rows = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert rows == ["all", "a", "b"]


def test_worst_faces_are_drawn_worst_first(dataset, fake_landmarker, tmp_path):
    predictions = predict(fake_landmarker(dataset), dataset)
    predictions.points_px[1] += [8, 0, 0]
    assert np.argsort(-face_errors(dataset, predictions))[0] == 1
    picture = worst_faces(dataset, predictions, count=2, columns=4)
    assert picture.shape == (240, 480, 3)
    # The first tile shows truth and prediction apart; in the second the prediction covers the truth.
    green = (np.abs(picture.astype(int) - [60, 220, 60]) < 12).all(-1)
    assert green[:, :240].sum() > 10 * max(1, green[:, 240:].sum())
    write_worst(tmp_path / "worst.jpg", dataset, predictions)
    assert cv2.imread(str(tmp_path / "worst.jpg")).shape == (240, 720, 3)
