"""Charts: what is drawn is what was given."""

import cv2
import numpy as np
import pytest

charts = pytest.importorskip("jvcr.viz.charts", reason="charts are drawn with matplotlib")
Chart, Line, draw_charts, write_charts = charts.Chart, charts.Line, charts.draw_charts, charts.write_charts


def test_lines_axes_and_legend_are_those_given():
    lines = [
        Line("one", np.array([0.0, 10.0]), np.array([0.0, 50.0]), color=1),
        Line("", np.arange(5.0), np.array([1, 1, np.nan, 1, 9]), dots=True),
    ]
    chart = Chart("title", "x", "y", lines, 20.0, 100.0, "lower right", notes=[(3.0, "note")])
    (axes,) = draw_charts([chart]).axes
    first, second = axes.lines
    assert first.get_xydata().tolist() == [[0, 0], [10, 50]]
    assert (first.get_color(), second.get_color()) == (charts.COLORS[1], charts.COLORS[1])
    assert (first.get_marker(), second.get_marker()) == ("None", "o")
    assert np.isnan(second.get_ydata()[2])  # a gap
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 20), (0, 100))
    assert (axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()) == ("title", "x", "y")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one"]
    assert [text.get_text() for text in axes.texts] == ["note"]


def test_axes_without_an_end_hold_all_values():
    line = Line("", np.array([2.0, 4.0]), np.array([1.0, 7.0]))
    (axes,) = draw_charts([Chart("", "x", "y", [line])]).axes
    assert axes.get_xlim()[0] == axes.get_ylim()[0] == 0
    assert axes.get_xlim()[1] >= 4 and axes.get_ylim()[1] >= 7
    assert axes.get_legend() is None


def test_charts_side_by_side_are_one_picture(tmp_path):
    chart = Chart("", "x", "y", [Line("", np.arange(3.0), np.arange(3.0))])
    write_charts(tmp_path / "new" / "two.png", [chart, chart])
    picture = cv2.imread(str(tmp_path / "new" / "two.png"))
    assert picture.shape == (600, 1680, 3)
    assert (np.ptp(picture.reshape(-1, 3).astype(int), axis=1) > 100).any()  # blue
