"""Looking a data set over: what is counted, and which faces are pointed out."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from jvcr.data.check import check_dataset
from jvcr.data.dataset import LandmarkDataset
from jvcr.data.readers.folder import read_folder
from jvcr.geometry.crop import Crop
from jvcr.scheme import FACE68


@pytest.fixture
def many_faces(tmp_path):
    """30 faces of nearly one shape, each in an image of its own, 90 x 70 pixels."""
    rng = np.random.default_rng(0)
    face = np.array(FACE68.template)
    face = (face - face.mean(0)) / np.ptp(face[:, 0]) * 40
    for i in range(30):
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), rng.integers(0, 255, (70, 90, 3), dtype=np.uint8))
    points = face + rng.normal(0, 0.3, (30, 68, 3)) + (45, 35, 0)
    np.savez(
        tmp_path / "landmarks.npz",
        image=np.array([f"{i:02}.png" for i in range(30)]),
        points=points.astype(np.float32),
        yaw_deg=np.array([0, 15, -15.5, 89, -120, np.nan] * 5),
        split=np.array(["train", "val"] * 15),
    )
    return read_folder(tmp_path)


def with_points(dataset, face, points) -> LandmarkDataset:
    changed = dataset.points_px.copy()
    changed[face] = points
    return replace(dataset, points_px=changed)


def test_counts(many_faces):
    advanced = []
    report = check_dataset(many_faces, advanced.append)
    assert len(advanced) == 30
    assert (report.faces, report.images, report.scheme, report.outside) == (30, 30, "face68", 0)
    assert report.image_sizes == {"90x70": 30}
    assert report.splits == {"train": 15, "val": 15}
    assert report.sources == {}
    assert report.yaw == {"0-15": 10, "15-30": 5, "30-45": 0, "45-60": 0, "60-75": 0, "75-90": 10, "unknown": 5}
    assert report.findings == ()
    box = np.ptp(many_faces.points_px[..., :2], axis=1)
    assert report.face_sizes[2] == pytest.approx(np.median(np.sqrt(box.prod(1))), abs=0.01)


def kinds(report):
    return [(f.face, f.kind) for f in report.findings]


def test_a_damaged_image(many_faces):
    (many_faces.root / "03.png").write_bytes(b"no image")
    assert kinds(check_dataset(many_faces)) == [(3, "damaged")]
    (many_faces.root / "03.png").unlink()
    assert kinds(check_dataset(many_faces)) == [(3, "damaged")]


def test_landmarks_in_front_of_and_behind_the_volume(many_faces):
    assert check_dataset(many_faces).beyond_depth == 0
    deep = many_faces.points_px[3] * [1, 1, 3]
    report = check_dataset(with_points(many_faces, 3, deep))
    assert report.beyond_depth == 1
    scheme = replace(many_faces.scheme, depth=report.depth_needed)
    assert check_dataset(replace(with_points(many_faces, 3, deep), scheme=scheme)).beyond_depth == 0
    crop = Crop.around_landmarks(deep, depth=report.depth_needed)
    assert 0.98 < np.abs(crop.to_unit(deep)[:, 2]).max() <= 1


def test_landmarks_outside(many_faces):
    moved = with_points(many_faces, 4, many_faces.points_px[4] + (60, 0, 0))
    report = check_dataset(moved)
    assert kinds(report) == [(4, "outside")]
    assert report.outside == 1
    # One landmark over the edge is counted, and nothing to point out.
    points = many_faces.points_px[4].copy()
    points += (-0.6 - points[:, 0].min(), 0, 0)
    assert (report := check_dataset(with_points(many_faces, 4, points))).outside == 1
    assert report.findings == ()
    points += (0.2, 0, 0)  # still on the first pixel
    assert check_dataset(with_points(many_faces, 4, points)).outside == 0


def test_one_image_under_two_names(many_faces):
    (many_faces.root / "07.png").write_bytes((many_faces.root / "02.png").read_bytes())
    report = check_dataset(many_faces)
    assert kinds(report) == [(7, "same image")]
    assert "02.png" in report.findings[0].text


def test_one_face_s_landmarks_on_two_images(many_faces):
    report = check_dataset(with_points(many_faces, 9, many_faces.points_px[1]))
    assert kinds(report) == [(9, "same landmarks")]


def test_a_wrong_order_of_the_landmarks_is_an_odd_shape(many_faces):
    assert kinds(check_dataset(with_points(many_faces, 5, many_faces.points_px[5][::-1]))) == [(5, "odd shape")]


def test_a_turned_and_enlarged_face_is_not(many_faces):
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    points = (many_faces.points_px[5] - (45, 35, 0)) @ turn.T * 0.5 + (45, 35, 0)
    assert check_dataset(with_points(many_faces, 5, points)).findings == ()


def test_a_handful_of_faces_has_no_usual_shape(landmark_folder):
    assert not [f for f in check_dataset(read_folder(landmark_folder.root)).findings if f.kind == "odd shape"]
