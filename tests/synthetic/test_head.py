"""The head: a linear model, whole, symmetric, with landmarks where FACE68 has them."""

from collections import Counter

import numpy as np
import pytest

from jvcr.scheme import FACE68
from jvcr.synthetic.head import UNIT_UM, head_model
from jvcr.synthetic.mesh import INNER_LIPS, UPPER_LIDS, Part, curve, height_on
from jvcr.synthetic.modes import EXPRESSION_MODES, SHAPE_MODES, Expression

MIRROR = np.array([-1, 1, 1])


@pytest.fixture(scope="module")
def model():
    return head_model()


@pytest.fixture
def parameters(model):
    rng = np.random.default_rng(0)
    return rng.normal(size=SHAPE_MODES) * model.shape_std, rng.normal(size=EXPRESSION_MODES) * model.expression_std


def expressed(model, *modes):
    """Landmarks, in units of the template, of the average head with some full movements."""
    expression = np.zeros(EXPRESSION_MODES)
    expression[list(modes)] = 1
    return model.landmarks_um(np.zeros(SHAPE_MODES), expression) / UNIT_UM


def test_sizes_are_those_of_300w_lp(model):
    vertices = len(model.mean_um)
    assert model.shape_basis.shape == (199, vertices, 3)
    assert model.expression_basis.shape == (29, vertices, 3)
    assert model.at_landmarks.shape_basis.shape == (199, 68, 3)
    assert model.at_landmarks.expression_basis.shape == (29, 68, 3)
    assert (np.diff(model.shape_std) <= 0).all()
    assert (model.shape_std > 0).all() and (model.expression_std > 0).all()


def test_landmarks_are_linear_in_the_parameters(model, parameters):
    shape, expression = parameters
    expected = model.at_landmarks.mean.copy()
    for k in range(SHAPE_MODES):
        expected += shape[k] * model.at_landmarks.shape_basis[k]
    for k in range(EXPRESSION_MODES):
        expected += expression[k] * model.at_landmarks.expression_basis[k]
    np.testing.assert_allclose(model.landmarks_um(shape, expression), expected, atol=1e-6)


def test_landmarks_are_vertices(model, parameters):
    # Micrometres: float32 against float64.
    np.testing.assert_allclose(model.vertices_um(*parameters)[:68], model.landmarks_um(*parameters), atol=1.0)
    assert set(range(68)) <= set(model.triangles.ravel().tolist())


@pytest.mark.parametrize(("shape", "expression"), [(198, 29), (199, 28)])
def test_wrong_numbers_of_parameters(model, shape, expression):
    with pytest.raises(ValueError, match=r"mismatch|broadcast"):
        model.landmarks_um(np.zeros(shape), np.zeros(expression))
    with pytest.raises(ValueError, match=r"mismatch|broadcast"):
        model.vertices_um(np.zeros(shape), np.zeros(expression))


def test_the_average_face_is_that_of_the_scheme(model):
    """To 2 mm: the surface is smoother than the template."""
    template = np.array(FACE68.template) * [1, -1, -1] * UNIT_UM
    here = model.at_landmarks.mean - model.at_landmarks.mean.mean(0)
    assert np.abs(here - (template - template.mean(0))).max() < 2_000


def test_every_mode_keeps_or_turns_the_mirror(model, parameters):
    assert set(model.shape_sign) == set(model.expression_sign) == {-1.0, 1.0}
    shape, expression = parameters
    face = model.landmarks_um(shape, expression)
    mirrored = model.landmarks_um(shape * model.shape_sign, expression * model.expression_sign)
    np.testing.assert_allclose(mirrored, face[FACE68.mirror] * MIRROR, atol=1e-3)
    assert np.abs(face[FACE68.mirror] * MIRROR - face).max() > 1_000  # this face is not symmetric


def test_no_mode_leaves_all_landmarks_alone(model):
    """One standard deviation moves some landmark by more than 20 micrometres."""
    shapes = np.abs(model.at_landmarks.shape_basis * model.shape_std[:, None, None]).max((1, 2))
    expressions = np.abs(model.at_landmarks.expression_basis * model.expression_std[:, None, None]).max((1, 2))
    assert shapes.min() > 20 and expressions.min() > 20


def test_the_model_can_be_recovered_from_faces(model):
    """The least squares of 229 columns that finds a basis from landmarks in float32 and their parameters."""
    rng = np.random.default_rng(1)
    shapes = rng.normal(size=(260, SHAPE_MODES)) * model.shape_std
    expressions = rng.normal(size=(260, EXPRESSION_MODES)) * model.expression_std
    faces = model.at_landmarks.mean + np.tensordot(shapes, model.at_landmarks.shape_basis, 1)
    faces = (faces + np.tensordot(expressions, model.at_landmarks.expression_basis, 1)).astype(np.float32)
    columns = np.concatenate([np.ones((260, 1)), shapes / model.shape_std, expressions / model.expression_std], axis=1)
    assert np.linalg.matrix_rank(columns) == 229
    found = np.linalg.lstsq(columns, faces.reshape(260, -1).astype(np.float64), rcond=None)[0].reshape(229, 68, 3)
    np.testing.assert_allclose(found[0], model.at_landmarks.mean, atol=0.5)
    np.testing.assert_allclose(found[1:200], model.at_landmarks.shape_basis * model.shape_std[:, None, None], atol=0.5)


