"""What `Face.eye_open` and `Face.mouth_open` call closed and wide open, and how often they are right.

    python benchmarks/open_ranges.py faces3d

The ranges are taken from *training* faces whose eyes and lips people labelled: closed is the median of the predicted
apertures of those that are closed by these labels, wide open is what most others stay below. Then sensitivity and
specificity are measured on the validation faces, at half open and at other thresholds. Faces up to 45 degrees of yaw.
"""

import argparse
from pathlib import Path

import numpy as np

from jvcr.cli.progress import counting
from jvcr.data.readers import read_dataset
from jvcr.evaluation.hand import CLOSED_BELOW
from jvcr.evaluation.predictions import predict
from jvcr.evaluation.regions import MOST_YAW_DEG
from jvcr.geometry.aperture import contour_aperture
from jvcr.inference import Landmarker

# contours, aperture by hand below which they are closed, share of all that stays below wide open, thresholds to try
KINDS = {
    "eyes": (("left_eye", "right_eye"), CLOSED_BELOW, 0.95, (0.2, 0.3, 0.4, 0.5)),
    "mouths": (("inner_lips",), 0.03, 0.99, (0.1, 0.15, 0.2, 0.3)),
}


def apertures(dataset, points, contours):
    """Apertures by hand and as predicted, of contours that people labelled whole, on faces turned little."""
    hand, little = dataset.seen_by_hand(), np.abs(dataset.yaw_deg) <= MOST_YAW_DEG
    pairs = []
    for name in contours:
        group = list(dataset.scheme.groups[name])
        both = np.stack([contour_aperture(hand[:, group]), contour_aperture(points[:, group, :2])])
        pairs.append(both[:, little & np.isfinite(both).all(axis=0)])
    return np.concatenate(pairs, axis=1)


def predicted(landmarker, dataset, what):
    with counting(what, len(dataset)) as advance:
        return predict(landmarker, dataset, "truth", advance).points_px


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="compact")
    args = parser.parse_args()
    landmarker, dataset = Landmarker(weights=args.weights), read_dataset(args.data)
    parts = {name: dataset.split(name) for name in ("train", "val")}
    points = {name: predicted(landmarker, part, name) for name, part in parts.items()}
    for kind, (contours, closed_below, wide_share, thresholds) in KINDS.items():
        hand, found = apertures(parts["train"], points["train"], contours)
        closed, wide = np.median(found[hand < closed_below]), np.quantile(found, wide_share)
        print(f"{kind}: {(hand < closed_below).sum()} of {len(hand)} closed; closed {closed:.3f}, wide open {wide:.3f}")
        hand, found = apertures(parts["val"], points["val"], contours)
        is_closed, is_open = hand < closed_below, np.clip((found - closed) / (wide - closed), 0, 1)
        print(f"  validation: {is_closed.sum()} of {len(hand)} closed")
        for threshold in thresholds:
            below = is_open < threshold
            sensitivity, specificity = below[is_closed].mean(), (~below[~is_closed]).mean()
            print(f"  below {threshold:g}: sensitivity {sensitivity:.0%}, specificity {specificity:.0%}")


if __name__ == "__main__":
    main()
