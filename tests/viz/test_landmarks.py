import cv2
import numpy as np
import pytest

from jvcr.geometry.crop import Crop
from jvcr.geometry.pose import HeadPose, euler_to_rotation
from jvcr.geometry.visibility import hidden_landmarks
from jvcr.inference.face import Face
from jvcr.inference.tracker import TrackedFace
from jvcr.scheme import FACE68, LandmarkScheme
from jvcr.viz.landmarks import draw_faces, draw_landmarks, draw_legend, draw_views
from jvcr.viz.overview import PANEL_FACES, overview
from jvcr.viz.tiles import write_picture

FLIP = np.diag([1.0, -1.0, -1.0])


def face_in(box, yaw=0.0, pitch=0.0, roll=0.0, **changes):
    """The average face, turned, in the place where a detector's box says."""
    points = np.array(FACE68.template) @ (FLIP @ euler_to_rotation(HeadPose(yaw, pitch, roll)) @ FLIP).T
    points = Crop.from_detection(box).to_image(points / 1.5)
    points[:, 2] -= points[:, 2].mean()
    values = {
        "points": points.astype(np.float32),
        "box": np.array(box, np.float32),
        "confidence": np.ones(68, np.float32),
        "score": 0.9,
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
    }
    return Face(**{**values, **changes})


@pytest.fixture
def image():
    return np.full((120, 160, 3), 128, np.uint8)


FACE = face_in([50.0, 20.0, 100.0, 90.0], yaw=20.0)


def test_what_is_drawn_lies_on_the_landmarks(image):
    before = image.copy()
    drawn = draw_faces(image, [FACE])
    np.testing.assert_array_equal(image, before)
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    changed = (drawn != image).any(-1)
    x, y = np.rint(FACE.points[:, :2]).astype(int).T
    assert changed[y, x].all()
    # The box's edges too; and nothing beside face and box.
    assert changed[55, 50]
    assert changed[90, 75]
    reach = np.concatenate([FACE.points[:, :2], FACE.box.reshape(2, 2)])
    (left, top), (right, bottom) = np.floor(reach.min(0)).astype(int) - 3, np.ceil(reach.max(0)).astype(int) + 3
    changed[top : bottom + 1, left : right + 1] = False
    assert not changed.any()


def test_near_is_warm_and_far_is_cold(image):
    drawn = draw_faces(image, [FACE]).astype(int)
    x, y = np.rint(FACE.points[:, :2]).astype(int).T
    nearest, farthest = FACE.points[:, 2].argmin(), FACE.points[:, 2].argmax()
    red, _, blue = drawn[y[nearest], x[nearest]]
    assert red > blue
    red, _, blue = drawn[y[farthest], x[farthest]]
    assert blue > red


def test_lines_are_those_of_the_scheme(image):
    dots = LandmarkScheme("face68", 68)
    joined = (draw_faces(image, [FACE]) != image).any(-1).sum()
    alone = (draw_faces(image, [FACE], dots) != image).any(-1).sum()
    assert alone < joined
    # A scheme of an unknown name is drawn as dots.
    np.testing.assert_array_equal(
        draw_faces(image, [face_in([50.0, 20.0, 100.0, 90.0], yaw=20.0, scheme="hand")]),
        draw_faces(image, [FACE], dots),
    )


@pytest.mark.parametrize("box", [[-30.0, -20.0, 20.0, 40.0], [1e6, 1e6, 2e6, 2e6], [50.0, 50.0, 50.5, 50.5]])
def test_faces_over_the_edge_far_away_or_tiny(image, box):
    assert draw_faces(image, [face_in(box)]).shape == image.shape
    assert overview(image, [face_in(box)]).dtype == np.uint8


def test_views_turn_the_same_head():
    size = 200
    views = draw_views(face_in([0.0, 0.0, 300.0, 400.0]), size)
    assert views.shape == (3 * size, size, 3)
    # Without its text, drawn below.
    ink = [(views[i * size : (i + 1) * size] < 200).any(-1)[: int(0.88 * size)] for i in range(3)]
    widths = [np.ptp(np.nonzero(part)[1]) for part in ink]
    heights = [np.ptp(np.nonzero(part)[0]) for part in ink]
    assert widths[0] > widths[2] > 0.3 * widths[0]
    assert np.ptp(heights) <= 4


