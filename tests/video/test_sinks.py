"""What `jvcr video` writes: of generated frames, and by a tracker that knows them."""

import contextlib
import csv
import json

import cv2
import numpy as np
import pytest

from jvcr.cli.video import track_video
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.tracker import TrackedFace, Tracker
from jvcr.scheme import FACE68
from jvcr.video import sinks
from jvcr.video.sinks import check_outputs, csv_columns
from jvcr.video.sources import Frame

WIDTH, HEIGHT = 96, 64
TEMPLATE = np.array(FACE68.template)


def known_face(points, number, pose):
    box = np.float32([20, 10, 60, 50])
    return TrackedFace(np.float32(points), box, np.full(68, 0.5, np.float32), None, *pose, id=number)


class Known(Tracker):
    """Finds one face, whose place follows from the time, between 0 and 1 seconds and from 2 seconds on."""

    def __init__(self):
        class WithoutNetwork(Landmarker):
            scheme = FACE68

            def __init__(self):
                pass

        self.landmarker = WithoutNetwork()

    def __call__(self, frame, time_s):
        if 1 < time_s < 2:
            return []
        return [known_face(TEMPLATE * 12 + [40 + time_s, 32, 0], 7, (10.0, 20.0, -5.0))]


def picture(number, width=WIDTH, height=HEIGHT):
    """Grey, as bright as says its number."""
    return np.full((height, width, 3), 4 * number % 256, np.uint8)


def made_frames(count, fps=10.0):
    for i in range(count):
        yield Frame(i, i / fps, picture(i))


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    pictures = []
    while (answer := capture.read())[0]:
        pictures.append(answer[1])
    return pictures, capture.get(cv2.CAP_PROP_FPS)


def test_outputs_that_would_harm(tmp_path):
    folder = tmp_path
    (folder / "in.mp4").touch()
    (folder / "link.mp4").symlink_to(folder / "in.mp4")
    read = [folder / "in.mp4"]
    check_outputs([folder / "a.mp4", folder / "a.csv", folder / "a.jsonl"], read)
    for outputs in ([folder / "in.mp4"], [folder / "link.mp4"], [folder / "a.csv", folder / "." / "a.csv"]):
        with pytest.raises(ValueError, match="choose another --out"):
            check_outputs(outputs, read)
    with pytest.raises(ValueError, match=r"must end in one of \.mp4, \.jsonl, \.csv"):
        check_outputs([folder / "a.avi"], read)


def test_records_and_tables(tmp_path):
    outputs = [tmp_path / "out.jsonl", tmp_path / "out.csv"]
    summary = track_video(made_frames(25), Known(), outputs)
    assert (summary.frames, summary.frames_with_faces, summary.faces) == (25, 16, 1)
    assert (summary.video_s, summary.interrupted) == (pytest.approx(2.4), False)

    records = [json.loads(line) for line in outputs[0].read_text(encoding="utf-8").splitlines()]
    assert [(r["frame"], r["time_s"]) for r in records] == [(i, i / 10) for i in range(25)]
    assert [len(r["faces"]) for r in records] == [1] * 11 + [0] * 9 + [1] * 5
    assert {(r["width"], r["height"]) for r in records} == {(WIDTH, HEIGHT)}
    face = TrackedFace.from_dict(records[20]["faces"][0])
    assert face.id == 7
    assert face == TrackedFace.from_dict(Known()(picture(0), 2.0)[0].to_dict())

    with outputs[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == csv_columns(68)
    assert [float(row["time_s"]) for row in rows] == [r["time_s"] for r in records if r["faces"]]
    row = rows[11]
    assert (row["frame"], row["id"], row["score"], row["yaw"], row["box_x1"]) == ("20", "7", "", "10.0", "60.0")
    points = [[float(row[f"{axis}{i}"]) for axis in "xyz"] for i in range(68)]
    assert points == records[20]["faces"][0]["points"]
    assert {row[f"confidence{i}"] for i in range(68)} == {"0.5"}


def test_the_annotated_video(tmp_path):
    track_video(made_frames(25), Known(), [tmp_path / "out.mp4"], fps=10.0)
    pictures, fps = read_video(tmp_path / "out.mp4")
    assert (len(pictures), fps) == (25, 10.0)
    assert pictures[0].shape == (HEIGHT, WIDTH, 3)
    assert pictures[5].std() > 10  # something is drawn
    assert pictures[15].std() < 3  # no face


def test_a_variable_frame_rate_is_shown_at_its_times(tmp_path):
    """Frames at 0, 0.1, 0.5 and 0.51 s and an hour later, at 10 a second."""
    times_s = [0.0, 0.1, 0.5, 0.51, 3600.0]
    frames = (Frame(i, t, picture(10 * i + 5)) for i, t in enumerate(times_s))
    track_video(frames, Known(), [tmp_path / "out.mp4"], fps=10.0)
    pictures, _ = read_video(tmp_path / "out.mp4")
    shown = [round(float(p[:5].mean() - 20) / 40) for p in pictures]
    # The fourth comes too soon after the third, and the hour's pause is cut to ten seconds.
    assert shown == [0, 1, 1, 1, 1, 2] + [2] * 99 + [4]


def test_a_size_that_changes(tmp_path):
    sizes = [(96, 64), (48, 64), (192, 128)]
    frames = (Frame(i, i / 10, picture(50, *size)) for i, size in enumerate(sizes))
    outputs = [tmp_path / "out.mp4", tmp_path / "out.jsonl"]
    track_video(frames, Known(), outputs, fps=10.0)
    pictures, _ = read_video(outputs[0])
    assert [p.shape for p in pictures] == [(64, 96, 3)] * 3
    assert pictures[1][:8, :15].mean() < 20  # black beside the narrower one
    records = [json.loads(line) for line in outputs[1].read_text(encoding="utf-8").splitlines()]
    assert [(r["width"], r["height"]) for r in records] == sizes


@pytest.mark.parametrize(("failure", "raised"), [(KeyboardInterrupt, None), (OSError("disk full"), OSError)])
def test_what_was_written_is_kept(tmp_path, failure, raised):
    outputs = [tmp_path / "out.mp4", tmp_path / "out.jsonl", tmp_path / "out.csv"]

    def frames():
        yield from made_frames(8)
        raise failure

    if raised:
        with pytest.raises(raised, match="disk full"):
            track_video(frames(), Known(), outputs, fps=10.0)
    else:
        assert track_video(frames(), Known(), outputs, fps=10.0).interrupted
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "out.jsonl", "out.mp4"]
    assert len(read_video(outputs[0])[0]) == 8
    assert [json.loads(line)["frame"] for line in outputs[1].read_text(encoding="utf-8").splitlines()] == list(range(8))
    assert len(outputs[2].read_text(encoding="utf-8").splitlines()) == 9


