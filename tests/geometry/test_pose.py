import numpy as np
import pytest

from jvcr.geometry.pose import (
    HeadPose,
    euler_to_rotation,
    geodesic_deg,
    head_pose,
    in_image_frame,
    rotation_to_euler,
    similarity_transform,
)
from jvcr.scheme import FACE68

FLIP = np.diag([1.0, -1.0, -1.0])
"""From the image frame to the one of pose angles, y up and z towards the camera, and back."""

TEMPLATE = np.array(FACE68.template)

ANGLES = [
    (0.0, 0.0, 0.0),
    (30.0, -20.0, 10.0),
    (-75.0, 15.0, -40.0),
    (89.0, -60.0, 170.0),
    (10.0, 80.0, -179.0),
    (95.0, 5.0, 3.0),  # beyond the profile
    (-91.0, -20.0, 8.0),
]


def turned(pose):
    """FACE68's template, in the image frame, with this pose."""
    return TEMPLATE @ (FLIP @ euler_to_rotation(pose) @ FLIP).T


def test_similarity_of_known_parts():
    source = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    rotation = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    scale, found, shift = similarity_transform(source, 2.5 * source @ rotation.T + [4, 5, 6])
    assert scale == pytest.approx(2.5)
    np.testing.assert_allclose(found, rotation, atol=1e-12)
    np.testing.assert_allclose(shift, [4, 5, 6], atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3, 5])
def test_similarity_in_any_dimension_is_the_best_one(dimensions):
    rng = np.random.default_rng(dimensions)
    source, target = rng.standard_normal((2, 11, dimensions))
    scale, rotation, shift = similarity_transform(source, target)
    assert np.linalg.det(rotation) == pytest.approx(1)

    def error(s, r, t):
        return ((s * source @ r.T + t - target) ** 2).sum()

    best = error(scale, rotation, shift)
    for _ in range(20):
        step = np.linalg.qr(np.eye(dimensions) + 0.02 * rng.standard_normal((dimensions, dimensions)))[0]
        step *= np.sign(np.diag(step))
        assert error(scale * (1 + 0.02 * rng.standard_normal()), rotation, shift) >= best
        assert error(scale, rotation, shift + 0.02 * rng.standard_normal(dimensions)) >= best
        if np.linalg.det(step) > 0:
            assert error(scale, step @ rotation, shift) >= best


def test_a_mirror_image_is_not_matched_by_a_reflection():
    source = np.random.default_rng(0).standard_normal((9, 3))
    _, rotation, _ = similarity_transform(source, source * [-1, 1, 1])
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (np.zeros((4, 3)), np.zeros((5, 3)), "one shape"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "N >= D"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "finite"),
        (np.ones((4, 3)), np.zeros((4, 3)), "one spot"),
    ],
)
def test_similarity_refuses(source, target, message):
    with pytest.raises(ValueError, match=message):
        similarity_transform(source, target)


@pytest.mark.parametrize("angles", ANGLES)
def test_angles_and_rotation_are_inverse(angles):
    pose = HeadPose(*angles)
    found = rotation_to_euler(euler_to_rotation(pose))
    np.testing.assert_allclose(euler_to_rotation(found), euler_to_rotation(pose), atol=1e-9)
    if abs(pose.yaw_deg) <= 90:
        assert (found.yaw_deg, found.pitch_deg, found.roll_deg) == pytest.approx(angles)


@pytest.mark.parametrize(
    ("beyond", "same"),
    [((95.0, 5.0, 3.0), (85.0, -175.0, -177.0)), ((-100.0, -20.0, 8.0), (-80.0, 160.0, -172.0))],
)
def test_of_two_triples_the_one_with_the_smaller_yaw_is_given(beyond, same):
    """300W-LP's convention: no yaw beyond 90 degrees; pitch and roll turn over instead."""
    found = rotation_to_euler(euler_to_rotation(HeadPose(*beyond)))
    assert (found.yaw_deg, found.pitch_deg, found.roll_deg) == pytest.approx(same)


