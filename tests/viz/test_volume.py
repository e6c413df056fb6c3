"""The volume by its formula, and where things come to lie in the pictures."""

import numpy as np
import pytest
import torch

from jvcr.geometry.crop import Crop
from jvcr.inference.face import Face
from jvcr.model import heatmap as reference
from jvcr.scheme import FACE68
from jvcr.viz.volume import (
    Example,
    draw_compact_volume,
    draw_photo,
    draw_shape,
    examples_figure,
    render_volume,
    volume_figure,
)

CROP = Crop((60.0, 50.0, 10.0), 80.0)


@pytest.fixture
def example():
    points_unit = np.array(FACE68.template) / 1.5
    points = CROP.to_image(points_unit)
    points[:, 2] -= points[:, 2].mean()
    face = Face(points.astype(np.float32), np.float32([20, 10, 100, 90]), np.ones(68, np.float32))
    image = np.full((100, 120, 3), 128, np.uint8)
    return Example(image, face, draw_compact_volume(points_unit, (6, 8, 10)), CROP, FACE68)


def test_the_compact_volume_is_that_which_networks_are_trained_on():
    points = np.random.default_rng(0).uniform(-1.1, 1.1, (5, 3))
    ours = draw_compact_volume(points, (6, 8, 10), sigma=1.5)
    theirs = reference.gaussian_volume(torch.from_numpy(points)[None], (6, 8, 10), sigma=1.5)[0].numpy()
    assert (ours.shape, ours.dtype) == ((6, 8, 10), np.float32)
    np.testing.assert_allclose(ours, theirs, atol=4e-4)  # which leaves out what is below 0.00034


def test_a_landmark_in_a_cell_s_centre_is_its_peak():
    # Cell (z, y, x) = (1, 0, 3) of 2 x 4 x 8; its neighbour in x is one voxel away.
    point = [(3 + 0.5) / 8 * 2 - 1, 0.5 / 4 * 2 - 1, (1 + 0.5) / 2 * 2 - 1]
    volume = draw_compact_volume(np.array([point]), (2, 4, 8))
    assert volume[1, 0, 3] == pytest.approx(1)
    assert volume[1, 0, 4] == pytest.approx(np.exp(-0.5))
    assert volume[0, 1, 3] == pytest.approx(np.exp(-1))


def ink(picture):
    """Centre (x, y) of what is coloured: the cube's edges are grey."""
    return np.argwhere(np.ptp(picture.astype(int), axis=-1) > 60).mean(0)[::-1]


def one_voxel(z, y, x, shape=(8, 8, 8)):
    volume = np.zeros(shape, np.float32)
    volume[z, y, x] = 1
    return volume


def test_a_voxel_and_a_landmark_in_it_are_drawn_at_one_place():
    for cell in ((1, 2, 6), (6, 5, 1), (4, 0, 3)):
        point = (np.array(cell[::-1]) + 0.5) / 8 * 2 - 1
        dots = draw_shape(point[None].repeat(68, 0), FACE68, 200)
        np.testing.assert_allclose(ink(render_volume(one_voxel(*cell), 200)), ink(dots), atol=1.5)


def test_the_cube_is_seen_from_above_and_turned():
    x, y = ink(render_volume(one_voxel(0, 0, 4), 200))
    assert ink(render_volume(one_voxel(0, 7, 4), 200))[1] > y + 50  # y is down
    assert ink(render_volume(one_voxel(0, 0, 7), 200))[0] > x + 20  # x is right
    behind = ink(render_volume(one_voxel(7, 0, 4), 200))  # what is behind stands to the right, and higher
    assert behind[0] > x + 10
    assert behind[1] < y - 10


def test_near_is_warm_and_hides_what_is_far():
    near, far = (render_volume(one_voxel(z, 4, 4), 200).reshape(-1, 3).astype(int) for z in (0, 7))
    colored = [p[np.ptp(p, axis=1) > 60].mean(0) for p in (near, far)]
    assert colored[0][0] > colored[0][2]
    assert colored[1][2] > colored[1][0]


def test_an_empty_volume_is_a_cube_alone():
    for empty in (np.zeros((4, 5, 6), np.float32), np.full((4, 5, 6), -1, np.float32)):
        picture = render_volume(empty, 80)
        assert (picture < 250).any()
        assert np.ptp(picture, axis=-1).max() < 30


def test_landmarks_of_the_photo_lie_where_they_are(example):
    picture = draw_photo(example, 160)
    # The crop of 80 pixels is drawn twice as large: image pixel (x, y) is at 2 * (x + 0.5 - 20) - 0.5.
    x, y = example.face.points[:, :2].T
    places = np.rint([2 * (y + 0.5 - 10) - 0.5, 2 * (x + 0.5 - 20) - 0.5]).astype(int)
    assert (np.abs(picture[places[0], places[1]].astype(int) - 128) > 20).any(axis=1).all()


@pytest.mark.parametrize(("count", "columns", "shape"), [(1, 6, (1, 1)), (3, 2, (2, 2)), (2, 2, (1, 2))])
def test_a_column_for_each_face(example, count, columns, shape):
    picture = examples_figure([example] * count, columns, size=96)
    down, across = shape
    assert picture.shape == (down * (3 * 96 + 2 * 4) + (down - 1) * 12, across * 96 + (across - 1) * 4, 3)


def test_four_pictures_of_one_face(example):
    picture = volume_figure(example, size=96)
    assert picture.shape == (96 + 9, 4 * 96 + 3 * 4, 3)


def test_no_face_and_no_column_are_refused(example):
    for faces, columns in (([], 6), ([example], 0)):
        with pytest.raises(ValueError, match="at least one face and one column"):
            examples_figure(faces, columns)
