"""The metrics against values worked out by hand."""

import numpy as np
import pytest

from jvcr.evaluation.metrics import (
    BinSummary,
    PoseErrors,
    auc,
    bin_summary,
    ced_curve,
    cvgtce,
    failure_rate,
    gte,
    gte_similarity,
    head_pose_mae,
    landmark_errors,
    mpjpe,
    nme_2d,
    nme_3d,
    nme_interocular,
    pck,
    similarity_aligned,
    view_pairs,
    yaw_bins,
)
from jvcr.geometry.pose import HeadPose, euler_to_rotation, similarity_transform

# Three landmarks; box 8 wide, 2 high: sqrt(16) = 4. Landmarks 0 and 1 are 10 apart (8, 0, 6).
TRIANGLE = np.array([[0, 0, 0], [8, 0, 6], [4, 2, 0]], dtype=np.float32)


def test_nme_divides_by_the_true_box_and_ignores_depth():
    truth = np.stack([TRIANGLE, TRIANGLE * 3 + [100, 50, 7]])
    pred = truth.copy()
    pred[0] += [[3, 4, 1000], [0, 0, -5], [0, 1, 0]]  # 5, 0 and 1 pixels: mean 2
    pred[1] += [0, 6, 0]  # 6 pixels over a box of sqrt(24 * 6) = 12
    np.testing.assert_allclose(nme_2d(pred, truth), [2 / 4, 6 / 12])
    np.testing.assert_allclose(nme_2d(pred[..., :2], truth[..., :2]), [2 / 4, 6 / 12])


def test_the_mean_of_a_face_s_landmark_errors_is_its_nme():
    pred = TRIANGLE[None] + np.array([[[3, 4, 1000], [0, 0, -5], [0, 1, 0]]])
    errors = landmark_errors(pred, TRIANGLE[None])
    np.testing.assert_allclose(errors, [[5 / 4, 0, 1 / 4]])
    np.testing.assert_allclose(errors.mean(axis=1), nme_2d(pred, TRIANGLE[None]))


def test_nme_is_not_symmetric_the_truth_s_box_counts():
    assert nme_2d(TRIANGLE[None] * 2, TRIANGLE[None]) == pytest.approx(2 * nme_2d(TRIANGLE[None], TRIANGLE[None] * 2))


def test_gte_with_and_without_z_alignment():
    truth = TRIANGLE[None]
    pred = truth + np.array([[[0, 0, 9], [0, 0, 9], [0, 4, 0]]])  # z is off by 6 on average
    # raw: 9, 9, 4. Aligned: z off by 3, 3, -6; the last is then (0, 4, -6) off, sqrt(52).
    np.testing.assert_allclose(gte(pred, truth, (0, 1), align_z=False), [(9 + 9 + 4) / 3 / 10])
    np.testing.assert_allclose(gte(pred, truth, (0, 1)), [(3 + 3 + np.sqrt(52)) / 3 / 10])


def test_mpjpe_is_in_pixels_with_the_mean_depth_aligned():
    truth = TRIANGLE[None]
    pred = truth + np.array([[[0, 0, 9], [0, 0, 9], [0, 4, 0]]])
    np.testing.assert_allclose(mpjpe(pred, truth), [(3 + 3 + np.sqrt(52)) / 3])


def test_correct_keypoints_are_those_within_a_share_of_the_box():
    truth = np.stack([TRIANGLE, TRIANGLE, TRIANGLE])
    pred = truth + np.array([[[0.3, 0.2, 0], [0.5, 0, 0], [0, 0, 9]]])
    pred[1] = np.nan
    pred[2] = truth[2] + [0, 0, 50]
    np.testing.assert_allclose(pck(pred[..., :2], truth[..., :2], 0.1), [2 / 3, np.nan, 1])  # 0.4 pixels and less
    np.testing.assert_allclose(pck(pred, truth, 0.1), [0, np.nan, 1])  # z is off by -3, -3 and 6 once aligned
    np.testing.assert_allclose(pck(pred, truth, 0.8), [2 / 3, np.nan, 1])


def test_gte_of_a_pure_depth_shift_is_nothing_once_aligned():
    np.testing.assert_allclose(gte(TRIANGLE[None] + [0, 0, 50], TRIANGLE[None], (0, 1)), [0], atol=1e-12)
    np.testing.assert_allclose(gte(TRIANGLE[None] + [0, 0, 50], TRIANGLE[None], (0, 1), align_z=False), [5])


