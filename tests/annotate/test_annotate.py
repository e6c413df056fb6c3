"""``jvcr annotate`` as it is called: what it writes, goes on with, refuses, and survives."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jvcr
from jvcr import cli
from jvcr.annotate.destination import MANIFEST, Destination
from jvcr.annotate.sources import Source
from jvcr.annotate.table import SCHEMA
from jvcr.annotate.work import Tally
from jvcr.annotate.work import annotate as annotate_pieces
from jvcr.inference.detector import WholeImage
from jvcr.inference.landmarker import Landmarker

from .conftest import png


@pytest.fixture
def run(tiny_weights, tmp_path):
    """Runs it in this process, unless --workers says otherwise, and returns its exit code."""

    def call(*arguments):
        common = ["--weights", str(tiny_weights)]
        common += [] if "--out" in arguments else ["--out", str(tmp_path / "out")]
        common += [] if "--workers" in arguments else ["--workers", "1"]
        with pytest.raises(SystemExit) as leaving:
            cli.main(["annotate", *map(str, arguments), *common])
        return leaving.value.code

    return call


def rows(folder):
    return pq.read_table(folder).to_pylist()


def parts(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}


def test_rows_are_what_the_landmarker_finds(run, tiny_weights, examples, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in (examples / "astronaut.png", examples / "grace_hopper.jpg"):
        (folder / path.name).symlink_to(path)
    (folder / "black.png").write_bytes(png(0))
    (folder / "broken.jpg").write_bytes(b"no image")
    assert run(folder) == 0
    assert "2 faces in 4 images" in (told := capsys.readouterr().out)
    assert "1 without a face; 1 that cannot be used" in told
    table = pq.read_table(tmp_path / "out")
    assert table.schema.remove_metadata() == SCHEMA
    found = {row["image"]: row for row in table.to_pylist()}
    assert list(found) == ["astronaut.png", "black.png", "broken.jpg", "grace_hopper.jpg"]
    (face,) = Landmarker(tiny_weights, max_batch=1)(examples / "astronaut.png")
    for name in SCHEMA.names[4:-1]:
        value = found["astronaut.png"][name]
        assert (value is None) == (getattr(face, name) is None)
        if value is not None:
            np.testing.assert_array_equal(np.array(value, np.float32), np.array(getattr(face, name), np.float32))
    assert found["astronaut.png"]["face_index"] == 0
    assert (found["black.png"]["width"], found["black.png"]["face_index"]) == (48, None)
    assert "broken.jpg is not an image" in found["broken.jpg"]["error"]
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert (manifest["jvcr"], manifest["source"]) == (jvcr.__version__, f"file://{folder}")


def test_it_goes_on(run, pictures, tmp_path, capsys):
    folder, out = pictures(20), tmp_path / "out"
    common = (folder, "--detector", "none", "--images-per-part", 4)
    assert run(*common, "--limit", 6) == 0
    assert [row["image"] for row in rows(out)] == [row["image"] for row in rows(out)][:6]
    before = parts(out)
    assert run(*common) == 0
    assert "16 images" in capsys.readouterr().out.splitlines()[-1]
    after = parts(out)
    assert {name for name in before if after[name] == before[name]} == {"part-000000-00000.parquet"}
    everything = rows(out)
    assert len({row["image"] for row in everything}) == len(everything) == 20
    assert run(*common) == 0
    assert "nothing was missing: all of 20 images" in capsys.readouterr().out
    (out / "part-000003-00000.parquet").unlink()
    assert run(*common) == 0
    assert rows(out) == everything
    (folder / "2" / "99999.png").write_bytes(png(1))  # behind all others
    assert run(*common) == 0
    assert rows(out)[:20] == everything
    assert len(rows(out)) == 21


def test_results_may_lie_in_the_source(run, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(pictures(6))
    for _ in range(2):
        assert run(".", "--detector", "none", "--out", "found") == 0
    assert "nothing was missing: all of 6 images" in capsys.readouterr().out


def test_shares_make_one_whole(run, pictures, tmp_path):
    folder = pictures(11)
    for share in ("2/3", "3/3", "1/3"):
        assert run(folder, "--detector", "none", "--images-per-part", 2, "--shard", share) == 0
    shared = rows(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "shared")
    assert run(folder, "--detector", "none", "--images-per-part", 2) == 0
    assert rows(tmp_path / "out") == shared
    assert run(folder, "--detector", "none", "--images-per-part", 2, "--shard", "99/100") == 0


def test_a_damaged_tar_costs_only_its_own_end(run, tar, tmp_path, capsys):
    good, path = tar("b.tar", 5), tar("a.tar", 5)
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        path.write_bytes(whole[: archive.getmember("0004.png").offset_data + 9])
    common = (good.parent, "--detector", "none", "--images-per-part", 2)
    assert run(*common) == 1
    captured = capsys.readouterr()
    assert "a.tar is damaged or cut short" in captured.err
    assert "1 file not read to the end" in captured.out
    names = [f"a.tar/{i:04d}.png" for i in range(5)], [f"b.tar/{i:04d}.png" for i in range(5)]
    assert [row["image"] for row in rows(tmp_path / "out")] == names[0][:4] + names[1]
    path.write_bytes(whole)
    assert run(*common) == 0
    assert "1 image," in capsys.readouterr().out
    assert [row["image"] for row in rows(tmp_path / "out")] == names[0] + names[1]


def test_another_run_is_refused(run, pictures, tmp_path, capsys):
    folder = pictures(6)
    common = (folder, "--detector", "none", "--images-per-part", 2)
    assert run(*common) == 0
    made = rows(tmp_path / "out")
    assert run(folder, "--detector", "none", "--images-per-part", 3, "--passes", 2) == 1
    assert "images_per_part 2, not 3, passes 1, not 2; go on with those" in capsys.readouterr().err
    (folder / "0" / "00000.png").unlink()
    assert run(*common) == 1
    assert "part-000000-00000.parquet holds annotations of other images" in capsys.readouterr().err
    (tmp_path / "out" / "part-000000-00000.parquet").write_bytes(b"PAR1 and no more")
    assert run(*common) == 1
    assert "is damaged" in capsys.readouterr().err
    (tmp_path / "out" / MANIFEST).write_text("[1")
    assert run(*common) == 1
    assert f"{MANIFEST} is damaged" in capsys.readouterr().err
    (tmp_path / "out" / MANIFEST).unlink()
    assert run(*common) == 1
    assert "is not empty, and not of jvcr annotate" in capsys.readouterr().err
    assert len(made) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no nowhere"),
        (["s33://bucket/x"], "s33"),
        ([".", "--shard", "0/2"], "--shard must be a share such as 3/8"),
        ([".", "--shard", "3/2"], "--shard must be a share such as 3/8"),
        ([".", "--limit", "0"], "--limit must be at least 1"),
        ([".", "--detector", "magic"], "there is no detector 'magic'"),
        ([".", "--device", "abacus"], "there is no device 'abacus'"),
        (["nothing.txt"], "there is no nothing.txt"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_columns_missing_in_parquet(run, tmp_path, capsys):
    pq.write_table(pa.table({"photo": [png(0)]}), tmp_path / "x.parquet")
    assert run(tmp_path / "x.parquet") == 1
    assert "has no column 'image', only photo" in capsys.readouterr().err
    assert run(tmp_path / "x.parquet", "--image-column", "photo") == 1
    assert "image_column 'image', not 'photo'" in capsys.readouterr().err


def test_a_full_disk(run, pictures, tmp_path, monkeypatch, capsys):
    folder = pictures(9)
    real, written = os.replace, []

    def full(source, target):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert run(folder, "--detector", "none", "--images-per-part", 3) == 1
    assert "no space left on device" in capsys.readouterr().err
    monkeypatch.undo()
    assert len(rows(tmp_path / "out")) == 3
    assert run(folder, "--detector", "none", "--images-per-part", 3) == 0
    assert len({row["image"] for row in rows(tmp_path / "out")}) == 9


def test_ctrl_c(run, pictures, monkeypatch, capsys, tmp_path):
    real, calls = Destination.write, []

    def write(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(Destination, "write", write)
    assert run(pictures(9), "--detector", "none", "--images-per-part", 3) == 130
    assert "interrupted; the same command goes on after 3 images" in capsys.readouterr().err


def test_elsewhere(tiny_weights):
    import fsspec

    fs = fsspec.filesystem("memory")
    for i in range(5):
        fs.pipe_file(f"/from/{i}.png", png(i))
    landmarker = Landmarker(tiny_weights, threads=2, detector=WholeImage())
    source, destination = Source("memory://from", 2), Destination("memory://to", 2)
    destination.open({"format": 1})
    for expected in ((5, 0), (0, 5)):
        done = Tally()
        annotate_pieces(landmarker, source.pieces(), destination, done.add)
        assert (done.images, done.before, sorted(done.done)) == (*expected, [0, 1, 2])
    assert [path for path in fs.ls("/to", detail=False) if path.endswith(".parquet")] == [
        f"/to/part-{i:06d}-00000.parquet" for i in range(3)
    ]
    with pytest.raises(ValueError, match="format 1, not 2"):
        destination.open({"format": 2})


@pytest.mark.parametrize(("workers", "images"), [(2, 23), (3, 2), (4, 5)])
def test_several_processes_make_the_same_rows(run, pictures, tmp_path, workers, images):
    folder = pictures(images)
    for path in sorted(folder.rglob("*.png"))[1:2]:
        path.write_bytes(b"no image")
    assert run(folder, "--detector", "none", "--images-per-part", 2) == 0
    alone = rows((tmp_path / "out").rename(tmp_path / "alone"))
    assert run(folder, "--detector", "none", "--images-per-part", 2, "--workers", workers) == 0
    assert rows(tmp_path / "out") == alone
    (tmp_path / "out" / "part-000000-00000.parquet").unlink()
    assert run(folder, "--detector", "none", "--images-per-part", 2, "--workers", workers) == 0
    assert rows(tmp_path / "out") == alone


def test_what_goes_wrong_in_a_process_is_said(run, pictures, tmp_path, capsys):
    assert run(pictures(9), "--detector", "none", "--images-per-part", 2) == 0
    (tmp_path / "pictures" / "0" / "00000.png").rename(tmp_path / "pictures" / "2" / "99999.png")
    assert run(tmp_path / "pictures", "--detector", "none", "--images-per-part", 2, "--workers", 2) == 1
    assert "holds annotations of other images" in capsys.readouterr().err


def children(process: int) -> list[int]:
    """Numbers of its child processes."""
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the workers in /proc")
@pytest.mark.parametrize("deaths", [3, 4])
def test_lost_workers_are_replaced(pictures, command, tmp_path, deaths):
    arguments = [str(pictures(900)), "--images-per-part", "10", "--workers", "2"]
    killed, process = set(), subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(killed) < deaths:
        time.sleep(0.01)
        if len(parts(tmp_path / "out")) > 5 * len(killed):
            workers = [
                number
                for number in children(process.pid)
                if b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes() and number not in killed
            ]
            if workers:
                os.kill(workers[-1], signal.SIGKILL)
                killed.add(workers[-1])
    _, errors = process.communicate(timeout=120)
    assert len(killed) == deaths
    if deaths == 4:
        assert process.returncode == 1
        assert "4 processes were lost, the last with the exit code -9" in errors
    else:
        assert process.returncode == 0, errors
        found = [row["image"] for row in rows(tmp_path / "out")]
        assert len(found) == len(set(found)) == 900


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")
@pytest.mark.parametrize(("kind", "workers", "kills", "longest"), [("folder", "1", 35, 1.1), ("tars", "2", 15, 2.0)])
def test_killed_at_random_moments(kind, workers, kills, longest, pictures, tar, annotate, command, tmp_path):
    """50 times in all; each image is there once, and parts that were there stay untouched."""
    if kind == "folder":
        source = pictures(900)
    else:
        for i in range(10):
            source = tar(f"{i:02d}.tar", 90).parent
    arguments = [str(source), "--images-per-part", "10", "--workers", workers]
    killed, out, chance = 0, tmp_path / "out", random.Random(3)
    while killed < kills:
        before = parts(out)
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=chance.uniform(longest / 4, longest))
            assert process.returncode == 0, errors
            # It was quicker than the kill: some pieces are to do again.
            pieces = sorted({name[:11] for name in parts(out)})
            for piece in chance.sample(pieces, len(pieces) // 3):
                for lost in out.glob(f"{piece}*"):
                    lost.unlink()
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
            assert before.items() <= parts(out).items()
    done = annotate(*arguments)
    assert done.returncode == 0, done.stderr
    found = [row["image"] for row in rows(out)]
    assert len(found) == len(set(found)) == 900
    assert sorted(path.suffix for path in out.iterdir() if path.name.startswith(".")) == []
    out.rename(tmp_path / "killed")
    assert annotate(*arguments).returncode == 0
    assert rows(tmp_path / "killed") == rows(out)


def ray_processes(pattern: str) -> list[int]:
    """Numbers of the processes whose command line matches."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if re.search(pattern, path.read_bytes().replace(b"\0", b" ").decode(errors="replace")):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for Ray's workers in /proc")
