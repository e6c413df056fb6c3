"""The synthetic set: repeatable, exact, and the same faces in every layout."""

import sys

import cv2
import numpy as np
import pytest

from jvcr.data.readers.aflw2000 import read_aflw2000
from jvcr.data.readers.basel import head_pose_of
from jvcr.data.readers.folder import read_folder
from jvcr.geometry.pose import HeadPose, euler_to_rotation, head_pose
from jvcr.scheme import FACE68
from jvcr.synthetic.dataset import SyntheticFace, make_synthetic, synthetic_face
from jvcr.synthetic.head import head_model
from jvcr.synthetic.look import Look
from jvcr.synthetic.modes import EXPRESSION_MODES, SHAPE_MODES, Expression

SIZE = 64


def pose(face):
    return head_pose_of(face.pose_para)


def facing(yaw_deg, expression=(), size=128):
    """The average head, turned, with full movements, in the middle of its image."""
    values = np.zeros(EXPRESSION_MODES)
    values[list(expression)] = 1
    pose = np.array([0, np.radians(yaw_deg), 0, 0.5 * size, 0.5 * size, 0, 0.55 * size / 150_000], np.float32)
    return SyntheticFace(0, "", 0, size, np.zeros(SHAPE_MODES), values, pose, Look())


# --- One face ---------------------------------------------------------------------------------------------------------


def test_a_face_is_a_function_of_its_index_and_the_seed():
    first, again, other, next_ = synthetic_face(3), synthetic_face(3), synthetic_face(3, seed=1), synthetic_face(4)
    np.testing.assert_array_equal(first.points_px, again.points_px)
    np.testing.assert_array_equal(first.draw()[0], again.draw()[0])
    np.testing.assert_array_equal(first.draw()[1], again.draw()[1])
    for different in (other, next_):
        assert np.abs(first.points_px - different.points_px).max() > 1
        assert (first.draw()[0] != different.draw()[0]).any()


def test_landmarks_are_the_model_turned_scaled_and_moved():
    """V = s R (mean + S a + E b) + t; y = height + 1 - V_y, counted from 1."""
    face, model = synthetic_face(5, size=SIZE), head_model()
    pitch, yaw, roll, *shift, scale = face.pose_para.astype(np.float64)
    head = (
        model.at_landmarks.mean
        + np.tensordot(face.shape, model.at_landmarks.shape_basis, 1)
        + np.tensordot(face.expression, model.at_landmarks.expression_basis, 1)
    )
    rotation = euler_to_rotation(HeadPose(*np.degrees([yaw, pitch, roll]).tolist()))
    v = scale * head @ rotation.T + shift
    expected = np.column_stack([v[:, 0] - 1, SIZE + 1 - v[:, 1] - 1, v[:, 2].mean() - v[:, 2]])
    np.testing.assert_allclose(face.points_px, expected, atol=1e-4)
    assert face.points_px.dtype == np.float32
    assert pose(face).yaw_deg == pytest.approx(np.degrees(yaw))


def test_the_rotation_is_that_of_the_genuine_files(real_data):
    """Genuine parameters with the genuine model give the genuine points, by the very arithmetic used here."""
    scipy_io = pytest.importorskip("scipy.io")
    root = real_data / "aflw2000_sample"
    if not root.is_dir() or not (real_data / "bfm68.npz").is_file():
        pytest.skip(f"aflw2000_sample or bfm68.npz not found in {real_data}")
    from jvcr.data.readers.basel import projection

    basis = np.load(real_data / "bfm68.npz")
    for path in sorted(root.glob("*.mat")):
        file = scipy_io.loadmat(path)
        rotation, shift, scale = projection(file["Pose_Para"].ravel())
        head = (
            basis["mean"]
            + np.tensordot(file["Shape_Para"].ravel(), basis["shape_basis"], 1)
            + np.tensordot(file["Exp_Para"].ravel(), basis["expression_basis"], 1)
        )
        x, y, z = (scale * head @ rotation.T + shift).T
        np.testing.assert_allclose(np.stack([x, 451 - y, z]), file["pt3d_68"], atol=1e-3)


