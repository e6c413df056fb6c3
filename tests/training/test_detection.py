import numpy as np
import pytest
import torch

from jvcr.geometry.crop import Crop
from jvcr.geometry.warp import warp_crop
from jvcr.inference.proposals import Grid, looked_at
from jvcr.model.detector import STRIDES, LookConfig, ProposalConfig, face_sides
from jvcr.training.detection import (
    Cells,
    look_losses,
    look_targets,
    otherwise_seen,
    practice_places,
    proposal_losses,
    proposals,
    squares,
)

CONFIG = ProposalConfig()
CELLS = Cells.of(192, 256, CONFIG, torch.device("cpu"))
FACES = torch.tensor(
    [
        [[40.0, 50, 20, 170, 1], [150, 100, 120, -45, 1], [220, 30, 16, 3, 1]],
        [[100.0, 90, 60, 90, 1], [20, 20, 30, 0, 0], [0, 0, 0, 0, 0]],
    ]
)


def perfect():
    """Outputs that say all of FACES exactly: each face in the cell nearest to it, of the map for its size."""
    outputs = torch.zeros(2, 6, len(CELLS.strides))
    outputs[:, 0] = -9
    for i, picture in enumerate(FACES):
        for x, y, side, angle, counts in picture.tolist():
            if counts:
                off = (torch.log2(side / CELLS.sides)).abs() * 1e3
                off = off + (CELLS.centers - torch.tensor([x, y])).norm(dim=1)
                cell = int(off.argmin())
                radians = np.radians(angle)
                shift = (torch.tensor([x, y]) - CELLS.centers[cell]) / CELLS.strides[cell]
                size = float(torch.log(side / CELLS.sides[cell]))
                outputs[i, :, cell] = torch.tensor([5, *shift, size, np.cos(radians), np.sin(radians)])
    return outputs


def test_what_is_right_costs_nothing_but_the_score():
    losses = proposal_losses(perfect(), FACES, CELLS)
    assert losses.score < 1
    blind = perfect()
    blind[:, 0] = -9
    assert proposal_losses(blind, FACES, CELLS).score > 5 * losses.score


def test_what_does_not_count_is_no_background():
    outputs = perfect()
    near = (CELLS.centers - FACES[1, 1, :2]).norm(dim=1) < 10
    certain = outputs.clone()
    certain[1, 0, near] = 9
    assert proposal_losses(certain, FACES, CELLS).score == proposal_losses(outputs, FACES, CELLS).score
    certain[0, 0, near] = 9
    assert proposal_losses(certain, FACES, CELLS).score > proposal_losses(outputs, FACES, CELLS).score + 1


def test_torch_and_numpy_decode_alike():
    places, logits = proposals(perfect(), CELLS, 192, 256, 3)
    grid = Grid(192, 256, STRIDES, face_sides(CONFIG))
    for i in range(2):
        found, scores = grid.places(perfect()[i].numpy(), 0.0, 10)
        truth = FACES[i][FACES[i, :, 4] > 0][:, :4].numpy()
        assert len(found) == len(truth) == int((logits[i] > 0).sum())
        for face in truth:
            assert np.abs(found - face).max(1).min() < 0.01
            assert np.abs(places[i].numpy() - face).max(1).min() < 0.01
        assert (scores == 5).all()


def test_what_a_second_look_should_say_leads_to_the_face():
    torch.manual_seed(0)
    places = practice_places(FACES, 256, near=30, anywhere=10)
    targets = look_targets(places, FACES)
    labels = targets.label.view(2, 40).numpy()
    assert (labels[:, :30] == 1).mean() > 0.9
    outputs = np.concatenate([np.zeros((80, 1)), targets.values.numpy()], axis=1).astype(np.float32)
    found = looked_at(places.reshape(-1, 4).numpy(), outputs).reshape(2, 40, 4)
    for i in range(2):
        truth = FACES[i][FACES[i, :, 4] > 0][:, :4].numpy()
        for place, label in zip(found[i], labels[i], strict=True):
            away = np.abs(place - truth)
            away[:, 3] = np.abs((away[:, 3] + 180) % 360 - 180)
            assert label != 1 or away.max(1).min() < 0.01
    perfect_outputs = torch.from_numpy(outputs)
    perfect_outputs[:, 0] = torch.where(targets.label == 1, 20.0, -20.0)
    assert torch.stack(list(look_losses(perfect_outputs, targets))).max() < 1e-3


def test_a_head_without_a_face_counts_neither_way():
    place = FACES[1:, 1:2, :4]
    assert look_targets(place, FACES[1:]).label.tolist() == [-1]


@pytest.mark.parametrize(
    "place", [(100.0, 120.0, 20.0, 30.0), (150.0, 80.0, 90.0, -100.0), (160.0, 110.0, 170.0, 10.0)]
)
def test_squares_are_what_use_cuts(place):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = coarse.repeat(16, axis=0).repeat(16, axis=1)
    config = LookConfig()
    torch_cut = squares(torch.from_numpy(picture).permute(2, 0, 1)[None].float(), torch.tensor([[list(place)]]), config)
    x, y, side, angle = place
    expected = warp_crop(picture, Crop((x, y, 0.0), config.view * side, angle), config.size)
    assert np.abs(torch_cut[0].permute(1, 2, 0).numpy() - expected).mean() < 6


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_faces_turn_with_their_picture(quarters):
    picture = torch.zeros(1, 3, 96, 96)
    faces = torch.tensor([[[30.0, 40, 20, 30, 1], [0, 0, 0, 0, 0]]])
    radians = np.radians(30.0)
    top = 30 + 12 * np.sin(radians), 40 - 12 * np.cos(radians)
    picture[0, 0, round(top[1]), round(top[0])] = 1
    seen, moved = otherwise_seen(picture, faces, quarters)
    x, y, side, angle, counts = moved[0, 0].tolist()
    row, column = np.argwhere(seen[0, 0].numpy() > 0)[0]
    assert side == 20
    assert counts == 1
    radians = np.radians(angle)
    assert abs(x + 12 * np.sin(radians) - column) < 1
    assert abs(y - 12 * np.cos(radians) - row) < 1
    assert (moved[0, 1] == 0).all()
