"""The one form that every reader returns."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from jvcr.data.dataset import LandmarkDataset
from jvcr.data.readers.folder import read_folder
from jvcr.scheme import FACE66, FACE68, load_scheme


@pytest.fixture
def dataset(landmark_folder) -> LandmarkDataset:
    return read_folder(landmark_folder.root)


def test_select_and_split_take_every_column_along(dataset):
    for part in (dataset.split("val"), dataset.select(np.array([False, True, True])), dataset.select(np.array([1, 2]))):
        assert part.images.tolist() == ["b/two.jpg", "a/three.jpg"]
        assert part.sources.tolist() == ["b", "a"]
        assert part.splits.tolist() == ["val", "val"]
        assert part.yaw_deg.tolist() == [45.0, -88.0]
        np.testing.assert_array_equal(part.points_px, dataset.points_px[1:])


def test_an_unknown_split_lists_the_known_ones(dataset, aflw2000):
    with pytest.raises(ValueError, match="no split 'test'; it has train, val"):
        dataset.split("test")


def test_columns_of_other_lengths_are_refused(dataset):
    with pytest.raises(ValueError, match=r"need points of shape \(2, 68, 3\), got \(3, 68, 3\)"):
        LandmarkDataset(dataset.root, dataset.images[:2], dataset.points_px, dataset.sources, None, dataset.yaw_deg)


def test_images_are_rgb_as_stored(dataset):
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :15] = [250, 10, 10]
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to look at it; the labels belong to the pixels before
    Image.fromarray(pixels).save(dataset.root / "a" / "one.jpg", exif=exif, quality=95)
    image = dataset.read_image(0)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert image[10, 5, 0] > 200 > image[10, 5, 2]
    assert image[10, 25].max() < 50


def test_grey_images_become_rgb(dataset):
    cv2.imwrite(str(dataset.root / "a" / "one.jpg"), np.full((20, 30), 77, np.uint8))
    np.testing.assert_array_equal(dataset.read_image(0), np.full((20, 30, 3), 77))


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_damaged_image_is_named(dataset, content):
    (dataset.root / "b" / "two.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"two\.jpg is not an image, or damaged"):
        dataset.read_image(1)


def test_a_missing_image_is_named(dataset):
    (dataset.root / "b" / "two.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"two\.jpg"):
        dataset.read_image(1)


def test_landmarks_that_a_scheme_derives_come_and_go(dataset):
    face71 = load_scheme("face71")
    extended = dataset.extended(face71)
    assert (extended.scheme, extended.points_px.shape) == (face71, (3, 71, 3))
    # Depth keeps its mean at 0, over all landmarks; nothing else moves.
    np.testing.assert_allclose(extended.points_px[..., 2].mean(1), 0, atol=1e-5)
    shift = extended.points_px[:, :68] - dataset.points_px
    np.testing.assert_array_equal(shift[..., :2], 0)
    np.testing.assert_allclose(shift[..., 2], shift[:, :1, 2].repeat(68, axis=1), atol=1e-5)
    np.testing.assert_allclose(extended.points_px[1, 69] - shift[1, 0], dataset.points_px[1, 42:48].mean(0), rtol=1e-5)
    assert extended.images is dataset.images
    again = extended.without_derived()
    assert again.scheme == FACE68
    np.testing.assert_allclose(again.points_px, dataset.points_px, atol=1e-5)
    assert dataset.without_derived().points_px.shape == (3, 68, 3)
    with pytest.raises(ValueError, match=r"68 landmarks of face68, and face66 does not derive its 66"):
        dataset.extended(FACE66)


@pytest.fixture
def labelled(dataset):
    """With labels by hand for the first face, of which landmark 3 is hidden."""
    hand = np.full((3, 68, 2), np.nan, np.float32)
    hand[0] = dataset.points_px[0, :, :2] + 1
    occlusion = np.zeros((3, 68), np.int8)
    occlusion[0, 3] = 1
    occlusion[0, 4] = -1
    return replace(dataset, hand_px=hand, occlusion=occlusion)


def test_labels_by_hand_of_what_can_be_seen(dataset, labelled):
    seen = labelled.seen_by_hand()
    np.testing.assert_array_equal(np.isnan(seen[0]).all(axis=1), np.arange(68) == 3)  # unknown is not hidden
    assert np.isnan(seen[1:]).all() and dataset.seen_by_hand() is None
    np.testing.assert_array_equal(replace(labelled, occlusion=None).seen_by_hand(), labelled.hand_px)


def test_labels_by_hand_follow_the_faces_and_the_scheme(labelled):
    assert np.isfinite(labelled.select(np.array([2, 0])).hand_px[1]).all()
    extended = labelled.extended(load_scheme("face71"))
    assert (extended.hand_px.shape, extended.occlusion.shape) == ((3, 71, 2), (3, 71))
    np.testing.assert_allclose(extended.hand_px[0, 69], labelled.hand_px[0, 42:48].mean(0), rtol=1e-5)
    assert (extended.occlusion[:, 68:] == -1).all() and np.isnan(extended.hand_px[1]).all()
    again = extended.without_derived()
    np.testing.assert_array_equal(again.hand_px, labelled.hand_px)
    np.testing.assert_array_equal(again.occlusion, labelled.occlusion)
    with pytest.raises(ValueError, match=r"hand_px must have one entry an image, \(3, 68, 2\)"):
        replace(labelled, hand_px=labelled.hand_px[:, :66])
