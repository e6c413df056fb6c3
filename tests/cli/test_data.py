"""``jvcr data``: what it prints and writes, and its exit codes."""

import json

import cv2
import numpy as np
import pytest

from jvcr.cli import main
from jvcr.cli.data import synthetic
from jvcr.data.readers.folder import read_folder


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["data", *map(str, arguments)])
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


def test_check_tells_and_draws(landmark_folder, tmp_path, capsys):
    code, told, _ = run(capsys, "check", landmark_folder.root, "--out", tmp_path / "check")
    assert code == 0
    assert "3 faces in 3 images, face68" in told
    assert "parts: a 2, b 1" in told
    assert "splits: train 1, val 2" in told
    assert "image sizes: 150x120 3" in told
    assert "nothing suspicious" in told
    assert [line.split()[1] for line in told.splitlines() if line.strip().startswith(("0-15", "75-90"))] == ["1", "1"]
    report = json.loads((tmp_path / "check" / "check.json").read_text())
    assert (report["faces"], report["yaw"]["30-45"], report["findings"]) == (3, 1, [])
    sheet = cv2.imread(str(tmp_path / "check" / "contact-sheet.jpg"))
    assert sheet.shape == (200, 600, 3)  # three tiles in a row


def test_check_points_faces_out_and_exits_with_1(landmark_folder, tmp_path, capsys):
    path = landmark_folder.root / "landmarks.npz"
    with np.load(path) as file:
        columns = dict(file)
    columns["points"][0] += 1000  # outside
    columns["points"][1, 0] = np.nan
    np.savez(path, **columns)
    (landmark_folder.root / "a" / "three.jpg").write_bytes(b"no image")
    code, told, _ = run(capsys, "check", landmark_folder.root, "--out", tmp_path / "check")
    assert code == 1
    assert "left out: 1\n  entry 1, b/two.jpg: NaN or infinite landmarks" in told
    assert "look at: outside 1, damaged 1" in told
    assert "a/one.jpg: 100% of the landmarks lie outside of its 150 x 120 pixels" in told
    assert "a/three.jpg is not an image, or damaged" in told
    assert cv2.imread(str(tmp_path / "check" / "contact-sheet.jpg")).shape == (200, 400, 3)
    code, _, told = run(capsys, "check", landmark_folder.root, "--out", tmp_path / "check", "--strict")
    assert code == 1
    assert "1 of 3 faces cannot be used: entry 1" in told


def test_check_of_a_folder_of_nothing(tmp_path, capsys):
    code, _, told = run(capsys, "check", tmp_path, "--out", tmp_path / "check")
    assert code == 1
    assert "is no data set of a known layout" in told


def test_check_of_another_annotation(aflw2000, tmp_path, capsys):
    np.save(aflw2000.root / "AFLW2000-3D-Reannotated.pts68.npy", aflw2000.points_px[..., :2].transpose(0, 2, 1))
    code, told, _ = run(capsys, "check", aflw2000.root, "--annotation", "reannotated", "--out", tmp_path / "check")
    assert code == 0
    assert "annotation reannotated" in told


def test_basis_refuses_what_does_not_determine_it(real_data, tmp_path, capsys):
    if not (real_data / "aflw2000_sample").is_dir():
        pytest.skip(f"aflw2000_sample not found in {real_data}")
    code, _, told = run(capsys, "basis", real_data / "aflw2000_sample", "--out", tmp_path / "basis.npz")
    assert code == 1
    assert "40 faces do not determine the model" in told
    assert not (tmp_path / "basis.npz").exists()


def test_basis_wants_an_npz(tmp_path, capsys):
    code, _, told = run(capsys, "basis", tmp_path, "--out", tmp_path / "basis.npy")
    assert code == 1
    assert "must end in .npz" in told


def test_synthetic_writes_a_set_and_says_what_it_is(tmp_path, capsys):
    assert synthetic(out=tmp_path / "set", faces=2, seed=1, size=48, views=2) == 0
    printed = capsys.readouterr().out
    assert "2 synthetic faces in" in printed and "nothing about real faces" in printed
    dataset = read_folder(tmp_path / "set")
    assert len(dataset) == 2
    assert dataset.read_image(0).shape == (48, 48, 3)
    assert len(set(np.load(tmp_path / "set" / "landmarks.npz")["subject"].tolist())) == 1
