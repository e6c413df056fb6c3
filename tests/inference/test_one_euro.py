"""The one-euro filter: steady at rest, prompt in motion, the same at any resolution and frame rate."""

import math

import numpy as np
import pytest

from jvcr.geometry.pose import HeadPose
from jvcr.inference import one_euro as smoothing
from jvcr.inference.one_euro import FaceSmoother, OneEuroFilter
from jvcr.scheme import FACE68

FACE = np.array(FACE68.template) * 60 + [320, 240, 0]
FRONT = HeadPose(0.0, 0.0, 0.0)


def test_by_hand():
    smooth = OneEuroFilter(min_cutoff_hz=1.0, beta=2.0, speed_cutoff_hz=3.0)
    assert smooth([[5.0, 1.0]], 0.0).tolist() == [[5.0, 1.0]]
    # 0.1 s later it has moved by (3, 4): the speed of 50 a second, low-passed at 3 Hz, opens the filter.
    speed = 50 * 0.6 * math.pi / (0.6 * math.pi + 1)
    cutoff = 1 + 2 * speed**2
    share = 0.2 * math.pi * cutoff / (0.2 * math.pi * cutoff + 1)
    np.testing.assert_allclose(smooth([[8.0, 5.0]], 0.1), [[5 + 3 * share, 1 + 4 * share]])


def test_each_row_goes_by_its_own_speed():
    smooth = OneEuroFilter(1.0, 10.0, 1.0)
    smooth([[0.0, 0.0], [0.0, 0.0]], 0.0)
    fast, slow = smooth([[9.0, 0.0], [0.1, 0.0]], 0.1)[:, 0]
    assert fast / 9 > 1.2 * slow / 0.1


def test_the_unit_of_speed():
    """A picture twice as large gives the same, twice as large."""
    values = np.random.default_rng(0).normal(size=(20, 4, 3)).cumsum(0)
    small, large = OneEuroFilter(1.0, 5.0, 1.0), OneEuroFilter(1.0, 5.0, 1.0)
    for i, value in enumerate(values):
        np.testing.assert_allclose(large(2 * value, i / 30, unit=2.0), 2 * small(value, i / 30, unit=1.0))


@pytest.mark.parametrize("steps", [[0.05] * 40, [0.01, 0.09] * 20, [0.02] * 50 + [1.0]])
def test_frames_need_not_come_at_a_steady_rate(steps):
    """After the same time about the same share of a step is made up for."""
    smooth, time_s = OneEuroFilter(0.5, 0.0, 1.0), 0.0
    smooth([[0.0]], 0.0)
    for step_s in steps:
        time_s += step_s
        value = float(smooth([[1.0]], time_s)[0, 0])
    assert value == pytest.approx(1 - math.exp(-2 * math.pi * 0.5 * time_s), abs=0.06)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [((0.0, 1.0, 1.0), "cutoffs > 0"), ((1.0, -1.0, 1.0), "beta >= 0"), ((1.0, 1.0, 0.0), "speed_cutoff_hz=0.0")],
)
def test_constants_that_make_no_filter(arguments, match):
    with pytest.raises(ValueError, match=match):
        OneEuroFilter(*arguments)


def test_calls_that_do_not_follow_each_other():
    smooth = OneEuroFilter(1.0, 1.0, 1.0)
    smooth([[0.0]], 1.0)
    with pytest.raises(ValueError, match="must rise"):
        smooth([[0.0]], 1.0)
    with pytest.raises(ValueError, match=r"keep their shape \(1, 1\)"):
        smooth([[0.0, 1.0]], 2.0)


def jitter(points):
    return np.sqrt((np.diff(np.array(points)[15:], axis=0) ** 2).mean())


def test_a_face_at_rest_stands_still():
    rng, smoother = np.random.default_rng(0), FaceSmoother()
    raw = [FACE + rng.normal(0, 0.3, FACE.shape) for _ in range(90)]
    smooth = [smoother(points, FRONT, i / 30)[0] for i, points in enumerate(raw)]
    assert jitter(smooth) < 0.2 * jitter(raw)
    np.testing.assert_allclose(smooth[-1], FACE, atol=0.5)


def moved(t, fast):
    """To and fro, turning and zoomed; at its fastest by ``fast`` face sizes a second."""
    phase = fast * math.pi * t
    angle, zoom = 0.2 * math.sin(phase), 1 + 0.2 * math.cos(0.7 * phase)
    turn = zoom * np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    size = np.ptp(FACE[:, :2], axis=0).max()
    return (FACE - FACE.mean(0)) @ turn.T + FACE.mean(0) + [size / math.pi * math.sin(phase), 0, 0]


