"""The weights that come with the package, and what their files say of themselves; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jvcr.files import sha256
from jvcr.weights.header import FOLDER, WeightsHeader

LICENSE = FOLDER / "LICENSE-WEIGHTS"
"""Their terms, which are not those of the code."""

_DETECTOR = {"proposal.onnx": "finds faces: first look", "look.onnx": "finds faces: second look"}


@dataclass(frozen=True)
class ShippedFile:
    """A file of weights.

    Attributes:
        path: of the file.
        name: of the weights.
        purpose: what it is for.
        faces_seen: in training; 0 where it does not say.
        validation: figures of its validation, percent, by name.
    """

    path: Path
    name: str
    purpose: str
    faces_seen: int
    validation: dict[str, float]

    @property
    def sha256(self) -> str:
        """In hexadecimal digits."""
        return sha256(self.path)


def shipped_weights() -> list[ShippedFile]:
    """All files of weights in the package: landmark networks by name, then the detector's."""
    files = []
    for path in sorted(FOLDER.glob("*.onnx")):
        header = _header(path)
        seen, figures = header.training.get("faces_seen", 0), header.training.get("val", {})
        files.append(ShippedFile(path, header.name, "68 landmarks", int(seen), dict(figures)))
        torch_file = path.with_suffix(".safetensors")
        if torch_file.is_file():
            purpose = "the same, for torch"
            files.append(ShippedFile(torch_file, header.name, purpose, int(seen), dict(figures)))
    detector = FOLDER / "detector"
    return files + [ShippedFile(detector / name, "face detector", what, 0, {}) for name, what in _DETECTOR.items()]


def _header(path: Path) -> WeightsHeader:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return WeightsHeader.from_json(session.get_modelmeta().custom_metadata_map["jvcr"])
