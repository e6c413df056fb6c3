"""The z-buffer by hand, and the features' colours at the landmarks."""

from dataclasses import replace

import numpy as np
import pytest

from jvcr.synthetic.head import head_model
from jvcr.synthetic.look import BALD, LONG, Look, in_random_light, random_background, random_person
from jvcr.synthetic.modes import EXPRESSION_MODES, SHAPE_MODES, Expression
from jvcr.synthetic.rasterise import rasterise
from jvcr.synthetic.render import draw_head

WIDTH, HEIGHT = 6, 5


def triangles(*corners):
    return np.array(corners, dtype=np.intp)


# Right-angled, front side to the camera: counter-clockwise with y up is clockwise in rows and columns.
CORNER = np.array([[1.0, 0, 2], [1, 3, 2], [4, 0, 2]])


def test_a_triangle_covers_the_pixels_within_it_borders_included():
    surface = rasterise(CORNER, triangles([0, 1, 2]), WIDTH, HEIGHT)
    expected = np.full((HEIGHT, WIDTH), -1)
    for row, columns in enumerate([(1, 2, 3, 4), (1, 2, 3), (1, 2), (1,)]):
        expected[row, list(columns)] = 0
    np.testing.assert_array_equal(surface.triangle, expected)
    assert (surface.depth[expected == 0] == 2).all()
    assert (surface.depth[expected < 0] == -np.inf).all()


def test_barycentric_weights_and_depth_are_interpolated():
    points = CORNER + np.array([[0, 0, 0], [0, 0, 3], [0, 0, 6]])
    surface = rasterise(points, triangles([0, 1, 2]), WIDTH, HEIGHT)
    np.testing.assert_allclose(surface.weights[1, 2], [1 / 3, 1 / 3, 1 / 3], atol=1e-6)
    np.testing.assert_allclose(surface.weights[0, 2], [2 / 3, 0, 1 / 3], atol=1e-6)
    assert surface.depth[1, 2] == pytest.approx(2 + 1 + 2)
    assert surface.depth[0, 4] == pytest.approx(8)


def test_backs_are_not_seen_unless_asked_for():
    assert (rasterise(CORNER, triangles([0, 2, 1]), WIDTH, HEIGHT).triangle == -1).all()
    both = rasterise(CORNER, triangles([0, 2, 1]), WIDTH, HEIGHT, np.array([True]))
    assert (both.triangle >= 0).sum() == 10


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_one_is_seen_whatever_the_order(order):
    points = np.concatenate([CORNER, CORNER + np.array([0, 1, 5])])
    both = triangles([0, 1, 2], [3, 4, 5])[order]
    surface = rasterise(points, both, WIDTH, HEIGHT)
    near, far = order.index(1), order.index(0)
    assert (surface.triangle[0, 1:5] == far).all()
    assert (surface.triangle[1, 1:5] == near).all()
    assert surface.depth[1, 2] == 7


def test_two_that_cross_are_cut_where_they_cross():
    points = np.array([[0, 0, 0], [0, 4, 0], [5, 0, 10], [0, 0, 3], [0, 4, 3], [5, 0, 3.0]])
    surface = rasterise(points, triangles([0, 1, 2], [3, 4, 5]), WIDTH, HEIGHT)
    np.testing.assert_array_equal(surface.triangle[0], [1, 1, 0, 0, 0, 0])  # z = 2 x against 3


def test_what_lies_outside_the_image_is_cut_off():
    points = np.array([[-20.0, -20, 1], [-20, 40, 1], [40, -20, 1]])
    surface = rasterise(points, triangles([0, 1, 2]), WIDTH, HEIGHT)
    assert (surface.triangle == 0).all()
    np.testing.assert_allclose(surface.weights.sum(2), 1, atol=1e-5)
    beside = rasterise(points - [100, 0, 0], triangles([0, 1, 2]), WIDTH, HEIGHT)
    assert (beside.triangle == -1).all()
    assert (rasterise(points, np.zeros((0, 3), np.intp), WIDTH, HEIGHT).triangle == -1).all()


def test_a_triangle_without_area_is_not_seen():
    assert (rasterise(CORNER, triangles([0, 1, 1]), WIDTH, HEIGHT, np.array([True])).triangle == -1).all()


SIZE = 200
PLAIN = Look(ambient=1.0, sun=0.0, blush=0.0, phase=np.zeros(8))
"""No light from a direction: colours are what they are."""


def frontal(look, *modes, width=SIZE, height=SIZE, rotation=None, background=None):
    """A picture of the average head from the front, its depth and its landmarks (68, 2) in pixels."""
    model = head_model()
    expression = np.zeros(EXPRESSION_MODES)
    expression[list(modes)] = 1
    shape = np.zeros(SHAPE_MODES)
    rotation = np.eye(3) if rotation is None else rotation
    scale = 0.6 * SIZE / 150_000
    shift = np.array([(width + 1) / 2, (height + 1) / 2, 0.0])
    if background is None:
        background = np.full((height, width, 3), [0, 1, 0], np.float32)
    picture, depth = draw_head(model, model.vertices_um(shape, expression), rotation, scale, shift, look, background)
    points = scale * model.landmarks_um(shape, expression) @ rotation.T + shift
    return picture, depth, np.column_stack([points[:, 0] - 1, height - points[:, 1]])