def test_the_skin_is_a_closed_surface(model):
    """Every edge is run through once in each direction, and Euler's number is that of a ball."""
    own = np.isin(model.parts, [Part.SKIN, Part.EYE, Part.MOUTH])
    triangles = model.triangles[own]
    edges = Counter(map(tuple, np.concatenate([triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]).tolist()))
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)
    assert len(np.unique(triangles)) - len(edges) // 2 + len(triangles) == 2
    # Outwards: the volume that it encloses, by the divergence theorem, is positive, and that of a head (litres).
    a, b, c = (model.mean_um[triangles[:, i]].astype(np.float64) / 1e5 for i in range(3))
    assert 3 < (np.cross(a, b) * c).sum() / 6 < 5.5


def test_eyes_and_mouth_are_where_their_landmarks_are(model):
    for part, outlines in ((Part.EYE, [range(36, 42), range(42, 48)]), (Part.MOUTH, [[61, 62, 63, 65, 66, 67]])):
        vertices = np.unique(model.triangles[model.parts == part])
        for outline in outlines:
            assert set(outline) <= set(vertices.tolist())
        around = model.at_landmarks.mean[[i for outline in outlines for i in outline]]
        inside = model.mean_um[vertices]
        # The lips' corners are too narrow for a triangle of their own.
        room = 800 if part == Part.EYE else np.array([17_000, 800])
        assert (inside.min(0)[:2] >= around.min(0)[:2] - room).all()
        assert (inside.max(0)[:2] <= around.max(0)[:2] + room).all()


def test_opening_the_mouth(model):
    rest, moved = expressed(model), expressed(model, Expression.OPEN_MOUTH)
    fall = rest[:, 1] - moved[:, 1]
    assert (fall[[57, 66, 8]] > 0.25).all()  # lower lip and chin
    np.testing.assert_allclose(fall[[51, 62, 33, 30, *range(17, 48)]], 0, atol=0.01)  # upper lip, nose, eyes, brows
    assert 0.05 < fall[48] < fall[57]  # the corners go some of the way
    assert fall[0] < 0.02  # the ears stay


def test_closing_the_eyes(model):
    rest = expressed(model)
    both = expressed(model, Expression.CLOSE_EYES)
    upper, lower = [37, 38, 43, 44], [41, 40, 47, 46]
    assert (rest[upper, 1] - rest[lower, 1] > 0.05).all()
    for lid, under in zip(upper, lower, strict=True):
        # Not straight over one another, so that the lower lid's height is taken where the upper one comes down.
        assert abs(both[lid, 1] - both[under, 1]) < 0.02
    np.testing.assert_allclose(both[lower], rest[lower], atol=1e-9)
    # A wink closes one eye more, the other less.
    wink = expressed(model, Expression.WINK)
    np.testing.assert_allclose(wink[[37, 38]], both[[37, 38]], atol=1e-9)
    np.testing.assert_allclose(wink[[43, 44]] + both[[43, 44]], 2 * rest[[43, 44]], atol=1e-9)


@pytest.mark.parametrize(
    ("mode", "landmark", "axis", "sign"),
    [
        (Expression.SMILE, 48, 0, -1),  # the right corner goes out, in the picture to the left,
        (Expression.SMILE, 54, 0, 1),
        (Expression.SMILE, 54, 1, 1),  # and up
        (Expression.RAISE_BROWS, 19, 1, 1),
        (Expression.RAISE_ONE_BROW, 19, 1, 1),
        (Expression.RAISE_ONE_BROW, 24, 1, -1),
        (Expression.FROWN, 21, 0, 1),
        (Expression.PUCKER, 48, 0, 1),
        (Expression.JAW_SIDEWAYS, 8, 0, 1),
        (Expression.JAW_FORWARD, 8, 2, 1),
        (Expression.MOUTH_CORNERS_DOWN, 48, 1, -1),
    ],
)
def test_directions_of_movements(model, mode, landmark, axis, sign):
    moved = expressed(model, mode) - expressed(model)
    assert sign * moved[landmark, axis] > 0.03


def test_curves_run_through_their_landmarks(model):
    line = curve(UPPER_LIDS[0], 4)
    assert line.shape == (13, 3)
    np.testing.assert_allclose(line[::4], model.at_landmarks.mean[[36, 37, 38, 39]] / UNIT_UM, atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        line[0] = 0
    # Upper lips lie above lower ones between their corners.
    x = np.linspace(-0.3, 0.3, 7)
    assert (height_on(curve(INNER_LIPS[0]), x) > height_on(curve(INNER_LIPS[1]), x)).all()
    np.testing.assert_allclose(height_on(np.array([[0.0, 1, 9], [2, 5, 9]]), np.array([-1, 0.5, 3])), [1, 2, 5])
