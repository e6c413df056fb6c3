import os

import pytest

from jvcr.cli import photos as photo_files
from jvcr.cli.photos import find_photos, prepare_output


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


# ---- which files


def test_files_and_folders_in_order(tmp_path, out):
    touch(
        tmp_path,
        "b.jpg",
        "photos/2.PNG",
        "photos/1.jpeg",
        "photos/sub/3.webp",
        "photos/notes.txt",
        "photos/.hidden.jpg",
    )
    touch(tmp_path, "photos/.cache/4.jpg", "a.strange")
    photos = find_photos([tmp_path / "b.jpg", tmp_path / "photos", tmp_path / "a.strange", tmp_path / "none.jpg"], out)
    assert [p.path.relative_to(tmp_path).as_posix() for p in photos] == [
        *("b.jpg", "photos/1.jpeg", "photos/2.PNG", "photos/sub/3.webp", "a.strange", "none.jpg")
    ]
    assert [p.inside.as_posix() for p in photos] == ["b.jpg", "1.jpeg", "2.PNG", "sub/3.webp", "a.strange", "none.jpg"]
    assert [p.result.as_posix() for p in photos] == ["b", "1", "2", "sub/3", "a", "none"]
    assert photos[3].target(out, ".json") == out / "sub" / "3.json"


def test_results_of_equal_names_are_kept_apart(tmp_path, out):
    touch(tmp_path, "a/x.jpg", "b/x.jpg", "a/x.png", "c/X.jpg", "d/x-2.jpg", "e/x.y.jpg", "f/x.y.jpg")
    photos = find_photos([tmp_path / n for n in ("a", "b", "c/X.jpg", "d", "e", "f")], out)
    names = [p.result.name for p in photos]
    assert names == ["x", "x-2", "x-3", "X-4", "x-2-2", "x.y", "x.y-2"]
    assert len({name.casefold() for name in names}) == len(names)
    assert photos[-1].target(out, ".json").name == "x.y-2.json"


def test_a_file_given_twice_is_taken_once(tmp_path, out):
    touch(tmp_path, "a/x.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a" / "x.jpg")
    sources = [tmp_path / "a", tmp_path / "a" / "x.jpg", tmp_path / "a" / ".." / "a", tmp_path / "link.jpg"]
    assert len(find_photos(sources, out)) == 1


def test_the_output_folder_is_no_input(tmp_path):
    touch(tmp_path, "photos/x.jpg", "photos/out/x.png")
    photos = find_photos([tmp_path / "photos"], tmp_path / "photos" / "out")
    assert [p.inside.as_posix() for p in photos] == ["x.jpg"]


def test_a_folder_without_images(tmp_path, out):
    touch(tmp_path, "photos/notes.txt")
    with pytest.raises(ValueError, match="photos is a folder without images"):
        find_photos([tmp_path / "photos"], out)


# ---- the output folder


def test_it_is_made_with_its_parents(tmp_path):
    prepare_output(tmp_path / "a" / "b", [], [".json"])
    assert (tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_it_cannot_be_made(tmp_path):
    touch(tmp_path, "file")
    with pytest.raises(OSError, match=r"cannot write to the output folder.*file"):
        prepare_output(tmp_path / "file", [], [".json"])
    with pytest.raises(NotADirectoryError, match="cannot write to the output folder"):
        prepare_output(tmp_path / "file" / "below", [], [".json"])


def test_it_cannot_be_written_to(tmp_path, monkeypatch):
    # As root every folder can be written to, so the system's answer is played.
    def denied(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(photo_files.tempfile, "TemporaryFile", denied)
    with pytest.raises(PermissionError, match=r"cannot write to the output folder \(Permission denied\)"):
        prepare_output(tmp_path, [], [".json"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_it_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot write to the output folder"):
        prepare_output(tmp_path, [], [".json"])


def test_a_result_never_overwrites_an_input(tmp_path):
    touch(tmp_path, "x.png", "boxes.json")
    photos = find_photos([tmp_path / "x.png"], tmp_path)
    prepare_output(tmp_path, photos, [".json"])
    with pytest.raises(ValueError, match=r"x\.png would overwrite an input"):
        prepare_output(tmp_path, photos, [".json", ".png"])
    touch(tmp_path, "boxes.jpg")
    with pytest.raises(ValueError, match=r"boxes\.json would overwrite an input"):
        prepare_output(tmp_path, find_photos([tmp_path / "boxes.jpg"], tmp_path), [".json"], [tmp_path / "boxes.json"])
