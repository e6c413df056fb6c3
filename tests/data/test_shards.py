"""Shards: what is written is read, streamed training sees what it should, and damage is told."""

import io
import json
import re
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from jvcr.data.pack import pack
from jvcr.data.readers import find_layout, read_dataset
from jvcr.data.readers.shards import read_shards
from jvcr.data.sampler import ShardSampler
from jvcr.data.shards import Shard, ShardedDataset, find_shards

COLUMNS = ("points_px", "hand_px", "occlusion", "yaw_deg", "pose_deg", "boxes_xyxy", "sources", "splits", "subjects")


@pytest.fixture
def labelled(faces):
    """The made faces with every column that there is, a third of them without labels by hand."""
    count = len(faces)
    hand = faces.points_px[..., :2] + 0.25
    hand[::3] = np.nan
    occlusion = np.tile(np.array([0, 1, -1, 2], np.int8), (count, 17))
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4) / 3
    return replace(
        faces, hand_px=hand, occlusion=occlusion, boxes_xyxy=boxes, subjects=np.array(["s", "t"] * count)[:count]
    )


@pytest.fixture
def packed(labelled, tmp_path):
    return pack(labelled, tmp_path / "shards", faces_per_shard=3)


def in_order_of(dataset, packed):
    """The faces of shards in the order of the data set that they were packed from."""
    return packed.select(np.argsort([int(re.search(r"/(\d+)\.", name)[1]) for name in packed.images.tolist()]))


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def tar_of(path, files):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            add(archive, name, content)
    return path


def test_what_is_packed_is_read_to_the_last_bit(labelled, packed):
    assert find_layout(packed) == "shards"
    assert max(len(Shard.scan(path).spans) for paths in find_shards(packed).values() for path in paths) == 3
    again = in_order_of(labelled, read_dataset(packed))
    assert again.problems == ()
    for name in COLUMNS:
        one, other = getattr(labelled, name), getattr(again, name)
        if one is not None:
            np.testing.assert_array_equal(one, other, err_msg=name)
    for face in range(len(labelled)):
        np.testing.assert_array_equal(labelled.read_image(face), again.read_image(face))


def test_streamed_faces_are_those_of_the_labels(packed):
    train = read_shards(packed, split="train")
    streamed = ShardedDataset.open(packed, "train")
    assert len(streamed) == len(train) and streamed.problems == ()
    for face in range(len(train)):
        for one, other in zip(train.face(face), streamed.face(face), strict=True):
            # Streamed, a face without labels by hand knows nothing of the others' labels.
            np.testing.assert_array_equal(one, np.full(one.shape, np.nan) if other is None else other)
    some = streamed.labels([2, 0])
    np.testing.assert_array_equal(some.points_px, train.points_px[[2, 0]])


def test_the_faces_of_a_shard_are_neither_ordered_nor_lost(labelled, packed):
    names = read_shards(packed).images.tolist()
    numbers = [int(re.search(r"/(\d+)\.", name)[1]) for name in names]
    assert sorted(numbers) == list(range(len(labelled))) and numbers != sorted(numbers)


def test_another_set_of_shards_has_another_fingerprint(labelled, packed, tmp_path):
    other = pack(labelled.select(np.arange(0, len(labelled), 2)), tmp_path / "other", faces_per_shard=3)
    prints = [ShardedDataset.open(root, "train").fingerprint() for root in (packed, packed, other)]
    assert prints[0] == prints[1] != prints[2]


