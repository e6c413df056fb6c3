"""AFLW2000-3D: indices from 1 and z towards the camera in the file, from 0 and away from it in the data set."""

import shutil
import sys

import numpy as np
import pytest

from jvcr.data.readers import read_dataset
from jvcr.data.readers.aflw2000 import REANNOTATION, read_aflw2000
from jvcr.evaluation.metrics import yaw_bins

scipy_io = pytest.importorskip("scipy.io", reason="scipy reads and writes the .mat files")


def test_reads_frames_order_and_yaw(aflw2000):
    dataset = read_aflw2000(aflw2000.root)
    assert dataset.images.tolist() == list(aflw2000.images)
    assert dataset.points_px.dtype == np.float32
    np.testing.assert_allclose(dataset.points_px, aflw2000.points_px, atol=1e-4)
    np.testing.assert_allclose(dataset.yaw_deg, aflw2000.yaw_deg, atol=1e-4)
    assert dataset.annotation == "original"
    assert dataset.splits is None
    assert dataset.sources.tolist() == ["", "", ""]


def test_one_point_by_hand(tmp_path):
    points = np.zeros((3, 68))
    points[:, 0] = [11, 21, 68]  # the other 67 at z = 0: mean 1
    points[0, 45] = 5  # eye corners apart
    scipy_io.savemat(tmp_path / "f.mat", {"pt3d_68": points, "Pose_Para": [[0, np.pi / 4, 0, 0, 0, 0, 1]]})
    (tmp_path / "f.jpg").write_bytes(b"")
    dataset = read_aflw2000(tmp_path)
    np.testing.assert_allclose(dataset.points_px[0, 0], [10, 20, -67])
    np.testing.assert_allclose(dataset.points_px[0, 1], [-1, -1, 1])
    np.testing.assert_allclose(dataset.yaw_deg, [45], rtol=1e-6)


@pytest.mark.parametrize("keep", [0, 60, 300, 700])
def test_a_mat_cut_short_is_counted_and_named(aflw2000, keep):
    path = aflw2000.root / "image00030.mat"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"1 of 3 faces cannot be used: image00030\.mat"):
        read_aflw2000(aflw2000.root, strict=True)
    dataset = read_aflw2000(aflw2000.root)
    assert dataset.images.tolist() == ["image00004.jpg", "image00200.jpg"]
    np.testing.assert_allclose(dataset.points_px, aflw2000.points_px[[0, 2]], atol=1e-4)
    assert len(dataset.problems) == 1
    assert "image00030.mat is damaged" in dataset.problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pt3d_68": None}, r"image00030\.mat has no 'pt3d_68'"),
        ({"Pose_Para": None}, r"image00030\.mat has no 'Pose_Para'"),
        ({"pt3d_68": np.zeros((3, 21))}, r"image00030\.mat: pt3d_68 should be 3x68.*\(3, 21\)"),
        ({"Pose_Para": np.zeros((1, 3))}, "Pose_Para should be 7 numbers"),
        ({"pt3d_68": np.full((3, 68), np.nan)}, r"image00030\.mat has NaN"),
        ({"Pose_Para": np.full((1, 7), np.inf)}, r"image00030\.mat has NaN or infinite"),
        ({"pt3d_68": np.full((3, 68), 1j)}, "real numbers"),
    ],
)
def test_a_mat_with_wrong_content_is_counted_and_named(aflw2000, change, message):
    content = {"pt3d_68": np.ones((3, 68)), "Pose_Para": np.zeros((1, 7)), **change}
    content = {key: value for key, value in content.items() if value is not None}
    scipy_io.savemat(aflw2000.root / "image00030.mat", content)
    with pytest.raises(ValueError, match=rf"1 of 3 faces cannot be used: .*{message}"):
        read_aflw2000(aflw2000.root, strict=True)


@pytest.mark.parametrize(("missing", "left"), [(".jpg", ".mat"), (".mat", ".jpg")])
def test_half_of_a_pair_missing(aflw2000, missing, left):
    (aflw2000.root / f"image00004{missing}").unlink()
    with pytest.raises(ValueError, match=rf"1 of 3 .*image00004\{missing} is missing, image00004\{left} is there"):
        read_aflw2000(aflw2000.root, strict=True)