def test_geodesic_by_hand():
    still, upside_down = np.eye(3), np.diag([1.0, -1.0, -1.0])
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    apart = geodesic_deg([still, still, still], [still, upside_down, quarter])
    assert apart.tolist() == pytest.approx([0, 180, 90])
    # Angles that differ by 20 degrees each say of one rotation nothing near a yaw of 90, and the geodesic is 0.
    there = [euler_to_rotation(HeadPose(90.0, pitch, roll)) for pitch, roll in ((10.0, 20.0), (30.0, 40.0))]
    assert geodesic_deg(there[:1], there[1:]) == pytest.approx([0], abs=1e-6)
    # Small angles are exact.
    assert geodesic_deg([still], [euler_to_rotation(HeadPose(1e-5, 0.0, 0.0))]) == pytest.approx([1e-5])


def test_the_rotation_in_the_image_frame_moves_the_template():
    pose = HeadPose(-35.0, 12.0, 20.0)
    np.testing.assert_allclose(TEMPLATE @ in_image_frame(euler_to_rotation(pose)).T, turned(pose), atol=1e-12)


@pytest.mark.parametrize("yaw", [90.0, -90.0])
def test_gimbal_lock_still_gives_the_rotation(yaw):
    rotation = euler_to_rotation(HeadPose(yaw, 25.0, 10.0))
    found = rotation_to_euler(rotation)
    assert found.roll_deg == 0
    np.testing.assert_allclose(euler_to_rotation(found), rotation, atol=1e-9)


def test_head_pose_of_a_turned_template():
    found = head_pose(37 * turned(HeadPose(-35.0, 12.0, 20.0)) + [300, 200, -50], TEMPLATE)
    assert (found.yaw_deg, found.pitch_deg, found.roll_deg) == pytest.approx((-35, 12, 20))


def test_signs_mean_what_the_docstring_says():
    nose, chin, brow = 30, 8, 27
    front = TEMPLATE
    # Image frame: x right, y down, z away. The nose is what moves most, as it is nearest to the camera.
    assert turned(HeadPose(30.0, 0.0, 0.0))[nose, 0] < front[nose, 0]  # positive yaw: to the left side of the image
    assert turned(HeadPose(0.0, 30.0, 0.0))[nose, 1] < front[nose, 1]  # positive pitch: up
    leaning = turned(HeadPose(0.0, 0.0, 30.0))
    assert leaning[brow, 0] > leaning[chin, 0]  # positive roll: the top leans clockwise, to the right


def test_pose_of_a_mirrored_face():
    points = turned(HeadPose(-35.0, 12.0, 20.0))
    mirrored = (points * [-1, 1, 1])[FACE68.mirror]
    found = head_pose(mirrored, TEMPLATE)
    assert (found.yaw_deg, found.pitch_deg, found.roll_deg) == pytest.approx((35, 12, -20))


def test_agrees_with_the_angles_of_aflw2000(real_data):
    loadmat = pytest.importorskip("scipy.io").loadmat
    files = sorted((real_data / "aflw2000_sample").glob("*.mat"))
    if not files:
        pytest.skip("no aflw2000_sample in the data folder")
    errors, apart = [], []
    for file in files:
        content = loadmat(file)
        x, y, z = content["pt3d_68"]
        found = head_pose(np.stack([x - 1, y - 1, -z], 1), TEMPLATE)
        pitch, yaw, roll = np.degrees(content["Pose_Para"][0, :3]).tolist()
        errors.append([found.yaw_deg - yaw, found.pitch_deg - pitch, found.roll_deg - roll])
        apart += geodesic_deg([euler_to_rotation(found)], [euler_to_rotation(HeadPose(yaw, pitch, roll))]).tolist()
    # The template is an average face and the faces are not: about half a degree of yaw, two of pitch.
    assert (np.median(np.abs(errors), axis=0) < [1, 3, 1.5]).all()
    assert np.median(apart) < 3