@pytest.mark.parametrize("fps", [10, 30, 60])
@pytest.mark.parametrize("fast", [1.0, 0.25])
def test_a_face_in_motion_is_not_left_behind(fps, fast):
    """The landmarks are no farther from the truth than the raw ones, whose noise is what a face has at rest."""
    rng, smoother, raw, smooth = np.random.default_rng(0), FaceSmoother(), [], []
    for i in range(4 * fps):
        true = moved(i / fps, fast)
        points = true + rng.normal(0, 0.3, FACE.shape)
        raw.append(np.square(points - true).mean())
        smooth.append(np.square(smoother(points, FRONT, i / fps)[0] - true).mean())
    assert np.sqrt(np.mean(smooth[fps // 2 :])) < 1.15 * np.sqrt(np.mean(raw[fps // 2 :]))


def test_a_mouth_that_opens_is_followed():
    smoother, opened = FaceSmoother(), FACE.copy()
    for i in range(60):
        opened[48:, 1] = FACE[48:, 1] + 8 * math.sin(2 * math.pi * 2 * i / 30)
        points, _ = smoother(opened, FRONT, i / 30)
        if i > 15:
            assert np.abs(points - opened).max() < 2.5


def test_the_frame_of_the_face_does_not_matter():
    """A picture that is turned and larger gives the same landmarks, turned and larger."""
    rng, one, other = np.random.default_rng(0), FaceSmoother(), FaceSmoother()
    for i in range(20):
        points = moved(i / 30, 1.0) + rng.normal(0, 0.3, FACE.shape)
        smooth, _ = one(points, None, i / 30)
        turned, _ = other(2 * points[:, [1, 0, 2]] * [-1, 1, 1], None, i / 30)
        # A quarter turn, so that the longer side of the box stays what it is.
        np.testing.assert_allclose(turned, 2 * smooth[:, [1, 0, 2]] * [-1, 1, 1], atol=1e-6)


def test_landmarks_on_one_spot():
    smoother = FaceSmoother()
    for i in range(3):
        points, _ = smoother(np.full((4, 3), 5.0), None, i / 30)
        np.testing.assert_allclose(points, 5.0)


def test_the_pose_is_smoothed():
    rng, smoother = np.random.default_rng(0), FaceSmoother()
    raw = 20 + rng.normal(0, 1, 90)
    smooth = [smoother(FACE, HeadPose(yaw, 5.0, 0.0), i / 30)[1].yaw_deg for i, yaw in enumerate(raw)]
    assert jitter(smooth) < 0.4 * jitter(raw)
    for i in range(90, 150):  # turning at 90 degrees a second
        _, pose = smoother(FACE, HeadPose(20 + 3.0 * (i - 89) - 180, 5.0, 0.0), i / 30)
    assert pose.yaw_deg == pytest.approx(20 + 3.0 * 60 - 180, abs=3)


def test_an_angle_may_pass_half_a_turn():
    smoother = FaceSmoother()
    for i in range(30):
        _, pose = smoother(FACE, HeadPose(0.0, 0.0, 179.0 if i % 2 else -179.0), i / 30)
        assert abs(pose.roll_deg) > 178.9


def test_a_face_without_a_pose():
    points, pose = FaceSmoother()(FACE[:3], None, 0.0)
    np.testing.assert_array_equal(points, FACE[:3])
    assert pose is None


def test_the_unit_of_turns_is_a_degree():
    """As `POSE_BETA` says."""
    from jvcr.geometry.pose import euler_to_rotation

    turned = euler_to_rotation(HeadPose(1.0, 0.0, 0.0)) - euler_to_rotation(FRONT)
    assert np.linalg.norm(turned) == pytest.approx(smoothing._ONE_DEGREE, rel=1e-3)


def test_the_document_has_these_constants(examples):
    """docs/video.md."""
    from jvcr.inference.landmarker import LOW_CONFIDENCE

    text = (examples.parent / "docs" / "video.md").read_text(encoding="utf-8")
    for name in ("CUTOFF_HZ", "MOTION_BETA", "SHAPE_BETA", "POSE_BETA", "SPEED_CUTOFF_HZ"):
        assert f"| `{name}` | {getattr(smoothing, name):g} " in text
    assert f"`LOW_CONFIDENCE` is {LOW_CONFIDENCE}." in text
    assert f"| below {LOW_CONFIDENCE} |" in text