def test_many_damaged_files_are_counted_and_some_named(aflw2000):
    for i in range(10):
        (aflw2000.root / f"x{i}.mat").write_bytes(b"not a mat file")
        (aflw2000.root / f"x{i}.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"10 of 13 faces .*x0\.mat.*x4\.mat.*and 5 more$") as error:
        read_aflw2000(aflw2000.root, strict=True)
    assert "x5" not in str(error.value)
    dataset = read_aflw2000(aflw2000.root)
    assert (len(dataset), len(dataset.problems)) == (3, 10)
    for path in aflw2000.root.glob("image*"):
        path.unlink()
    with pytest.raises(ValueError, match="10 of 10 faces cannot be used"):
        read_aflw2000(aflw2000.root)


def test_the_pose_comes_along(aflw2000):
    pose = read_aflw2000(aflw2000.root).pose_deg
    np.testing.assert_allclose(pose, [np.degrees([0.1, np.radians(y), -0.2]) for y in aflw2000.yaw_deg], rtol=1e-5)


def test_the_reannotation_replaces_x_and_y(aflw2000):
    """Its rows are those of the sorted file names: also where one of the files cannot be used."""
    again = np.random.default_rng(0).uniform(0, 100, (3, 2, 68)).astype(np.float32)
    np.save(aflw2000.root / REANNOTATION, again)
    dataset = read_aflw2000(aflw2000.root, "reannotated")
    assert dataset.annotation == "reannotated"
    np.testing.assert_allclose(dataset.points_px[..., :2], again.transpose(0, 2, 1))
    np.testing.assert_allclose(dataset.points_px[..., 2], aflw2000.points_px[..., 2], atol=1e-4)
    (aflw2000.root / "image00030.mat").write_bytes(b"")
    np.testing.assert_allclose(
        read_aflw2000(aflw2000.root, "reannotated").points_px[..., 0], again[[0, 2], 0], rtol=1e-6
    )


@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_the_reannotation_goes_by_names_where_the_folder_has_others(aflw2000, tmp_path, suffix):
    """A file of any place whose rows a text beside it names; the folder has one image fewer and one more."""
    again = np.random.default_rng(0).uniform(0, 100, (4, 2, 68)).astype(np.float32)
    file = tmp_path / "again.npy"
    np.save(file, again)
    (aflw2000.root / "image00200.jpg").rename(aflw2000.root / "image00999.jpg")
    (aflw2000.root / "image00200.mat").rename(aflw2000.root / "image00999.mat")
    with pytest.raises(ValueError, match=r"has 4 rows.*the folder has 3 faces: name the image of each row.*again\.txt"):
        read_dataset(aflw2000.root, annotation="reannotated", reannotation=file)
    names = ["image00001", "image00030", "image00004", "image00200"]
    (tmp_path / "again.txt").write_text("".join(f"{name}{suffix}\n" for name in names), encoding="utf-8")
    dataset = read_dataset(aflw2000.root, annotation="reannotated", reannotation=file)
    assert dataset.images.tolist() == ["image00004.jpg", "image00030.jpg"]
    np.testing.assert_array_equal(dataset.points_px[..., :2], again[[2, 1]].transpose(0, 2, 1))
    assert dataset.problems == ("image00999 has no row in the re-annotation",)
    (tmp_path / "again.txt").write_text("image00001\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"has 4 rows.*again\.txt names 1"):
        read_dataset(aflw2000.root, annotation="reannotated", reannotation=file)
    with pytest.raises(ValueError, match="is for the annotation reannotated, and original is asked for"):
        read_dataset(aflw2000.root, reannotation=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((4, 2, 68)), "has 4 rows.*the folder has 3 faces"),
        (np.zeros((3, 68, 2)), r"should be of shape \(faces, 2, 68\), got \(3, 68, 2\)"),
        (np.full((3, 2, 68), np.nan), "finite numbers"),
        (b"no array", "damaged or not an npy file"),
    ],
)
def test_a_reannotation_of_something_else(aflw2000, content, message):
    path = aflw2000.root / REANNOTATION
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=message):
        read_aflw2000(aflw2000.root, "reannotated")


def test_no_reannotation(aflw2000):
    with pytest.raises(FileNotFoundError, match=r"no re-annotation: .*put AFLW2000-3D-Reannotated"):
        read_aflw2000(aflw2000.root, "reannotated")


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_aflw2000(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"is not AFLW2000-3D: looked for pairs.*found 0 \.jpg and 0 \.mat"):
        read_aflw2000(tmp_path)


