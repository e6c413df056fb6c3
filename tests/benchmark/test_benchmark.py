"""Timing: the clock, the stages, other models, and what follows from the times."""

import sys
import time
import types

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jvcr.benchmark.clock import Task, Timing, clocked, side_by_side
from jvcr.benchmark.machine import machine, versions
from jvcr.benchmark.models import MEDIAPIPE, mediapipe_mesh, model_task
from jvcr.benchmark.report import conclusion_lines, conclusions
from jvcr.benchmark.stages import StageClock


def test_tasks_take_turns_and_the_warm_up_does_not_count():
    done = []

    def task(name, seconds, batch):
        remaining = iter(seconds)
        return Task(name, 1, batch, lambda: done.append(name) or {"part": next(remaining)})

    # Each of the six rounds runs "one", which is a batch of one, twice; the second time counts.
    one = task("one", [99, 99, 99, 99, 99, 1.0, 99, 2.0, 99, 4.0, 99, 8.0], 1)
    many = task("many", [77, 77, 10.0, 20.0, 30.0, 40.0], 8)
    rounds = []
    timings = side_by_side([one, many], repeats=4, warm_up=2, advance=rounds.append)
    assert done == ["one", "one", "many"] * 6
    assert rounds == [1] * 6
    assert timings == [
        Timing("one", "part", 1, 1, median_ms=3000.0, q1_ms=1750.0, q3_ms=5000.0, least_ms=1000.0),
        Timing("many", "part", 1, 8, median_ms=25000.0, q1_ms=17500.0, q3_ms=32500.0, least_ms=10000.0),
    ]


def test_opencv_has_the_threads_of_the_task_and_then_those_of_before():
    before = cv2.getNumThreads()
    seen = []
    tasks = [Task("t", threads, 8, lambda: seen.append(cv2.getNumThreads()) or {"part": 0.0}) for threads in (1, 2)]
    side_by_side(tasks, repeats=2, warm_up=0)
    assert seen == [1, 2, 1, 2]
    assert cv2.getNumThreads() == before


def test_clocked():
    taken = clocked("sleep", lambda: time.sleep(0.02))()
    assert list(taken) == ["sleep"] and 0.02 <= taken["sleep"] < 1


def test_stages_of_a_call(tiny_weights):
    """Each is what passes between two events of the real call, so none is missed and none counted twice."""

    def slow_detector(image):
        time.sleep(0.03)
        return [[2, 2, 20, 20], [5, 5, 30, 30]], [0.9, 0.8]

    clock = StageClock(tiny_weights, 1, slow_detector, most_faces=4)
    image = np.zeros((40, 50, 3), np.uint8)
    encoded = cv2.imencode(".png", image)[1].tobytes()
    photo = clock.call(encoded, drawn=image)
    assert list(photo) == ["decode", "detect", "crop", "network", "read-out", "drawing", "together"]
    assert 0.03 <= photo["detect"] < photo["together"]
    assert sum(photo.values()) == pytest.approx(2 * photo["together"])
    assert all(seconds > 0 for seconds in photo.values())

    faces = clock.faces(image, np.array([2.0, 2.0, 20.0, 20.0]), batch=3)
    assert (faces.subject, faces.threads, faces.batch) == ("face", 1, 3)
    assert list(faces.run()) == ["crop", "network", "read-out", "together"]
    assert list(clock.frame(image, np.array([2.0, 2.0, 20.0, 20.0])).run())[-2:] == ["drawing", "together"]
    assert list(clock.photo(encoded, image).run()) == list(photo)


@pytest.fixture
def small_network(tmp_path):
    """Writes a file: image (batch, 3, 8, 8) -> convolution -> volume -> 7 numbers."""
    random = np.random.default_rng(0)
    kernel = random.standard_normal((5, 3, 3, 3)).astype(np.float16)
    matrix = random.standard_normal((320, 7)).astype(np.float32)
    arrays = {"half": kernel, "bias": np.ones(5, np.float32), "matrix": matrix, "rows": np.array([-1, 320])}
    nodes = [
        helper.make_node("Cast", ["half"], ["kernel"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["image", "kernel", "bias"], ["convolved"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["convolved"], ["volume"]),
        helper.make_node("Reshape", ["volume", "rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["coordinates"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [
            helper.make_tensor_value_info("coordinates", TensorProto.FLOAT, ["batch", 7]),
            helper.make_tensor_value_info("volume", TensorProto.FLOAT, ["batch", 5, 8, 8]),
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    path = tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_other_models_run_on_random_numbers(small_network):
    task = model_task("peer", "small", small_network, threads=1)
    assert (task.subject, task.threads, task.batch) == ("peer", 1, 1)
    assert list(task.run()) == ["small"] and task.run()["small"] > 0


def test_other_models_that_cannot_be_run(tmp_path):
    def written(shape, kind=TensorProto.FLOAT):
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])], "g", [info("x", kind, shape)], [info("y", kind, shape)]
        )
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    assert model_task("peer", "m", written(["n", 4]), 1).run()
    assert model_task("peer", "m", written([3, 4], TensorProto.UINT8), 1).run()
    with pytest.raises(ValueError, match="only its first side may be open"):
        model_task("peer", "m", written(["n", 3, "height"]), 1)
    with pytest.raises(ValueError, match="'x' is of the type bool"):
        model_task("peer", "m", written([1], TensorProto.BOOL), 1)
    with pytest.raises(FileNotFoundError, match=r"no ONNX file .*missing.onnx"):
        model_task("peer", "m", tmp_path / "missing.onnx", 1)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="not an ONNX file"):
        model_task("peer", "m", tmp_path / "model.onnx", 1)


