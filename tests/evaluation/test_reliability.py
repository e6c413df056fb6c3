"""Confidence against error, on a few numbers worked out by hand."""

import numpy as np
import pytest

from jvcr.evaluation.reliability import deciles, reliability, risk_coverage

CONFIDENCE = np.array([0.9, 0.1, 0.5, 0.7, 0.3])
ERRORS = np.array([0.01, 0.20, 0.03, 0.02, 0.04])


def test_parts_go_from_the_least_to_the_most_confident():
    by = deciles(np.arange(20.0)[::-1], np.arange(20.0), count=4)
    np.testing.assert_allclose(by.confidence, [2, 7, 12, 17])
    np.testing.assert_allclose(by.p50, [17, 12, 7, 2])
    np.testing.assert_allclose(by.p90, [18.6, 13.6, 8.6, 3.6])
    with pytest.raises(ValueError, match="9 values cannot be put into 10 parts"):
        deciles(np.zeros(9), np.zeros(9))


def test_the_most_confident_have_the_smaller_mean_error():
    kept = risk_coverage(CONFIDENCE, ERRORS, [0.01, 0.2, 0.4, 1.0])
    np.testing.assert_allclose(kept, [0.01, 0.01, 0.015, 0.06])
    with pytest.raises(ValueError, match="shares above 0"):
        risk_coverage(CONFIDENCE, ERRORS, [0.0])


def test_what_leaving_out_the_least_confident_finds():
    known = reliability(CONFIDENCE, ERRORS, large=0.035, left_out=(0.2, 0.4, 1.0))
    assert known.share == pytest.approx(2 / 5)
    assert known.auc == 1.0
    first, second, last = known.left_out
    assert (first.threshold, first.recall, first.error) == pytest.approx((0.3, 0.5, 0.025))
    assert (second.threshold, second.recall, second.error) == pytest.approx((0.5, 1.0, 0.02))
    assert (last.threshold, last.error) == pytest.approx((0.9, 0.01))  # one is always kept


def test_a_confidence_that_misleads_and_one_without_large_errors():
    assert reliability(-CONFIDENCE, ERRORS, large=0.035).auc == 0.0
    fine = reliability(CONFIDENCE, ERRORS, large=1.0)
    assert (fine.share, fine.auc, fine.left_out[0].recall) == (0.0, None, None)


@pytest.mark.parametrize(("c", "e"), [([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_lists_of_two_lengths_are_refused(c, e):
    for function in (deciles, reliability):
        with pytest.raises(ValueError, match="one length"):
            function(c, e)
    with pytest.raises(ValueError, match="one length"):
        risk_coverage(c, e, [1.0])


def test_nothing_to_judge_by():
    with pytest.raises(ValueError, match="at least one value"):
        reliability([], [])
