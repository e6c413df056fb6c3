import dataclasses

import numpy as np
import pytest

from jvcr.scheme import FACE68
from jvcr.weights.calibration import Calibration
from jvcr.weights.header import WeightsHeader


def made_faces(faces=4000, seed=0):
    """Confidences and errors in which the error of a landmark grows with its number and falls with its confidence."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.1, 1, (faces, 68))
    usual = (1 + np.minimum(np.arange(68), FACE68.mirror) / 68) / confidence
    return confidence, usual, usual * rng.gamma(4, 1 / 4, (faces, 68))


def test_the_expected_error_is_the_mean_of_the_errors_that_follow():
    confidence, _, errors = made_faces()
    calibration = Calibration.fit(confidence, errors, FACE68.mirror)
    confidence, usual, _ = made_faces(500, seed=1)
    expected = calibration.expected_error(confidence)
    assert abs(expected.mean() / usual.mean() - 1) < 0.03
    assert np.median(np.abs(expected / usual - 1)) < 0.05
    np.testing.assert_allclose(calibration.expected_error(confidence[0]), expected[0])
    jaw_ends = calibration.coefficients[[0, FACE68.mirror[0]]]
    np.testing.assert_allclose(*jaw_ends, atol=1e-9)


def test_low_is_below_nearly_all():
    confidence, _, errors = made_faces()
    low = Calibration.fit(confidence, errors, FACE68.mirror).low_confidence
    assert 0.8 * confidence.mean(axis=1).min() < low < np.quantile(confidence.mean(axis=1), 0.005)


def test_a_header_carries_it(tiny_config):
    confidence, _, errors = made_faces(50)
    calibration = Calibration.fit(confidence, errors, FACE68.mirror)
    header = WeightsHeader("tiny", tiny_config.to_dict(), FACE68, calibration=calibration)
    read = WeightsHeader.from_json(header.to_json()).calibration
    np.testing.assert_allclose(read.coefficients, calibration.coefficients, atol=1e-4)
    assert read.low_confidence == pytest.approx(calibration.low_confidence, abs=1e-4)
    assert WeightsHeader.from_json(dataclasses.replace(header, calibration=None).to_json()).calibration is None


def test_one_that_does_not_fit_is_refused(tiny_config):
    confidence, _, errors = made_faces(50)
    with pytest.raises(ValueError, match="ten faces"):
        Calibration.fit(confidence[:9], errors[:9], FACE68.mirror)
    data = Calibration.fit(confidence, errors, FACE68.mirror).to_dict()
    with pytest.raises(ValueError, match="66 x 4"):
        Calibration.from_dict(data, 66)