def test_without_scipy_the_error_says_what_to_install(aflw2000, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "jvcr\[data\]"'):
        read_aflw2000(aflw2000.root)


def test_the_real_sample(real_data, tmp_path):
    root = real_data / "aflw2000_sample"
    if not root.is_dir():
        pytest.skip(f"aflw2000_sample not found in {real_data}")
    dataset = read_aflw2000(root)
    assert len(dataset) == 40
    assert dataset.images[0] == "image00021.jpg"
    np.testing.assert_allclose(dataset.points_px[0, 0, :2], [124.905945, 226.37057], atol=1e-4)
    # As it looks: the 2D re-annotation is near, and the nose's tip lies in front of the jaw's ends.
    again = np.load(root / "AFLW2000-3D-Reannotated.pts68.npy").transpose(0, 2, 1)
    assert np.linalg.norm(dataset.points_px[..., :2] - again, axis=-1).mean() < 10
    assert (dataset.points_px[:, 30, 2] < dataset.points_px[:, [0, 16], 2].max(1)).all()

    # 300W-LP has files of the same kind but without points in them: refused, by name.
    if (lp := real_data / "300wlp_sample").is_dir():
        shutil.copytree(lp, tmp_path / "lp")
        with pytest.raises(ValueError, match=r"2 of 2 faces cannot be used.*no 'pt3d_68'"):
            read_aflw2000(tmp_path / "lp")


def test_hidden_files_and_suffixes_in_capitals(aflw2000):
    """macOS puts ._NAME beside others; some cameras and systems write .JPG."""
    for name in ("._image00004.jpg", "._image00004.mat"):
        (aflw2000.root / name).write_bytes(b"")
    (aflw2000.root / "image00030.jpg").rename(aflw2000.root / "image00030.JPG")
    dataset = read_aflw2000(aflw2000.root, strict=True)
    assert dataset.images.tolist() == ["image00004.jpg", "image00030.JPG", "image00200.jpg"]


def test_a_link_to_nowhere_and_a_folder_are_left_out(aflw2000):
    (aflw2000.root / "image99999.mat").symlink_to("nowhere.mat")
    (aflw2000.root / "image99999.jpg").write_bytes(b"")
    (aflw2000.root / "image00001.mat").mkdir()
    (aflw2000.root / "image00001.jpg").write_bytes(b"")
    dataset = read_dataset(aflw2000.root)
    assert (len(dataset), len(dataset.problems)) == (3, 2)


@pytest.mark.parametrize("damage", ["cut", "nan", "huge"])
def test_a_damaged_first_file_does_not_make_it_another_data_set(aflw2000, damage):
    path = aflw2000.root / "image00004.mat"
    content = scipy_io.loadmat(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        points = np.full((3, 68), np.nan) if damage == "nan" else np.arange(204.0).reshape(3, 68) * 1e300
        scipy_io.savemat(path, {"pt3d_68": points, "Pose_Para": content["Pose_Para"], "Shape_Para": np.zeros((199, 1))})
    dataset = read_dataset(aflw2000.root)
    assert dataset.annotation == "original"
    assert (len(dataset), len(dataset.problems)) == (2, 1)


def write_pair(root, name, points, pose_para):
    """One more face of the folder, with parameters of a morphable model as all published files have them."""
    scale_less = {"Shape_Para": np.zeros((199, 1)), "Exp_Para": np.zeros((29, 1))}
    scipy_io.savemat(root / f"{name}.mat", {"pt3d_68": points, "Pose_Para": [pose_para], **scale_less})
    shutil.copy(root / "image00004.jpg", root / f"{name}.jpg")


def test_angles_beyond_a_full_turn_are_taken_as_published(aflw2000):
    """Two of the 2,000 published files have a yaw of -351.2 and of 187.8 degrees, and one a scale below 0."""
    points = scipy_io.loadmat(aflw2000.root / "image00030.mat")["pt3d_68"]
    write_pair(aflw2000.root, "image03123", points, [*np.radians([70, -351.2, -420]), 70, 60, -50, 0.001])
    write_pair(aflw2000.root, "image04157", points, [*np.radians([-10, 187.8, 20]), 70, 60, -50, -0.0015])
    dataset = read_dataset(aflw2000.root)
    assert (len(dataset), dataset.problems) == (5, ())
    np.testing.assert_allclose(dataset.yaw_deg[-2:], [-351.2, 187.8], rtol=1e-5)
    # By the size of the raw yaw, so that the whole set has 1312, 383 and 305 faces.
    assert yaw_bins(dataset.yaw_deg)[-2:].tolist() == [2, 2]


def test_a_set_whose_poses_are_degrees_is_refused(aflw2000):
    points = scipy_io.loadmat(aflw2000.root / "image00030.mat")["pt3d_68"]
    for i in range(10):
        write_pair(aflw2000.root, f"image0100{i}", points, [5.0, 45, -10, 0, 0, 0, 0.001])
    with pytest.raises(ValueError, match="radians"):
        read_aflw2000(aflw2000.root)


@pytest.mark.filterwarnings("ignore:The default value for `spmatrix`")
def test_sparse_arrays_and_files_of_version_7_3(aflw2000):
    sparse = pytest.importorskip("scipy.sparse").csc_matrix
    points = scipy_io.loadmat(aflw2000.root / "image00030.mat")["pt3d_68"]
    scipy_io.savemat(aflw2000.root / "image00030.mat", {"pt3d_68": points, "Pose_Para": sparse(np.ones((1, 7)))})
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (aflw2000.root / "image00200.mat").write_bytes(header + b"\x89HDF\r\n\x1a\n" + bytes(512))
    problems = read_aflw2000(aflw2000.root).problems
    assert "Pose_Para should be an array" in problems[0]
    assert "version 7.3: save it with -v7" in problems[1]
