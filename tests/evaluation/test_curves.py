"""The curves of an evaluation, and their files."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from jvcr.data.readers.folder import read_folder
from jvcr.evaluation.predictions import predict
from jvcr.scheme import LandmarkScheme

curves = pytest.importorskip("jvcr.evaluation.curves", reason="charts are drawn with matplotlib")


@pytest.fixture
def runs(landmark_folder, fake_landmarker):
    dataset = read_folder(landmark_folder.root)
    near = predict(fake_landmarker(dataset, offset=(1, 0, 0)), dataset)
    far = predict(fake_landmarker(dataset, offset=(4, 0, 0), detections={2: []}), dataset, "detector")
    return {"near": (dataset, near), "far": (dataset, far)}


def test_the_better_run_s_curve_is_on_the_left_and_one_that_loses_faces_stays_low(runs):
    for chart in curves.ced_charts(runs):
        near, far = chart.lines
        assert (near.y >= far.y).all()
        assert near.x[near.y > 0].min() < far.x[far.y > 0].min()
        # All faces of the one are detected: its curve reaches the top. The other's ends at two thirds.
        assert (near.y[-1], far.y[-1]) == (100, pytest.approx(200 / 3))
        assert "33.3 % above" in far.label


def test_a_run_without_depth_is_in_the_second_chart_alone_and_keeps_its_colour(runs):
    dataset, near = runs["near"]
    mixed = {"flat": (replace(dataset, annotation="reannotated", has_depth=False), near), "far": runs["far"]}
    gte, nme = curves.ced_charts(mixed)
    assert [line.color for line in gte.lines] == [1]
    assert [line.color for line in nme.lines] == [0, 1]
    alone = replace(dataset, scheme=LandmarkScheme("things", 68))
    assert len(curves.ced_charts({"things": (alone, near)})) == 1


def test_the_error_by_yaw_has_a_point_in_each_band_with_faces(runs):
    dataset, near = runs["near"]
    (chart,) = curves.yaw_charts({"": (dataset, near)})  # yaws of 12, 45 and 88 degrees: bands 10-20, 40-50 and 80-90
    (line,) = chart.lines
    assert line.x[np.isfinite(line.y)].tolist() == [15, 45, 85]
    assert [text for _, text in chart.notes] == ["0", "1", "0", "0", "1", "0", "0", "0", "1"]
    unknown = replace(dataset, yaw_deg=np.full(3, np.nan, np.float32))
    assert curves.yaw_charts({"": (unknown, near)}) == []


def test_errors_by_confidence_are_those_of_their_tenths(runs):
    dataset, near = runs["near"]
    near.confidence[:] = np.linspace(0.1, 0.9, 68, dtype=np.float32)
    near.points_px[:] = dataset.points_px + np.float32([1, 0, 0])
    near.points_px[:, :34, 0] += 2  # the less confident half is off by three times as much
    by, kept = curves.reliability_charts({"": (dataset, near)})
    _, median = by.lines
    assert median.y[1] == pytest.approx(3 * median.y[-2], rel=0.05)
    # The more confident half has half the mean error of all.
    landmarks, faces = (dict(zip(np.round(line.x), line.y, strict=True)) for line in kept.lines)
    assert landmarks[50] == pytest.approx(landmarks[20], rel=0.05)
    assert landmarks[100] == pytest.approx(2 * landmarks[50], rel=0.05)
    assert faces[100] == pytest.approx(landmarks[100])


def test_a_file_for_each_chart_and_none_of_another_run(runs, tmp_path):
    dataset, near = runs["near"]
    assert curves.write_curves(tmp_path, runs) == ["ced.png", "yaw.png", "reliability.png"]
    assert cv2.imread(str(tmp_path / "ced.png")).shape == (600, 1680, 3)
    assert cv2.imread(str(tmp_path / "yaw.png")).shape == (600, 840, 3)
    near.confidence[:] = np.nan
    assert curves.reliability_charts({"": (dataset, near)}) == []
    assert curves.write_curves(tmp_path, {"": (dataset, near)}) == ["ced.png", "yaw.png"]
    assert not (tmp_path / "reliability.png").exists()
