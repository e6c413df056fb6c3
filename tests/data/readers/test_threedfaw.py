"""3DFAW, on a made-up copy of its layout: the set itself is given out on request only."""

import numpy as np
import pytest

from jvcr.data.readers.threedfaw import read_3dfaw
from jvcr.scheme import FACE66


def test_reads_splits_points_and_boxes(made_3dfaw):
    dataset = read_3dfaw(made_3dfaw)
    assert dataset.images.tolist() == [
        "train_img/f0.jpg",
        "train_img/f1.jpg",
        "train_img/f2.jpg",
        "valid_img/f0.jpg",
    ]
    assert dataset.splits.tolist() == ["train", "train", "train", "val"]
    assert dataset.scheme == FACE66
    written = np.loadtxt(made_3dfaw / "train_lm" / "f2_lm.csv", delimiter=",")
    np.testing.assert_allclose(dataset.points_px[2, :, :2], written[:, :2], rtol=1e-6)
    np.testing.assert_allclose(dataset.points_px[2, :, 2], written[:, 2] - written[:, 2].mean(), atol=1e-4)
    assert dataset.boxes_xyxy is not None
    np.testing.assert_allclose(dataset.boxes_xyxy[1], [15, 16, 85, 87])
    assert np.isnan(dataset.boxes_xyxy[[0, 2, 3]]).all()
    assert dataset.problems == ()
    assert dataset.notes == ("1 images of test_img have no landmarks: their truth is not public",)


def test_z_towards_the_camera_is_turned_round(made_3dfaw):
    away = read_3dfaw(made_3dfaw).points_px
    for path in made_3dfaw.glob("*_lm/*.csv"):
        np.savetxt(path, np.loadtxt(path, delimiter=",") * (1, 1, -1), delimiter=",")
    np.testing.assert_allclose(read_3dfaw(made_3dfaw).points_px, away, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "train_lm/f1_lm.csv is missing"),
        ("1,2,3\n", r"f1_lm.csv should hold 66 lines of 3 numbers, got shape \(1, 3\)"),
        ("1,2,3\n" * 65 + "1,2,nan\n", "f1_lm.csv has NaN"),
        ("1,2,3\n" * 65 + "1,2,\n", "f1_lm.csv is damaged"),
        ("\xff\xfe", "f1_lm.csv is damaged"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_named(made_3dfaw, content, message):
    path = made_3dfaw / "train_lm" / "f1_lm.csv"
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="latin-1")
    dataset = read_3dfaw(made_3dfaw)
    assert len(dataset) == 3
    with pytest.raises(ValueError, match=f"1 of 4 faces cannot be used: .*{message}"):
        read_3dfaw(made_3dfaw, strict=True)


def test_folders_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_3dfaw(tmp_path / "missing")
    with pytest.raises(ValueError, match="is not 3DFAW: looked for the folders train_img, valid_img, test_img"):
        read_3dfaw(tmp_path)
    (tmp_path / "train_img").mkdir()
    with pytest.raises(ValueError, match="no labelled image"):
        read_3dfaw(tmp_path)
