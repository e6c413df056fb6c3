"""The reader is chosen by what lies in the folder."""

import pytest

from jvcr.data.readers import read_dataset
from jvcr.scheme import FACE66


def test_the_package_s_own_layout(landmark_folder):
    assert read_dataset(str(landmark_folder.root)).images.tolist() == list(landmark_folder.images)


def test_aflw2000(aflw2000):
    assert read_dataset(aflw2000.root).annotation == "original"


def test_aflw2000_with_another_scheme_is_refused(aflw2000):
    with pytest.raises(ValueError, match="68 landmarks; face66 has 66"):
        read_dataset(aflw2000.root, FACE66)


def test_a_folder_of_neither_layout_lists_both(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)no data set.*landmarks\.npz.*image00002\.jpg and image00002\.mat"):
        read_dataset(tmp_path)


def test_a_missing_folder_and_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_dataset(tmp_path / "missing")
    (tmp_path / "landmarks.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="is a file"):
        read_dataset(tmp_path / "landmarks.npz")