def test_ray_makes_the_same_rows_whatever_is_killed(pictures, annotate, command, tmp_path):
    pytest.importorskip("ray")
    arguments = [str(pictures(300)), "--images-per-part", "5"]
    local = annotate(*arguments)
    assert local.returncode == 0, local.stderr
    expected = rows(tmp_path / "out")
    ray_out = (tmp_path / "out").rename(tmp_path / "local").with_name("out")
    ray_command = [*command, *arguments, "--engine", "ray", "--workers", "2"]
    for driver_dies in (True, False):
        process, killed, before = subprocess.Popen(ray_command, start_new_session=True), 0, len(parts(ray_out))
        while process.poll() is None:
            time.sleep(0.02)
            workers = ray_processes(r"^ray::\w*MapWorker")
            if killed < 2 and workers and len(parts(ray_out)) > before + 8 * (killed + 1):
                os.kill(workers[0], signal.SIGKILL)
                killed += 1
            if driver_dies and killed == 2 and len(parts(ray_out)) > before + 24:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == (-signal.SIGKILL if driver_dies else 0)
        assert killed == 2
    assert len(parts(ray_out)) == 60
    found = rows(ray_out)
    assert [row["image"] for row in found] == [row["image"] for row in expected]
    difference = [np.abs(np.subtract(a["points"], b["points"])).max() for a, b in zip(found, expected, strict=True)]
    assert max(difference) <= 1e-3
