"""Videos in, records and annotated videos out: with generated frames, and a tracker that knows them."""

import contextlib
import csv
import json
import re

import cv2
import numpy as np
import pytest

from jvcr.inference.landmarker import Landmarker
from jvcr.inference.tracker import TrackedFace, Tracker
from jvcr.scheme import FACE68
from jvcr.video import tracking as video
from jvcr.video.tracking import (
    Capture,
    Frame,
    PictureSequence,
    check_outputs,
    csv_columns,
    draw_tracked,
    open_source,
    track_video,
)

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


def write_video(path, count=20, fps=10.0, codec="MJPG", noisy=False):
    grain = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (WIDTH, HEIGHT))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV has no FFmpeg that writes {codec}")
    for i in range(count):
        writer.write(picture(i) + grain if noisy else picture(i))
    writer.release()
    return path


def write_pictures(folder, names):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), picture(i))
    return folder


def shades(frames):
    return [round(float(frame.image.mean()) / 4) for frame in frames]


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    pictures = []
    while (answer := capture.read())[0]:
        pictures.append(answer[1])
    return pictures, capture.get(cv2.CAP_PROP_FPS)


# ---- sources


def test_frames_of_a_file(tmp_path):
    source = open_source(str(write_video(tmp_path / "in.avi")))
    assert (source.fps, source.total, source.files) == (10.0, 20, (tmp_path / "in.avi",))
    frames = list(source.frames())
    assert [frame.number for frame in frames] == list(range(20))
    assert [frame.time_s for frame in frames] == pytest.approx([i / 10 for i in range(20)])
    assert shades(frames) == pytest.approx(list(range(20)), abs=1)
    assert frames[0].image.shape == (HEIGHT, WIDTH, 3)
    assert source.unreadable == 0


def test_a_part_of_a_file_keeps_its_numbers_and_times(tmp_path):
    source = open_source(str(write_video(tmp_path / "in.avi")))
    assert [(f.number, round(f.time_s, 3)) for f in source.frames(0.5, 0.8)] == [(5, 0.5), (6, 0.6), (7, 0.7), (8, 0.8)]
    assert source.unreadable == 0


def test_damaged_frames_are_counted_and_the_others_keep_their_times(tmp_path):
    path = write_video(tmp_path / "in.avi")
    data = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"\xff\xd8\xff", data)]
    assert len(starts) == 20
    for number in (5, 6, 11):
        data[starts[number] : starts[number] + 200] = bytes(200)
    path.write_bytes(data)
    source = open_source(str(path))
    frames = list(source.frames())
    assert [round(frame.time_s * 10) for frame in frames] == [i for i in range(20) if i not in (5, 6, 11)]
    assert source.unreadable == 3


def test_a_file_that_was_cut_short(tmp_path):
    path = write_video(tmp_path / "in.avi", noisy=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = open_source(str(path))
    read = len(list(source.frames()))
    assert 5 <= read < 15
    assert source.unreadable == 20 - read


class Stream:
    """What OpenCV gives for a video with these times in ms; None is a frame that cannot be decoded."""

    def __init__(self, times_ms, fps=10.0):
        self.times_ms, self.fps, self.at, self.released = times_ms, fps, -1, False

    def isOpened(self):  # noqa: N802
        return True

    def get(self, what):
        values = {cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_FRAME_COUNT: len(self.times_ms)}
        return values[what] if what in values else self.times_ms[self.at] or 0.0

    def grab(self):
        self.at += 1
        return self.at < len(self.times_ms)

    def retrieve(self):
        return self.times_ms[self.at] is not None, picture(self.at)

    def release(self):
        self.released = True


@pytest.mark.parametrize(
    ("times_ms", "expected"),
    [
        ([0, 10, 300, 310], [0, 0.01, 0.3, 0.31]),  # a variable frame rate is kept
        ([0, 0, 0], [0, 0.1, 0.2]),  # no times at all
        ([0, 100, 50, 300], [0, 0.1, 0.2, 0.3]),  # one that is wrong
    ],
)
def test_times_of_a_file(tmp_path, monkeypatch, times_ms, expected):
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: Stream(times_ms))
    assert [frame.time_s for frame in Capture(tmp_path / "in.mp4").frames()] == pytest.approx(expected)


def test_frames_that_are_there_but_cannot_be_decoded(tmp_path, monkeypatch):
    stream = Stream([0, 100, None, 300])
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: stream)
    source = Capture(tmp_path / "in.mp4")
    assert [frame.number for frame in source.frames()] == [0, 1, 3]
    assert source.unreadable == 1
    assert stream.released


@pytest.mark.parametrize(
    ("begin", "unreadable"),
    [
        (b"RIFF....AVI LIST", 6),
        (b"\0\0\0\x20ftypisom....", 6),
        (b"\x1aE\xdf\xa3........", 0),  # Matroska tells no count: OpenCV reckons it, as if the rate were steady
        (None, 0),  # removed while it was read
    ],
)
def test_frames_that_the_file_counts_but_does_not_give(tmp_path, monkeypatch, begin, unreadable):
    class Counting(Stream):
        def get(self, what):
            return 10 if what == cv2.CAP_PROP_FRAME_COUNT else super().get(what)

    if begin:
        (tmp_path / "in.video").write_bytes(begin)
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: Counting([0, 100, 300, 900]))
    source = Capture(tmp_path / "in.video")
    assert len(list(source.frames())) == 4
    assert source.unreadable == unreadable


@pytest.mark.parametrize("fps", [0.0, float("nan"), 1000.0])
def test_a_frame_rate_that_is_none(tmp_path, monkeypatch, fps):
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: Stream([0], fps))
    assert Capture(tmp_path / "in.mp4").fps == video.DEFAULT_FPS