def test_views_undo_the_pose():
    straight, turned = (draw_views(face_in([0.0, 0.0, 300.0, 400.0], *pose), 150) for pose in ((), (40.0, -20.0, 10.0)))
    # The colours tell the depth in the picture, so only where there is ink is the same.
    assert ((straight < 200).any(-1) != (turned < 200).any(-1)).mean() < 0.01


def test_faces_of_a_video_have_their_axes_and_identity():
    blank = np.full((240, 300, 3), 120, np.uint8)
    points = np.float32(np.array(FACE68.template) * 60 + [150, 120, 0])
    rest = np.float32([20, 10, 60, 50]), np.full(68, 0.5, np.float32), None
    drawn = draw_faces(blank, [TrackedFace(points, *rest, 0.0, 0.0, 0.0, id=3)], FACE68)
    assert (blank == 120).all()  # a copy
    assert (drawn != blank).any(axis=2).mean() > 0.02
    # The head's left, here to the right, in red; up in green.
    middle = points.mean(0)
    assert drawn[round(middle[1]), round(middle[0] + 0.4 * 142)].tolist() == [235, 70, 60]
    assert drawn[round(middle[1] - 0.35 * 142), round(middle[0])].tolist() == [70, 200, 80]
    without_pose, other = (TrackedFace(points, *rest, id=number) for number in (3, 4))
    assert (draw_faces(blank, [without_pose]) != drawn).any()
    assert (draw_faces(blank, [without_pose]) != draw_faces(blank, [other])).any()
    assert draw_faces(blank, []).tolist() == blank.tolist()


def test_views_without_a_pose():
    unknown = Face(points=FACE.points, box=FACE.box, confidence=FACE.confidence)
    assert draw_views(unknown, 90).shape == (270, 90, 3)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((120, 160), None, (384, 160 + 128)),  # views are never tiny: paper below the picture
        ((800, 700), None, (800, 700 + 266)),
        ((3000, 4000), None, (3000, 4000 + 480)),  # nor huge
        ((10, 1000), None, (384, 1000 + 128)),
        ((120, 160), 640, (480, 640 + 160)),
        ((3000, 4000), 1280, (960, 1280 + 320)),
    ],
)
def test_the_picture_keeps_its_size_unless_asked(shape, size, expected):
    image = np.zeros((*shape, 3), np.uint8)
    face = face_in([0.2 * shape[1], 0.2 * shape[0], 0.6 * shape[1], 0.8 * shape[0]])
    assert overview(image, [face], size=size).shape == (*expected, 3)


def test_overview_of_no_and_of_many_faces(image):
    nobody = overview(image, [], size=640)
    assert nobody.shape == (480, 640, 3)
    assert (nobody[:380] == 128).all()
    assert (nobody[380:] > 200).any() and (nobody[380:] < 40).any()  # "no face", with a rim
    assert overview(image, []).shape == image.shape
    many = [face_in([10.0 + 20 * i, 20.0, 40.0 + 20 * i, 60.0]) for i in range(5)]
    assert overview(image, many, size=640).shape == (480, 640 + PANEL_FACES * 160, 3)


def test_overview_with_the_volumes(image):
    volumes = np.zeros((2, 8, 8, 8), np.float32)
    volumes[1, 4, 4, 4] = 1
    faces = [face_in([10.0, 20.0, 60.0, 90.0]), face_in([90.0, 20.0, 140.0, 90.0])]
    picture = overview(image, faces, volumes=volumes, size=640)
    assert picture.shape == (480, 640 + 2 * 160, 3)
    empty, cloud = picture[320:440, 640:800], picture[320:440, 800:]
    assert np.ptp(empty, axis=-1).max() < np.ptp(cloud, axis=-1).max() - 50
    np.testing.assert_array_equal(picture[:, :640], overview(image, faces, size=640)[:, :640])


def test_landmarks_move_with_the_enlarged_picture(image):
    # One white pixel, and a landmark on it: four times as large, its centre is at 4 * (x + 0.5) - 0.5.
    x, y = 40, 30
    points = FACE.points.copy()
    points[:, :2] = x, y
    face = Face(points=points, box=FACE.box, confidence=FACE.confidence)
    picture = overview(image, [face], size=640)[:420, :640]  # above the legend
    expected = np.array([4 * (y + 0.5) - 0.5, 4 * (x + 0.5) - 0.5])
    changed = np.argwhere((np.abs(picture.astype(int) - 128) > 60).any(-1) & (np.ptp(picture, axis=-1) > 60))
    np.testing.assert_allclose(changed.mean(0), expected, atol=0.75)


