"""The face model behind 300W-LP's parameters, and its recovery from AFLW2000-3D."""

import cv2
import numpy as np
import pytest

from jvcr.cli.data import basis
from jvcr.data.readers.basel import LandmarkModel, pose_deg, recover_model, to_image, unposed

scipy_io = pytest.importorskip("scipy.io", reason="scipy reads and writes the .mat files")


def as_ours(made):
    return LandmarkModel(made.mean, made.shape_basis, made.expression_basis)


def write_aflw2000(root, model, faces, rng, height=450, width=30):
    """Files of AFLW2000-3D made from a model, by the definition of that layout."""
    root.mkdir()
    for i in range(faces):
        shape, expression = rng.normal(0, 1e6, 199) * np.linspace(1, 0.1, 199), rng.normal(0, 1, 29)
        para = np.array([*rng.uniform(-1, 1, 3), *rng.uniform(100, 300, 3), rng.uniform(5e-4, 2e-3)], np.float32)
        pitch, yaw, roll = para[:3].astype(float)
        c, s = np.cos, np.sin
        rotation = (
            np.array([[1, 0, 0], [0, c(pitch), s(pitch)], [0, -s(pitch), c(pitch)]])
            @ np.array([[c(yaw), 0, -s(yaw)], [0, 1, 0], [s(yaw), 0, c(yaw)]])
            @ np.array([[c(roll), s(roll), 0], [-s(roll), c(roll), 0], [0, 0, 1]])
        )
        head = (
            model.mean + np.tensordot(shape, model.shape_basis, 1) + np.tensordot(expression, model.expression_basis, 1)
        )
        x, y, z = (float(para[6]) * head @ rotation.T + para[3:6].astype(float)).T
        content = {
            "pt3d_68": np.stack([x, height + 1 - y, z]).astype(np.float32),
            "Pose_Para": para[None],
            "Shape_Para": shape[:, None],
            "Exp_Para": expression[:, None],
        }
        scipy_io.savemat(root / f"image{i:05d}.mat", content)
        cv2.imwrite(str(root / f"image{i:05d}.jpg"), np.zeros((height, width, 3), np.uint8))


def test_landmarks_by_hand(made_model):
    shape, expression = np.zeros((2, 199)), np.zeros((2, 29))
    shape[1, 3], expression[1, 7] = 1000, -2
    points = as_ours(made_model).landmarks(shape, expression)
    np.testing.assert_allclose(points[0], made_model.mean)
    np.testing.assert_allclose(
        points[1], made_model.mean + 1000 * made_model.shape_basis[3] - 2 * made_model.expression_basis[7]
    )


def test_to_image_by_hand():
    """Turned by a yaw of 90 degrees, Ry sends (x, y, z) to (-z, y, x); y up becomes y down, counted from 0."""
    pose = np.array([0, np.pi / 2, 0, 100, 50, 8, 0.5])
    points = to_image([[10.0, 20, 30], [10, 20, -30]], pose, height=200)
    np.testing.assert_allclose(points, [[100 - 15 - 1, 200 - 60, 0], [100 + 15 - 1, 200 - 60, 0]], atol=1e-12)
    # Without a turn: z towards the camera becomes z away from it, mean 0.
    points = to_image([[0.0, 0, 30], [0, 0, -10]], np.array([0, 0, 0, 0, 0, 0, 2.0]), height=10)
    np.testing.assert_allclose(points, [[-1, 10, -40], [-1, 10, 40]])


def test_unposed_is_the_opposite(made_model):
    pose = np.array([0.3, -0.7, 0.2, 210, 190, -40, 0.0012])
    height = 333
    x, y, z = to_image(made_model.mean, pose, height).T
    back = unposed(np.stack([x + 1, y + 1, -z]), pose, height)
    # The image frame has lost where the face is along the line of sight: it comes back up to a shift.
    difference = back - made_model.mean
    np.testing.assert_allclose(difference, np.broadcast_to(difference[0], difference.shape), atol=1e-6)


def test_pose_deg():
    np.testing.assert_allclose(pose_deg([[np.pi / 6, -np.pi / 2, 0, 1, 2, 3, 4]]), [[30, -90, 0]], rtol=1e-6)


def test_recovers_a_made_up_model(tmp_path, made_model):
    write_aflw2000(tmp_path / "set", made_model, 260, np.random.default_rng(2))
    advanced = []
    recovery = recover_model(tmp_path / "set", advanced.append)
    assert (recovery.faces, recovery.rank, len(advanced)) == (260, 229, 260)
    assert recovery.residual_um < 0.1  # the files hold pixels in float32
    np.testing.assert_allclose(recovery.model.mean, made_model.mean, atol=2)
    spread = np.abs(made_model.shape_basis).mean()
    np.testing.assert_allclose(recovery.model.shape_basis, made_model.shape_basis, atol=0.002 * spread)
    np.testing.assert_allclose(recovery.model.expression_basis, made_model.expression_basis, atol=1)