def test_a_camera(monkeypatch):
    opened = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: opened.append(name) or Stream([0, 0, 0]))
    source = open_source("1")
    assert (opened, source.total, source.files) == ([1], None, ())
    times_s = [frame.time_s for frame in source.frames()]
    assert times_s == sorted(times_s)
    assert times_s[-1] < 10
    assert source.unreadable == 0


def test_a_folder_of_pictures_in_the_order_of_their_numbers(tmp_path):
    folder = write_pictures(tmp_path / "shot", ["f1.png", "f2.png", "f10.png"])
    (folder / "notes.txt").write_text("not a picture", encoding="utf-8")
    source = open_source(str(folder), fps=5.0)
    frames = list(source.frames())
    assert [path.name for path in source.files] == ["f1.png", "f2.png", "f10.png"]
    assert shades(frames) == [0, 1, 2]
    assert [frame.time_s for frame in frames] == [0, 0.2, 0.4]
    assert [frame.number for frame in source.frames(0.15, 0.3)] == [1]


def test_a_pattern_with_a_star(tmp_path):
    write_pictures(tmp_path / "shot", ["f1.png", "f2.png", "g1.png"])
    assert shades(open_source(str(tmp_path / "shot" / "f*.png")).frames()) == [0, 1]


def test_a_numbered_pattern_tells_which_frames_are_missing(tmp_path):
    write_pictures(tmp_path / "shot", ["f_0007.png", "f_0008.png", "f_0010.png", "f_11.png", "g_0009.png"])
    source = open_source(str(tmp_path / "shot" / "f_%04d.png"), fps=10.0)
    frames = list(source.frames())
    assert [(frame.number, frame.time_s) for frame in frames] == [(0, 0.0), (1, 0.1), (3, 0.3)]
    assert (source.total, source.unreadable) == (4, 1)


def test_a_numbered_pattern_with_a_number_twice(tmp_path):
    write_pictures(tmp_path / "shot", ["f_1.png", "f_01.png", "f_2.png"])
    with pytest.raises(ValueError, match=r"f_01\.png and f_1\.png are both frame 1 of "):
        open_source(str(tmp_path / "shot" / "f_%d.png"))


def test_files_that_fit_a_pattern_and_are_no_pictures(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"none of the pictures can be read; the first: .*a\.mp4 is not an image"):
        list(open_source(str(tmp_path / "*.mp4")).frames())


def test_a_picture_that_cannot_be_read_is_counted(tmp_path):
    folder = write_pictures(tmp_path / "shot", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes(b"damaged")
    source = open_source(str(folder))
    assert [frame.number for frame in source.frames()] == [0, 2]
    assert source.unreadable == 1


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("none.mp4", FileNotFoundError, "no such file, folder or pattern"),
        ("none/*.png", FileNotFoundError, "no such file, folder or pattern"),
        ("none_%03d.png", FileNotFoundError, "no such file, folder or pattern"),
        ("text.mp4", ValueError, "is not a video that OpenCV reads"),
        ("empty.mp4", ValueError, "is not a video that OpenCV reads"),
        ("photo.png", ValueError, "one picture: `jvcr predict`"),
        ("folder", ValueError, "folder without images"),
    ],
)
def test_what_is_no_video(tmp_path, monkeypatch, name, error, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("not a video\n" * 100, encoding="utf-8")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    cv2.imwrite(str(tmp_path / "photo.png"), picture(1))
    with pytest.raises(error, match=match):
        open_source(name)


def test_frame_rates_are_for_pictures(tmp_path):
    path = write_video(tmp_path / "in.avi", 2)
    with pytest.raises(ValueError, match="tells its own times"):
        open_source(str(path), fps=25.0)
    with pytest.raises(ValueError, match="above 0"):
        open_source(str(path), fps=0.0)


def test_outputs_that_would_harm(tmp_path):
    folder = write_pictures(tmp_path, ["a.png"])
    (folder / "in.mp4").touch()
    (folder / "link.mp4").symlink_to(folder / "in.mp4")
    source = PictureSequence([(0, folder / "in.mp4")], 30.0)
    check_outputs([folder / "a.mp4", folder / "a.csv", folder / "a.jsonl"], source)
    for outputs in ([folder / "in.mp4"], [folder / "link.mp4"], [folder / "a.csv", folder / "." / "a.csv"]):
        with pytest.raises(ValueError, match="choose another --out"):
            check_outputs(outputs, source)
    with pytest.raises(ValueError, match=r"must end in one of \.mp4, \.jsonl, \.csv"):
        check_outputs([folder / "a.avi"], source)


# ---- what is written


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
    monkeypatch.setattr(video, "_CODECS", ())
    with pytest.raises(OSError, match="cannot write a video of 96 x 64 pixels"):
        track_video(made_frames(3), Known(), [tmp_path / "out.mp4"])
    assert list(tmp_path.iterdir()) == []


def test_drawing():
    blank = picture(30, 300, 240)
    points = TEMPLATE * 60 + [150, 120, 0]
    face = known_face(points, 3, (0.0, 0.0, 0.0))
    drawn = draw_tracked(blank, [face], FACE68)
    assert drawn.shape == blank.shape
    assert (blank == 120).all()  # a copy
    assert (drawn != blank).any(axis=2).mean() > 0.02
    # The head's left, here to the right, in red; up in green.
    middle = points.mean(0)
    assert drawn[round(middle[1]), round(middle[0] + 0.4 * 142)].tolist() == [235, 70, 60]
    assert drawn[round(middle[1] - 0.35 * 142), round(middle[0])].tolist() == [70, 200, 80]
    assert draw_tracked(blank, [], FACE68).tolist() == blank.tolist()


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
