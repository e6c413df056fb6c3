"""What `jvcr video` writes: of generated frames, and by a tracker that knows them."""

import contextlib
import csv
import json
from fractions import Fraction

import numpy as np
import pytest

from jvcr.cli.video import track_video
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.tracker import TrackedFace, Tracker
from jvcr.scheme import FACE68
from jvcr.video.sinks import check_outputs, csv_columns
from jvcr.video.sources import Frame, VideoFile

av = pytest.importorskip("av", reason='PyAV is not installed: pip install "jvcr[video]"')

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
    """Its pictures and when each is shown."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [frame.time for frame in frames]


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
    track_video(made_frames(25), Known(), [tmp_path / "out.mp4"])
    pictures, times_s = read_video(tmp_path / "out.mp4")
    assert times_s == pytest.approx([i / 10 for i in range(25)])
    assert pictures[0].shape == (HEIGHT, WIDTH, 3)
    assert pictures[5].std() > 10  # something is drawn
    for number in range(11, 20):  # no face
        assert np.abs(pictures[number].astype(int) - 4 * number).max() < 4


def test_browsers_play_it(tmp_path):
    """H.264 of 8 bits and halved colours, whose kind of colours is said, in an .mp4 whose table comes first."""
    path = tmp_path / "out.mp4"
    track_video(made_frames(5), Known(), [path])
    data = path.read_bytes()
    assert data.index(b"ftyp") < data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        (stream,) = container.streams
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.profile) == ("h264", "yuv420p", "High")
        assert (context.colorspace, context.color_range) == (1, 1)


def test_colours_are_kept(tmp_path):
    colours = np.zeros((64, 96, 3), np.uint8)
    colours[:, :32], colours[:, 32:64], colours[:, 64:] = (200, 30, 40), (30, 180, 60), (40, 60, 210)
    track_video([Frame(0, 1.5, colours)], Known(), [tmp_path / "out.mp4"])
    ((shown,), _) = read_video(tmp_path / "out.mp4")
    for x in (16, 48, 80):
        np.testing.assert_allclose(shown[30, x].astype(int), colours[30, x], atol=6)


def test_a_variable_frame_rate_is_kept(tmp_path):
    times_s = [5.0, 5.1, 5.5, 5.51, 3600.0]
    frames = (Frame(i, t, picture(10 * i + 5)) for i, t in enumerate(times_s))
    track_video(frames, Known(), [tmp_path / "out.mp4"])
    pictures, shown_s = read_video(tmp_path / "out.mp4")
    assert shown_s == pytest.approx([t - 5 for t in times_s], abs=1e-4)
    assert [round(float(p[:5].mean() - 20) / 40) for p in pictures] == list(range(5))


def test_odd_sizes(tmp_path):
    """H.264 has none of them: a black line is added."""
    track_video([Frame(0, 0.0, picture(50, 97, 65))], Known(), [tmp_path / "out.mp4"])
    ((shown,), _) = read_video(tmp_path / "out.mp4")
    assert shown.shape == (66, 98, 3)
    assert shown[:64, :96].mean() == pytest.approx(200, abs=20)


def test_a_size_that_changes(tmp_path):
    sizes = [(96, 64), (48, 64), (192, 128)]
    frames = (Frame(i, i / 10, picture(50, *size)) for i, size in enumerate(sizes))
    outputs = [tmp_path / "out.mp4", tmp_path / "out.jsonl"]
    track_video(frames, Known(), outputs)
    pictures, _ = read_video(outputs[0])
    assert [p.shape for p in pictures] == [(64, 96, 3)] * 3
    assert pictures[1][:8, :15].mean() < 20  # black beside the narrower one
    records = [json.loads(line) for line in outputs[1].read_text(encoding="utf-8").splitlines()]
    assert [(r["width"], r["height"]) for r in records] == sizes


def write_clip(path, sound, beep_s=1.0, begin_s=0.0):
    """Two seconds of pictures, black until a beep, then white, and three of sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        tone = container.add_stream(sound, rate=48_000, layout="stereo")
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(picture(0 if i / 10 < beep_s else 60))
            frame.pts, frame.time_base = round((i / 10 + begin_s) * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        at_s = np.arange(48_000 * 3) / 48_000
        wave = np.where(at_s < beep_s + begin_s, 0, 12_000 * np.sin(2 * np.pi * 440 * at_s)).astype(np.int16)
        for begin in range(0, len(wave), 960):
            both = np.repeat(wave[begin : begin + 960], 2)[None]
            frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, begin, Fraction(1, 48_000)
            container.mux(tone.encode(frame))
        container.mux(tone.encode())
    return path


def heard(path):
    """The name of its sound's codec, when its beep begins and when it ends, seconds."""
    with av.open(str(path)) as container:
        pieces = [(frame.time, frame.to_ndarray().astype(float), frame.rate) for frame in container.decode(audio=0)]
        name = container.streams.audio[0].codec_context.name
    loudest = max(np.abs(samples).max() for _, samples, _ in pieces)
    loud = [
        begin_s + i / rate
        for begin_s, samples, rate in pieces
        for i in np.flatnonzero(np.abs(np.atleast_2d(samples)[0]) > 0.5 * loudest)
    ]
    return name, min(loud), max(loud)


@pytest.mark.parametrize(
    ("name", "sound", "written"),
    [
        ("in.mp4", "aac", "aac"),
        ("in.mkv", "libopus", "opus"),
        ("in.mp4", "mp3", "mp3"),
        ("in.ts", "aac", "aac"),
        ("in.mov", "pcm_s16le", "aac"),
        ("in.mkv", "ac3", "aac"),
    ],
)
@pytest.mark.parametrize(("start_s", "begin_s"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.3)])
def test_the_sound_goes_along(tmp_path, name, sound, written, start_s, begin_s):
    """It begins where the picture turns white; in the last case the pictures begin later than the sound."""
    source = VideoFile(write_clip(tmp_path / name, sound, begin_s=begin_s))
    track_video(source.frames(start_s, 1.7), Known(), [tmp_path / "out.mp4"], sound=source)
    codec, first_s, last_s = heard(tmp_path / "out.mp4")
    assert codec.startswith(written)
    assert first_s == pytest.approx(1.0 - start_s, abs=0.03)
    assert last_s == pytest.approx(1.8 - start_s, abs=0.05)  # until the last picture has been shown
    pictures, times_s = read_video(tmp_path / "out.mp4")
    assert times_s[next(i for i, p in enumerate(pictures) if p[:5].mean() > 100)] == pytest.approx(1.0 - start_s)


