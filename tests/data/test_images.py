"""Decoded images in a file that processes share."""

import numpy as np
import pytest

from jvcr.data import images
from jvcr.data.images import SharedImages, sharing


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((4, 9), (16, 1), (7, 7))]


@pytest.mark.parametrize("has_room", [True, False])
def test_images_stay_after_the_file_is_gone(pictures, has_room, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_IN_MEMORY", tmp_path / "memory")
    (tmp_path / "memory").mkdir()
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(images.tempfile, "gettempdir", lambda: str(tmp_path / "disk"))
    with sharing(pictures, 1.0 if has_room else 1e18) as path:
        assert path.parent == tmp_path / ("memory" if has_room else "disk")
        mapped = SharedImages(path, len(pictures))
        with pytest.raises(ValueError, match="does not hold 4 images"):
            SharedImages(path, 4)
    assert not path.exists()
    assert len(mapped) == 3
    for one, other in zip(pictures, mapped, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0][0, 0] = 1


def test_what_fails_leaves_no_file(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_IN_MEMORY", tmp_path)

    def failing():
        yield pictures[0]
        raise FileNotFoundError("no such image")

    with pytest.raises(FileNotFoundError, match="no such image"), sharing(failing(), 1.0):
        pytest.fail("the block is not entered")
    assert list(tmp_path.iterdir()) == []
