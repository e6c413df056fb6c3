"""Draws right hands with their 21 landmarks in three dimensions: a data set to train on, as docs/tutorial.md does.

python examples/hand/draw_hands.py hands --count 4000
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

SIZE, DRAWN_AT = 128, 2
"""Side of the pictures, and how many times as large they are drawn before they are reduced."""

ROOTS = np.array([(-28, -22, 4), (-24, -82, 0), (-4, -88, -2), (14, -82, 0), (30, -70, 4)], float)
"""Of the fingers, thumb first, millimetres from the wrist: x right, y down, z away, the palm turned to the camera."""

BONES = np.array([(42, 32, 26), (40, 24, 20), (44, 28, 21), (40, 26, 20), (32, 19, 18)], float)
SPREAD_DEG = np.array([-48, -9, -1, 6, 14], float)


def turn(axis, degrees):
    """A rotation as (3, 3)."""
    return cv2.Rodrigues(np.asarray(axis, float) * np.radians(degrees))[0]


def hand(rng):
    """(21, 3) landmarks of a hand in a pose of its own, millimetres."""
    points = [np.zeros(3)]
    bent = rng.uniform(0, 75)
    for finger in range(5):
        point = ROOTS[finger] * rng.normal(1, 0.04)
        heading = turn((0, 0, 1), SPREAD_DEG[finger] + rng.normal(0, 5))
        points.append(point)
        angle = 0.0
        for bone in BONES[finger] * rng.normal(1, 0.04):
            angle += np.clip((0.5 if finger == 0 else 1.0) * bent + rng.normal(0, 14), -8, 85)
            point = point + heading @ turn((1, 0, 0), angle) @ (0, -bone, 0)
            points.append(point)
    facing = turn((1, 0, 0), rng.normal(0, 30)) @ turn((0, 1, 0), rng.uniform(-70, 70))
    return np.array(points) @ (turn((0, 0, 1), rng.normal(0, 25)) @ facing).T


def picture(points, rng):
    """The hand in (SIZE, SIZE, 3) uint8, and its landmarks in pixels of it with a mean z of 0."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    scale = rng.uniform(0.55, 0.75) * SIZE / (high - low).max()
    points = points * scale
    points[:, :2] += SIZE / 2 + rng.uniform(-0.08, 0.08, 2) * SIZE - (low + high) / 2 * scale
    points[:, 2] -= points[:, 2].mean()

    ground = cv2.resize(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8), (SIZE * DRAWN_AT,) * 2)
    skin = rng.uniform((90, 60, 45), (235, 195, 175))
    near, reach = points[:, 2].min(), np.ptp(points[:, 2]) + 1
    bones = [(1 + 4 * f + k - 1 if k else 0, 1 + 4 * f + k) for f in range(5) for k in range(4)]
    bones += [(1 + 4 * f, 5 + 4 * f) for f in range(4)]
    for a, b in sorted(bones, key=lambda pair: -points[list(pair), 2].mean()):
        wide = (24 if 0 in (a, b) or (a, b) in bones[-4:] else 15) * scale
        for part in np.linspace(0, 1, 14):
            point = (1 - part) * points[a] + part * points[b]
            light = 1.0 - 0.45 * (point[2] - near) / reach
            center = tuple(np.rint(16 * ((point[:2] + 0.5) * DRAWN_AT - 0.5)).astype(int).tolist())
            for edge, shade in ((1.0, 0.72), (0.62, 1.0)):
                radius = round(16 * DRAWN_AT * edge * wide / 2)
                cv2.circle(ground, center, radius, (shade * light * skin).tolist(), -1, cv2.LINE_AA, shift=4)
    image = cv2.resize(ground, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    image = np.clip(image + rng.normal(0, rng.uniform(0, 6), image.shape), 0, 255)
    return image.astype(np.uint8), points.astype(np.float32)


def main():
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for pictures and landmarks.npz")
    parser.add_argument("--count", type=int, default=4000, help="of hands; one in ten is for validation")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    names, labels = [], []
    for index in range(arguments.count):
        rng = np.random.default_rng([arguments.seed, index])
        image, points = picture(hand(rng), rng)
        names.append(f"{index:05d}.png")
        labels.append(points)
        cv2.imwrite(str(arguments.out / names[-1]), image[:, :, ::-1])
    split = np.where(np.arange(arguments.count) % 10 == 0, "val", "train")
    np.savez(arguments.out / "landmarks.npz", image=np.array(names), points=np.stack(labels), split=split)
    print(f"{arguments.count} hands in {arguments.out}")


if __name__ == "__main__":
    main()
