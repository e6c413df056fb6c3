"""The reader is chosen by what lies in the folder."""

import numpy as np
import pytest

from jvcr.data.readers import read_dataset
from jvcr.scheme import FACE66, load_scheme


def test_the_package_s_own_layout(landmark_folder):
    assert read_dataset(str(landmark_folder.root)).images.tolist() == list(landmark_folder.images)


def test_aflw2000(aflw2000):
    assert read_dataset(aflw2000.root).annotation == "original"


def test_aflw2000_with_another_scheme_is_refused(aflw2000):
    with pytest.raises(ValueError, match=r"68 landmarks \(face68\); wanted are the 66 of face66"):
        read_dataset(aflw2000.root, FACE66)


def test_landmarks_derived_from_those_of_the_set(aflw2000):
    dataset = read_dataset(aflw2000.root, load_scheme("face71"))
    assert dataset.points_px.shape == (3, 71, 3)
    right_eye = aflw2000.points_px[:, 36:42].mean(1)
    np.testing.assert_allclose(dataset.points_px[:, 68, :2], right_eye[:, :2], atol=1e-3)
    # Depth has its mean at 0 over all 71 now.
    np.testing.assert_allclose(dataset.points_px[..., 2].mean(1), 0, atol=1e-4)
    depth = dataset.points_px[:, 68, 2] - dataset.points_px[:, 30, 2]
    np.testing.assert_allclose(depth, right_eye[:, 2] - aflw2000.points_px[:, 30, 2], atol=1e-3)
    assert read_dataset(aflw2000.root).has_depth


def test_300wlp_finds_its_face_model_beside_it(made_300wlp, made_model):
    with pytest.raises(FileNotFoundError, match=r"basis\.npz.*jvcr data basis AFLW2000-3D"):
        read_dataset(made_300wlp.root)
    made_model.save(made_300wlp.root.parent / "basis.npz")
    assert len(read_dataset(made_300wlp.root)) == 3
    made_model.save(made_300wlp.root / "basis.npz")
    options = {"flips": True, "leave_out": ["IBUG"], "hold_out": ["AFW"]}
    assert read_dataset(made_300wlp.root, **options).sources.tolist() == ["AFW", "AFW", "AFW_Flip"]
    (made_300wlp.root / "basis.npz").rename(made_300wlp.root.parent / "other.npz")
    assert len(read_dataset(made_300wlp.root, basis=made_300wlp.root.parent / "other.npz")) == 3
    # One part's files lie as those of AFLW2000-3D do; what is in them tells.
    assert read_dataset(made_300wlp.root / "AFW", basis=made_300wlp.root.parent / "other.npz").sources.tolist() == [
        "AFW",
        "AFW",
    ]


def test_3dfaw(made_3dfaw):
    assert read_dataset(made_3dfaw, FACE66).images[0] == "train_img/f0.jpg"
    with pytest.raises(ValueError, match=r"66 landmarks \(face66\); wanted are the 68 of face68"):
        read_dataset(made_3dfaw)


def test_options_of_another_layout_are_refused(landmark_folder, aflw2000):
    with pytest.raises(ValueError, match="hold_out: for 300W-LP only"):
        read_dataset(landmark_folder.root, hold_out=["AFW"])
    with pytest.raises(ValueError, match="has one annotation"):
        read_dataset(landmark_folder.root, annotation="original")
    assert read_dataset(aflw2000.root, annotation="original").annotation == "original"


def test_a_folder_of_no_layout_lists_all(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)no data set.*landmarks\.npz.*image00002\.mat.*AFW.*train_img"):
        read_dataset(tmp_path)


def test_a_missing_folder_and_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_dataset(tmp_path / "missing")
    (tmp_path / "landmarks.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="is a file"):
        read_dataset(tmp_path / "landmarks.npz")
