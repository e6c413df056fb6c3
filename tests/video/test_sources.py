"""Frames of files, pictures and cameras."""

import re
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from jvcr.video.sources import VideoFile, open_source

av = pytest.importorskip("av", reason='PyAV is not installed: pip install "jvcr[video]"')

WIDTH, HEIGHT = 96, 64
TENTHS = [i / 10 for i in range(20)]


def picture(number, width=WIDTH, height=HEIGHT):
    """Grey, as bright as says its number."""
    return np.full((height, width, 3), 4 * number % 256, np.uint8)


def write_video(path, times_s=TENTHS, pictures=None, codec="libx264", sound=None, **options):
    """A clip whose frames are shown at these times, with a tone of the same length if a codec is given for it."""
    pictures = [picture(i) for i in range(len(times_s))] if pictures is None else pictures
    pixels = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
    base = Fraction(1, 10) if codec == "mjpeg" else Fraction(1, 90_000)  # AVI has one tick a frame
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"g": "5", **options})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        if codec == "mjpeg":
            stream.bit_rate = 10_000_000
        else:
            stream.codec_context.time_base = base
        tone = container.add_stream(sound, rate=48_000, layout="mono") if sound else None
        for t, pixels in zip(times_s, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = round(t / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if tone:
            count = round(48_000 * (times_s[-1] + 0.1))
            wave = (8000 * np.sin(np.arange(count) * 2 * np.pi * 440 / 48_000)).astype(np.int16)
            for begin in range(0, count, 1024):
                frame = av.AudioFrame.from_ndarray(wave[None, begin : begin + 1024], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, begin, Fraction(1, 48_000)
                container.mux(tone.encode(frame))
            container.mux(tone.encode())
    return path


def write_pictures(folder, names):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), picture(i))
    return folder


def shades(frames):
    return [round(float(frame.image.mean()) / 4) for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [
        ("in.mp4", "libx264", "aac"),
        ("in.mov", "libx264", "pcm_s16le"),
        ("in.mkv", "libx264", "flac"),
        ("in.webm", "libvpx", "libopus"),
        ("in.avi", "mjpeg", "pcm_s16le"),
        ("in.ts", "libx264", "aac"),
        ("in.gif", "gif", None),
    ],
)
def test_frames_of_a_file(tmp_path, name, codec, sound):
    source = open_source(str(write_video(tmp_path / name, codec=codec, sound=sound)))
    assert (source.fps, source.files) == (10.0, (tmp_path / name,))
    assert source.total == pytest.approx(20, abs=2)
    frames = list(source.frames())
    assert [frame.number for frame in frames] == list(range(20))
    assert [frame.time_s for frame in frames] == pytest.approx(TENTHS)
    assert shades(frames) == pytest.approx(list(range(20)), abs=1 if name != "in.gif" else 4)
    assert frames[0].image.shape == (HEIGHT, WIDTH, 3)
    assert source.unreadable == 0


def test_a_part_of_a_file_keeps_its_numbers_and_times(tmp_path):
    source = open_source(str(write_video(tmp_path / "in.mp4")))
    for _ in range(2):  # it can be read again
        part = source.frames(0.5, 0.8)
        assert [(f.number, round(f.time_s, 3)) for f in part] == [(5, 0.5), (6, 0.6), (7, 0.7), (8, 0.8)]
        assert source.unreadable == 0


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_a_variable_frame_rate(tmp_path, name):
    times_s = [0.0, 0.01, 0.3, 0.31, 2.0, 2.04]
    frames = list(open_source(str(write_video(tmp_path / name, times_s, sound="aac"))).frames())
    assert [frame.time_s for frame in frames] == pytest.approx(times_s, abs=1e-3)
    assert shades(frames) == pytest.approx(range(6), abs=1)


def test_times_count_from_the_first_picture(tmp_path):
    """In this file the sound begins 0.8 s before."""
    frames = list(open_source(str(write_video(tmp_path / "in.mp4", [t + 0.8 for t in TENTHS], sound="aac"))).frames())
    assert [frame.time_s for frame in frames] == pytest.approx(TENTHS)


def test_an_edit_list(tmp_path):
    """Pictures before time 0 are in the file, as the next ones are made of them, but not shown: nothing is damaged."""
    path = write_video(tmp_path / "in.mp4", [t - 0.8 for t in TENTHS], sound="aac", g="20")
    assert b"elst" in path.read_bytes()
    source = open_source(str(path))
    frames = list(source.frames())
    assert shades(frames) == pytest.approx(range(8, 20), abs=1)
    assert [(frame.number, frame.time_s) for frame in frames] == [(i, pytest.approx(i / 10)) for i in range(12)]
    assert source.unreadable == 0


MATRICES = {
    "a quarter turn to the right": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "half a turn": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "a quarter turn to the left": ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
    "a mirror": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "a mirror, turned": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_what_a_telephone_took_is_upright(tmp_path, name):
    """The file says how its pictures are to be shown; here it is written into the one that PyAV made."""
    matrix, shown = MATRICES[name]
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[: HEIGHT // 2, : WIDTH // 2] = 200
    picture[HEIGHT // 2 :, : WIDTH // 2] = 90
    path = write_video(tmp_path / "in.mp4", [0.0, 0.1], [picture] * 2)
    data = bytearray(path.read_bytes())
    a, b, c, d = (v % 2**16 * 65536 % 2**32 for v in matrix)
    whole = [a, b, 0, c, d, 0, 0, 0, 1 << 30]
    begin = data.index(b"tkhd") + 44  # behind the box's name, of version 0
    assert data[begin : begin + 4] == (65536).to_bytes(4, "big")
    data[begin : begin + 36] = b"".join(v.to_bytes(4, "big") for v in whole)
    path.write_bytes(data)
    for frame in open_source(str(path)).frames():
        expected = shown(picture)
        assert frame.image.shape == expected.shape
        assert np.abs(frame.image.astype(int) - expected).mean() < 4


def test_pixels_that_are_not_square(tmp_path):
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 72, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(9, 72, 64))))
        container.mux(stream.encode())
    (frame,) = open_source(str(path)).frames()
    assert frame.image.shape == (64, 96, 3)


def test_odd_sizes(tmp_path):
    pictures = [picture(i, 97, 65) for i in range(20)]
    path = write_video(tmp_path / "in.avi", pictures=pictures, codec="mjpeg")
    frames = list(open_source(str(path)).frames())
    assert {frame.image.shape for frame in frames} == {(65, 97, 3)}


def noisy_pictures(count=20):
    rng = np.random.default_rng(0)
    return [picture(i) + rng.integers(0, 40, (HEIGHT, WIDTH, 3), dtype=np.uint8) for i in range(count)]


def test_damaged_frames_are_counted_and_the_others_keep_their_times(tmp_path):
    path = write_video(tmp_path / "in.avi", pictures=noisy_pictures(), codec="mjpeg")
    data = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"\xff\xd8\xff", data)]
    assert len(starts) == 20
    for number in (5, 6, 11):
        data[starts[number] : starts[number] + 700] = bytes(700)
    path.write_bytes(data)
    source = open_source(str(path))
    frames = list(source.frames())
    assert [round(frame.time_s * 10) for frame in frames] == [i for i in range(20) if i not in (5, 6, 11)]
    assert [frame.number for frame in frames] == [i for i in range(20) if i not in (5, 6, 11)]
    assert source.unreadable == 3


