"""The package's own layout."""

import struct
import zlib

import numpy as np
import pytest

from jvcr.data.folder import read_folder
from jvcr.scheme import LandmarkScheme

FACE = {"image": np.array(["a.jpg", "b.jpg"]), "points": np.zeros((2, 68, 3), np.float64)}


def test_reads_every_column(landmark_folder):
    dataset = read_folder(landmark_folder.root)
    assert dataset.images.tolist() == list(landmark_folder.images)
    assert dataset.points_px.dtype == np.float32
    np.testing.assert_array_equal(dataset.points_px, landmark_folder.points_px)
    assert dataset.splits.tolist() == ["train", "val", "val"]
    assert dataset.sources.tolist() == ["a", "b", "a"]
    np.testing.assert_allclose(dataset.yaw_deg, landmark_folder.yaw_deg)
    assert dataset.scheme.name == "face68"


def test_optional_columns_may_be_missing(tmp_path):
    np.savez(tmp_path / "landmarks.npz", **FACE)
    dataset = read_folder(tmp_path)
    assert dataset.splits is None
    assert dataset.sources.tolist() == ["", ""]
    assert np.isnan(dataset.yaw_deg).all()


def test_backslashes_of_a_manifest_made_on_windows_are_understood(tmp_path):
    np.savez(tmp_path / "landmarks.npz", image=np.array(["a\\x.jpg", "b/y.jpg"]), points=FACE["points"])
    assert read_folder(tmp_path).images.tolist() == ["a/x.jpg", "b/y.jpg"]


def test_any_number_of_landmarks_given_its_scheme(tmp_path):
    np.savez(tmp_path / "landmarks.npz", image=FACE["image"], points=np.ones((2, 5, 3)))
    assert read_folder(tmp_path, LandmarkScheme("star", 5)).points_px.shape == (2, 5, 3)
    with pytest.raises(ValueError, match=r"2 images of 68 landmarks \(face68\).*\(2, 5, 3\)"):
        read_folder(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_folder(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=r"has no landmarks\.npz"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": None}, "no array 'points'"),
        ({"image": None}, "no array 'image'"),
        ({"points": np.zeros((3, 68, 3))}, "2 images of 68 landmarks"),
        ({"points": np.full((2, 68, 3), np.nan)}, "2 of 2 faces have NaN"),
        ({"yaw_deg": np.zeros(3)}, "yaw_deg must have one entry an image"),
        ({"source": np.array(["a"])}, "sources must have one entry"),
        ({"split": np.array([["a", "b"]])}, "splits must have one entry"),
        ({"image": np.array([{"not": "text"}, None], dtype=object)}, "damaged"),  # nothing is ever unpickled
    ],
)
def test_a_manifest_that_does_not_fit_together(tmp_path, change, message):
    columns = {key: value for key, value in {**FACE, **change}.items() if value is not None}
    np.savez(tmp_path / "landmarks.npz", **columns)
    with pytest.raises(ValueError, match=message):
        read_folder(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_a_manifest_cut_short_is_named(landmark_folder, keep):
    path = landmark_folder.root / "landmarks.npz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"landmarks\.npz is damaged or not an npz file"):
        read_folder(landmark_folder.root)


def test_a_manifest_that_is_another_kind_of_file_is_named(tmp_path):
    np.save(tmp_path / "landmarks.npy", np.zeros(3))
    (tmp_path / "landmarks.npy").rename(tmp_path / "landmarks.npz")
    with pytest.raises(ValueError, match=r"landmarks\.npz is damaged or not an npz file"):
        read_folder(tmp_path)


def test_a_compressed_manifest_with_a_flipped_byte_is_named(tmp_path):
    path = tmp_path / "landmarks.npz"
    points = np.random.default_rng(0).normal(size=(2, 68, 3))
    np.savez_compressed(path, image=FACE["image"], points=points)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"landmarks\.npz is damaged"):
        read_folder(tmp_path)


def test_landmarks_that_are_no_numbers_are_named(tmp_path):
    np.savez(tmp_path / "landmarks.npz", image=FACE["image"], points=np.full((2, 68, 3), "x"))
    with pytest.raises(ValueError, match=r"landmarks\.npz.*points"):
        read_folder(tmp_path)


def test_image_that_is_no_list_is_named(tmp_path):
    np.savez(tmp_path / "landmarks.npz", image=np.array("a.jpg"), points=FACE["points"])
    with pytest.raises(ValueError, match="image"):
        read_folder(tmp_path)


def test_the_real_set(real_data):
    if not (real_data / "faces3d").is_dir():
        pytest.skip(f"faces3d not found in {real_data}")
    dataset = read_folder(real_data / "faces3d")
    assert len(dataset) == 21_355
    assert (len(dataset.split("train")), len(dataset.split("val"))) == (19_901, 1_454)
    assert set(dataset.sources.tolist()) == {"aflw", "300w"}
    np.testing.assert_allclose(dataset.points_px[..., 2].mean(1), 0, atol=1e-3)
    # z grows away from the camera: the nose's tip lies in front of both ends of the jaw.
    nose, jaw = dataset.points_px[:, 30, 2], dataset.points_px[:, [0, 16], 2]
    assert (nose < jaw.max(1)).all()


def test_a_set_of_no_faces(tmp_path):
    np.savez(tmp_path / "landmarks.npz", image=np.array([], "U4"), points=np.zeros((0, 68, 3), np.float32))
    with pytest.raises(ValueError, match="names no image"):
        read_folder(tmp_path)


def test_an_image_with_more_pixels_than_can_be_decoded(landmark_folder):
    """A PNG whose header says 40,000 x 40,000."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    dataset = read_folder(landmark_folder.root)
    (landmark_folder.root / landmark_folder.images[0]).write_bytes(png + b"\0" * 64)
    with pytest.raises(ValueError, match=r"one\.jpg"):
        dataset.read_image(0)
