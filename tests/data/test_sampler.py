"""Which faces a step sees, and that the workers do not change it."""

import dataclasses

import numpy as np
import pytest
import torch

from jvcr.data.augment import Augmentation
from jvcr.data.loader import Examples, to_input, training_batches
from jvcr.data.sampler import StepSampler


def test_every_face_once_an_epoch():
    sampler = StepSampler(np.full(12, "a"), {}, batch_size=4, seed=1)
    seen = np.concatenate([sampler.step(i) for i in range(3)])
    assert sorted(seen) == list(range(12))
    again = np.concatenate([sampler.step(i) for i in range(3, 6)])
    assert sorted(again) == list(range(12)) and (again != seen).any()


def test_shares_hold_in_every_batch():
    sources = np.array(["a"] * 50 + ["b"] * 5 + ["c"] * 7)
    sampler = StepSampler(sources, {"a": 6.0, "b": 2.0}, batch_size=4, seed=0)
    for step in range(9):
        assert sorted(sources[sampler.step(step)]) == ["a", "a", "a", "b"]


def test_a_step_is_a_function_of_its_number():
    sampler = StepSampler(np.array(["a"] * 7), {}, batch_size=5, seed=3)
    np.testing.assert_array_equal(sampler.step(11), StepSampler(np.array(["a"] * 7), {}, 5, 3).step(11))


@pytest.mark.parametrize("shares", [{"x": 1.0}, {"a": -1.0}, {"a": 0.0}])
def test_refuses_shares_that_make_no_batch(shares):
    with pytest.raises(ValueError, match="source_shares"):
        StepSampler(np.array(["a", "a"]), shares, 2, 0)


def test_workers_and_the_first_step_do_not_change_the_examples(faces):
    examples = Examples(faces, 32, Augmentation(light=0.2, noise=1.0), seed=5, in_memory=True)
    examples.load()
    sampler = StepSampler(faces.sources, {}, 4, 0)
    inline = list(training_batches(examples, sampler, 0, 4, workers=0))
    late = list(training_batches(examples, sampler, 2, 4, workers=1))
    for batch, batch_2 in zip(inline[2:], late, strict=True):
        assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(batch, batch_2, strict=True))


def test_images_are_kept_where_they_fit(faces, monkeypatch):
    read = []
    real = type(faces).read_image
    monkeypatch.setattr(type(faces), "read_image", lambda self, i: read.append(i) or real(self, i))
    bytes_of_all = float(sum(real(faces, i).nbytes for i in range(len(faces))))
    for in_memory, most_bytes, kept in (
        (None, bytes_of_all, True),
        (None, bytes_of_all - 1, False),
        (True, 1.0, True),
        (False, 1e12, False),
    ):
        examples = Examples(faces, 32, None, seed=5, in_memory=in_memory)
        examples.load(most_bytes=most_bytes)
        read.clear()
        examples[1, 0]
        assert (read == []) is kept


def test_a_batch_of_faces(faces):
    examples = Examples(faces, 32, None, seed=5, in_memory=False)
    sampler = StepSampler(faces.sources, {}, 6, 0)
    (batch,) = training_batches(examples, sampler, 3, 4, workers=0)
    assert (batch.pixels.shape, batch.pixels.dtype) == ((6, 32, 32, 3), torch.uint8)
    assert batch.points_unit.shape == (6, 68, 3) and batch.hand_unit.isnan().all()


def test_ranks_share_a_step(faces):
    examples = Examples(faces, 32, None, seed=5, in_memory=False)
    sampler = StepSampler(faces.sources, {}, 6, 0)
    (whole,) = training_batches(examples, sampler, 0, 1, workers=0)
    parts = [next(iter(training_batches(examples, sampler, 0, 1, 0, rank, 2))) for rank in range(2)]
    assert torch.equal(torch.cat([p.points_unit for p in parts])[[0, 3, 1, 4, 2, 5]], whole.points_unit)


def test_input_is_rgb_in_0_1():
    pixels = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).view(2, 4, 4, 3)
    image = to_input(pixels)
    assert image.shape == (2, 3, 4, 4) and image.dtype == torch.float32
    assert image[1, 2, 3, 0].item() == pytest.approx(pixels[1, 3, 0, 2].item() / 255)


def test_crops_go_by_the_rule_and_are_stretched(faces):
    plain, other = (Examples(faces, 32, None, 5, False, *how) for how in ((), ("width", True)))
    points, (pixels_2, points_2, *_) = plain[0, 0].points_unit, other[0, 0]
    extent = np.ptp(faces.points_px[0][:, :2], axis=0)
    # The crop of the width: as much smaller as the face is higher than wide.
    assert np.ptp(points_2[:, 0]) == pytest.approx(2 / 1.25, rel=1e-4)
    assert np.ptp(points[:, 0]) == pytest.approx(2 / 1.25 * extent[0] / extent.max(), rel=1e-4)
    assert (pixels_2.min(), pixels_2.max()) == (0, 255)
    assert points_2[:, 2].mean() == pytest.approx(0, abs=1e-5)


def test_rare_faces_have_their_share_of_every_batch():
    sources = np.array(["a"] * 40 + ["b"] * 20)
    rare = np.arange(60) % 10 == 0
    sampler = StepSampler(sources, {"a": 6.0, "b": 2.0}, 8, 0, rare, 0.5)
    for step in range(9):
        faces = sampler.step(step)
        assert sorted(sources[faces]) == ["a"] * 6 + ["b"] * 2
        assert (rare[faces] & (sources[faces] == "a")).sum() == 3 and (rare[faces] & (sources[faces] == "b")).sum() == 1
    # A source without any, or a share too small for one face, is drawn as ever.
    none = StepSampler(sources, {"a": 6.0, "b": 2.0}, 8, 0, np.zeros(60, bool), 0.5)
    np.testing.assert_array_equal(none.step(3), StepSampler(sources, {"a": 6.0, "b": 2.0}, 8, 0).step(3))


def test_labels_by_hand_travel_with_the_faces(faces):
    hand = faces.points_px[..., :2] + np.float32(1)
    occlusion = np.zeros(hand.shape[:2], np.int8)
    occlusion[:, 4] = 1
    labelled = dataclasses.replace(faces, hand_px=hand, occlusion=occlusion)
    _, points, by_hand = Examples(labelled, 32, None, 5, False)[2, 0]
    assert np.flatnonzero(np.isnan(by_hand[:, 0])).tolist() == [4]
    moved = np.delete(by_hand - points[:, :2], 4, axis=0)
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-5)
    assert moved[0, 0] == moved[0, 1] > 0


def test_a_batch_larger_than_its_source_goes_round_several_times():
    sampler = StepSampler(np.full(3, "a"), {}, batch_size=8, seed=1)
    drawn = np.concatenate([sampler.step(i) for i in range(6)])
    assert all(sorted(drawn[3 * r : 3 * r + 3]) == [0, 1, 2] for r in range(16))
    np.testing.assert_array_equal(sampler.step(0), drawn[:8])  # also after others