@contextlib.contextmanager
def disk(room):
    """No file can grow beyond so many bytes, as on a full disk; pytest's own output may be one, too."""
    resource = pytest.importorskip("resource", reason="this system has no limit of file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_annotated_video_that_the_disk_has_no_room_for(tmp_path, interrupted):
    """OpenCV says nothing of it, and leaves a file that nothing can read; what else was written is kept."""
    outputs = [tmp_path / "out.mp4", tmp_path / "out.jsonl"]
    rng = np.random.default_rng(0)

    def frames():
        for i in range(25):
            yield Frame(i, i / 10, rng.integers(0, 256, (128, 192, 3), dtype=np.uint8))
        if interrupted:
            raise KeyboardInterrupt

    with disk(100_000), pytest.raises(OSError, match="is removed: is the disk full"):
        track_video(frames(), Known(), outputs)
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]
    assert len(outputs[1].read_text(encoding="utf-8").splitlines()) == 25


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_full_disk_leaves_whole_lines(tmp_path, name):
    outputs = [tmp_path / name, tmp_path / "out.mp4"]
    with disk(9_000), pytest.raises(OSError, match="large") as caught:
        track_video(made_frames(25), Known(), outputs, fps=10.0)
    assert caught.value.filename == str(outputs[0])  # not the temporary name
    text = outputs[0].read_text(encoding="utf-8")
    assert 2_000 < len(text) < 9_000
    assert text.endswith("\n")
    if name == "out.csv":
        assert {len(row) for row in csv.reader(text.splitlines())} == {len(csv_columns(68))}
    else:
        assert [json.loads(line)["frame"] for line in text.splitlines()] == list(range(len(text.splitlines())))
    assert len(read_video(outputs[1])[0]) in (len(text.splitlines()), len(text.splitlines()) - 1)


def test_lines_can_be_read_while_the_work_goes_on(tmp_path):
    lines = []

    def progress(frame):
        (temporary,) = tmp_path.glob(".jvcr-*.jsonl")
        lines.append(temporary.read_text(encoding="utf-8").splitlines())

    track_video(made_frames(3), Known(), [tmp_path / "out.jsonl"], progress=progress)
    assert [len(read) for read in lines] == [1, 2, 3]
    assert all(json.loads(read[-1]) for read in lines)


@pytest.mark.parametrize(("failure", "raised"), [(None, ValueError), (KeyboardInterrupt, KeyboardInterrupt)])
def test_nothing_is_written_of_nothing(tmp_path, failure, raised):
    (tmp_path / "out.csv").write_text("older", encoding="utf-8")

    def frames():
        if failure:
            raise failure
        yield from ()

    with pytest.raises(raised):
        track_video(frames(), Known(), [tmp_path / "out.csv", tmp_path / "out.mp4"])
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "older"


def test_no_codec(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "_CODECS", ())
    with pytest.raises(OSError, match="cannot write a video of 96 x 64 pixels"):
        track_video(made_frames(3), Known(), [tmp_path / "out.mp4"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_long_video_needs_no_more_memory(tmp_path):
    resource = pytest.importorskip("resource", reason="this system does not tell how much memory a process takes")
    peak_kb = []

    def frames():
        for frame in made_frames(2000):
            if frame.number % 500 == 499:
                peak_kb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            yield frame

    track_video(frames(), Known(), [tmp_path / "out.jsonl", tmp_path / "out.csv", tmp_path / "out.mp4"])
    # 1,500 frames of 96 x 64 pixels are 28 MB, their records a few more.
    assert peak_kb[-1] - peak_kb[0] < 5000
