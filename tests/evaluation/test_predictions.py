"""Which box a face is given, which faces count as detected, and the file of predictions."""

from dataclasses import replace

import numpy as np
import pytest

from jvcr.data.readers.folder import read_folder
from jvcr.evaluation.predictions import MIN_OVERLAP, Predictions, best_detection, landmark_box, predict
from jvcr.inference import Landmarker
from jvcr.scheme import LandmarkScheme, load_scheme


@pytest.fixture
def dataset(landmark_folder):
    return read_folder(landmark_folder.root)


def test_true_boxes_are_those_of_the_landmarks_and_are_said_to_be(dataset, fake_landmarker):
    landmarker = fake_landmarker(dataset, offset=(3, 4, 5))
    steps = []
    predictions = predict(landmarker, dataset, "truth", steps.append)
    boxes = [[*p[:, :2].min(0).tolist(), *p[:, :2].max(0).tolist()] for p in dataset.points_px]
    assert landmarker.calls == [(i, boxes[i], "landmarks") for i in range(3)]
    np.testing.assert_allclose(predictions.points_px - dataset.points_px, np.full((3, 68, 3), [3, 4, 5]), atol=1e-4)
    np.testing.assert_array_equal(predictions.box_xyxy, np.array(boxes, np.float32))
    assert predictions.images.tolist() == dataset.images.tolist()
    assert predictions.detected.all()
    assert (predictions.confidence == 0.75).all()
    assert predictions.metadata["box"] == "truth"
    assert predictions.metadata["unusable"] == []
    assert sum(steps) == 3


def test_the_detector_s_best_box_is_taken_and_said_to_be(dataset, fake_landmarker):
    x0, y0, x1, y1 = landmark_box(dataset.points_px[0]).tolist()
    right = [x0, y0 - 10, x1, y1]
    landmarker = fake_landmarker(dataset, detections={0: [[0, 0, 9, 9], right, [x0 - 30, y0 - 30, x1 + 30, y1 + 30]]})
    predictions = predict(landmarker, dataset, "detector")
    assert predictions.detected.all()
    assert {kind for _, _, kind in landmarker.calls} == {"detector"}
    np.testing.assert_allclose(predictions.box_xyxy[0], right)


def test_faces_not_detected_have_no_prediction_and_are_never_asked_for(dataset, fake_landmarker):
    landmarker = fake_landmarker(dataset, detections={0: [], 2: [[0, 0, 20, 20]]})
    predictions = predict(landmarker, dataset, "detector")
    assert predictions.detected.tolist() == [False, True, False]
    assert [i for i, _, _ in landmarker.calls] == [1]
    assert np.isnan(predictions.points_px[[0, 2]]).all()
    assert np.isnan(predictions.box_xyxy[[0, 2]]).all()
    assert np.isnan(predictions.confidence[[0, 2]]).all()


def test_images_that_cannot_be_used_are_named_and_the_rest_is_done(dataset, fake_landmarker):
    (dataset.root / "b" / "two.jpg").unlink()
    dataset.points_px[2] += [500, 0, 0]
    predictions = predict(fake_landmarker(dataset), dataset)
    assert predictions.detected.tolist() == [True, False, False]
    missing, outside = predictions.metadata["unusable"]
    assert "two.jpg" in missing
    assert "three.jpg: the box of the true landmarks lies outside of the image of 150 x 120 pixels" in outside


def test_an_empty_set_and_other_landmarks_are_refused(dataset, fake_landmarker):
    with pytest.raises(ValueError, match="no faces to evaluate"):
        predict(fake_landmarker(dataset), dataset.select(np.zeros(3, bool)))
    np.savez(dataset.root / "landmarks.npz", image=dataset.images, points=dataset.points_px[:, :5])
    few = read_folder(dataset.root, LandmarkScheme("five", 5))
    with pytest.raises(ValueError, match=r"has 5 landmarks a face \(five\), but the landmarker finds 68"):
        predict(fake_landmarker(dataset), few)


def test_landmarks_that_the_landmarker_derives_are_not_compared(dataset, fake_landmarker):
    face71 = load_scheme("face71")
    landmarker = fake_landmarker(dataset.extended(face71), offset=(1.0, 0.0, 0.0))
    predictions = predict(landmarker, dataset)
    assert predictions.points_px.shape == dataset.points_px.shape and predictions.confidence.shape == (len(dataset), 68)
    np.testing.assert_allclose(predictions.points_px, dataset.points_px + np.float32([1, 0, 0]), atol=1e-4)
    # Without a scheme of its own nothing says that the first 68 are the data set's.
    landmarker = fake_landmarker(dataset.extended(replace(face71, name="other")))
    landmarker.dataset = replace(landmarker.dataset, scheme=LandmarkScheme("other", 71))
    with pytest.raises(ValueError, match="but the landmarker finds 71"):
        predict(landmarker, dataset)


def test_threads_read_ahead_and_keep_the_order(dataset, tiny_weights):
    many = dataset.select(np.arange(9) % 3)
    names = many.images.tolist()
    names[4] = "b/missing.jpg"
    many = replace(many, images=np.array(names))
    one, several = (predict(Landmarker(tiny_weights, threads=n, max_batch=4), many) for n in (1, 3))
    for name in ("images", "points_px", "detected", "confidence", "box_xyxy"):
        np.testing.assert_array_equal(getattr(several, name), getattr(one, name))
    assert several.metadata["unusable"] == one.metadata["unusable"] and len(one.metadata["unusable"]) == 1


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([], None),
        ([[20, 20, 30, 30]], None),
        ([[0, 0, 10, 10 / MIN_OVERLAP + 0.1]], None),  # the whole truth in it, but too much else
        ([[0, 0, 10, 10 / MIN_OVERLAP - 0.1]], 0),
        ([[0, 0, 10, 20], [0, 0, 10, 12], [0, 0, 10, 15]], 1),
        ([[0, 0, 10, 12], [0, -2, 10, 10]], 0),  # of equal ones the first
        ([[np.nan] * 4, [0, 0, 10, 12]], 1),
    ],
)
def test_best_detection(boxes, expected):
    found = best_detection(boxes, [0, 0, 10, 10])
    if expected is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, np.float32(boxes[expected]))


