"""300W-LP: 3D points from parameters, parts, mirrored folders, and files that cannot be used."""

import numpy as np
import pytest

from jvcr.data.readers.basel import LandmarkModel
from jvcr.data.readers.w300lp import read_300wlp


@pytest.fixture
def model(made_model):
    return LandmarkModel(made_model.mean, made_model.shape_basis, made_model.expression_basis)


def test_points_poses_and_order(made_300wlp, model):
    dataset = read_300wlp(made_300wlp.root, model, flips=True)
    assert dataset.images.tolist() == list(made_300wlp.images)
    np.testing.assert_allclose(dataset.points_px, made_300wlp.points_px, atol=2e-3)
    np.testing.assert_allclose(dataset.points_px[..., 2].mean(1), 0, atol=1e-3)
    np.testing.assert_allclose(dataset.pose_deg, made_300wlp.pose_deg, atol=1e-3)
    np.testing.assert_allclose(dataset.yaw_deg, made_300wlp.pose_deg[:, 1], atol=1e-3)
    assert dataset.sources.tolist() == ["AFW", "AFW", "AFW_Flip", "IBUG", "IBUG_Flip"]
    assert dataset.problems == ()


@pytest.mark.parametrize(
    ("options", "sources"),
    [
        ({}, ["AFW", "AFW", "IBUG"]),
        ({"leave_out": ["IBUG"], "flips": True}, ["AFW", "AFW", "AFW_Flip"]),
        ({"leave_out": ["IBUG_Flip"], "flips": True}, ["AFW", "AFW", "AFW_Flip", "IBUG"]),
    ],
)
def test_parts(made_300wlp, model, options, sources):
    assert read_300wlp(made_300wlp.root, model, **options).sources.tolist() == sources


def test_held_out_parts_are_for_validation_mirrored_or_not(made_300wlp, model):
    dataset = read_300wlp(made_300wlp.root, model, flips=True, hold_out=["IBUG"])
    assert dataset.splits.tolist() == ["train", "train", "train", "val", "val"]
    assert dataset.split("val").sources.tolist() == ["IBUG", "IBUG_Flip"]


def test_one_part_alone(made_300wlp, model):
    dataset = read_300wlp(made_300wlp.root / "AFW_Flip", model)
    assert dataset.images.tolist() == ["AFW_1_0.jpg"]
    assert dataset.sources.tolist() == ["AFW_Flip"]


def test_what_cannot_be_used_is_left_out_and_named(made_300wlp, model):
    (made_300wlp.root / "AFW" / "AFW_1_0.jpg").unlink()
    (made_300wlp.root / "IBUG" / "IBUG_9_2.jpg").write_bytes(b"no image")
    dataset = read_300wlp(made_300wlp.root, model)
    assert dataset.images.tolist() == ["AFW/AFW_1_1.jpg"]
    assert len(dataset.problems) == 2
    assert dataset.problems[0] == "AFW/AFW_1_0.jpg is missing, AFW_1_0.mat is there"
    assert "IBUG/IBUG_9_2.jpg is no image" in dataset.problems[1]
    with pytest.raises(ValueError, match=r"2 of 3 faces cannot be used: AFW/AFW_1_0\.jpg is missing"):
        read_300wlp(made_300wlp.root, model, strict=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leave_out": ["AWF"]}, "leave_out names AWF; there are AFW, AFW_Flip, IBUG, IBUG_Flip"),
        ({"hold_out": ["HELEN"]}, "hold_out names HELEN"),
        ({"leave_out": ["AFW", "IBUG"]}, "leaves no part"),
    ],
)
def test_wrong_parts(made_300wlp, model, options, message):
    with pytest.raises(ValueError, match=message):
        read_300wlp(made_300wlp.root, model, **options)


def test_folders_of_something_else(tmp_path, model):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_300wlp(tmp_path / "missing", model)
    with pytest.raises(ValueError, match="is not 300W-LP: looked for the folders AFW, HELEN, IBUG, LFPW"):
        read_300wlp(tmp_path, model)
    (tmp_path / "AFW").mkdir()
    with pytest.raises(ValueError, match="AFW hold no pairs"):
        read_300wlp(tmp_path, model)


def test_the_real_files(real_data):
    """The points from the parameters lie near the 2D points in the files, the nose in front of the jaw."""
    root = real_data / "300wlp_sample"
    if not root.is_dir():
        pytest.skip(f"300wlp_sample not found in {real_data}")
    from scipy.io import loadmat

    dataset = read_300wlp(root, LandmarkModel.load(real_data / "bfm68.npz"))
    assert len(dataset) == 2
    for image, points in zip(dataset.images, dataset.points_px, strict=True):
        labelled = loadmat(root / str(image).replace(".jpg", ".mat"))["pt2d"].T - 1
        assert np.linalg.norm(points[17:, :2] - labelled[17:], axis=1).mean() < 4  # of faces of 160 pixels
        assert points[30, 2] < points[[0, 16], 2].min()


def test_the_real_parameters_make_the_real_points(real_data):
    """AFLW2000-3D's files hold both: the model and the pose give pt3d_68 back to a ten-thousandth of a pixel."""
    root = real_data / "aflw2000_sample"
    if not root.is_dir():
        pytest.skip(f"aflw2000_sample not found in {real_data}")
    from jvcr.data.readers.aflw2000 import read_aflw2000

    from_parameters = read_300wlp(root, LandmarkModel.load(real_data / "bfm68.npz"))
    as_published = read_aflw2000(root)
    assert from_parameters.images.tolist() == as_published.images.tolist()
    np.testing.assert_allclose(from_parameters.points_px, as_published.points_px, atol=2e-4)
