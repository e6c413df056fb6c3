"""Which box a face is given, which faces count as found, and the file of predictions."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from jvcr.data.readers.folder import read_folder
from jvcr.evaluation.predictions import FOUND_OVERLAP, Predictions, best_detection, landmark_box, predict
from jvcr.evaluation.shards import predict_in_processes
from jvcr.evaluation.summary import summarise
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
    assert predictions.found.all()
    assert (predictions.confidence == 0.75).all()
    assert predictions.about["box"] == "truth"
    assert predictions.about["unusable"] == []
    assert steps == [3]


def test_the_detector_s_best_box_is_taken_and_said_to_be(dataset, fake_landmarker):
    x0, y0, x1, y1 = landmark_box(dataset.points_px[0]).tolist()
    right = [x0, y0 - 10, x1, y1]
    landmarker = fake_landmarker(dataset, detections={0: [[0, 0, 9, 9], right, [x0 - 30, y0 - 30, x1 + 30, y1 + 30]]})
    predictions = predict(landmarker, dataset, "detector")
    assert predictions.found.all()
    assert {kind for _, _, kind in landmarker.calls} == {"detector"}
    np.testing.assert_allclose(predictions.box_xyxy[0], right)


def test_faces_not_found_have_no_prediction_and_are_never_asked_for(dataset, fake_landmarker):
    landmarker = fake_landmarker(dataset, detections={0: [], 2: [[0, 0, 20, 20]]})
    predictions = predict(landmarker, dataset, "detector")
    assert predictions.found.tolist() == [False, True, False]
    assert [i for i, _, _ in landmarker.calls] == [1]
    assert np.isnan(predictions.points_px[[0, 2]]).all()
    assert np.isnan(predictions.box_xyxy[[0, 2]]).all()
    assert np.isnan(predictions.confidence[[0, 2]]).all()


def test_images_that_cannot_be_used_are_named_and_the_rest_is_done(dataset, fake_landmarker):
    (dataset.root / "b" / "two.jpg").unlink()
    dataset.points_px[2] += [500, 0, 0]
    predictions = predict(fake_landmarker(dataset), dataset)
    assert predictions.found.tolist() == [True, False, False]
    missing, outside = predictions.about["unusable"]
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


def test_more_faces_than_one_batch(dataset, fake_landmarker, monkeypatch):
    monkeypatch.setattr("jvcr.evaluation.predictions.BATCH", 2)
    steps = []
    predictions = predict(fake_landmarker(dataset), dataset, progress=steps.append)
    np.testing.assert_array_equal(predictions.points_px, dataset.points_px)
    assert steps == [2, 3]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([], None),
        ([[20, 20, 30, 30]], None),
        ([[0, 0, 10, 10 / FOUND_OVERLAP + 0.1]], None),  # the whole truth in it, but too much else
        ([[0, 0, 10, 10 / FOUND_OVERLAP - 0.1]], 0),
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


def test_the_landmarker_of_the_package_is_one_that_can_be_evaluated():
    # Not isinstance: that would make a detector. What the protocol asks for is there:
    assert callable(Landmarker.batch)
    assert hasattr(Landmarker, "detector")


# -- the file


def test_predictions_come_back_as_they_were_saved(dataset, fake_landmarker, tmp_path):
    predictions = predict(fake_landmarker(dataset, detections={1: []}), dataset, "detector")
    predictions.save(tmp_path / "new" / "predictions.npz")
    again = Predictions.load(tmp_path / "new" / "predictions.npz")
    for name in ("images", "points_px", "found", "confidence", "box_xyxy"):
        np.testing.assert_array_equal(getattr(again, name), getattr(predictions, name))
    assert again.about == predictions.about
    assert again.points_px.dtype == np.float32
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["predictions.npz"]
    with np.load(tmp_path / "new" / "predictions.npz") as file:
        assert {"image", "points_px", "found"} <= set(file)
        assert file["points_px"].shape == (3, 68, 3)


def test_another_system_s_file_needs_three_arrays(tmp_path):
    np.savez(
        tmp_path / "p.npz", image=np.array(["a"]), points_px=np.arange(204.0).reshape(1, 68, 3), found=np.array([True])
    )
    predictions = Predictions.load(tmp_path / "p.npz")
    assert np.isnan(predictions.confidence).all()
    assert predictions.about == {}


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
        ({"image": np.array(["a"])}, "has no points_px, found"),
        ({"about": np.array("[1]")}, "must be a JSON object, got list"),
        ({"points_px": np.ones((1, 68, 2))}, r"shape \(faces, landmarks, 3\), got \(1, 68, 2\)"),
        ({"points_px": np.float32(1)}, r"shape \(faces, landmarks, 3\), got \(\)"),
        ({"points_px": np.full((1, 68, 3), "x")}, "points_px should be numbers"),
        ({"points_px": np.ones((2, 68, 3))}, r"points_px should be \(1, 68, 3\)"),
        ({"found": np.ones(2, bool)}, r"found should be \(1,\)"),
        ({"points_px": np.full((1, 68, 3), np.nan)}, "marked as found but its points_px are not finite"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, arrays, message):
    whole = {"image": np.array(["a"]), "points_px": np.arange(204.0).reshape(1, 68, 3), "found": np.array([True])}
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
    assert predictions.found.tolist() == [True, False, False]
    (outside,) = predictions.about["unusable"]
    assert "three.jpg: its box lies outside of the image" in outside
    with pytest.raises(ValueError, match="comes without face boxes: use the box rule truth, detector or file"):
        predict(landmarker, dataset, "dataset")


def test_boxes_of_a_file_are_taken_as_detections(dataset, fake_landmarker):
    right = landmark_box(dataset.points_px[1])
    boxes_of = [np.zeros((0, 4)), [[0, 0, 9, 9], right.tolist()], [[0, 0, 9, 9]]]
    landmarker = fake_landmarker(dataset)
    predictions = predict(landmarker, dataset, "file", boxes_of=boxes_of)
    assert landmarker.calls == [(1, right.tolist(), "detector")]
    assert predictions.found.tolist() == [False, True, False]
    for box, boxes in (("file", None), ("truth", boxes_of), ("file", boxes_of[:2])):
        with pytest.raises(ValueError, match="boxes_of is for the box rule"):
            predict(landmarker, dataset, box, boxes_of=boxes)


def test_strict_stops_at_the_first_unusable_image(dataset, fake_landmarker):
    (dataset.root / "b" / "two.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"two\.jpg"):
        predict(fake_landmarker(dataset), dataset, strict=True)


# -- several processes


def test_several_processes_give_what_one_gives(dataset, tiny_weights):
    """Five pieces of uneven length in two processes, with a missing image among them."""
    many = dataset.select(np.arange(9) % 3)
    names = many.images.tolist()
    names[4] = "b/missing.jpg"
    many = replace(many, images=np.array(names))
    make = partial(Landmarker, tiny_weights, threads=1)
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jvcr.evaluation.shards.BATCH", 2)
        split = predict_in_processes(make, many, "truth", 2, steps.append)
    whole = predict(make(), many, "truth")
    assert (len(steps), steps[-1]) == (5, 9)
    for name in ("images", "points_px", "found", "confidence", "box_xyxy"):
        np.testing.assert_array_equal(getattr(split, name), getattr(whole, name))
    assert split.about["unusable"] == whole.about["unusable"] and len(whole.about["unusable"]) == 1
    first, second = (summarise(many, p) for p in (split, whole))
    assert first | {"seconds": 0} == second | {"seconds": 0}


def test_an_error_in_a_process_is_told_as_it_is(dataset, tiny_weights):
    make = partial(Landmarker, tiny_weights, threads=1)
    (dataset.root / "b" / "two.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"two\.jpg"):
        predict_in_processes(make, dataset, "truth", 2, strict=True)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        predict_in_processes(make, dataset, "truth", 0)


def test_parts_are_put_together_in_order(dataset, fake_landmarker):
    whole = predict(fake_landmarker(dataset, detections={1: []}), dataset, "detector")
    pieces = [dataset.select(np.array(piece)) for piece in ([0], [1, 2])]
    parts = [predict(fake_landmarker(dataset, detections={1: []}), piece, "detector") for piece in pieces]
    again = Predictions.merged(parts)
    for name in ("images", "points_px", "found", "confidence", "box_xyxy"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    with pytest.raises(ValueError, match="got 0 parts"):
        Predictions.merged([])
