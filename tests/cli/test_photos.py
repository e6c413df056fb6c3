import os

import pytest

from jvcr.cli import photos as photo_files
from jvcr.cli.photos import check_results_differ, find_photos, of_unused, prepare_output


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
    assert photos[3].target(out, ".json") == out / "sub" / "3.webp.json"


def test_the_name_of_a_result_goes_by_its_own_photo_alone(tmp_path, out):
    names = ["emma.bmp", "emma.jpg", "emma-2.jpg", "emma.JPG", "emma.jpg.png", "sub/emma.jpg"]
    alone = {}
    for name in names:
        touch(tmp_path, f"{name}.d/{name}")
        (photo,) = find_photos([tmp_path / f"{name}.d"], out)
        alone[name] = photo.target(out, ".json")
    touch(tmp_path / "all", *names)
    together = {p.inside.as_posix(): p.target(out, ".json") for p in find_photos([tmp_path / "all"], out)}
    assert together == alone
    assert len(set(alone.values())) == len(names)
    assert alone["emma.jpg"] == out / "emma.jpg.json"


def test_two_photos_of_one_result_are_refused(tmp_path, out):
    touch(tmp_path, "a/x.jpg", "b/x.jpg")
    for sources in (["a", "b"], ["a/x.jpg", "b/x.jpg"], ["b", "a/x.jpg"]):
        with pytest.raises(ValueError, match=r"x\.jpg and .*x\.jpg would both have the result .*x\.jpg\.json"):
            check_results_differ(find_photos([tmp_path / source for source in sources], out), out)
    assert [p.inside.as_posix() for p in find_photos([tmp_path], out)] == ["a/x.jpg", "b/x.jpg"]


def test_every_suffix_of_the_formats_that_are_read(tmp_path, out):
    names = ["a.HEIC", "b.mpo", "c.jpe", "d.jfif", "e.avif", "f.jp2", "g.pgm", "h.tga", "i.JPG"]
    touch(tmp_path / "p", *names)
    assert [p.path.name for p in find_photos([tmp_path / "p"], out)] == names


def test_photographs_of_other_formats_are_named(tmp_path, out):
    touch(tmp_path / "p", "1.jpg", "1.NEF", "sub/2.cr2", "3.dng", "4.jxl", "notes.txt", ".hidden.nef")
    unused = []
    assert len(find_photos([tmp_path / "p"], out, unused)) == 1
    assert [path.name for path in unused] == ["1.NEF", "3.dng", "4.jxl", "2.cr2"]
    assert of_unused(unused[:1]) == "1 photograph of other formats not used: 1.NEF; export them as JPEG or PNG"
    assert "4 photographs" in of_unused(unused) and "4.jxl, ...;" in of_unused(unused)
    assert of_unused([]) == ""
    touch(tmp_path / "raw", "1.nef")
    with pytest.raises(ValueError, match=r"raw is a folder without images .*1 photograph of other formats.*1\.nef"):
        find_photos([tmp_path / "raw"], out)


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
    prepare_output(tmp_path / "a" / "b", [], [])
    assert (tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_it_cannot_be_made(tmp_path):
    touch(tmp_path, "file")
    with pytest.raises(OSError, match=r"cannot write to the output folder.*file"):
        prepare_output(tmp_path / "file", [], [])
    with pytest.raises(NotADirectoryError, match="cannot write to the output folder"):
        prepare_output(tmp_path / "file" / "below", [], [])


def test_it_cannot_be_written_to(tmp_path, monkeypatch):
    # As root every folder can be written to, so the system's answer is played.
    def denied(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(photo_files.tempfile, "TemporaryFile", denied)
    with pytest.raises(PermissionError, match=r"cannot write to the output folder \(Permission denied\)"):
        prepare_output(tmp_path, [], [])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_it_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot write to the output folder"):
        prepare_output(tmp_path, [], [])


def test_a_result_never_overwrites_an_input(tmp_path):
    touch(tmp_path, "x.png", "x.png.png")
    photos = find_photos([tmp_path / "x.png"], tmp_path)
    inputs = [tmp_path / "x.png", tmp_path / "x.png.png"]
    prepare_output(tmp_path, [photos[0].target(tmp_path, ".json")], inputs)
    with pytest.raises(ValueError, match=r"x\.png\.png would overwrite an input"):
        prepare_output(tmp_path, [photos[0].target(tmp_path, ".png")], inputs)
