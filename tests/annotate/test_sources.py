"""The images of folders, lists, tars and Parquet files."""

import itertools
import pickle
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jvcr.annotate.pieces import SourceError
from jvcr.annotate.sources import Source, total

from .conftest import png


def images(source, shard=(0, 1), limit=None):
    """Names and bytes."""
    found = []
    for piece in pickle.loads(pickle.dumps(list(source.pieces(shard, limit)))):
        for item in piece.read():
            content = item.content if isinstance(item.content, bytes) else item.content.read_bytes()
            found.append((item.image, content))
    return found


def test_folder_tree(pictures, tmp_path):
    folder = pictures(7)
    (folder / "notes.md").write_text("no image")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").write_bytes(png(0))
    (folder / "out").mkdir()
    (folder / "out" / "part.parquet").write_bytes(b"")
    source = Source(str(folder), 3, without=str(folder / "out"))
    assert images(source) == [(f"{i % 3}/{i:05d}.png", png(i)) for i in (0, 3, 6, 1, 4, 2, 5)]
    assert [piece.count() for piece in source.pieces()] == [3, 3, 1]
    assert total(source.pieces()) == 7


def test_list(pictures, tmp_path):
    folder = pictures(4)
    path = tmp_path / "some.txt"
    path.write_text(f"# mine\npictures/0/00000.png\n\n{folder}/1/00001.png\n", encoding="utf-8")
    assert images(Source(str(path), 10)) == [("pictures/0/00000.png", png(0)), (f"{folder}/1/00001.png", png(1))]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_tars(tar, suffix):
    tar("b" + suffix, 2)
    folder = tar("a" + suffix, 3).parent
    expected = [(f"a{suffix}/{i:04d}.png", png(i)) for i in range(3)]
    expected += [(f"b{suffix}/{i:04d}.png", png(i)) for i in range(2)]
    assert images(Source(str(folder), 3)) == expected
    assert images(Source(str(folder / "*.tar*"), 3)) == expected
    assert images(Source(str(folder / f"a{suffix}"), 3)) == expected[:3]
    assert [item.image for item in next(Source(str(folder), 3).pieces()).read(2)] == [f"a{suffix}/0002.png"]
    assert total(Source(str(folder), 3).pieces()) == (5 if suffix == ".tar" else None)


@pytest.mark.parametrize(
    ("name", "more"), [("0001.png", 100), ("0003.json", 100), ("0003.json", 513), ("0005.png", 513)]
)
def test_a_tar_that_is_cut_short(tar, name, more):
    path = tar("a.tar", 6)
    with tarfile.open(path) as archive:
        end = archive.getmember(name).offset + more
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(SourceError, match=r"a\.tar"):
        list(next(Source(str(path), 3).pieces()).read())


def test_a_tar_with_damage_inside(tar):
    path = tar("a.tar", 6)
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        header = archive.getmember("0003.png").offset
    content[header : header + 100] = b"x" * 100
    path.write_bytes(content)
    with pytest.raises(SourceError, match="damaged"):
        list(next(Source(str(path), 3).pieces()).read())


def test_parquet(tmp_path):
    rows = {"id": ["x", "y", "z"], "image": [png(0), None, png(2)]}
    pq.write_table(pa.table(rows), tmp_path / "plain.parquet", row_group_size=2)
    expected = [("plain.parquet/0", png(0)), ("plain.parquet/1", b""), ("plain.parquet/2", png(2))]
    source = Source(str(tmp_path / "plain.parquet"), 3)
    assert images(source) == expected
    assert next(item.error for item in next(source.pieces()).read(1)).startswith("row 1 of")
    assert [item.image for item in next(source.pieces()).read(2)] == ["plain.parquet/2"]
    named = Source(str(tmp_path / "plain.parquet"), 3, id_column="id")
    assert [name for name, _ in images(named)] == ["x", "y", "z"]
    nested = {"picture": [{"bytes": png(i), "path": None} for i in range(3)]}
    pq.write_table(pa.table(nested), tmp_path / "nested.parquet")
    found = images(Source(str(tmp_path / "nested.parquet"), 3, image_column="picture"))
    assert found == [(f"nested.parquet/{i}", png(i)) for i in range(3)]
    assert total(source.pieces()) == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"photo": [b""]}, "no column 'image', only photo"), ({"image": ["x"]}, "holds string, not the bytes of images")],
)
def test_parquet_without_images(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "other.parquet")
    with pytest.raises(SourceError, match=message):
        list(next(Source(str(tmp_path / "other.parquet"), 3).pieces()).read())


def test_elsewhere():
    fs = fsspec.filesystem("memory")
    for i in range(20):
        fs.pipe_file(f"/faces/{i:02d}.png", png(i))
    source = Source("memory://faces", 8)
    assert images(source) == [(f"{i:02d}.png", png(i)) for i in range(20)]
    piece = list(source.pieces())[1]
    fs.rm("/faces/09.png")
    items = list(piece.read())
    assert [item.image for item in items if item.error] == ["09.png"]
    assert len(items) == 8
    assert images(Source("memory://faces/1*.png", 4))[0][0] == "10.png"
    fs.rm("/faces", recursive=True)


def test_shares_and_limit(pictures, tar):
    source = Source(str(pictures(10)), 2)
    shares = [images(source, (i, 3)) for i in range(3)]
    assert sorted(itertools.chain(*shares)) == sorted(images(source))
    assert min(map(len, shares)) >= 2
    assert images(source, limit=5) == images(source)[:5]
    tar("a.tar.gz", 3)
    tars = Source(str(tar("b.tar", 3).parent), 2)
    assert images(tars, limit=4) == images(tars)[:4]
    assert images(tars, limit=3) == images(tars)[:3]
    assert total(source.pieces(limit=5)) == 5


def test_what_is_no_source(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no"):
        Source(str(tmp_path / "nowhere"), 3)
    with pytest.raises(ValueError, match="holds no images"):
        list(Source(str(tmp_path), 3).pieces())
    (tmp_path / "faces.xml").write_text("")
    with pytest.raises(ValueError, match="is no image, and its name ends in none of"):
        list(Source(str(tmp_path / "faces.xml"), 3).pieces())
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "b.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="image files and tar files"):
        list(Source(str(tmp_path), 3).pieces())
    with pytest.raises(SourceError, match="cannot be read as a tar"):
        list(next(Source(str(tmp_path / "b.tar"), 3).pieces()).read())
