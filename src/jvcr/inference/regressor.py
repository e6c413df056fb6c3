"""From crops to landmarks: the network's passes, and what is tried where the confidence says that a box lies badly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jvcr.geometry.crop import Crop, upright_squares
from jvcr.geometry.pose import leans_deg
from jvcr.geometry.volume import sample_volume
from jvcr.geometry.warp import stretch_contrast, warp_crop
from jvcr.inference.session import OnnxNetwork

OTHER_ANGLES_DEG = (90, 180, 270)
"""A face in a box that says nothing of its angle may lie on its side or stand on its head."""

CLEARLY_MORE = 0.05
"""How much more confident an angle must be than the one that was asked for."""


class View(NamedTuple):
    """A face to look at; where the crop is rough it may lie badly, and where no angle was given the face in it, too."""

    image: NDArray[np.uint8]
    crop: Crop
    rough: bool
    has_angle: bool


@dataclass(frozen=True)
class Regressed:
    """What the network gave for one crop: (N, 3) landmarks in the image frame, their confidences, the volume."""

    crop: Crop
    points_px: NDArray[np.float64]
    confidence: NDArray[np.float64]
    volume: NDArray[np.float32]

    @property
    def mean_confidence(self) -> float:
        """Over the landmarks."""
        return float(self.confidence.mean())


def regress(network: OnnxNetwork, views: Sequence[View], passes: int) -> list[Regressed]:
    """Runs views as one batch; each pass but the first crops around the landmarks of the one before."""
    found = _run(network, views, [view.crop for view in views])
    for _ in range(passes - 1):
        found = _again(network, views, found)
    return _rescued(network, views, found)


def _run(network: OnnxNetwork, views: Sequence[View], crops: Sequence[Crop]) -> list[Regressed]:
    info = network.info
    shown = np.stack([warp_crop(view.image, crop, info.image_size) for view, crop in zip(views, crops, strict=True)])
    if info.stretch:
        shown = np.stack([stretch_contrast(pixels) for pixels in shown])
    coordinates, volumes = network.run(shown)
    points_px = [crop.to_image(points) for crop, points in zip(crops, coordinates, strict=True)]
    return list(map(Regressed, crops, points_px, sample_volume(volumes, coordinates).clip(0, 1), volumes))


def _again(network: OnnxNetwork, views: Sequence[View], found: Sequence[Regressed]) -> list[Regressed]:
    return _run(network, views, [_upright(network, one) for one in found])


def _rescued(network: OnnxNetwork, views: Sequence[View], found: list[Regressed]) -> list[Regressed]:
    """A second pass where a detector's box may lie badly, by the confidence, then other angles where it still may.

    Upside down the network sees a face with more than a low confidence; so where nobody said how the face lies, a
    doubtful one is enough to look again.
    """
    if (calibration := network.info.calibration) is None:  # nobody knows which of its confidences is low
        return found
    enough = calibration.doubtful_confidence
    doubtful = [i for i, view in enumerate(views) if view.rough and found[i].mean_confidence < enough]
    if not doubtful:
        return found
    again = _again(network, [views[i] for i in doubtful], [found[i] for i in doubtful])
    for i, better in zip(doubtful, again, strict=True):
        found[i] = better
    limits = {i: calibration.low_confidence if views[i].has_angle else enough for i in doubtful}
    low = [i for i, limit in limits.items() if found[i].mean_confidence < limit]
    for turn in OTHER_ANGLES_DEG if low else ():
        part = [views[i] for i in low]
        crops = [replace(view.crop, angle_deg=view.crop.angle_deg + turn) for view in part]
        for i, other in zip(low, _again(network, part, _run(network, part, crops)), strict=True):
            if other.mean_confidence > found[i].mean_confidence + CLEARLY_MORE:
                found[i] = other
    return found


def _upright(network: OnnxNetwork, found: Regressed) -> Crop:
    """The crop around landmarks; the one they were found in where they have no extent to crop around."""
    points, rule, template = found.points_px, network.info.crop, network.info.scheme.template
    try:
        level = Crop.around_landmarks(points, rule=rule, depth=network.info.scheme.depth)
    except ValueError:
        return found.crop
    if template is None or rule != "longer":
        return replace(level, angle_deg=found.crop.angle_deg)
    lean = leans_deg(points[None], np.array(template))
    ((x, y, side, angle),) = upright_squares(points[None], lean).tolist()
    return replace(level, center=(x, y, level.center[2]), side=side, angle_deg=angle)
