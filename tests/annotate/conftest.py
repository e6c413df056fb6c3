"""Images to annotate, in every kind of source."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow", reason="annotations are Parquet files")


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((48, 48)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a folder with so many pictures, some in sub-folders."""

    def make(count: int) -> Path:
        for i in range(count):
            path = tmp_path / "pictures" / f"{i % 3}" / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(i))
        return tmp_path / "pictures"

    return make


@pytest.fixture
def tar(tmp_path: Path) -> Callable[..., Path]:
    """Makes a WebDataset tar with so many pictures and a label for each."""

    def make(name: str, count: int) -> Path:
        path = tmp_path / "tars" / name
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
            for i in range(count):
                for suffix, content in ((".png", png(i)), (".json", b"{}")):
                    member = tarfile.TarInfo(f"{i:04d}{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        return path

    return make


@pytest.fixture
def command(tiny_weights: Path, tmp_path: Path) -> list[str]:
    """``jvcr annotate`` for a process of its own: every picture is a face."""
    common = ["--out", str(tmp_path / "out"), "--weights", str(tiny_weights), "--detector", "none"]
    return [sys.executable, "-m", "jvcr", "annotate", *common]


@pytest.fixture
def annotate(command: list[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs it."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=300)

    return call