def test_sampler_shows_every_face_once_an_epoch(monkeypatch):
    monkeypatch.setattr("jvcr.data.sampler.SHUFFLED", 10)
    counts = (4, 0, 7, 3, 12, 1, 5)
    sampler = ShardSampler(counts, batch_size=6, seed=2)
    total = sum(counts)
    faces = np.concatenate([sampler.step(i) for i in range(3 * total // 6 + 1)])
    epochs = [faces[i * total : (i + 1) * total] for i in range(3)]
    assert all(sorted(epoch) == list(range(total)) for epoch in epochs)
    assert (epochs[0] != epochs[1]).any() and (epochs[0] != np.arange(total)).any()


def test_sampler_stays_in_few_shards_for_a_while(monkeypatch):
    monkeypatch.setattr("jvcr.data.sampler.SHUFFLED", 100)
    sampler = ShardSampler((10,) * 200, batch_size=10, seed=0)
    shards = [np.unique(np.concatenate([sampler.step(i) for i in range(s, s + 10)]) // 10) for s in range(0, 200, 10)]
    assert max(map(len, shards)) <= 20
    assert len(np.unique(np.concatenate(shards))) == 200


def test_a_step_of_shards_is_a_function_of_its_number():
    counts, size = (9, 4, 20), 8
    running = ShardSampler(counts, size, seed=3)
    forward = [running.step(i) for i in range(40)]
    for number in (39, 0, 17, 4):
        np.testing.assert_array_equal(ShardSampler(counts, size, 3).step(number), forward[number])


def test_a_sampler_of_millions_answers_at_once_and_keeps_little():
    sampler = ShardSampler((1000,) * 5000, batch_size=64, seed=0)
    for number in (0, 60_000, 10**7):
        assert len(set(sampler.step(number).tolist())) == 64
    assert len(sampler._known) <= 6


def test_files_of_other_programs(faces, tmp_path):
    """Folders in names, other orders of the files, a class file beside them, a pax header."""
    image = faces.image_file(0).tobytes()
    labels = json.dumps({"points": faces.points_px[0].tolist(), "source": "x"}).encode()
    path = tmp_path / "train-0.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_folder("folder"))
        for name in ("folder/ä" + "long" * 40, "b"):
            add(archive, f"{name}.json", labels)
            add(archive, f"{name}.cls", b"3")
            add(archive, f"{name}.JPG", image)
    read = read_dataset(tmp_path)
    assert len(read) == 2 and read.problems == ()
    np.testing.assert_array_equal(read.points_px[1], faces.points_px[0])
    np.testing.assert_array_equal(read.read_image(1), faces.read_image(0))
    np.testing.assert_array_equal(ShardedDataset.open(tmp_path, "train").face(0)[0], faces.read_image(0))


def _folder(name):
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def test_what_is_no_whole_face_is_left_out_and_named(faces, tmp_path):
    image = faces.image_file(0).tobytes()
    good = json.dumps({"points": faces.points_px[0].tolist()}).encode()
    tar_of(
        tmp_path / "train-0.tar",
        {
            "a.jpg": image,
            "a.json": good,
            "b.jpg": image,
            "c.json": good,
            "d.jpg": image,
            "d.json": b"{not json",
            "e.jpg": image,
            "e.json": json.dumps({"points": [[1, 2, 3]]}).encode(),
            "f.jpg": image,
            "f.json": b"[1]",
            "g.jpg": image,
            "g.json": json.dumps({"points": [[None] * 3] * 68}).encode(),
        },
    )
    read = read_dataset(tmp_path)
    assert read.images.tolist() == ["train-0.tar/a.jpg"]
    told = "\n".join(read.problems)
    for what in (
        "/b: one image",
        "/c: one image",
        "Expecting property name",
        "e.jpg: 1 landmarks",
        "not list",
        "NaN or infinite",
    ):
        assert what in told
    with pytest.raises(ValueError, match="5 of 7 faces"):
        read_dataset(tmp_path, strict=True)
    streamed = ShardedDataset.open(tmp_path, "train")
    assert len(streamed.problems) == 2 and len(streamed) == 5
    with pytest.raises(ValueError, match=r"bytes .*: Expecting property name"):
        streamed.face(1)
    with pytest.raises(ValueError, match=r"g\.jpg: NaN or infinite landmarks; jvcr data check"):
        streamed.face(4)


def test_damaged_shards_are_refused(packed, tmp_path):
    path = next(packed.glob("train-*.tar"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is damaged, cut short or compressed"):
        ShardedDataset.open(packed, "train")
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(ValueError, match="damaged, cut short or compressed"):
        read_dataset(packed)
    path.write_bytes(whole)
    path.rename(path.with_name("faces.tar"))
    with pytest.raises(ValueError, match=r"faces\.tar: shards are called SPLIT-NUMBER\.tar"):
        read_dataset(packed)


def test_a_split_that_is_not_there(packed):
    with pytest.raises(ValueError, match="no split 'test'; it has train, val"):
        ShardedDataset.open(packed, "test")
    with pytest.raises(ValueError, match="no split 'test'; it has train, val"):
        read_shards(packed, split="test")


def test_pack_refuses_what_it_cannot_write(faces, tmp_path):
    with pytest.raises(ValueError, match="at least one face"):
        pack(faces, tmp_path / "a", faces_per_shard=0)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    with pytest.raises(ValueError, match="not empty"):
        pack(faces, tmp_path / "full")
    with pytest.raises(ValueError, match="part of a file's name"):
        pack(replace(faces, splits=np.full(len(faces), "a/b")), tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]
