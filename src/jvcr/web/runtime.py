"""ONNX Runtime for browsers: files of an npm package, pinned."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jvcr.files import replacing, sha256

PACKAGE = "onnxruntime-web@1.30.0"

FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""The files and their SHA-256."""

WEBGPU_FILES = {
    **FILES,
    "ort.webgpu.bundle.min.mjs": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
"""With those of the build that computes on GPUs, too, which a wheel has not."""

SHIPPED = Path(__file__).with_name("ort")
"""Where a wheel has them; a checkout does not."""


def cached() -> Path:
    """The folder of this user in which they are kept once they were fetched."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(base) / "jvcr" / PACKAGE


def find_runtime(files: Mapping[str, str] = FILES) -> Path | None:
    """The folder of the files, if they are on this machine."""
    for folder in (SHIPPED, cached()):
        if all((folder / name).is_file() for name in files):
            return folder
    return None


def fetch_runtime(folder: Path | None = None, files: Mapping[str, str] = FILES) -> Path:
    """Fetches the files with npm, if they are not on this machine.

    Args:
        folder: where to put them; None is `cached`, if they are nowhere yet.
        files: which, and their SHA-256.

    Returns:
        Their folder.

    Raises:
        FileNotFoundError: there is no npm.
        ValueError: npm cannot fetch the package, or it is not the pinned one.
    """
    if folder is None and (found := find_runtime(files)) is not None:
        return found
    folder = folder or cached()
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            f"the page needs {PACKAGE}, which npm fetches, and there is no npm: install Node.js, or install jvcr from "
            "its wheel, which has it"
        )
    with tempfile.TemporaryDirectory() as temporary:
        done = subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=temporary, capture_output=True, text=True)
        archives = list(Path(temporary).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            raise ValueError(f"npm cannot fetch {PACKAGE}: {done.stderr.strip() or done.stdout.strip()}")
        with tarfile.open(archives[0]) as archive:
            for name, digest in files.items():
                part = archive.extractfile(f"package/dist/{name}")
                with replacing(folder / name) as path:
                    path.write_bytes(part.read() if part else b"")
                    if sha256(path) != digest:
                        raise ValueError(
                            f"{name} of {PACKAGE} is not the file that this version of jvcr was tried with"
                        )
    return folder
