"""Charts: what is drawn lies where its numbers say."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from jvcr.data.readers.folder import read_folder
from jvcr.evaluation.predictions import predict
from jvcr.scheme import LandmarkScheme
from jvcr.viz import line_chart as chart
from jvcr.viz.charts import ced_chart, reliability_chart, write_curves, yaw_chart
from jvcr.viz.line_chart import COLORS, Line, line_chart

FIRST, SECOND = np.array(COLORS[0]), np.array(COLORS[1])
LEFT, RIGHT = chart._LEFT, 840 - chart._RIGHT
TOP, BOTTOM = chart._TOP, 600 - chart._BOTTOM


def places(picture, color):
    """(n, 2) x, y of the pixels of a colour."""
    return np.argwhere((np.abs(picture.astype(int) - color) < 30).all(-1))[:, ::-1]


def test_a_line_lies_where_its_numbers_say():
    picture = line_chart([Line("", np.array([0.0, 10.0]), np.array([0.0, 50.0]))], "x", "y", x_max=20.0, y_max=100.0)
    assert (picture.shape, picture.dtype) == ((600, 840, 3), np.uint8)
    x, y = places(picture, FIRST).T
    assert abs(x.max() - (LEFT + RIGHT) / 2) < 3
    assert abs(y.min() - (TOP + BOTTOM) / 2) < 3
    steep = np.polyfit(x, y, 1)[0]
    assert steep == pytest.approx(-(BOTTOM - TOP) / (RIGHT - LEFT), rel=0.02)


def test_a_gap_and_what_is_beyond_the_axes_are_left_out():
    line = Line("", np.arange(5.0), np.array([1, 1, np.nan, 1, 9]))
    picture = line_chart([line], "x", "y", x_max=4.0, y_max=2.0)
    x, y = places(picture, FIRST).T
    unit = (RIGHT - LEFT) / 4
    assert not ((x > LEFT + 1.1 * unit) & (x < LEFT + 2.9 * unit)).any()
    assert y.min() >= TOP - 3


def test_legend_and_chosen_colours():
    lines = [Line("one", np.array([0.0, 1.0]), np.array([0.0, 0.1]), color=1)]
    picture = line_chart(lines, "x", "y", y_max=1.0)
    assert len(places(picture, FIRST)) == 0
    assert places(picture, SECOND)[:, 1].min() < TOP + 60  # the legend's sample, in the upper corner


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([Line("a", np.zeros(2), np.zeros(3))], "line 'a': x and y must be lists of one length"),
        ([Line("a", np.zeros(2), np.full(2, np.nan))], "at least one finite value"),
        ([], "at least one finite value"),
    ],
)
def test_what_cannot_be_drawn(lines, message):
    with pytest.raises(ValueError, match=message):
        line_chart(lines, "x", "y")


@pytest.mark.parametrize(
    ("end", "step", "count"), [(10.0, 1.0, 11), (100.0, 10.0, 11), (7.3, 1.0, 8), (0.04, 0.005, 9), (2.2, 0.5, 5)]
)
def test_ticks_are_round(end, step, count):
    ticks = chart._ticks(end)
    assert len(ticks) == count
    np.testing.assert_allclose(ticks, np.arange(count) * step)


@pytest.fixture
def runs(landmark_folder, fake_landmarker):
    dataset = read_folder(landmark_folder.root)
    near = predict(fake_landmarker(dataset, offset=(1, 0, 0)), dataset)
    far = predict(fake_landmarker(dataset, offset=(4, 0, 0), detections={2: []}), dataset, "detector")
    return {"near": (dataset, near), "far": (dataset, far)}


def test_the_better_run_s_curve_is_on_the_left_and_one_that_loses_faces_stays_low(runs):
    picture = ced_chart(runs)
    assert picture.shape == (600, 1680, 3)
    for part in (picture[:, :840], picture[:, 840:]):
        above = part[: BOTTOM - 120]  # without the legend
        near, far = (places(above, color) for color in (FIRST, SECOND))
        assert near[:, 0].min() < far[:, 0].min()
        # All faces of the one are found: its curve reaches the top. The other's ends at two thirds.
        assert near[:, 1].min() < TOP + 4
        assert far[:, 1].min() > TOP + 0.3 * (BOTTOM - TOP)


def test_a_run_without_depth_is_in_the_second_chart_alone_and_keeps_its_colour(runs):
    dataset, near = runs["near"]
    mixed = {"flat": (replace(dataset, annotation="reannotated", has_depth=False), near), "far": runs["far"]}
    picture = ced_chart(mixed)
    assert len(places(picture[:, :840], FIRST)) == 0
    assert len(places(picture[:, :840], SECOND)) > 100
    assert len(places(picture[:, 840:], FIRST)) > 100
    alone = replace(dataset, scheme=LandmarkScheme("things", 68))
    assert ced_chart({"things": (alone, near)}).shape == (600, 840, 3)


def test_the_error_by_yaw_has_a_point_in_each_band_with_faces(runs, tmp_path):
    dataset, near = runs["near"]
    picture = yaw_chart({"": (dataset, near)})  # yaws of 12, 45 and 88 degrees: bands 10-20, 40-50 and 80-90
    x = np.unique(places(picture, FIRST)[:, 0])
    centres = [part.mean() for part in np.split(x, np.flatnonzero(np.diff(x) > 5) + 1)]
    np.testing.assert_allclose(centres, [LEFT + d / 90 * (RIGHT - LEFT) for d in (15, 45, 85)], atol=2)
    unknown = replace(dataset, yaw_deg=np.full(3, np.nan, np.float32))
    assert yaw_chart({"": (unknown, near)}) is None
    write_curves(tmp_path / "a", runs)
    write_curves(tmp_path / "b", {"": (unknown, near)})
    assert cv2.imread(str(tmp_path / "a" / "yaw.png")).shape == (600, 840, 3)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["ced.png", "reliability.png"]


def test_errors_by_confidence_lie_where_their_numbers_say(runs, tmp_path):
    dataset, near = runs["near"]
    near.confidence[:] = np.linspace(0.1, 0.9, 68, dtype=np.float32)
    near.points_px[:] = dataset.points_px + np.float32([1, 0, 0])
    near.points_px[:, :34, 0] += 2  # the less confident half is off by three times as much
    picture = reliability_chart({"": (dataset, near)})
    assert picture.shape == (600, 1680, 3)

    def height(part, color, at):
        """How far above the ground a line runs at a place along the x axis, pixels."""
        x, y = places(part, color).T
        beside_legend = at < 0.5 if part is left else at > 0.6
        near_it = (np.abs(x - (LEFT + at * (RIGHT - LEFT))) < 2) & ((y > TOP + 70) | beside_legend)
        return BOTTOM - y[near_it].mean()

    left, right = picture[:, :840], picture[:, 840:]
    assert height(left, SECOND, 0.2) == pytest.approx(3 * height(left, SECOND, 0.8), rel=0.05)
    # The more confident half has half the mean error of all.
    assert height(right, FIRST, 0.5) == pytest.approx(height(right, FIRST, 0.2), rel=0.05)
    assert height(right, FIRST, 0.99) == pytest.approx(2 * height(right, FIRST, 0.5), rel=0.05)


def test_predictions_without_confidence_have_no_reliability(runs, tmp_path):
    dataset, near = runs["near"]
    (tmp_path / "reliability.png").write_bytes(b"of another run")
    near.confidence[:] = np.nan
    assert reliability_chart({"": (dataset, near)}) is None
    assert write_curves(tmp_path, {"": (dataset, near)}) == ["ced.png", "yaw.png"]
    assert not (tmp_path / "reliability.png").exists()
