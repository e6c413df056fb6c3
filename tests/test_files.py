"""Nothing is lost when a file cannot be written."""

import os

import pytest

from jvcr.files import replacing


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
