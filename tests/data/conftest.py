"""A made-up face model, and 300W-LP and 3DFAW as folders written from the definition of their layouts."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

HEIGHTS = (450, 300)


@dataclass(frozen=True)
class MadeModel:
    """A linear face model at the 68 landmarks: micrometres, x right, y up, z towards the camera."""

    mean: np.ndarray
    shape_basis: np.ndarray
    expression_basis: np.ndarray

    def points(self, shape, expression):
        """(68, 3) by the definition, a sum over the modes."""
        points = self.mean.copy()
        for weight, mode in zip(shape, self.shape_basis, strict=True):
            points += weight * mode
        for weight, mode in zip(expression, self.expression_basis, strict=True):
            points += weight * mode
        return points

    def save(self, path):
        np.savez(path, mean=self.mean, shape_basis=self.shape_basis, expression_basis=self.expression_basis)


@pytest.fixture(scope="session")
def made_model() -> MadeModel:
    from jvcr.scheme import FACE68

    rng = np.random.default_rng(5)
    face = np.array(FACE68.template) * (1, -1, -1)
    mean = (face - face.mean(0)) / np.ptp(face[:, 0]) * 140_000
    return MadeModel(mean, rng.normal(0, 0.01, (199, 68, 3)), rng.normal(0, 2000, (29, 68, 3)))


def pose(pitch, yaw, roll, scale=0.001, shift=(220.0, 210.0, -30.0)):
    """Pose_Para of angles in degrees."""
    return np.array([*np.radians([pitch, yaw, roll]), *shift, scale])


def turned(points, para):
    """V = s R X + t, the rotation written out: R = Rx(pitch) Ry(yaw) Rz(roll)."""
    (a, b, c), shift, scale = para[:3], para[3:6], para[6]
    x = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), np.sin(c), 0], [-np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return scale * points @ (x @ y @ z).T + shift


@dataclass(frozen=True)
class Made300WLP:
    """A made-up copy of 300W-LP: what is in it, in the order in which it should be read."""

    root: Path
    images: tuple[str, ...]
    points_px: np.ndarray
    pose_deg: np.ndarray


@pytest.fixture
def made_300wlp(tmp_path, made_model) -> Made300WLP:
    """AFW with two faces in images of different heights, AFW_Flip, IBUG and IBUG_Flip with one each."""
    savemat = pytest.importorskip("scipy.io", reason="scipy writes the .mat files").savemat
    root = tmp_path / "300W-LP"
    rng = np.random.default_rng(0)
    images, points, poses = [], [], []
    faces = [
        ("AFW", "AFW_1_0", 450, pose(5, -40, 3)),
        ("AFW", "AFW_1_1", 300, pose(-8, 62, 0, 0.0008, (150, 140, 7))),
        ("AFW_Flip", "AFW_1_0", 450, pose(5, 40, -3)),
        ("IBUG", "IBUG_9_2", 450, pose(0, 15, -20)),
        ("IBUG_Flip", "IBUG_9_2", 450, pose(0, -15, 20)),
    ]
    for part, name, height, para in faces:
        shape, expression = rng.normal(0, 1e5, 199), rng.normal(0, 1, 29)
        (root / part).mkdir(parents=True, exist_ok=True)
        savemat(
            root / part / f"{name}.mat",
            {
                "Shape_Para": shape[:, None],
                "Exp_Para": expression[:, None],
                "Pose_Para": para[None].astype(np.float32),
                "pt2d": np.zeros((2, 68)),
            },
        )
        cv2.imwrite(str(root / part / f"{name}.jpg"), np.full((height, 440, 3), 90, np.uint8))
        x, y, z = turned(made_model.points(shape, expression), para.astype(np.float32).astype(float)).T
        # Matlab's pixel (x, height + 1 - y), counted from 1; z towards the camera.
        points.append(np.stack([x - 1, height + 1 - y - 1, -(z - z.mean())], axis=1))
        images.append(f"{part}/{name}.jpg")
        poses.append(np.degrees(para[:3]))
    return Made300WLP(root, tuple(images), np.stack(points), np.stack(poses))


@pytest.fixture
def made_3dfaw(tmp_path):
    """A made-up copy of 3DFAW: three training faces, one of them with a box, one for validation, a test image."""
    rng = np.random.default_rng(1)
    root = tmp_path / "3DFAW"
    for split, count in (("train", 3), ("valid", 1), ("test", 1)):
        for kind in ("img", "lm", "bb"):
            (root / f"{split}_{kind}").mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(root / f"{split}_img" / f"f{i}.jpg"), np.full((100, 110, 3), 60, np.uint8))
            if split != "test":
                face = rng.uniform(20, 80, (66, 3))
                face[30, 2], face[[0, 16], 2] = 10, 90  # the nose in front, z away from the camera
                np.savetxt(root / f"{split}_lm" / f"f{i}_lm.csv", face, delimiter=",")
    (root / "train_bb" / "f1_bb.csv").write_text("15,16,85,87\n")
    return root
