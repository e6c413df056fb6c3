"""Parts of the face, and apertures of made-up eyes and mouths."""

import numpy as np
import pytest

from jvcr.evaluation.regions import APERTURES, ApertureKind, aperture_figures, apertures, regions
from jvcr.geometry.aperture import contour_aperture
from jvcr.scheme import FACE66, FACE68, LandmarkScheme

RIGHT, LEFT, LIPS = (FACE68.groups[name] for name in ("right_eye", "left_eye", "inner_lips"))


def contour(width, height, count, at=(0, 0)):
    """Landmarks around an aperture: the corners ``width`` apart, facing ones ``height``."""
    half = count // 2
    x = np.linspace(0, width, half + 1)
    upper = [(0, 0), *((v, -height / 2) for v in x[1:-1]), (width, 0)]
    return np.array([*upper, *((v, height / 2) for v in x[1:-1][::-1])], float) + np.array(at)


def face(right=0.3, left=0.3, mouth=0.1, right_width=20.0, left_width=20.0):
    """(68, 3) landmarks with apertures of these ratios; the others lie in a box around them."""
    points = np.random.default_rng(0).uniform(0, 100, (68, 3))
    points[list(RIGHT), :2] = contour(right_width, right * right_width, 6, (20, 40))
    points[list(LEFT), :2] = contour(left_width, left * left_width, 6, (60, 40))
    points[list(LIPS), :2] = contour(30, mouth * 30, 8, (35, 80))
    return points


def test_regions_are_the_groups_of_one_kind():
    parts = regions(FACE68)
    assert list(parts) == ["jaw", "brow", "nose", "eye", "lips"]
    assert sorted(i for part in parts.values() for i in part) == list(range(68))
    assert parts["eye"] == tuple(range(36, 48))
    assert parts["lips"] == tuple(range(48, 68))
    own = LandmarkScheme("hand", 4, groups={"thumb": (0, 1), "left": (2,), "index_finger": (1, 3)})
    assert regions(own) == {"thumb": (0, 1), "left": (2,), "index": (1, 3)}
    assert regions(LandmarkScheme("things", 3)) == {}


@pytest.mark.parametrize("count", [4, 6, 8])
def test_the_aperture_of_a_contour_is_its_height_over_its_width(count):
    contours = np.stack([contour(20, 6, count), contour(10, 0, count), contour(10, 10, count)])
    np.testing.assert_allclose(contour_aperture(contours), [0.3, 0, 1])
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    np.testing.assert_allclose(contour_aperture(7 * contours @ turn + [3, 9]), [0.3, 0, 1])  # of a leaning, larger face


def test_an_aperture_takes_the_mean_of_the_pairs():
    eye = contour(10, 2, 6)
    eye[1, 1] -= 3  # one of two pairs is 5 apart, the other 2
    assert contour_aperture(eye[None]) == pytest.approx([0.35])
    eye[3] = eye[0]
    assert np.isnan(contour_aperture(eye[None])).all()
    for wrong in (np.zeros((1, 5, 2)), np.zeros((1, 2, 2)), np.zeros((6, 2))):
        with pytest.raises(ValueError, match="a contour must have the shape"):
            contour_aperture(wrong)


def test_predictions_are_measured_at_the_eye_that_is_wider_in_the_label():
    truth = np.stack([face(right=0.2, left=0.4, right_width=22), face(right=0.2, left=0.4, left_width=22)])
    predicted = np.stack([face(right=0.5, left=0.6, left_width=40)] * 2)
    contours = [RIGHT, LEFT]
    np.testing.assert_allclose(apertures(truth, contours), [0.2, 0.4])
    np.testing.assert_allclose(apertures(predicted, contours, truth), [0.5, 0.6])


def figures(kind, truth, predicted, yaw=0.0, errors=None):
    truth, predicted = np.stack(truth), np.stack(predicted)
    yaws = np.broadcast_to(yaw, len(truth))
    return aperture_figures(
        kind, FACE68, predicted, truth, yaws, np.ones((len(truth), 68)) if errors is None else errors
    )


def test_closed_eyes_that_are_seen_and_one_that_is_not():
    ratios = [0.05, 0.10, 0.12, 0.30, 0.40]
    seen = [0.08, 0.10, 0.28, 0.30, 0.10]
    errors = np.zeros((5, 68))
    errors[:, 36:48] = np.array([2, 4, 6, 1, 2])[:, None]
    truth, predicted = ([face(right=r, left=r) for r in values] for values in (ratios, seen))
    found = figures(APERTURES["closed_eyes"], truth, predicted, errors=errors)
    assert (found.faces, found.chosen) == (5, 3)
    assert found.sensitivity == pytest.approx(2 / 3)
    assert found.specificity == pytest.approx(1 / 2)
    assert (found.truth, found.predicted) == pytest.approx((0.09, 0.46 / 3))
    assert (found.error, found.others_error) == pytest.approx((4.0, 1.5))
    # Of 3 x 2 pairs: 0.08 before both, 0.10 before 0.30 and equal to 0.10, 0.28 before 0.30 alone.
    assert found.auc == pytest.approx(4.5 / 6)
    assert found.correlation == pytest.approx(np.corrcoef(ratios, seen)[0, 1])


def test_open_mouths_are_on_the_other_side_of_their_threshold():
    truth, predicted = ([face(mouth=m) for m in values] for values in ([0.5, 0.3, 0.1], [0.4, 0.2, 0.1]))
    found = figures(APERTURES["open_mouth"], truth, predicted)
    assert (found.chosen, found.sensitivity, found.specificity, found.auc) == (2, 0.5, 1.0, 1.0)
    assert found.truth == pytest.approx(0.4)


def test_turned_faces_unknown_yaws_and_faces_not_found_are_left_out():
    truth = [face(right=0.1, left=0.1)] * 5
    predicted = [*truth[:4], np.full((68, 3), np.nan)]
    found = figures(APERTURES["closed_eyes"], truth, predicted, yaw=np.array([0, 45, -46, np.nan, 0]))
    assert (found.faces, found.chosen, found.sensitivity) == (2, 2, 1.0)
    assert found.auc is found.specificity is found.others_error is found.correlation is None
    nothing = figures(APERTURES["closed_eyes"], truth, predicted, yaw=80.0)
    assert (nothing.faces, nothing.sensitivity, nothing.error) == (0, None, None)


def test_a_scheme_without_such_contours_has_no_such_figures():
    points = np.zeros((1, 66, 3))
    # 3DFAW's inner lips are without their corners.
    assert aperture_figures(APERTURES["open_mouth"], FACE66, points, points, [0.0], np.zeros((1, 66))) is None
    other = ApertureKind("eye", ("third_eye",), 6, 0.2, True)
    assert aperture_figures(other, FACE68, points, points, [0.0], np.zeros((1, 68))) is None
