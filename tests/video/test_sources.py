"""Frames of files, pictures and cameras."""

import re

import cv2
import numpy as np
import pytest

from jvcr.video.sources import DEFAULT_FPS, Capture, open_source

WIDTH, HEIGHT = 96, 64


def picture(number, width=WIDTH, height=HEIGHT):
    """Grey, as bright as says its number."""
    return np.full((height, width, 3), 4 * number % 256, np.uint8)


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
    assert Capture(tmp_path / "in.mp4").fps == DEFAULT_FPS


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
