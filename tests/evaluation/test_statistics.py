"""Intervals, differences, correlations and areas, against values worked out by hand."""

import numpy as np
import pytest

from jvcr.evaluation.statistics import (
    bootstrap_means,
    interval,
    paired_difference,
    pearson,
    roc_auc,
    spearman,
)

# -- the bootstrap


def test_the_interval_of_a_normal_mean():
    values = np.random.default_rng(1).normal(2, 3, 900)
    low, high = interval(bootstrap_means(values[:, None])[:, 0])
    half = 1.96 * values.std() / 30
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_whole_units_are_drawn():
    # 100 subjects of 9 equal faces say no more than 100 faces.
    subjects = np.random.default_rng(2).normal(0, 1, 100)
    faces, names = np.repeat(subjects, 9), np.repeat([f"subject {i}" for i in range(100)], 9)
    low, high = interval(bootstrap_means(faces[:, None], names)[:, 0])
    assert high - low == pytest.approx(2 * 1.96 * subjects.std() / 10, rel=0.1)
    alone = interval(bootstrap_means(faces[:, None])[:, 0])
    assert (high - low) / (alone[1] - alone[0]) == pytest.approx(3, rel=0.1)


def test_a_quantity_counts_the_faces_that_have_it():
    values = np.array([[1.0, 5.0], [3.0, np.nan], [5.0, np.nan]])
    means = bootstrap_means(values, resamples=500)
    assert means.shape == (500, 2)
    assert means[:, 0].mean() == pytest.approx(3, abs=0.15)
    # The one face of the second is missing in (2/3)^3 of the resamples.
    assert np.isnan(means[:, 1]).mean() == pytest.approx(8 / 27, abs=0.06)
    assert set(means[np.isfinite(means[:, 1]), 1]) == {5.0}
    assert interval(means[:, 1]) == [5.0, 5.0]
    np.testing.assert_array_equal(bootstrap_means(values, resamples=500), means)  # the same seed


def test_draws_in_blocks_are_draws(monkeypatch):
    values = np.random.default_rng(3).normal(size=(50, 2))
    monkeypatch.setattr("jvcr.evaluation.statistics._DRAWN_AT_ONCE", 120)
    means = bootstrap_means(values, resamples=501)
    assert means.shape == (501, 2)
    assert means.std(axis=0) == pytest.approx(values.std(axis=0) / np.sqrt(50), rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0],), r"\(faces, quantities\)"),
        ((np.zeros((0, 2)),), r"\(faces, quantities\)"),
        ((np.zeros((2, 1)), None, 0), "resamples of at least 1"),
        ((np.zeros((2, 1)), ["a"]), "what each of 2 faces belongs to"),
    ],
)
def test_bootstrap_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_means(*arguments)


def test_an_interval_of_nothing():
    assert interval([np.nan]) is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([1.0], 95.0)


# -- two systems


def test_two_systems_on_the_same_faces():
    first = [1.0, 2.0, 3.0, np.nan, 5.0, 4.0]
    second = [2.0, 2.0, 5.0, 1.0, np.nan, 3.0]
    # Differences -1, 0, -2 and 1.
    difference = paired_difference(first, second)
    assert (difference.faces, difference.wins, difference.losses, difference.ties) == (4, 2, 1, 1)
    assert difference.mean == pytest.approx(-0.5)
    assert difference.low < -0.5 < difference.high
    assert difference.low >= -2
    assert difference.high <= 1
    assert paired_difference(first, second) == difference
    assert paired_difference(second, first).low == pytest.approx(-difference.high)
    assert paired_difference([np.nan], [1.0]).mean is None


def test_the_bootstrap_interval_is_that_of_the_mean():
    generator = np.random.default_rng(6)
    first = generator.normal(0.3, 2, 400)
    difference = paired_difference(first, np.zeros(400), resamples=4000)
    half = 1.96 * first.std() / 20  # of a normal mean of 400
    assert difference.low == pytest.approx(first.mean() - half, abs=0.03)
    assert difference.high == pytest.approx(first.mean() + half, abs=0.03)


def test_paired_difference_refuses_other_faces():
    with pytest.raises(ValueError, match="same faces"):
        paired_difference([1], [1, 2])


def test_differences_of_views_of_one_subject_are_one_measurement():
    first = np.repeat(np.random.default_rng(4).normal(size=60), 4)
    alone = paired_difference(first, np.zeros(240), resamples=2000)
    subjects = paired_difference(first, np.zeros(240), resamples=2000, units=np.repeat(np.arange(60), 4))
    assert subjects.mean == alone.mean
    assert (subjects.high - subjects.low) / (alone.high - alone.low) == pytest.approx(2, rel=0.1)


# -- correlation and ranking


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3, 4], [10, 30, 20, 40], 0.8),
        ([1, 2, 3], [9, 4, 1], -1.0),
        ([1, 1, 2, 3], [1, 2, 3, 3], 8 / 9),  # ranks 1.5 1.5 3 4 and 1 2 3.5 3.5: 4 over sqrt(4.5 * 4.5)
        ([1, 1, 1], [1, 2, 3], None),
        ([1.0], [2.0], None),
    ],
)
def test_spearman(a, b, expected):
    assert spearman(a, b) == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_pearson():
    assert pearson([0, 1, 2, np.nan], [0, 2, 1, 9]) == pytest.approx(0.5)
    assert pearson([0, 0], [1, 2]) is None


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 0.0),
        ([1, 2, 3, 4], [0, 1, 0, 1], 0.75),
        ([1, 1, 2], [0, 1, 1], 0.75),  # one pair is equal and counts half, the other is right
        ([5, 5, 5], [0, 1, 0], 0.5),
        ([1, 2], [1, 1], None),
        ([], [], None),
    ],
)
def test_roc_auc(scores, positive, expected):
    assert roc_auc(scores, np.array(positive, bool)) == expected