def test_gte_s_default_eye_corners_are_landmarks_36_and_45():
    truth = np.random.default_rng(0).normal(size=(2, 68, 3))
    truth[:, 36], truth[:, 45] = [0, 0, 0], [0, 3, 4]
    np.testing.assert_allclose(gte(truth + np.array([0, 1, 0]), truth), [1 / 5, 1 / 5])


def test_metrics_leave_their_arguments_alone():
    truth, pred = TRIANGLE[None].copy(), TRIANGLE[None] + [1, 2, 3]
    before = pred.copy()
    gte(pred, truth, (0, 1))
    nme_2d(pred, truth)
    np.testing.assert_array_equal(pred, before)
    np.testing.assert_array_equal(truth, TRIANGLE[None])


def test_no_faces_is_no_error():
    none = np.zeros((0, 68, 3))
    assert nme_2d(none, none).shape == gte(none, none).shape == yaw_bins([]).shape == (0,)


def test_a_face_not_detected_is_nan_and_leaves_the_others_alone():
    truth = np.stack([TRIANGLE, TRIANGLE])
    pred = truth.copy()
    pred[0] = np.nan
    np.testing.assert_array_equal(nme_2d(pred, truth), [np.nan, 0])
    np.testing.assert_array_equal(gte(pred, truth, (0, 1)), [np.nan, 0])


@pytest.mark.parametrize(
    ("pred", "truth", "message"),
    [
        (np.zeros((2, 3, 3)), np.zeros((2, 4, 3)), "one shape"),
        (np.zeros((4, 3)), np.zeros((4, 3)), "faces, landmarks, 2"),
        (TRIANGLE[None], np.ones((1, 3, 3)), "no area: 1 of 1 faces, the first at index 0"),
        (np.stack([TRIANGLE] * 2), np.stack([TRIANGLE, TRIANGLE * [1, 0, 1]]), "index 1"),
    ],
)
def test_nme_refuses(pred, truth, message):
    with pytest.raises(ValueError, match=message):
        nme_2d(pred, truth)


def test_gte_refuses_points_without_depth_and_eyes_on_one_spot():
    with pytest.raises(ValueError, match=r"\(faces, landmarks, 3\)"):
        gte(TRIANGLE[None, :, :2], TRIANGLE[None, :, :2], (0, 1))
    with pytest.raises(ValueError, match="landmarks 1 and 1"):
        gte(TRIANGLE[None], TRIANGLE[None], (1, 1))


def test_yaw_bins_edges_belong_to_the_lower_band_and_either_sign_counts():
    yaw = [0, 30, -30, 30.01, 60, -60, -60.01, 90, 97.5, np.nan]
    np.testing.assert_array_equal(yaw_bins(yaw), [0, 0, 0, 1, 1, 1, 2, 2, 2, -1])


def test_bin_summary_by_hand():
    # Band means 2, 6 and 10: mean 6, sample deviation sqrt((16 + 0 + 16) / 2) = 4. Mean of the six errors: 4.
    summary = bin_summary([1, 2, 3, 6, 10, 2], [0, 0, 0, 1, 2, -1])
    assert summary == BinSummary(
        bins={"0-30": 2.0, "30-60": 6.0, "60-90": 10.0},
        bin_mean=6.0,
        bin_std=4.0,
        image_mean=4.0,
    )


def test_bin_summary_reproduces_the_paper_s_table_iv():
    summary = bin_summary([2.94, 3.46, 4.53], [0, 1, 2])
    assert summary.bin_mean == pytest.approx(3.64, abs=0.005)
    assert summary.bin_std == pytest.approx(0.81, abs=0.005)


@pytest.mark.parametrize(
    ("errors", "bins", "mean", "std", "image_mean"),
    [
        ([1.0, 3.0, 5.0], [0, 0, 2], 3.5, np.sqrt(4.5), 3.0),  # an empty band is left out
        ([1.0, 3.0], [1, 1], 2.0, None, 2.0),  # one band has no deviation
        ([1.0], [-1], None, None, 1.0),  # yaw unknown
        ([], [], None, None, None),
    ],
)
def test_bin_summary_of_empty_bands_is_none_never_nan(errors, bins, mean, std, image_mean):
    summary = bin_summary(errors, bins)
    assert summary.bin_mean == mean
    assert summary.image_mean == image_mean
    assert summary.bin_std == (None if std is None else pytest.approx(std))
    assert [m is None for m in summary.bins.values()] == [i not in bins for i in range(3)]