# -- the file


def test_predictions_come_back_as_they_were_saved(dataset, fake_landmarker, tmp_path):
    predictions = predict(fake_landmarker(dataset, detections={1: []}), dataset, "detector")
    predictions.save(tmp_path / "new" / "predictions.npz")
    again = Predictions.load(tmp_path / "new" / "predictions.npz")
    for name in ("images", "points_px", "detected", "confidence", "box_xyxy"):
        np.testing.assert_array_equal(getattr(again, name), getattr(predictions, name))
    assert again.metadata == predictions.metadata
    assert again.points_px.dtype == np.float32
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["predictions.npz"]
    with np.load(tmp_path / "new" / "predictions.npz") as file:
        assert {"image", "points_px", "detected"} <= set(file)
        assert file["points_px"].shape == (3, 68, 3)


def test_files_of_before_have_other_names(dataset, fake_landmarker, tmp_path):
    predictions = predict(fake_landmarker(dataset, detections={1: []}), dataset, "detector")
    predictions.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "old.npz", found=arrays.pop("detected"), about=arrays.pop("metadata"), **arrays)
    again = Predictions.load(tmp_path / "old.npz")
    assert again.metadata == predictions.metadata
    np.testing.assert_array_equal(again.detected, [True, False, True])


def test_another_system_s_file_needs_three_arrays(tmp_path):
    np.savez(
        tmp_path / "p.npz",
        image=np.array(["a"]),
        points_px=np.arange(204.0).reshape(1, 68, 3),
        detected=np.array([True]),
    )
    predictions = Predictions.load(tmp_path / "p.npz")
    assert np.isnan(predictions.confidence).all()
    assert predictions.metadata == {}


def test_a_failed_write_leaves_the_old_file(dataset, fake_landmarker, tmp_path, monkeypatch):
    predictions = predict(fake_landmarker(dataset), dataset)
    path = tmp_path / "predictions.npz"
    predictions.save(path)
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="no space"):
        predictions.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".npz"] == ["predictions.npz"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.array(["a"])}, "has no points_px, detected"),
        ({"metadata": np.array("[1]")}, "must be a JSON object, got list"),
        ({"points_px": np.ones((1, 68, 2))}, r"shape \(faces, landmarks, 3\), got \(1, 68, 2\)"),
        ({"points_px": np.float32(1)}, r"shape \(faces, landmarks, 3\), got \(\)"),
        ({"points_px": np.full((1, 68, 3), "x")}, "points_px should be numbers"),
        ({"points_px": np.ones((2, 68, 3))}, r"points_px should be \(1, 68, 3\)"),
        ({"detected": np.ones(2, bool)}, r"detected should be \(1,\)"),
        ({"points_px": np.full((1, 68, 3), np.nan)}, "marked as detected but its points_px are not finite"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, arrays, message):
    whole = {"image": np.array(["a"]), "points_px": np.arange(204.0).reshape(1, 68, 3), "detected": np.array([True])}
    np.savez(tmp_path / "p.npz", **(arrays if "image" in arrays else {**whole, **arrays}))
    with pytest.raises(ValueError, match=rf"p\.npz.*{message}"):
        Predictions.load(tmp_path / "p.npz")


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no predictions"):
        Predictions.load(tmp_path / "p.npz")
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"p\.npz is damaged"):
        Predictions.load(tmp_path / "p.npz")


# -- boxes of the data set and of a file


def test_the_data_set_s_own_boxes(dataset, fake_landmarker):
    own = np.array([[30, 20, 110, 100], [np.nan] * 4, [500, 20, 600, 100]], np.float32)
    landmarker = fake_landmarker(dataset)
    predictions = predict(landmarker, replace(dataset, boxes_xyxy=own), "dataset", box_kind="landmarks")
    assert landmarker.calls == [(0, [30, 20, 110, 100], "landmarks")]
    assert predictions.detected.tolist() == [True, False, False]
    (outside,) = predictions.metadata["unusable"]
    assert "three.jpg: its box lies outside of the image" in outside
    with pytest.raises(ValueError, match="comes without face boxes: use those of the truth, the detector or a file"):
        predict(landmarker, dataset, "dataset")


def test_boxes_of_a_file_are_taken_as_detections(dataset, fake_landmarker):
    right = landmark_box(dataset.points_px[1])
    boxes_of = [np.zeros((0, 4)), [[0, 0, 9, 9], right.tolist()], [[0, 0, 9, 9]]]
    landmarker = fake_landmarker(dataset)
    predictions = predict(landmarker, dataset, "file", boxes_of=boxes_of)
    assert landmarker.calls == [(1, right.tolist(), "detector")]
    assert predictions.detected.tolist() == [False, True, False]
    for box, boxes in (("file", None), ("truth", boxes_of), ("file", boxes_of[:2])):
        with pytest.raises(ValueError, match="boxes_of is for the boxes"):
            predict(landmarker, dataset, box, boxes_of=boxes)


def test_strict_stops_at_the_first_unusable_image(dataset, fake_landmarker):
    (dataset.root / "b" / "two.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"two\.jpg"):
        predict(fake_landmarker(dataset), dataset, strict=True)
