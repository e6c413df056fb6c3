"""Landmarkers, trackers and detectors in forked children, and handed to spawned ones."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from functools import partial

import cv2
import numpy as np
import pytest

from jvcr.inference.detector import OpenCVFaceDetector
from jvcr.inference.face_detector import FaceDetector
from jvcr.inference.image import read_image
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.per_process import PerProcess
from jvcr.inference.tracker import Tracker

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

FORKING = """
import multiprocessing, os, sys, threading, time
import jvcr

landmarker = jvcr.Landmarker(threads=2, max_batch=1)
image = sys.argv[1]
faces = landmarker(image)
landmarker(image, faces[0].box[None])

def same():
    assert landmarker(image) == faces and len(faces) == 1
    assert list(landmarker.stream([image] * 3)) == [faces] * 3
    return 7

def code_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

"""

AFTERWARDS = {
    "os.fork": """
child = os.fork()
if not child:
    sys.exit(same())
print(code_of(child))
""",
    "multiprocessing": """
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*set(pool.starmap(same, [()] * 4)))
""",
    "a child of a child": """
child = os.fork()
if not child:
    same()
    if not (child := os.fork()):
        sys.exit(same())
    sys.exit(code_of(child))
print(code_of(child))
""",
    "while other threads are at work": """
def work():
    while True:
        landmarker(image)

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
codes = set()
for _ in range(4):
    time.sleep(0.05)
    child = os.fork()
    if not child:
        os._exit(same())
    codes.add(code_of(child))
print(*codes, flush=True)
os._exit(0)
""",
}


@forks
@pytest.mark.parametrize("how", AFTERWARDS)
def test_forked_children_of_who_has_used_threads(how, shipped_weights, examples):
    code = [sys.executable, "-c", FORKING + AFTERWARDS[how], str(examples / "astronaut.png")]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(code, capture_output=True, text=True, timeout=90, env=environment)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_nothing_is_reported_over_the_network():
    """ONNX Runtime's threads for that would also keep forked children from ending."""
    code = "import os, jvcr; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    unset = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    for environment, expected in ((unset, "1"), ({**unset, "ORT_DISABLE_TELEMETRY": "0"}, "0")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
        assert done.stdout.strip() == expected, done.stderr


@forks
def test_a_lock_that_was_held_is_free_in_the_child():
    lock = PerProcess(threading.Lock)
    with lock():
        child = os.fork()
        if not child:
            os._exit(0 if lock().acquire(timeout=5) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert lock().locked()


@forks
def test_opencv_has_no_threads_in_the_child():
    """The lock of its pool may have been held when the child was made."""
    child = os.fork()
    if not child:
        os._exit(cv2.getNumThreads())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_it_is_made_once_in_a_process():
    made = []
    value = PerProcess(partial(made.append, None))
    threads = [threading.Thread(target=value) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [None]


def faces_of(landmarker, image, boxes):
    return [face.to_dict() for face in landmarker(image, boxes)]


def test_spawned_workers(tiny_weights):
    landmarker = Landmarker(tiny_weights, threads=2, passes=2)
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    boxes = [[10.0, 10.0, 50.0, 50.0]]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply_async(faces_of, (landmarker, image, boxes)).get(timeout=120)
    assert found == faces_of(landmarker, image, boxes)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_find_the_same(copied, shipped_weights, examples):
    image = read_image(examples / "astronaut.png")
    landmarker = Landmarker(threads=2)
    landmarker.detector = FaceDetector(long_side=320, min_score=0.7, threads=2)
    other = copied(landmarker)
    assert other(image) == landmarker(image)
    assert (other.detector.long_side, other.detector.min_score) == (320, 0.7)
    assert (other.passes, other.max_batch, other.weights) == (1, 64, "compact")

    tracker = Tracker(landmarker)
    tracker(image, 0.0)
    other = copy.deepcopy(tracker) if copied is copy.copy else copied(tracker)
    assert other(image, 0.1) == tracker(image, 0.1)  # with the identities and the smoothing so far


def test_what_cannot_be_pickled_is_the_callers_own(tiny_weights):
    landmarker = Landmarker(tiny_weights, detector=lambda image: ([], []))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(landmarker)


def test_weights_that_are_gone_are_named(tiny_weights, tmp_path):
    path = tmp_path / "copy.onnx"
    path.write_bytes(tiny_weights.read_bytes())
    pickled = pickle.dumps(Landmarker(path))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no weights .*copy\.onnx"):
        pickle.loads(pickled)(np.zeros((20, 20, 3), np.uint8), [[1, 1, 10, 10]])


def test_opencvs_detector_names_its_file(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"model\.onnx is not a model"):
        OpenCVFaceDetector(tmp_path / "model.onnx")
