"""The package's own layout."""

import struct
import zlib

import numpy as np
import pytest

from jvcr.data.readers.folder import read_folder
from jvcr.scheme import LandmarkScheme, load_scheme

FACE = {"image": np.array(["a.jpg", "b.jpg"]), "points": np.random.default_rng(0).uniform(0, 9, (2, 68, 3))}


@pytest.fixture
def folder(tmp_path):
    """An empty folder but for the images that FACE names; a reader only asks whether they are there."""
    for name in FACE["image"]:
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_reads_every_column(landmark_folder):
    dataset = read_folder(landmark_folder.root)
    assert dataset.images.tolist() == list(landmark_folder.images)
    assert dataset.points_px.dtype == np.float32
    np.testing.assert_array_equal(dataset.points_px, landmark_folder.points_px)
    assert dataset.splits.tolist() == ["train", "val", "val"]
    assert dataset.sources.tolist() == ["a", "b", "a"]
    np.testing.assert_allclose(dataset.yaw_deg, landmark_folder.yaw_deg)
    assert dataset.scheme.name == "face68"


def test_optional_columns_may_be_missing(folder):
    np.savez(folder / "landmarks.npz", **FACE)
    dataset = read_folder(folder)
    assert dataset.pose_deg is dataset.boxes_xyxy is dataset.subjects is None
    assert dataset.splits is None
    assert dataset.sources.tolist() == ["", ""]
    assert np.isnan(dataset.yaw_deg).all()


def test_poses_boxes_and_views(folder):
    columns = {"pose_deg": [[1, 2, 3], [4, 5, 6]], "box_xyxy": [[1, 2, 3, 4.5], [0, 0, 9, 9]], "subject": ["s", ""]}
    np.savez(folder / "landmarks.npz", **FACE, **columns)
    dataset = read_folder(folder)
    np.testing.assert_array_equal(dataset.pose_deg, columns["pose_deg"])
    np.testing.assert_array_equal(dataset.yaw_deg, [2, 5])  # of the pose, where there is no column of its own
    np.testing.assert_array_equal(dataset.boxes_xyxy, columns["box_xyxy"])
    assert dataset.subjects.tolist() == ["s", ""]


def test_labels_by_hand_and_what_hides_landmarks(folder):
    hand = np.full((2, 68, 2), np.nan)
    hand[0] = FACE["points"][0, :, :2]
    occlusion = np.zeros((2, 68), int)
    occlusion[1, 5] = 2
    np.savez(folder / "landmarks.npz", **FACE, hand=hand, occlusion=occlusion)
    dataset = read_folder(folder)
    assert (dataset.hand_px.dtype, dataset.occlusion.dtype) == (np.float32, np.int8)
    np.testing.assert_allclose(dataset.hand_px, hand, rtol=1e-6)
    np.testing.assert_array_equal(dataset.occlusion, occlusion)
    extended = read_folder(folder, load_scheme("face71"))
    np.testing.assert_allclose(extended.hand_px[0, 68], hand[0, 36:42].mean(0), rtol=1e-5)
    assert (extended.occlusion[:, 68:] == -1).all()
    np.savez(folder / "landmarks.npz", **FACE, hand=hand[:, :5])
    with pytest.raises(ValueError, match="hand_px must have one entry an image"):
        read_folder(folder)
    np.savez(folder / "landmarks.npz", **FACE, occlusion=occlusion[0])
    with pytest.raises(ValueError, match=r"'occlusion' should be numbers on 2 axes"):
        read_folder(folder)


def test_entries_that_cannot_be_used_are_left_out_and_named(folder):
    points = np.random.default_rng(0).uniform(0, 9, (5, 68, 3))
    points[1, 40, 2] = np.nan
    points[4] = points[0]
    np.savez(folder / "landmarks.npz", image=np.array(["a.jpg", "b.jpg", "c.jpg", "a.jpg", "a.jpg"]), points=points)
    dataset = read_folder(folder)
    assert dataset.images.tolist() == ["a.jpg", "a.jpg"]  # two faces in one image are no fault
    np.testing.assert_allclose(dataset.points_px, points[[0, 3]], rtol=1e-6)
    assert dataset.problems == (
        "entry 1, b.jpg: NaN or infinite landmarks",
        "entry 2, c.jpg: the image is missing",
        "entry 4, a.jpg: says the same as entry 0",
    )
    with pytest.raises(ValueError, match=r"3 of 5 faces cannot be used: entry 1, b\.jpg: NaN"):
        read_folder(folder, strict=True)


def write_table(path, lines, points=2, extra=""):
    names = ",".join(f"{axis}{i}" for i in range(points) for axis in "xyz")
    path.write_text(f"image,{names}{extra}\n" + "\n".join(lines) + "\n", encoding="utf-8")


STAR = LandmarkScheme("star", 2)