def test_another_size_is_the_same_face_larger():
    small, large = synthetic_face(7, size=80), synthetic_face(7, size=240)
    # Pixel centres: the image's middle is at (size - 1) / 2.
    np.testing.assert_allclose((small.points_px[:, :2] + 0.5) * 3, large.points_px[:, :2] + 0.5, atol=1e-3)
    np.testing.assert_allclose(small.points_px[:, 2] * 3, large.points_px[:, 2], atol=1e-3)
    reduced = cv2.resize(large.draw()[0], (80, 80), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(reduced - small.draw()[0]).mean() < 12


def test_landmarks_lie_in_the_image_and_yaws_everywhere():
    faces = [synthetic_face(i, seed=2, size=100) for i in range(60)]
    points = np.stack([face.points_px for face in faces])
    assert points[..., :2].min() > 2 and points[..., :2].max() < 97
    np.testing.assert_allclose(points[..., 2].mean(1), 0, atol=1e-4)
    yaw = np.array([pose(face).yaw_deg for face in faces])
    assert np.histogram(yaw, 6, (-90, 90))[0].min() >= 9  # of 10 if they were perfectly even
    assert max(abs(angle) for face in faces for angle in (pose(face).pitch_deg, pose(face).roll_deg)) <= 25.001
    # A few faces are enough for every band of yaw.
    bands = np.digitize(np.abs([pose(synthetic_face(i)).yaw_deg for i in range(6)]), [30, 60])
    assert set(bands.tolist()) == {0, 1, 2}


def test_lips_and_lids_of_random_faces_do_not_cross():
    for index in range(80):
        face = synthetic_face(index)
        head = head_model().landmarks_um(face.shape, face.expression)
        for upper, lower in ((61, 67), (62, 66), (63, 65), (51, 57), (37, 41), (38, 40), (43, 47), (44, 46)):
            assert head[upper, 1] - head[lower, 1] > -2_500, (index, upper)  # micrometres


def test_the_pose_read_off_the_landmarks_is_about_that_drawn():
    """The template of FACE68 knows nothing of this model: signs and axes are those of the package."""
    for index in range(12):
        face = synthetic_face(index)
        found = head_pose(face.points_px, np.array(FACE68.template))
        for name in ("yaw_deg", "pitch_deg", "roll_deg"):
            if abs(pose(face).yaw_deg) < 70:  # nearer to 90, pitch and roll are hard to tell apart
                assert getattr(found, name) == pytest.approx(getattr(pose(face), name), abs=12)


def test_the_far_side_is_hidden_by_the_head():
    right, left = list(range(1, 7)), list(range(10, 16))
    right_eye, left_eye = list(range(36, 42)), list(range(42, 48))
    # A yaw above 0 turns the nose to the picture's left: there lies the face's right side, which goes out of sight.
    for yaw, far, near in (
        (60, right, left + left_eye),
        (-60, left, right + right_eye),
        (88, right + right_eye, left + left_eye),
        (-88, left + left_eye, right + right_eye),
    ):
        _, occlusion = facing(yaw).draw()
        assert set(occlusion.tolist()) <= {0, 2} and occlusion.dtype == np.int8
        assert (occlusion[far] == 2).all(), yaw
        assert (occlusion[near] == 0).all(), yaw
        assert occlusion[30] == 0
    _, occlusion = facing(0).draw()
    assert (occlusion[17:] == 0).all()  # seen from the front, everything but the jaw's ends must be there


def test_what_is_drawn_is_where_the_labels_say():
    """Opening the mouth darkens the place between the lips, closing the eyes takes their white away."""
    rest, opened = facing(0), facing(0, [Expression.OPEN_MOUTH])
    column, row = np.rint(opened.points_px[[62, 66], :2].mean(0) - np.array([0, 2])).astype(int)
    assert opened.draw()[0][row, column].mean() < 0.6 * rest.draw()[0][row - 8, column - 25].mean()
    # The same holds at 45 degrees: the lower lip's landmark lies on the lip, which is redder than the skin below.
    face = facing(45)
    image, _ = face.draw()
    image = image.astype(float)

    def redness(place):
        column, row = np.rint(place).astype(int)
        return image[row, column, 0] / image[row, column, 1]

    points = face.points_px[:, :2]
    lip, chin = points[[57, 66]].mean(0), points[[57, 8]].mean(0)
    assert redness(lip) > 1.1 * redness(chin)


def test_mirrored_labels_are_the_mirrored_landmarks():
    for index in range(4):
        face = synthetic_face(index, size=SIZE)
        mirrored = face.mirrored()
        expected = face.points_px[FACE68.mirror] * [-1, 1, 1] + [SIZE - 1, 0, 0]
        np.testing.assert_allclose(mirrored.points_px, expected, atol=1e-3)
        assert pose(mirrored).yaw_deg == pytest.approx(-pose(face).yaw_deg)
        np.testing.assert_allclose(mirrored.mirrored().pose_para, face.pose_para, rtol=1e-5, atol=1e-5)


def test_views_show_one_subject_from_several_sides():
    first, second, other = (synthetic_face(i, views=2) for i in range(3))
    assert first.subject == second.subject != other.subject
    np.testing.assert_array_equal(first.shape, second.shape)
    np.testing.assert_array_equal(first.expression, second.expression)
    assert first.look.skin == second.look.skin and first.look.light != second.look.light
    assert abs(pose(first).yaw_deg - pose(second).yaw_deg) > 30
    assert np.abs(first.shape - other.shape).max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": -1}, "index must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"size": 31}, "size must be at least 32, got 31"),
        ({"views": 0}, "views must be at least 1, got 0"),
    ],
)
def test_bad_numbers_for_a_face(change, message):
    with pytest.raises(ValueError, match=message):
        synthetic_face(**{"index": 0, **change})


