"""The detector's networks as ONNX files, compared in numbers with the torch modules they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from jvcr.files import replacing
from jvcr.model.detector import STRIDES, Detector, face_sides, normalized
from jvcr.weights.onnx import store_half, traced

DETECTOR_TOLERANCE = 0.05
"""Greatest difference of an output between the two, whose weights are rounded to float16: of a logit, of a share of a
cell, of a logarithm."""


class _FromPixels(nn.Module):
    """A network that is given pixels as they lie in memory, (batch, height, width, 3) uint8."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(normalized(pixels.permute(0, 3, 1, 2).float()))


def export_detector(folder: str | Path, detector: Detector, name: str, training: dict[str, Any]) -> float:
    """Writes ``NAME-proposal.onnx`` and ``NAME-look.onnx`` and compares them with torch on random pixels.

    The first takes ``pixels`` (1, height, width, 3) uint8 RGB, both multiples of 64, and gives ``cells`` (1, 6, cells);
    the second takes ``pixels`` (batch, S, S, 3) and gives ``faces`` (batch, 6). Their metadata hold under the key
    "jvcr" what decoding must know.

    Args:
        folder: where to write them.
        detector: what to export; it is put into evaluation mode.
        name: of the weights.
        training: what the files say of their training.

    Returns:
        The greatest difference of an output.

    Raises:
        ValueError: it is more than `DETECTOR_TOLERANCE`.
    """
    detector = detector.eval()
    config = detector.config
    header = {
        "name": name,
        "strides": STRIDES,
        "sides": face_sides(config.proposal),
        "size": config.look.size,
        "view": config.look.view,
        "training": training,
    }
    rows, columns = torch.export.Dim("rows", max=512), torch.export.Dim("columns", max=512)
    size, batch = config.look.size, torch.export.Dim("batch")
    jobs = {
        "proposal": (detector.proposal, (1, 128, 192), "cells", {1: STRIDES[-1] * rows, 2: STRIDES[-1] * columns}),
        "look": (detector.look, (3, size, size), "faces", {0: batch}),
    }
    differences = []
    for part, (network, shape, output, dynamic) in jobs.items():
        served = _FromPixels(network)
        example = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)
        model = traced(served, example, "pixels", (output,), dynamic)
        store_half(model)
        entry = model.metadata_props.add()
        entry.key, entry.value = "jvcr", json.dumps({"kind": f"face-detector-{part}", **header})
        onnx.checker.check_model(model)
        with replacing(Path(folder) / f"{name}-{part}.onnx") as temporary:
            onnx.save(model, temporary)
            session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
            with torch.inference_mode():
                expected = served(example).numpy()
            differences.append(float(np.abs(session.run(None, {"pixels": example.numpy()})[0] - expected).max()))
            if not differences[-1] <= DETECTOR_TOLERANCE:
                raise ValueError(f"the exported {part} network differs from torch by {differences[-1]}; not written")
    return max(differences)