def test_sound_that_is_damaged_ends_where_it_is(tmp_path):
    path = write_clip(tmp_path / "in.mkv", "ac3", beep_s=0.0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = VideoFile(path)
    assert track_video(source.frames(), Known(), [tmp_path / "out.mp4"], sound=source).frames > 3
    assert read_video(tmp_path / "out.mp4")[0]


@pytest.mark.parametrize(("failure", "raised"), [(KeyboardInterrupt, None), (OSError("disk full"), OSError)])
def test_what_was_written_is_kept(tmp_path, failure, raised):
    outputs = [tmp_path / "out.mp4", tmp_path / "out.jsonl", tmp_path / "out.csv"]

    def frames():
        yield from made_frames(8)
        raise failure

    if raised:
        with pytest.raises(raised, match="disk full"):
            track_video(frames(), Known(), outputs)
    else:
        assert track_video(frames(), Known(), outputs).interrupted
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
    """Without its end nothing can read it, and it goes; what else was written is kept."""
    outputs = [tmp_path / "out.mp4", tmp_path / "out.jsonl"]
    rng = np.random.default_rng(0)

    def frames():
        for i in range(25):
            yield Frame(i, i / 10, rng.integers(0, 256, (128, 192, 3), dtype=np.uint8))
        if interrupted:
            raise KeyboardInterrupt

    with disk(100_000), pytest.raises(OSError, match="large") as caught:
        track_video(frames(), Known(), outputs)
    assert caught.value.filename == str(outputs[0])
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]
    assert len(outputs[1].read_text(encoding="utf-8").splitlines()) == 25


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_full_disk_leaves_whole_lines(tmp_path, name):
    outputs = [tmp_path / name, tmp_path / "out.mp4"]
    with disk(9_000), pytest.raises(OSError, match="large") as caught:
        track_video(made_frames(25), Known(), outputs)
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


@pytest.mark.slow
def test_a_long_video_needs_no_more_memory(tmp_path):
    resource = pytest.importorskip("resource", reason="this system does not tell how much memory a process takes")
    peak_kb = []

    def frames():
        for frame in made_frames(800):
            if frame.number % 200 == 199:
                peak_kb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            yield frame

    track_video(frames(), Known(), [tmp_path / "out.jsonl", tmp_path / "out.csv", tmp_path / "out.mp4"])
    # 600 frames of 96 x 64 pixels are 11 MB, their records a few more.
    assert peak_kb[-1] - peak_kb[0] < 5000