def test_recovers_the_real_model(tmp_path, real_data):
    """Faces made from the Basel model at the landmarks give that model back."""
    path = real_data / "bfm68.npz"
    if not path.is_file():
        pytest.skip(f"bfm68.npz not found in {real_data}")
    model = LandmarkModel.load(path)
    with np.load(path) as file:
        deviations = file["shape_std"]
    rng = np.random.default_rng(3)

    class Scaled:
        mean, expression_basis = model.mean, model.expression_basis
        shape_basis = model.shape_basis

    write_aflw2000(tmp_path / "set", Scaled, 300, rng)
    recovery = recover_model(tmp_path / "set")
    assert recovery.rank == 229
    np.testing.assert_allclose(recovery.model.mean, model.mean, atol=5)
    # In micrometres at one standard deviation of each parameter, which is how large they are in faces.
    error = np.abs(recovery.model.shape_basis - model.shape_basis) * deviations[:, None, None]
    assert error.max() < 2
    assert np.abs(recovery.model.expression_basis - model.expression_basis).max() < 2


@pytest.mark.parametrize(
    ("faces", "repeat", "message"),
    [(40, 1, "40 faces do not determine the model, which has 229 unknowns"), (20, 13, "span 20 of 229 dimensions")],
)
def test_too_few_or_too_similar_faces_are_refused(tmp_path, made_model, faces, repeat, message):
    write_aflw2000(tmp_path / "set", made_model, faces, np.random.default_rng(4))
    for path in sorted((tmp_path / "set").iterdir()):
        for copy in range(1, repeat):
            (path.parent / f"copy{copy}_{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=message):
        recover_model(tmp_path / "set")


def test_folders_that_cannot_be_used(tmp_path, aflw2000):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        recover_model(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"looked for pairs such as image00002\.jpg.*no 'Shape_Para'"):
        recover_model(aflw2000.root)


def test_a_model_is_saved_and_read(tmp_path, made_model):
    as_ours(made_model).save(tmp_path / "basis.npz")
    read = LandmarkModel.load(tmp_path / "basis.npz")
    np.testing.assert_array_equal(read.shape_basis, made_model.shape_basis)
    with pytest.raises(FileNotFoundError, match="jvcr data basis"):
        LandmarkModel.load(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", mean=np.zeros((68, 3)))
    with pytest.raises(ValueError, match="no shape_basis, expression_basis"):
        LandmarkModel.load(tmp_path / "other.npz")
    np.savez(tmp_path / "wrong.npz", mean=np.zeros((68, 3)), shape_basis=np.zeros((3, 68, 3)), expression_basis=0)
    with pytest.raises(ValueError, match=r"wrong\.npz: a face model's shape_basis should be \(199, 68, 3\)"):
        LandmarkModel.load(tmp_path / "wrong.npz")


def test_a_face_that_contradicts_the_others_is_left_out_and_named(tmp_path, made_model, capsys):
    root = tmp_path / "set"
    write_aflw2000(root, made_model, 260, np.random.default_rng(2))
    content = scipy_io.loadmat(root / "image00007.mat")
    content["pt3d_68"] = scipy_io.loadmat(root / "image00008.mat")["pt3d_68"]
    scipy_io.savemat(root / "image00007.mat", {k: v for k, v in content.items() if not k.startswith("__")})
    recovery = recover_model(root)
    assert recovery.faces == 259
    assert recovery.residual_um < 0.1
    assert len(recovery.problems) == 1 and recovery.problems[0].startswith("image00007: its points are not those")
    np.testing.assert_allclose(recovery.model.mean, made_model.mean, atol=2)
    # The file is right, so the command's exit code says so.
    assert basis(root, out=tmp_path / "basis.npz") == 0
    np.testing.assert_array_equal(LandmarkModel.load(tmp_path / "basis.npz").mean, recovery.model.mean)
    assert "left out 1: image00007" in capsys.readouterr().err


def test_images_of_another_size_contradict_each_other(tmp_path, made_model):
    root = tmp_path / "set"
    write_aflw2000(root, made_model, 260, np.random.default_rng(2))
    for i, path in enumerate(sorted(root.glob("*.jpg"))):
        cv2.imwrite(str(path), np.zeros((300 + i % 7 * 20, 30, 3), np.uint8))
    with pytest.raises(ValueError, match=r"contradict each other by .* micrometres"):
        recover_model(root)
