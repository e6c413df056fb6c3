"""What the face detector learns from scenes: targets, losses, and the places that its second look is trained on.

Faces are rows of five numbers, as in `jvcr.data.pasting`: x, y, side, angle in degrees, and 1 where the face counts. A
batch pads them with rows of zeros. A place is where the second look is taken: x, y, side and angle of a crop.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from jvcr.model.detector import STRIDES, LookConfig, ProposalConfig, cells_of, face_sides

_CENTRE_DEVIATION = 0.1
"""Standard deviation of the Gaussian around a face's centre in the map of scores, over the face's side."""

_SHARED_OCTAVES = 0.2
"""How far beyond a map's range of sides, in octaves, a face still counts neither way on it."""

_REGRESSED_FROM = 0.4
"""Cells whose place in that Gaussian is at least this say where the face is."""


class Cells(NamedTuple):
    """Where the proposals of a picture lie, all maps one after the other.

    Attributes:
        centers: (cells, 2) x and y of each cell's centre, pixels.
        strides: (cells,) side of each cell, pixels.
        sides: (cells,) side of the faces that its map is for, pixels.
    """

    centers: Tensor
    strides: Tensor
    sides: Tensor

    @classmethod
    def of(cls, height: int, width: int, config: ProposalConfig, device: torch.device) -> Cells:
        """The cells of a picture of that size."""
        centers, strides, sides = [], [], []
        for (stride, rows, columns), side in zip(cells_of(height, width), face_sides(config), strict=True):
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            centers.append((torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride - 0.5)
            strides.append(torch.full((rows * columns,), float(stride)))
            sides.append(torch.full((rows * columns,), side))
        return cls(*(torch.cat(part).to(device) for part in (centers, strides, sides)))


class ProposalLosses(NamedTuple):
    """Means over the faces of a batch: of the score, the centre, the size and the angle."""

    score: Tensor
    center: Tensor
    size: Tensor
    angle: Tensor


def proposal_losses(
    outputs: Float[Tensor, "batch 6 cells"],
    faces: Float[Tensor, "batch faces 5"],
    cells: Cells,
) -> ProposalLosses:
    """The losses of the proposal network (scores: the penalty-reduced focal loss of CornerNet).

    Args:
        outputs: of `ProposalNet`.
        faces: padded with zeros.
        cells: of the pictures.
    """
    outputs = outputs.float()
    truth = _proposal_targets(faces, cells)
    faces = faces[..., :4].gather(1, truth.face[..., None].expand(-1, -1, 4))
    logits, heat = outputs[:, 0], truth.heat
    score = logits.sigmoid()
    found = F.logsigmoid(logits) * (1 - score).square() * truth.center
    none = F.logsigmoid(-logits) * score.square() * (1 - heat) ** 4 * (~truth.center & truth.counts)
    count = truth.center.sum().clamp(min=1)

    weight = torch.where(truth.counts & (heat >= _REGRESSED_FROM), heat, 0.0) * (truth.heat > 0)
    total = weight.sum().clamp(min=1)
    shift = (faces[..., :2] - cells.centers) / cells.strides[:, None]
    center = (outputs[:, 1:3] - shift.transpose(1, 2)).abs().sum(1)
    size = (outputs[:, 3] - torch.log(faces[..., 2].clamp(min=1) / cells.sides)).abs()
    angle = (outputs[:, 4:6] - _direction(faces[..., 3]).transpose(1, 2)).square().sum(1)
    return ProposalLosses(
        -(found + none).sum() / count, *((part * weight).sum() / total for part in (center, size, angle))
    )


class _ProposalTargets(NamedTuple):
    """For each cell (batch, cells): the map of scores; whether it holds a centre; whether it counts; whose face."""

    heat: Tensor
    center: Tensor
    counts: Tensor
    face: Tensor


def _proposal_targets(faces: Float[Tensor, "batch faces 5"], cells: Cells) -> _ProposalTargets:
    side, known, real = faces[..., 2], faces[..., 4] > 0, faces[..., 2] > 0
    distance = (cells.centers[None, :, None] - faces[:, None, :, :2]).square().sum(-1).sqrt()  # (batch, cells, faces)
    octaves = torch.log2(side.clamp(min=1)[:, None] / cells.sides[:, None])
    smallest, largest = cells.strides == STRIDES[0], cells.strides == STRIDES[-1]
    octaves = torch.where(smallest[:, None], octaves.clamp(min=0), octaves)
    octaves = torch.where(largest[:, None], octaves.clamp(max=0), octaves).abs()
    mine = (octaves <= 0.5) & known[:, None]
    shared = (octaves > 0.5) & (octaves <= 0.5 + _SHARED_OCTAVES) & known[:, None]

    deviation = torch.maximum(_CENTRE_DEVIATION * side[:, None], 0.3 * cells.strides[:, None])
    gauss = torch.exp(-0.5 * (distance / deviation).square())
    heat, face = torch.where(mine, gauss, 0.0).max(-1)
    offset = (cells.centers[None, :, None] - faces[:, None, :, :2]).abs().amax(-1)
    center = (mine & (offset <= 0.5 * cells.strides[:, None] + 1e-3)).any(-1)
    unsure = (distance < 0.6 * side[:, None]) & (~known & real)[:, None]
    counts = ~(unsure | (shared & (gauss > 0.1))).any(-1) | center
    return _ProposalTargets(heat, center, counts, face)


def _direction(angle_deg: Tensor) -> Tensor:
    """(..., 2) cosine and sine."""
    radians = torch.deg2rad(angle_deg)
    return torch.stack([radians.cos(), radians.sin()], dim=-1)


@torch.no_grad()
def proposals(
    outputs: Float[Tensor, "batch 6 cells"], cells: Cells, height: int, width: int, count: int
) -> tuple[Float[Tensor, "batch count 4"], Float[Tensor, "batch count"]]:
    """The most certain places of each picture, of neighbouring cells only the best, and the logits of their scores."""
    outputs = outputs.float()
    logits, start, peaks = outputs[:, 0], 0, []
    for _, rows, columns in cells_of(height, width):
        part = logits[:, start : start + rows * columns].view(-1, 1, rows, columns)
        peaks.append((part == F.max_pool2d(part, 3, 1, 1)).flatten(1))
        start += rows * columns
    best, index = torch.where(torch.cat(peaks, dim=1), logits, -1e4).topk(count, dim=1)
    chosen = outputs.gather(2, index[:, None].expand(-1, outputs.shape[1], -1)).transpose(1, 2)
    center = cells.centers[index] + chosen[..., 1:3] * cells.strides[index][..., None]
    side = cells.sides[index] * chosen[..., 3].clamp(-3, 3).exp()
    angle = torch.rad2deg(torch.atan2(chosen[..., 5], chosen[..., 4]))
    return torch.cat([center, side[..., None], angle[..., None]], dim=-1), best


@torch.no_grad()
def practice_places(
    faces: Float[Tensor, "batch faces 5"], size: int, near: int, anywhere: int
) -> Float[Tensor, "batch places 4"]:
    """Places to practise the second look on: around true faces, many of them turned by any angle, and anywhere.

    Args:
        faces: padded with zeros.
        size: side of the pictures.
        near: places around faces that count, in each picture that has any; in the others these are anywhere, too.
        anywhere: places anywhere in each picture.
    """
    device, batch = faces.device, len(faces)
    spots = torch.rand(batch, near + anywhere, 4, device=device)
    sides = torch.exp(math.log(12) + spots[..., 2] * (math.log(size) - math.log(12)))
    random = torch.stack([spots[..., 0] * size, spots[..., 1] * size, sides, spots[..., 3] * 360], dim=-1)

    counting = faces[..., 4] * (faces[..., 2] > 0)
    which = torch.multinomial(counting + 1e-6, near, replacement=True)
    chosen = faces[..., :4].gather(1, which[..., None].expand(-1, -1, 4))
    noise = torch.randn(batch, near, 4, device=device)
    noise = noise * torch.where(torch.rand(batch, near, 1, device=device) < 0.4, 0.3, 1.0)  # as after a first look
    any_angle = torch.rand(batch, near, device=device) < 0.3
    turn = torch.where(any_angle, 360 * torch.rand(batch, near, device=device), 25 * noise[..., 3])
    center = chosen[..., :2] + 0.12 * noise[..., :2] * chosen[..., 2:3]
    side = chosen[..., 2] * torch.exp(0.2 * noise[..., 2])
    around = torch.cat([center, side[..., None], (chosen[..., 3] + turn)[..., None]], dim=-1)
    real = counting.gather(1, which) > 0
    return torch.cat([torch.where(real[..., None], around, random[:, :near]), random[:, near:]], dim=1)


def otherwise_seen(
    pictures: Float[Tensor, "batch 3 size size"], faces: Float[Tensor, "batch faces 5"], quarters: int
) -> tuple[Float[Tensor, "batch 3 size size"], Float[Tensor, "batch faces 5"]]:
    """Pictures mirrored along x and then turned clockwise by quarters of a turn, with their faces.

    It is for a device that learns from scenes faster than they are composed.
    """
    last = pictures.shape[-1] - 1
    x, y, side, angle, counts = faces.unbind(-1)
    x, angle = last - x, -angle
    for _ in range(quarters % 4):
        x, y, angle = last - y, x, angle + 90
    moved = torch.stack([x, y, side, (angle + 180) % 360 - 180, counts], dim=-1)
    return torch.rot90(pictures.flip(3), -quarters, (2, 3)), torch.where(side[..., None] > 0, moved, faces)


_LEVELS = 5
"""Pictures that `squares` samples: the picture itself and those averaged down by 2, 4, 8, 16."""


def squares(
    pictures: Float[Tensor, "batch 3 height width"], places: Float[Tensor, "batch places 4"], config: LookConfig
) -> Float[Tensor, "batch*places 3 size size"]:
    """The squares that the second look is shown, cut out of pictures whose mean is 0; around them lies 0.

    Where a square is larger than what it is cut to, a picture that was averaged down is sampled: bilinear sampling
    alone would skip pixels. The averaged ones lie beside the picture, so that all is sampled at once.
    """
    height, width = pictures.shape[-2:]
    sheet = pictures.new_zeros(*pictures.shape[:2], height, width + 1 + width // 2)
    corners, top = [], 0
    for halved in range(_LEVELS):
        part = F.avg_pool2d(pictures, 2**halved) if halved else pictures
        left = 0 if halved == 0 else width + 1
        sheet[..., top : top + part.shape[-2], left : left + part.shape[-1]] = part
        corners.append((left, top))
        top += (part.shape[-2] + 1) if halved else 0
    corner = torch.tensor(corners, device=places.device, dtype=places.dtype)

    x, y, side, angle = places.unbind(-1)
    level = torch.log2(config.view * side / config.size / 1.2).floor().clamp(0, _LEVELS - 1)
    steps = (torch.arange(config.size, device=places.device) + 0.5) / config.size - 0.5
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    direction = (_direction(angle) * (config.view * side)[..., None])[..., None, None, :]
    cos, sin = direction[..., 0], direction[..., 1]
    across = x[..., None, None] + cos * u - sin * v
    down = y[..., None, None] + sin * u + cos * v
    outside = (across < -0.5) | (down < -0.5) | (across > width - 0.5) | (down > height - 0.5)
    shrink = torch.exp2(-level)[..., None, None]
    first, upper = corner[level.long()][..., None, None, :].unbind(-1)
    where = torch.stack(
        [
            ((across + 0.5) * shrink + first) * 2 / sheet.shape[-1] - 1,
            ((down + 0.5) * shrink + upper) * 2 / height - 1,
        ],
        dim=-1,
    )
    where = torch.where(outside[..., None], 3.0, where)
    batch, count, size = *places.shape[:2], config.size
    cut = F.grid_sample(sheet, where.view(batch, count * size, size, 2), align_corners=False)
    return cut.view(batch, 3, count, size, size).transpose(1, 2).reshape(batch * count, 3, size, size)


class LookLosses(NamedTuple):
    """Of the second look: of the score over the places that count; centre, size and angle over those with a face."""

    score: Tensor
    center: Tensor
    size: Tensor
    angle: Tensor


class LookTargets(NamedTuple):
    """For each place: 1 for a face, 0 for none, -1 for neither; and what is to be said of it, as `LookNet` says it."""

    label: Int[Tensor, " places"]
    values: Float[Tensor, "places 5"]


_FACE_WITHIN, _NONE_BEYOND = 0.36, 0.6
"""A place whose centre is off by less than the first part of the face's side shows the face, by more than the second
none; in between it counts neither way. As for the size, by these times two as a logarithm."""


@torch.no_grad()
def look_targets(places: Float[Tensor, "batch places 4"], faces: Float[Tensor, "batch faces 5"]) -> LookTargets:
    """What the second look should say of places, those of all pictures one after the other."""
    theirs = faces[:, None]
    offset = (theirs[..., :2] - places[:, :, None, :2]).norm(dim=-1)
    size = torch.log(theirs[..., 2].clamp(min=1) / places[..., 2:3])
    off = torch.maximum(offset / torch.maximum(theirs[..., 2], places[..., 2:3]), size.abs() / 2)
    off = torch.where(theirs[..., 2] > 0, off, torch.inf)
    nearest, which = torch.where(theirs[..., 4] > 0, off, torch.inf).min(-1)
    label = torch.where(nearest < _FACE_WITHIN, 1, torch.where(nearest < _NONE_BEYOND, -1, 0))
    unsure = torch.where(theirs[..., 4] > 0, torch.inf, off).amin(-1) < 0.8
    label = torch.where((label < 1) & unsure, -1, label)

    chosen = faces.gather(1, which[..., None].expand(-1, -1, 5))
    away = (chosen[..., :2] - places[..., :2]) / places[..., 2:3]
    cos, sin = _direction(places[..., 3]).unbind(-1)
    shift = torch.stack([away[..., 0] * cos + away[..., 1] * sin, -away[..., 0] * sin + away[..., 1] * cos], dim=-1)
    grown = torch.log(chosen[..., 2:3].clamp(min=1) / places[..., 2:3])
    values = torch.cat([shift, grown, _direction(chosen[..., 3] - places[..., 3])], dim=-1)
    return LookTargets(label.flatten(), values.flatten(0, 1))


def look_losses(outputs: Float[Tensor, "places 6"], targets: LookTargets) -> LookLosses:
    """The losses of the second look (scores: a focal loss, so that what is plain does not outweigh what is not)."""
    outputs = outputs.float()
    face, counts = targets.label == 1, targets.label >= 0
    logit = torch.where(face, outputs[:, 0], -outputs[:, 0])
    score = -F.logsigmoid(logit) * (1 - logit.sigmoid()) ** 1.5
    faces = face.sum().clamp(min=1)
    error = outputs[:, 1:] - targets.values
    center, size = _smooth(error[:, :2], 0.03).sum(1), _smooth(error[:, 2], 0.05)
    return LookLosses(
        (score * counts).sum() / faces,
        *((part * face).sum() / faces for part in (center, size, error[:, 3:].square().sum(1))),
    )


def _smooth(error: Tensor, until: float) -> Tensor:
    """The absolute error, quadratic below ``until``."""
    return F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=until)