def test_a_table(folder):
    lines = ["a.jpg,1,2,3,4,5,6.5,train,30,,1,2,3,4", "b.jpg,0,0,0,1,1,1,val,-5,s7,,,,"]
    write_table(folder / "landmarks.csv", lines, extra=",split,yaw_deg,subject,box_x0,box_y0,box_x1,box_y1")
    dataset = read_folder(folder, STAR)
    np.testing.assert_array_equal(dataset.points_px[0], [[1, 2, 3], [4, 5, 6.5]])
    assert dataset.splits.tolist() == ["train", "val"]
    np.testing.assert_array_equal(dataset.yaw_deg, [30, -5])
    np.testing.assert_array_equal(dataset.boxes_xyxy, [[1, 2, 3, 4], [np.nan] * 4])
    assert dataset.subjects.tolist() == ["", "s7"]
    assert dataset.pose_deg is None


def test_landmarks_that_the_scheme_derives_need_not_be_in_the_file(folder):
    scheme = LandmarkScheme("star3", 3, derived={"middle": (0, 1)}, base="star")
    write_table(folder / "landmarks.csv", ["a.jpg,1,2,3,4,5,6.5"])
    np.testing.assert_array_equal(read_folder(folder, scheme).points_px[0, 2], [2.5, 3.5, 4.75])
    np.savez(folder / "landmarks.npz", image=["b.jpg"], points=[[[1, 2, 3], [5, 6, 7]]])
    np.testing.assert_array_equal(read_folder(folder, scheme).points_px[0, 2], [3, 4, 5])


def test_lines_of_a_table_that_cannot_be_used_are_left_out_and_named(folder):
    lines = ["a.jpg,1,2,3,4,5,6", "a.jpg,1,2,x,4,5,6", "b.jpg,1,2,3", ",1,2,3,4,5,6", "b.jpg,1,2,3,4,5,6"]
    write_table(folder / "landmarks.csv", lines)
    dataset = read_folder(folder, STAR)
    assert dataset.images.tolist() == ["a.jpg", "b.jpg"]
    assert dataset.problems == (
        "line 3: z0 should be a number, got 'x'",
        "line 4: has not 7 cells",
        "line 5: names no image",
    )
    with pytest.raises(ValueError, match="3 of 5 faces cannot be used: line 3"):
        read_folder(folder, STAR, strict=True)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image,x0,y0,z0", r"2 landmarks need .* missing: x1, y1, z1 \(the file has 1 landmarks; .*commas"),
        ("image,x0,y0,z0,x1,y1,z1,x2,y2,z2", "unknown columns 'x2', 'y2', 'z2'; 2 landmarks go with"),
        ("image,x0,y0,z0,x1,y1,z1,yaw", "unknown columns 'yaw'"),
        ("", "missing: image"),
        ("image,x0,y0,z0,x1,y1,z1", "no line that can be used"),
    ],
)
def test_tables_that_cannot_be_used(folder, header, message):
    (folder / "landmarks.csv").write_text(f"{header}\n")
    with pytest.raises(ValueError, match=message):
        read_folder(folder, STAR)


def test_backslashes_of_a_manifest_made_on_windows_are_understood(tmp_path):
    for name in ("a/x.jpg", "b/y.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    np.savez(tmp_path / "landmarks.npz", image=np.array(["a\\x.jpg", "b/y.jpg"]), points=FACE["points"])
    assert read_folder(tmp_path).images.tolist() == ["a/x.jpg", "b/y.jpg"]


def test_any_number_of_landmarks_given_its_scheme(folder):
    np.savez(folder / "landmarks.npz", image=FACE["image"], points=np.random.default_rng(0).uniform(0, 9, (2, 5, 3)))
    assert read_folder(folder, LandmarkScheme("star", 5)).points_px.shape == (2, 5, 3)
    with pytest.raises(ValueError, match=r"2 images of 68 landmarks \(face68\).*\(2, 5, 3\)"):
        read_folder(folder)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_folder(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=r"has no landmarks\.npz or landmarks\.csv"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": None}, "no array 'points'"),
        ({"image": None}, "no array 'image'"),
        ({"points": np.zeros((3, 68, 3))}, "2 images of 68 landmarks"),
        ({"points": np.full((2, 68, 3), np.nan)}, "2 of 2 faces cannot be used: entry 0, a.jpg: NaN"),
        ({"yaw_deg": np.zeros(3)}, "yaw_deg must have one entry an image"),
        ({"source": np.array(["a"])}, "sources must have one entry"),
        ({"split": np.array([["a", "b"]])}, "splits must have one entry"),
        ({"image": np.array([{"not": "text"}, None], dtype=object)}, "damaged"),  # nothing is ever unpickled
    ],
)
def test_a_manifest_that_does_not_fit_together(folder, change, message):
    columns = {key: value for key, value in {**FACE, **change}.items() if value is not None}
    np.savez(folder / "landmarks.npz", **columns)
    with pytest.raises(ValueError, match=message):
        read_folder(folder)


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_a_manifest_cut_short_is_named(landmark_folder, keep):
    path = landmark_folder.root / "landmarks.npz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"landmarks\.npz is damaged or not an npz file"):
        read_folder(landmark_folder.root)