class FaceMesh:
    """Stands in for MediaPipe's: it sees a face where the frame is not black."""

    def __init__(self, static_image_mode, max_num_faces):
        assert not static_image_mode and max_num_faces == 1  # follow one face

    def process(self, frame):
        return types.SimpleNamespace(multi_face_landmarks=["face"] if frame.any() else None)


def test_mediapipe(monkeypatch):
    frame = np.full((48, 64, 3), 9, np.uint8)
    solutions = types.SimpleNamespace(face_mesh=types.SimpleNamespace(FaceMesh=FaceMesh))
    monkeypatch.setitem(sys.modules, "mediapipe", types.SimpleNamespace(solutions=solutions))
    assert list(mediapipe_mesh(frame)()) == [MEDIAPIPE]
    assert mediapipe_mesh(np.zeros_like(frame)) == "MediaPipe finds no face in the frame"
    monkeypatch.setitem(sys.modules, "mediapipe", types.SimpleNamespace())
    assert "without its face mesh" in mediapipe_mesh(frame)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    assert mediapipe_mesh(frame) == "MediaPipe is not installed"


def timing(subject, part, batch, median_ms, least_ms=1.0):
    return Timing(subject, part, 2, batch, median_ms, median_ms - 1, median_ms + 1, least_ms)


def test_conclusions():
    timings = [
        timing("frame", "drawing", 1, 2.0),
        timing("frame", "together", 1, 10.0),
        timing("face", "together", 1, 6.0, least_ms=5.5),
        timing("face", "together", 8, 32.0),
        timing("network", "whole", 1, 4.0, least_ms=3.0),
        timing("network", "whole", 8, 16.0),
        timing("peer", "other.onnx", 1, 5.0, least_ms=2.0),
    ]
    found = conclusions(timings)
    assert found["frame_rate"] == [{"threads": 2, "frames_per_second": 100, "frames_per_second_not_drawn": 125}]
    assert [(t["batch"], t["faces_per_second"]) for t in found["throughput"]] == [
        (1, pytest.approx(1000 / 6)),
        (8, pytest.approx(250)),
    ]
    assert [t["over_smallest_batch"] for t in found["throughput"]] == pytest.approx([1, 1.5])
    peer = {"name": "other.onnx", "threads": 2, "median_ms": 5, "our_network_over_it": 0.8, "our_face_over_it": 1.2}
    at_best = {"our_network_over_it_at_best": 1.5, "our_face_over_it_at_best": 2.75}
    assert found["peers"] == [pytest.approx(peer | at_best)]
    assert found["timings"][3]["ms_per_face"] == 4


def test_what_takes_longest_is_told():
    times = {
        "photo": {"decode": 2, "detect": 14, "network": 4, "together": 20},
    }
    results = {
        "timings": [
            {"subject": subject, "part": part, "threads": 2, "batch": 1, "median_ms": ms}
            for subject, parts in times.items()
            for part, ms in parts.items()
        ],
        "threads": [2, 4],
        "batches": [1, 8],
        "frame_rate": [{"threads": 2, "frames_per_second": 99.6, "frames_per_second_not_drawn": 124.9}],
        "throughput": [
            {"threads": 2, "batch": 1, "faces_per_second": 50.0, "over_smallest_batch": 1.0},
            {"threads": 2, "batch": 8, "faces_per_second": 75.0, "over_smallest_batch": 1.5},
        ],
        "notes": ["the machine was busy"],
    }
    assert conclusion_lines(results) == [
        "Of a photograph, detect takes 70% on 2 threads.",
        "On 2 threads: 100 frames a second with the box known, 125 without drawing.",
        "On 2 threads: 75 faces a second in batches of 8, 1.50 times those of batch 1.",
        "Note: the machine was busy",
    ]


def test_the_machine_is_told():
    about = machine()
    assert about["processor"] and about["instruction_sets"]
    assert 1 <= about["available_cores"] <= about["cores"]
    told = versions()
    assert told["numpy"] == np.__version__ and told["opencv-python-headless"]