def colour_at(picture, point):
    column, row = np.rint(point).astype(int)
    return picture[row, column]


def near(a, b, limit=0.12):
    return np.abs(np.asarray(a) - np.asarray(b)).max() < limit


def test_features_are_painted_where_their_landmarks_are():
    picture, depth, points = frontal(PLAIN)
    assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.float32
    assert depth.shape == (SIZE, SIZE)
    middle = points[[37, 38, 40, 41]].mean(0), points[[43, 44, 46, 47]].mean(0)
    for eye, (outer, inner) in zip(middle, ((36, 39), (45, 42)), strict=True):
        assert colour_at(picture, eye).mean() < 0.35  # the pupil, or the iris around it
        for corner in (outer, inner):
            assert colour_at(picture, 0.42 * eye + 0.58 * points[corner]).mean() > 0.6  # the white
    for between in ([51, 62], [57, 66]):
        assert near(colour_at(picture, points[between].mean(0)), PLAIN.lips)
    for brow in (18, 19, 20, 23, 24, 25):
        assert colour_at(picture, points[brow] + [0, 1]).mean() < 0.45
    for skin in (29, [30, 31], [2, 48], [14, 54], [8, 57]):
        place = points[skin] if isinstance(skin, int) else points[skin].mean(0)
        assert near(colour_at(picture, place), PLAIN.skin)
    np.testing.assert_array_equal(picture[0, 0], [0, 1, 0])
    assert depth[0, 0] == -np.inf


def test_a_closed_eye_shows_no_eye_and_an_open_mouth_shows_teeth_and_dark():
    closed, _, points = frontal(PLAIN, Expression.CLOSE_EYES)
    open_, _, _ = frontal(PLAIN)
    rows, columns = slice(*np.rint(points[[19, 28], 1]).astype(int)), slice(*np.rint(points[[36, 39], 0]).astype(int))

    def white(picture):
        return (picture[rows, columns].min(2) > 0.8).sum()

    assert white(open_) > 5 and white(closed) == 0
    mouth, _, points = frontal(PLAIN, Expression.OPEN_MOUTH)
    top, bottom = points[62], points[66]
    column = [colour_at(mouth, top + t * (bottom - top)) for t in np.linspace(0.08, 0.9, 12)]
    assert max(c.min() for c in column) > 0.6  # teeth
    assert min(c.max() for c in column) < 0.25  # dark behind them


def test_edges_mix_the_head_with_what_is_behind():
    background = np.zeros((SIZE, SIZE, 3), np.float32)
    picture, _, _ = frontal(replace(PLAIN, skin=(1.0, 1.0, 1.0), hair_style=BALD), background=background)
    bright = picture.mean(2)[SIZE // 2]
    outline = np.flatnonzero(bright > 0.02)[[0, -1]]
    assert ((bright > 0.1) & (bright < 0.9)).any()
    assert outline[0] > 10 and outline[1] < SIZE - 10


def test_width_and_height_are_not_mixed_up():
    picture, depth, points = frontal(PLAIN, width=150, height=220)
    assert picture.shape == (220, 150, 3) and depth.shape == (220, 150)
    assert near(colour_at(picture, points[[57, 66]].mean(0)), PLAIN.lips)


@pytest.mark.parametrize(("light", "brighter"), [((-1.0, 0.0, 0.0), "left"), ((1.0, 0.0, 0.0), "right")])
def test_light_comes_from_its_direction(light, brighter):
    picture, _, points = frontal(replace(PLAIN, ambient=0.3, sun=0.7, light=light))
    left, right = (colour_at(picture, points[pair].mean(0)).mean() for pair in ([2, 48], [14, 54]))
    assert (left > right + 0.1) == (brighter == "left")
    assert (right > left + 0.1) == (brighter == "right")


def test_hair_styles():
    heads = {style: frontal(replace(PLAIN, hair_style=style))[0] for style in (BALD, Look().hair_style, LONG)}
    dark = [int((head.max(2) < 0.3).sum()) for head in heads.values()]
    assert dark[0] < dark[1] < dark[2]


def test_looks_are_valid_and_repeatable():
    for seed in range(40):
        look = in_random_light(random_person(np.random.default_rng(seed)), np.random.default_rng(seed))
        for colour in (look.skin, look.lips, look.hair, look.iris, look.shirt):
            assert all(0 <= c <= 1 for c in colour)
        assert np.linalg.norm(look.light) == pytest.approx(1)
        assert look.ambient > 0 and look.sun > 0
        assert look.hair_style in (BALD, 1, LONG)
        again = random_person(np.random.default_rng(seed))
        assert (again.skin, again.hair, again.beard) == (look.skin, look.hair, look.beard)


@pytest.mark.parametrize("seed", range(4))
def test_backgrounds(seed):
    picture = random_background(48, np.random.default_rng(seed))
    assert picture.shape == (48, 48, 3) and picture.dtype == np.float32
    assert picture.min() >= 0 and picture.max() <= 1
    assert picture.std() > 0.01
    np.testing.assert_array_equal(picture, random_background(48, np.random.default_rng(seed)))