def test_a_manifest_that_is_another_kind_of_file_is_named(tmp_path):
    np.save(tmp_path / "landmarks.npy", np.zeros(3))
    (tmp_path / "landmarks.npy").rename(tmp_path / "landmarks.npz")
    with pytest.raises(ValueError, match=r"landmarks\.npz is damaged or not an npz file"):
        read_folder(tmp_path)


def test_a_compressed_manifest_with_a_flipped_byte_is_named(tmp_path):
    path = tmp_path / "landmarks.npz"
    points = np.random.default_rng(0).normal(size=(2, 68, 3))
    np.savez_compressed(path, image=FACE["image"], points=points)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"landmarks\.npz is damaged"):
        read_folder(tmp_path)


def test_landmarks_that_are_no_numbers_are_named(tmp_path):
    np.savez(tmp_path / "landmarks.npz", image=FACE["image"], points=np.full((2, 68, 3), "x"))
    with pytest.raises(ValueError, match=r"landmarks\.npz.*points"):
        read_folder(tmp_path)


def test_image_that_is_no_list_is_named(tmp_path):
    np.savez(tmp_path / "landmarks.npz", image=np.array("a.jpg"), points=FACE["points"])
    with pytest.raises(ValueError, match="image"):
        read_folder(tmp_path)


def test_the_real_set(real_data):
    if not (real_data / "faces3d").is_dir():
        pytest.skip(f"faces3d not found in {real_data}")
    dataset = read_folder(real_data / "faces3d")
    assert len(dataset) == 21_355
    assert (len(dataset.split("train")), len(dataset.split("val"))) == (19_901, 1_454)
    assert set(dataset.sources.tolist()) == {"aflw", "300w"}
    np.testing.assert_allclose(dataset.points_px[..., 2].mean(1), 0, atol=1e-3)
    # z grows away from the camera: the nose's tip lies in front of both ends of the jaw.
    nose, jaw = dataset.points_px[:, 30, 2], dataset.points_px[:, [0, 16], 2]
    assert (nose < jaw.max(1)).all()


def test_a_set_of_no_faces(tmp_path):
    np.savez(tmp_path / "landmarks.npz", image=np.array([], "U4"), points=np.zeros((0, 68, 3), np.float32))
    with pytest.raises(ValueError, match="names no image"):
        read_folder(tmp_path)


def test_an_image_with_more_pixels_than_can_be_decoded(landmark_folder):
    """A PNG whose header says 40,000 x 40,000."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    dataset = read_folder(landmark_folder.root)
    (landmark_folder.root / landmark_folder.images[0]).write_bytes(png + b"\0" * 64)
    with pytest.raises(ValueError, match=r"one\.jpg"):
        dataset.read_image(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:1], "landmarks without extent"),
        (lambda p: p * (1, 0, 1), "landmarks without extent"),
        (
            lambda p: np.where(np.arange(68)[:, None] == 45, p[36], p),
            "landmarks 36 and 45, whose distance normalises errors, lie on one spot",
        ),
        (lambda p: p * 1e300, "NaN or infinite"),
    ],
)
def test_labels_that_nothing_can_be_trained_or_measured_on(folder, change, message):
    points = FACE["points"].copy()
    points[1] = change(points[1])
    np.savez(folder / "landmarks.npz", image=FACE["image"], points=points, split=np.array(["val", "train"]))
    dataset = read_folder(folder)
    assert dataset.images.tolist() == ["a.jpg"]
    assert "b.jpg" in dataset.problems[0] and message in dataset.problems[0]
    assert dataset.split("val").problems == ()  # it is a face for training
    with pytest.raises(ValueError, match=f"1 of 2 faces cannot be used: .*b.jpg.*{message}"):
        read_folder(folder, strict=True)


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "x/../../a.jpg", "n" * 5000 + ".jpg"])
def test_paths_that_lead_nowhere_or_out_of_the_folder(folder, name):
    np.savez(folder / "landmarks.npz", image=np.array([name, "b.jpg"]), points=FACE["points"])
    dataset = read_folder(folder)
    assert dataset.images.tolist() == ["b.jpg"]
    assert len(dataset.problems) == 1


def test_texts_of_bytes_are_utf_8(folder):
    (folder / "ä.jpg").write_bytes(b"")
    np.savez(folder / "landmarks.npz", image=np.array(["ä.jpg".encode(), b"b.jpg"]), points=FACE["points"])
    assert read_folder(folder).images.tolist() == ["ä.jpg", "b.jpg"]
    np.savez(folder / "landmarks.npz", image=np.array([b"\xff.jpg", b"b.jpg"]), points=FACE["points"])
    with pytest.raises(ValueError, match=r"landmarks\.npz: a text is not UTF-8"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (",x0", "columns stand there twice: x0"),
        (",pitch_deg", "belong together, and only pitch_deg is there"),
        (",box_x0,box_y0,box_x1", "belong together, and only box_x0, box_y0, box_x1 is there"),
    ],
)
def test_columns_that_do_not_belong_together(folder, extra, message):
    write_table(folder / "landmarks.csv", ["a.jpg,1,2,3,4,5,6" + ",7" * extra.count(",")], extra=extra)
    with pytest.raises(ValueError, match=message):
        read_folder(folder, STAR)