# --- Sets -------------------------------------------------------------------------------------------------------------


def test_the_folder_layout(tmp_path):
    done = []
    out = make_synthetic(tmp_path / "set", 6, seed=4, size=SIZE, views=2, advance=done.append)
    assert out == tmp_path / "set" and done == [1] * 6
    dataset = read_folder(out)
    assert len(dataset) == 6 and set(dataset.sources.tolist()) == {"synthetic"}
    assert dataset.splits.tolist() == ["train"] * 4 + ["val"] * 2
    for i in range(6):
        face = synthetic_face(i, 4, SIZE, 2)
        np.testing.assert_array_equal(dataset.points_px[i], face.points_px)
        assert dataset.yaw_deg[i] == pytest.approx(pose(face).yaw_deg, abs=1e-3)
        image, occlusion = face.draw()
        stored = dataset.read_image(i)
        assert stored.shape == (SIZE, SIZE, 3)
        assert np.abs(stored.astype(int) - image).mean() < 4  # JPEG
    columns = np.load(out / "landmarks.npz")
    assert columns["occlusion"].dtype == np.int8
    np.testing.assert_array_equal(dataset.occlusion[5], occlusion)
    assert columns["pose_deg"].shape == (6, 3)
    np.testing.assert_allclose(columns["pose_deg"][:, 1], dataset.yaw_deg)
    assert columns["subject"].tolist() == [f"subject00000{i}" for i in (0, 0, 1, 1, 2, 2)]
    assert "says nothing about photographs" in (out / "README.txt").read_text()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".jvcr")]