# ---- what is hidden, and what lies over what


def test_of_a_face_towards_the_camera_nothing_is_hidden():
    for yaw, pitch in ((0.0, 0.0), (20.0, 0.0), (-20.0, 0.0), (0.0, 25.0), (0.0, -25.0), (15.0, 15.0)):
        assert not hidden_landmarks(face_in([50.0, 20.0, 100.0, 90.0], yaw, pitch).points, FACE68).any(), (yaw, pitch)


@pytest.mark.parametrize("pitch", [-20.0, 0.0, 20.0])
@pytest.mark.parametrize("yaw", [50.0, 65.0, 80.0])
def test_of_a_turned_face_the_far_side_is_hidden(yaw, pitch):
    left, right = (
        hidden_landmarks(face_in([50.0, 20.0, 100.0, 90.0], turn, pitch).points, FACE68) for turn in (yaw, -yaw)
    )
    assert left[:5].all()  # the jaw of the side to which the nose points
    assert not left[9:17].any() and not left[22:31].any() and not left[42 + 2 : 48].any()
    np.testing.assert_array_equal(right[FACE68.mirror], left)


def test_nothing_is_hidden_without_a_template():
    points = face_in([50.0, 20.0, 100.0, 90.0], 70.0).points
    assert not hidden_landmarks(points, LandmarkScheme("face68", 68)).any()
    assert not hidden_landmarks(points, None).any()
    assert not hidden_landmarks(points[:5], FACE68).any()


def test_hidden_lines_are_thin_and_faded():
    plain = np.full((300, 300, 3), 128, np.uint8)
    face = face_in([70.0, 30.0, 230.0, 250.0], 50.0)
    drawn = draw_faces(plain, [face], FACE68).astype(int)

    def strongest(a, b):
        middle = np.rint(face.points[[a, b], :2].mean(0)).astype(int)
        around = drawn[middle[1] - 2 : middle[1] + 3, middle[0] - 2 : middle[0] + 3] - 128
        return np.abs(around).max(), (np.abs(around).max(-1) > 20).sum()

    (faint, few), (strong, many) = strongest(2, 3), strongest(13, 14)
    assert 20 < faint < 0.65 * strong
    assert few < 0.65 * many


def test_nearer_lines_lie_over_farther_ones():
    canvas = np.full((60, 60, 3), 255, np.uint8)
    points = np.array([[5.0, 30.0, 9.0], [55.0, 30.0, 9.0], [30.0, 5.0, 1.0], [30.0, 55.0, 1.0]])
    red, blue = (255, 0, 0), (0, 0, 255)
    for order in ([(0, 1), (2, 3)], [(2, 3), (0, 1)]):
        draw_landmarks(canvas, points, np.array([blue, blue, red, red], np.uint8), order, 300.0, outline=(0, 0, 0))
        assert canvas[30, 30].tolist() == list(red)
        assert canvas[30, 32, 2] < 128  # its rim covers the far one as well
        assert canvas[30, 15].tolist() == list(blue)


def test_the_legend_goes_from_near_to_far():
    picture = np.full((400, 400, 3), 128, np.uint8)
    draw_legend(picture)
    colored = np.argwhere(np.ptp(picture, axis=-1) > 60)
    first, last = colored[colored[:, 1].argmin()], colored[colored[:, 1].argmax()]
    assert picture[tuple(first)].argmax() == 0 and picture[tuple(last)].argmax() == 2  # red, blue: as the landmarks
    for shape in ((1, 1), (5, 400), (400, 5)):
        draw_legend(np.zeros((*shape, 3), np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_write_picture(image, tmp_path, suffix):
    path, drawn = tmp_path / f"picture{suffix}", overview(image, [FACE])
    write_picture(path, drawn)
    read = cv2.imread(str(path))[:, :, ::-1]
    assert np.abs(read.astype(int) - drawn).mean() < 4
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_write_picture_refuses(image, tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of"):
        write_picture(tmp_path / "picture.txt", image)
    assert list(tmp_path.iterdir()) == []