@pytest.mark.parametrize(
    ("errors", "bins", "message"),
    [([1.0], [0, 1], "shape"), ([np.nan, 1], [0, 0], "1 of 2 errors are not finite"), ([1.0], [3], "0..2")],
)
def test_bin_summary_refuses(errors, bins, message):
    with pytest.raises(ValueError, match=message):
        bin_summary(errors, bins)


# -- three dimensions


def test_nme_3d_aligns_the_mean_depth_and_divides_by_the_box():
    truth = TRIANGLE[None]  # box sqrt(8 * 2) = 4
    pred = truth + np.array([[[0, 0, 9], [0, 0, 9], [0, 4, 0]]])
    np.testing.assert_allclose(nme_3d(pred, truth), [(3 + 3 + np.sqrt(52)) / 3 / 4])
    np.testing.assert_allclose(nme_3d(truth + np.array([3, 4, 100]), truth), [5 / 4])


def test_interocular_nme_measures_the_eyes_in_the_image():
    truth = TRIANGLE[None]  # landmarks 0 and 1 are 8 apart in the image, 10 in space
    np.testing.assert_allclose(nme_interocular(truth + np.array([3, 4, 9]), truth, (0, 1)), [5 / 8])
    np.testing.assert_allclose(nme_interocular(truth[..., :2] + [0, 4], truth[..., :2], (0, 1)), [4 / 8])
    behind = np.array([[[0, 0, 0], [0, 0, 6], [4, 2, 0]]])  # one eye behind the other
    with pytest.raises(ValueError, match="landmarks 0 and 1 lie on one spot of the image"):
        nme_interocular(behind, behind, (0, 1))


def moved(points, scale=1.0, pose=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0)):
    return scale * points @ euler_to_rotation(HeadPose(*map(float, pose))).T + shift


def test_similarity_alignment_of_many_is_that_of_each():
    generator = np.random.default_rng(1)
    source, target = generator.normal(size=(2, 5, 7, 3))
    target[3] = source[3] * [1, 1, -1]  # a mirror image: rotated at the most, never reflected
    aligned = similarity_aligned(source, target)
    for i in range(5):
        scale, rotation, shift = similarity_transform(source[i], target[i])
        np.testing.assert_allclose(aligned[i], scale * source[i] @ rotation.T + shift)
    assert np.abs(aligned[3] - target[3]).max() > 0.1


def test_gte_of_shape_alone_forgives_scale_pose_and_place():
    generator = np.random.default_rng(2)
    truth = generator.normal(size=(3, 9, 3))
    truth[:, 0], truth[:, 1] = [0, 0, 0], [0, 3, 4]
    pred = np.stack([truth[0], moved(truth[1], 2.5, (70, -20, 10), (5, 6, 7)), moved(truth[2], 0.1, (0, 0, 120))])
    np.testing.assert_allclose(gte_similarity(pred, truth, (0, 1)), np.zeros(3), atol=1e-9)
    # Two landmarks on a line with scale free: nothing is left. Four, one of them off: something is.
    square = np.array([[[0, 0, 0], [5, 0, 0], [5, 5, 0], [0, 5, 0]]], float)
    bent = square + np.array([[[0, 0, 1], [0, 0, -1], [0, 0, 1], [0, 0, -1]]])
    # No turn or shift helps a saddle; the scale that fits best is <b, s> / <b, b> = 50 / 54 of centred points.
    flat = 2.5 * np.sqrt(2) * (1 - 50 / 54)
    np.testing.assert_allclose(gte_similarity(bent, square, (0, 1)), [np.hypot(flat, 50 / 54) / 5])


def test_a_face_not_detected_stays_nan_through_the_alignment():
    truth = np.random.default_rng(3).normal(size=(2, 6, 3))
    pred = truth.copy()
    pred[0] = np.nan
    error = gte_similarity(pred, truth, (0, 1))
    assert np.isnan(error[0])
    assert error[1] == pytest.approx(0, abs=1e-12)
    assert similarity_aligned(np.zeros((0, 6, 3)), np.zeros((0, 6, 3))).shape == (0, 6, 3)
    with pytest.raises(ValueError, match="1 of 2 faces, the first at index 1"):
        similarity_aligned(np.stack([truth[0], np.ones((6, 3))]), truth)