@pytest.mark.parametrize("layout", ["folder", "300w-lp", "aflw2000"])
def test_twice_the_same_bytes(tmp_path, layout):
    if layout != "folder":
        pytest.importorskip("scipy.io")
    for name in "ab":
        make_synthetic(tmp_path / name, 2, size=SIZE, layout=layout)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*") if p.is_file())
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_all_layouts_hold_the_same_faces(tmp_path):
    loadmat = pytest.importorskip("scipy.io").loadmat
    from jvcr.data.readers.basel import LandmarkModel
    from jvcr.data.readers.w300lp import read_300wlp

    for layout in ("folder", "300w-lp", "aflw2000"):
        make_synthetic(tmp_path / layout, 5, seed=9, size=SIZE, layout=layout)
    own, aflw = read_folder(tmp_path / "folder"), read_aflw2000(tmp_path / "aflw2000")
    np.testing.assert_allclose(aflw.points_px, own.points_px, atol=1e-3)
    np.testing.assert_allclose(aflw.yaw_deg, own.yaw_deg, atol=1e-3)
    assert aflw.images.tolist() == [f"image0000{i}.jpg" for i in range(1, 6)]
    for i in range(5):
        np.testing.assert_array_equal(aflw.read_image(i), own.read_image(i))

    root = tmp_path / "300w-lp"
    assert sorted(p.name for p in root.iterdir() if p.is_dir()) == sorted(
        part + suffix for part in ("AFW", "HELEN", "IBUG", "LFPW") for suffix in ("", "_Flip")
    )
    model = LandmarkModel.load(root / "basis.npz")
    lp = read_300wlp(root, model, flips=True)
    assert len(lp) == 10
    place = {name: i for i, name in enumerate(lp.images.tolist())}
    for i, name in enumerate(
        ["AFW/AFW_0001_0", "HELEN/HELEN_0001_0", "IBUG/IBUG_0001_0", "LFPW/LFPW_0001_0", "AFW/AFW_0002_0"]
    ):
        here, flip = place[f"{name}.jpg"], place[f"{name.replace('/', '_Flip/')}.jpg"]
        np.testing.assert_allclose(lp.points_px[here], own.points_px[i], atol=1e-3)
        np.testing.assert_array_equal(lp.read_image(here), own.read_image(i))
        mirrored = own.points_px[i][FACE68.mirror] * [-1, 1, 1] + [SIZE - 1, 0, 0]
        np.testing.assert_allclose(lp.points_px[flip], mirrored, atol=1e-3)
        assert np.abs(lp.read_image(flip)[:, ::-1].astype(int) - own.read_image(i)).mean() < 4  # JPEG
        file = loadmat(root / f"{name}.mat")
        assert {k: v.shape for k, v in file.items() if k[0] != "_"} == {
            "pt2d": (2, 68),
            "Shape_Para": (199, 1),
            "Exp_Para": (29, 1),
            "Pose_Para": (1, 7),
        }
        np.testing.assert_allclose(file["pt2d"].T - 1, own.points_px[i, :, :2], atol=1e-3)


def test_the_basis_belongs_to_the_parameters(tmp_path):
    loadmat = pytest.importorskip("scipy.io").loadmat
    make_synthetic(tmp_path / "set", 1, size=SIZE, layout="aflw2000")
    assert "belong to the model in basis.npz" in (tmp_path / "set" / "README.txt").read_text()
    file, basis = loadmat(tmp_path / "set" / "image00001.mat"), np.load(tmp_path / "set" / "basis.npz")
    assert basis["mean"].shape == (68, 3)
    assert basis["shape_basis"].shape == (199, 68, 3) and basis["shape_std"].shape == (199,)
    assert basis["expression_basis"].shape == (29, 68, 3) and basis["expression_std"].shape == (29,)
    assert file["pt3d_68"].shape == (3, 68) and file["pt3d_68"].dtype == np.float32
    head = (
        basis["mean"]
        + np.tensordot(file["Shape_Para"].ravel(), basis["shape_basis"], 1)
        + np.tensordot(file["Exp_Para"].ravel(), basis["expression_basis"], 1)
    )
    pitch, yaw, roll, *shift, scale = file["Pose_Para"].ravel().astype(float)
    rotation = euler_to_rotation(HeadPose(*np.degrees([yaw, pitch, roll]).tolist()))
    x, y, z = (scale * head @ rotation.T + shift).T
    np.testing.assert_allclose(np.stack([x, SIZE + 1 - y, z]), file["pt3d_68"], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faces": 0}, "faces must be at least 1, got 0"),
        ({"size": 8}, "size must be at least 32, got 8"),
        ({"seed": -2}, "seed must be at least 0, got -2"),
        ({"views": 0}, "views must be at least 1, got 0"),
        ({"faces": 5, "views": 2}, "multiple of views, 2, .* got 5"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        make_synthetic(tmp_path / "set", **{"faces": 2, **change})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not empty: choose another folder"):
        make_synthetic(tmp_path, 1)
    with pytest.raises(ValueError, match="note is a file"):
        make_synthetic(tmp_path / "note", 1)
    assert (tmp_path / "note").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert len(read_folder(make_synthetic(tmp_path / "empty", 1, size=SIZE))) == 1


def test_an_interrupted_set_leaves_nothing(tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_synthetic(tmp_path / "set", 3, size=SIZE, advance=stop)
    assert list(tmp_path.iterdir()) == []


def test_without_scipy_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "jvcr\[data\]"'):
        make_synthetic(tmp_path / "set", 1, layout="aflw2000")
    assert list(tmp_path.iterdir()) == []
