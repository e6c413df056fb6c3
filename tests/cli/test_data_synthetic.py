"""``jvcr data synthetic``: what it writes and prints."""

import numpy as np

from jvcr.cli.data import synthetic
from jvcr.data.readers.folder import read_folder


def test_writes_a_set_and_says_what_it_is(tmp_path, capsys):
    assert synthetic(out=tmp_path / "set", faces=2, seed=1, size=48, views=2) == 0
    printed = capsys.readouterr().out
    assert "2 synthetic faces in" in printed and "nothing about real faces" in printed
    dataset = read_folder(tmp_path / "set")
    assert len(dataset) == 2
    assert dataset.read_image(0).shape == (48, 48, 3)
    assert len(set(np.load(tmp_path / "set" / "landmarks.npz")["subject"].tolist())) == 1
