"""Which faces have rare openings, and how the error across openings counts."""

import numpy as np
import pytest
import torch

from jvcr.scheme import FACE68, LandmarkScheme
from jvcr.training.aperture_loss import (
    BINS,
    MOST,
    ApertureLoss,
    inverse_frequency_weights,
    labelled_apertures,
    rare_apertures,
)
from jvcr.training.recipe import LossRecipe

SLIT = LandmarkScheme("slit", 5, groups={"slit": (0, 1, 2, 3)}, closed_groups=frozenset({"slit"}))
"""One ring of four landmarks, corners 0 and 2, and a landmark that has nothing to do with it."""


def slits(*half_openings):
    """(F, 5, 3) slits of width 2, open by twice these numbers."""
    points = np.zeros((len(half_openings), 5, 3))
    points[:, 0, 0], points[:, 2, 0] = -1, 1
    points[:, 1, 1], points[:, 3, 1] = -np.array(half_openings), half_openings
    return points


def test_rare_openings_are_those_at_either_end():
    # One ring of four landmarks around an opening; face i is open by i of 100, turned about the upright axis.
    scheme = LandmarkScheme("slit", 4, groups={"slit": (0, 1, 2, 3)}, closed_groups=frozenset({"slit"}))
    points = np.zeros((100, 4, 3))
    points[:, 0, 0], points[:, 2, 0] = -1, 1
    points[:, 1, 1], points[:, 3, 1] = -np.arange(100) / 100, np.arange(100) / 100
    points[:, :, 2] = points[:, :, 0] * (np.arange(100) % 7)[:, None]
    points[:, [0, 2]] /= np.linalg.norm(points[:, [2]], axis=-1, keepdims=True)
    assert np.flatnonzero(rare_apertures(points, scheme)).tolist() == [0, 1, 98, 99]
    assert not rare_apertures(points, LandmarkScheme("dots", 4)).any()


def test_openings_are_compared_across():
    """Both lids off by as much in one direction leave the opening as it is; off apart, they are off by twice that."""
    truth = torch.tensor(slits(0.2, 0.2), dtype=torch.float32)
    points = truth.clone()
    points[0, [1, 3], 1] += 0.1
    points[1, 1, 1] -= 0.1
    points[1, 3, 1] += 0.1
    points[:, 4] += 9
    for coordinate, expected in (("l1", 0.2 / 6), ("l2", 0.04 / 6)):
        loss = ApertureLoss(SLIT, LossRecipe(coordinate=coordinate), slits(0.1, 0.2, 0.3))
        assert loss(points + 1, truth + 1).item() == pytest.approx(expected)
        assert loss(points[:1], truth[:1]).item() == pytest.approx(0, abs=1e-7)


def test_rare_openings_count_more():
    """Of 99 faces 90 are open by 0.4 of their width and 9 by 0.1: with balance, an error of these counts ten times."""
    train = slits(*[0.4] * 90, *[0.1] * 9)
    truth = torch.tensor(slits(0.4, 0.1), dtype=torch.float32)
    points = truth.clone()
    points[:, 1, 1] -= 0.01
    for balance, ratio in ((0.0, 1), (0.5, 10**0.5), (1.0, 10)):
        loss = ApertureLoss(SLIT, LossRecipe(coordinate="l1", aperture_balance=balance), train)
        counts = loss(points[1:], truth[1:]) / loss(points[:1], truth[:1])
        # At the end of the range the 90 are averaged over three bins instead of five.
        assert counts.item() == pytest.approx(ratio * (5 / 3) ** balance, rel=1e-4)


def test_weights_have_mean_1_over_the_faces():
    apertures = np.random.default_rng(0).beta(5, 9, 4000)
    widest, weights = inverse_frequency_weights(apertures, 1.0)
    assert widest == pytest.approx(np.quantile(apertures, 0.99))
    bins = np.clip(apertures / widest * BINS, 0, BINS - 1).astype(int)
    assert weights[bins].mean() == pytest.approx(1, abs=0.02)
    assert weights.max() == MOST and weights[:2].tolist() == [MOST, MOST]
    usual = int(weights.argmin())
    assert usual == pytest.approx(np.bincount(bins).argmax(), abs=3)
    # The widest of all do not pass for usual: weights rise to both ends, but for noise.
    assert (np.diff(weights[usual:]) > -0.1 * weights[usual:-1]).all() and weights[-1] > 4 * weights[usual]
    assert (np.diff(weights[: usual + 1]) < 0.1 * weights[:usual]).all()


@pytest.mark.parametrize("apertures", [[], [0.0, 0.0]])
def test_without_openings_to_compare_all_count_alike(apertures):
    assert inverse_frequency_weights(np.array(apertures), 1.0)[1].tolist() == [1.0] * BINS


def test_on_faces():
    """Mirror images cost the same, and gradients reach lids and lips alone."""
    truth = torch.tensor(FACE68.template, dtype=torch.float32)[None] * 0.3
    points = (truth + 0.01 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    loss = ApertureLoss(FACE68, LossRecipe(coordinate="l1", aperture_balance=1.0), np.array(FACE68.template)[None])
    value = loss(points, truth)
    value.backward()
    moved = np.flatnonzero(points.grad[0].abs().amax(dim=1).numpy())
    assert moved.tolist() == [37, 38, 40, 41, 43, 44, 46, 47, *range(49, 54), *range(55, 60), 61, 62, 63, 65, 66, 67]
    flip = torch.tensor([-1.0, 1.0, 1.0])
    order = torch.tensor(FACE68.mirror.copy())
    mirrored = loss(points[:, order] * flip, truth[:, order] * flip)
    assert mirrored.item() == pytest.approx(value.item(), rel=1e-5)


def test_labels_by_hand_are_the_truth_of_an_aperture():
    points = torch.tensor(slits(0.3, 0.3, 0.3), dtype=torch.float32)
    hand = torch.full((3, 5, 2), float("nan"))
    hand[0] = torch.tensor(slits(0.1)[0, :, :2])  # closed further than the fitted landmarks say
    hand[1] = hand[0]
    hand[1, 3] = float("nan")  # one landmark of the contour could not be seen
    shown = [points.numpy(), hand.numpy()]
    loss = ApertureLoss(SLIT, LossRecipe(coordinate="l1", aperture_fitted=0.0), *shown)
    predicted = points.clone().requires_grad_()
    value = loss(predicted, points, hand)
    # Of the three faces one counts; its vectors are 0.4 too long in y, right in x.
    assert value.item() == pytest.approx(0.2 / 3, rel=1e-5)
    (gradient,) = torch.autograd.grad(value, predicted)
    assert gradient.isfinite().all() and (gradient[1:] == 0).all() and gradient[0, 3, 1] > 0
    aperture, by_hand = labelled_apertures(*shown, SLIT.contours[0])
    np.testing.assert_allclose(aperture, [0.1, 0.3, 0.3], rtol=1e-5)
    assert by_hand.tolist() == [True, False, False]


def test_rare_faces_are_rare_by_hand():
    """A closed eye that the fitted landmarks have open."""
    points = slits(*np.linspace(0.3, 0.4, 100))
    hand = np.full((100, 5, 2), np.nan)
    hand[50] = slits(0.01)[0, :, :2]
    assert rare_apertures(points, SLIT, hand)[50] and not rare_apertures(points, SLIT)[50]
