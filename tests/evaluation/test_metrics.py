"""The metrics against values worked out by hand."""

import numpy as np
import pytest

from jvcr.evaluation.metrics import BinSummary, bin_summary, gte, nme_2d, yaw_bins

# Three landmarks; box 8 wide, 2 high: sqrt(16) = 4. Landmarks 0 and 1 are 10 apart (8, 0, 6).
TRIANGLE = np.array([[0, 0, 0], [8, 0, 6], [4, 2, 0]], dtype=np.float32)


def test_nme_divides_by_the_true_box_and_ignores_depth():
    truth = np.stack([TRIANGLE, TRIANGLE * 3 + [100, 50, 7]])
    pred = truth.copy()
    pred[0] += [[3, 4, 1000], [0, 0, -5], [0, 1, 0]]  # 5, 0 and 1 pixels: mean 2
    pred[1] += [0, 6, 0]  # 6 pixels over a box of sqrt(24 * 6) = 12
    np.testing.assert_allclose(nme_2d(pred, truth), [2 / 4, 6 / 12])
    np.testing.assert_allclose(nme_2d(pred[..., :2], truth[..., :2]), [2 / 4, 6 / 12])


def test_nme_is_not_symmetric_the_truth_s_box_counts():
    assert nme_2d(TRIANGLE[None] * 2, TRIANGLE[None]) == pytest.approx(2 * nme_2d(TRIANGLE[None], TRIANGLE[None] * 2))


def test_gte_with_and_without_z_alignment():
    truth = TRIANGLE[None]
    pred = truth + np.array([[[0, 0, 9], [0, 0, 9], [0, 4, 0]]])  # z is off by 6 on average
    # raw: 9, 9, 4. Aligned: z off by 3, 3, -6; the last is then (0, 4, -6) off, sqrt(52).
    np.testing.assert_allclose(gte(pred, truth, (0, 1), align_z=False), [(9 + 9 + 4) / 3 / 10])
    np.testing.assert_allclose(gte(pred, truth, (0, 1)), [(3 + 3 + np.sqrt(52)) / 3 / 10])


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


def test_a_face_not_found_is_nan_and_leaves_the_others_alone():
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
        counts={"0-30": 3, "30-60": 1, "60-90": 1},
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
    assert {n: m is None for n, m in summary.bins.items()} == {n: c == 0 for n, c in summary.counts.items()}


@pytest.mark.parametrize(
    ("errors", "bins", "message"),
    [([1.0], [0, 1], "shape"), ([np.nan, 1], [0, 0], "1 of 2 errors are not finite"), ([1.0], [3], "0..2")],
)
def test_bin_summary_refuses(errors, bins, message):
    with pytest.raises(ValueError, match=message):
        bin_summary(errors, bins)
