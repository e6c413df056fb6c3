"""The weights that ship with the package, each as ``NAME.onnx`` for use and ``NAME.safetensors`` for research."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent

FORMAT = 1
"""Version of the JSON that both kinds of file carry under the key "jvcr"."""

READ_OFF = "read_off"
"""What an ONNX file calls the landmarks as P reads them off the volume, where R then moves them."""


def find_weights(weights: str | Path, suffix: Literal[".onnx", ".safetensors"]) -> Path:
    """The file of shipped weights by their name, such as "compact", or the path given.

    Raises:
        FileNotFoundError: neither exists; the message lists the shipped names.
        IsADirectoryError: the path is a folder.
        ValueError: the path is the other kind of file.
    """
    shipped = FOLDER / f"{weights}{suffix}"
    path = shipped if shipped.is_file() else Path(weights)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the {suffix} file in it")
    if not path.is_file():
        names = ", ".join(sorted(f.stem for f in FOLDER.glob(f"*{suffix}"))) or "none in this installation"
        how = " (`jvcr export` makes one)" if suffix == ".onnx" else ""
        raise FileNotFoundError(
            f"no weights {str(weights)!r}: give the path of a {suffix} file{how} or a shipped name: {names}"
        )
    if suffix == ".onnx" and path.suffix == ".safetensors":
        raise ValueError(f"{path} holds weights for torch: make an ONNX file of it, jvcr export {path} --out NAME.onnx")
    if suffix == ".safetensors" and path.suffix == ".onnx":
        raise ValueError(f"{path} is for use without torch: give the .safetensors file that it was made from")
    return path