def test_view_pairs_are_ordered_pairs_within_a_subject():
    assert view_pairs(["b", "a", "b", "", "c", "b", ""]).tolist() == [[0, 2], [0, 5], [2, 0], [2, 5], [5, 0], [5, 2]]
    assert view_pairs(["a", "b", ""]).shape == view_pairs([]).shape == (0, 2)


def test_cvgtce_compares_a_prediction_with_the_other_view_s_truth():
    generator = np.random.default_rng(4)
    face = generator.normal(size=(8, 3))
    face[0], face[1] = [0, 0, 0], [3, 4, 0]
    # The other view is turned and twice as large; both predictions have the first view's shape, but one landmark off.
    truth = np.stack([face, moved(face, 2, (40, 5, 0), (1, 2, 3))])
    off = face.copy()
    off[5] += [0.5, 0, 0]
    pred = np.stack([off, moved(face, 3, (-60, 0, 0))])
    errors = cvgtce(pred, truth, view_pairs(["one", "one"]), (0, 1))
    # (0, 1): the bent one on the second truth, which is the same shape and scale-free error as on the first truth.
    assert errors[0] == pytest.approx(gte_similarity(off[None], face[None], (0, 1))[0])
    assert errors[1] == pytest.approx(0, abs=1e-9)
    assert errors[0] > 0.001
    with pytest.raises(ValueError, match=r"\(P, 2\)"):
        cvgtce(pred, truth, [0, 1], (0, 1))


# -- distributions


def test_the_ced_curve_counts_faces_not_detected_as_beyond_everything():
    errors = [2.0, np.nan, 4.0, 2.0, 10.0]
    np.testing.assert_allclose(ced_curve(errors, [0, 1.99, 2, 4, 9, 10, 1e9]), [0, 0, 0.4, 0.6, 0.6, 0.8, 0.8])
    assert failure_rate(errors, 4.0) == 0.4
    assert failure_rate(errors, 3.9) == 0.6
    assert auc(errors, 8.0) == pytest.approx((0.75 + 0 + 0.5 + 0.75 + 0) / 5)


def test_auc_is_the_area_under_the_curve():
    errors = np.random.default_rng(5).gamma(3, size=200)
    at = np.linspace(0, 7, 70_001)
    shares = ced_curve(errors, at)
    area = ((shares[1:] + shares[:-1]) / 2 * np.diff(at)).sum()
    assert auc(errors, 7.0) == pytest.approx(area / 7, abs=1e-4)


@pytest.mark.parametrize(
    "measure", [lambda e: ced_curve(e, [1]), lambda e: auc(e, 1.0), lambda e: failure_rate(e, 1.0)]
)
def test_distributions_need_a_face(measure):
    with pytest.raises(ValueError, match="at least one face"):
        measure([])


def test_auc_needs_a_threshold():
    with pytest.raises(ValueError, match="above 0, got 0"):
        auc([1.0], 0.0)


# -- head pose, confidence, two systems


def test_head_pose_mae_by_hand():
    truth = [[0, 0, 0], [10, -99, 0], [0, 0, 99.1], [np.nan, 0, 0], [0, 0, -98]]
    pred = [[1, -2, 3], [8, -90, 4], [0, 0, 0], [0, 0, 0], [0, 10, 178]]
    # Of 0, 1 and 4: pitch 1, 2, 0; yaw 2, 9, 10; roll 3, 4 and 84, the short way from -98 to 178.
    errors = head_pose_mae(pred, truth)
    assert (errors.pitch, errors.yaw, errors.faces, errors.left_out) == (1.0, 7.0, 3, 1)
    assert errors.roll == pytest.approx(91 / 3)
    assert errors.mean == pytest.approx(115 / 9)
    # Beyond 90 degrees two triples are one rotation: the angles say 123 on average, the rotations nothing.
    beyond = head_pose_mae([[-175, 85, -177]], [[5, 95, 3]])
    assert (beyond.mean, beyond.geodesic) == (pytest.approx(370 / 3), pytest.approx(0, abs=1e-6))
    assert head_pose_mae([[0, 0, 0]], [[0, 120, 0]]) == PoseErrors(None, None, None, None, None, 0, 1)
    assert head_pose_mae(pred, truth, limit_deg=180.0).faces == 4
    with pytest.raises(ValueError, match=r"\(faces, 3\)"):
        head_pose_mae([1, 2, 3], [1, 2, 3])