@pytest.mark.parametrize("name", ["in.avi", "in.mp4"])
def test_a_file_that_was_cut_short(tmp_path, name):
    path = write_video(tmp_path / name, pictures=noisy_pictures(), codec="mjpeg")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    if name == "in.mp4":  # its table is at its end: without it nothing can be read
        with pytest.raises(ValueError, match=r"in\.mp4 is not a video that FFmpeg reads, or it was cut short"):
            open_source(str(path))
        return
    source = open_source(str(path))
    read = len(list(source.frames()))
    assert 2 <= read < 15
    assert source.unreadable == pytest.approx(20 - read, abs=1)  # the last is there in part


def test_a_file_that_was_cut_short_behind_its_table(tmp_path):
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w", container_options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for pixels in noisy_pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = open_source(str(path))
    read = len(list(source.frames()))
    assert 5 <= read < 15
    assert source.unreadable == pytest.approx(20 - read, abs=1)


def test_only_sound(tmp_path):
    path = tmp_path / "in.m4a"
    with av.open(str(path), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="has sound, but no pictures"):
        open_source(str(path))


def test_a_playlist_does_not_lead_to_other_files(tmp_path):
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:2,", "http://127.0.0.1:9/other.ts", "#EXT-X-ENDLIST"]
    (tmp_path / "in.mp4").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match="is not a video"):
        list(open_source(str(tmp_path / "in.mp4")).frames())


def test_without_pyav_it_is_said_what_to_install(tmp_path, monkeypatch):
    path = write_video(tmp_path / "in.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape('pip install "jvcr[video]"')):
        VideoFile(path)


class Stream:
    """What OpenCV gives for a camera that does not give the frames of these numbers, and then no more."""

    def __init__(self, count, missing=(), fps=10.0):
        self.count, self.missing, self.fps, self.at, self.released = count, missing, fps, -1, False

    def isOpened(self):  # noqa: N802
        return True

    def get(self, what):
        return self.fps

    def read(self):
        self.at += 1
        here = self.at < self.count and self.at not in self.missing
        return here, picture(self.at) if here else None

    def release(self):
        self.released = True


def test_a_camera(monkeypatch):
    opened = []
    stream = Stream(5, missing=(2,))
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: opened.append(name) or stream)
    source = open_source("1")
    assert (opened, source.total, source.files, source.fps) == ([1], None, (), 10.0)
    frames = list(source.frames())
    assert [frame.number for frame in frames] == [0, 1, 3, 4]
    times_s = [frame.time_s for frame in frames]
    assert times_s == sorted(times_s)
    assert times_s[-1] < 10
    assert source.unreadable == 1
    assert stream.released


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
        ("text.mp4", ValueError, "is not a video that FFmpeg reads"),
        ("empty.mp4", ValueError, "is not a video that FFmpeg reads"),
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
    path = write_video(tmp_path / "in.mp4")
    with pytest.raises(ValueError, match="tells its own times"):
        open_source(str(path), fps=25.0)
    with pytest.raises(ValueError, match="above 0"):
        open_source(str(path), fps=0.0)
