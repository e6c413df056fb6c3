"""Nothing is lost when a file cannot be written."""

import errno
import os
import subprocess
import sys
import tomllib

import pytest

from jvcr.files import naming, parse, replacing


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


def test_a_folder_in_the_way_is_named_before_the_work(tmp_path):
    (tmp_path / "result.txt").mkdir()
    with pytest.raises(IsADirectoryError, match="a folder") as raised, replacing(tmp_path / "result.txt"):
        raise AssertionError("the block must not run")
    assert raised.value.filename == str(tmp_path / "result.txt")


@pytest.mark.skipif(os.name == "nt", reason="rights are others there")
def test_rights_are_the_usual_ones(tmp_path):
    before = os.umask(0o022)
    try:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


WRITER = """
import sys, time
from jvcr.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="files are not locked so there")
def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "a.txt"], stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        killed, living = (writer.stdout.readline().decode().strip() for writer in writers)
        writers[0].kill()
        writers[0].wait()
        assert os.path.exists(killed)
        with replacing(tmp_path / "b.txt") as temporary:
            temporary.write_text("new")
        assert not os.path.exists(killed) and os.path.exists(living)
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def full_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write does, which knows no name


def test_a_full_disk_is_told_of_the_file_and_takes_nothing(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left") as raised, replacing(path) as temporary:
        temporary.write_text(full_disk())
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(FileNotFoundError) as raised, naming(path):
        (tmp_path / "other").read_text()
    assert raised.value.filename == str(tmp_path / "other")


def test_files_are_on_disk_before_they_get_their_name(tmp_path, monkeypatch):
    done = []

    def noting(name, function):
        def note(*arguments):
            done.append(name)
            return function(*arguments)

        return note

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert done[:2] == ["fsync", "replace"] and (os.name == "nt" or done[2:] == ["fsync"])


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("[" * 100_000, None, "nested too deeply"),
        ('{"a":' * 100_000, None, "nested too deeply"),
        ("a = " + "[" * 5000, tomllib.loads, "nested too deeply"),
        (".".join("a" * 3000) + " = 1", tomllib.loads, "nested too deeply"),
        ("[" + "1" * 400 + "]", None, "more than 18 digits"),
        ('{"a": [' + "1" * 5000 + "]}", None, "digits"),
        ("a = " + "1" * 5000, tomllib.loads, "digits"),
    ],
    ids=range(7),
)
def test_what_no_file_of_ours_holds(text, read, message):
    with pytest.raises(ValueError, match=message):
        parse(text, *[read] if read else [])
