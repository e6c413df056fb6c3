"""``jvcr export``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jvcr.weights.header import WeightsHeader


def export(weights: str = "compact", *, out: Path, half: bool | None = None, calibrate: Path | None = None) -> None:
    """Turn torch weights into an ONNX file, and compare the two in numbers.

    The file is what `jvcr predict --weights` and `jvcr.Landmarker` take; it needs no torch to run. Random images, one
    at a time and seven together, go through torch and through the file; if what comes out differs by more than
    rounding, nothing is written.

        jvcr export runs/compact/best.safetensors --out compact.onnx --calibrate faces3d

    Parameters
    ----------
    weights
        A .safetensors file, or a shipped name.
    out
        Where to write: a .onnx file; or a .safetensors file, for the same weights rounded to half precision.
    half
        Store the weights as float16, half the size; arithmetic stays in float32. Without either flag they are stored so
        where that moves no landmark by more than a thousandth of half the crop.
    calibrate
        A data set. On its validation faces it is measured what the confidences are worth; the ONNX file then gives with
        each landmark the error to expect (`Face.expected_error`), and knows which confidence is low.
    """
    import torch

    from jvcr.weights.header import find_weights
    from jvcr.weights.onnx import export_onnx
    from jvcr.weights.safetensors import load_network, read_header, save_weights

    if calibrate is not None and out.suffix != ".onnx":
        raise ValueError(f"--calibrate is for ONNX files, and --out is {out}")
    source = find_weights(weights, ".safetensors")
    network, header = load_network(source), read_header(source)
    if out.suffix == ".safetensors":
        save_weights(out, network, header, torch.float32 if half is False else torch.float16)
    elif out.suffix == ".onnx":
        for c in export_onnx(out, network, header, half):
            print(
                f"batch {c.batch}: landmarks differ from torch's by at most {c.coordinates:.1e} of half the crop, "
                f"voxels by {c.volume:.1e} of the peak"
            )
        if calibrate is not None:
            _calibrate(out, header, calibrate)
    else:
        raise ValueError(f"--out must end in .onnx or .safetensors, got {out}")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def _calibrate(path: Path, header: WeightsHeader, data: Path) -> None:
    """Measures the confidences of an ONNX file on validation faces in their true boxes, and writes that into it."""
    from jvcr.cli.progress import counting
    from jvcr.data.readers import read_dataset
    from jvcr.evaluation.metrics import landmark_errors
    from jvcr.evaluation.predictions import predict
    from jvcr.inference import Landmarker
    from jvcr.weights.calibration import Calibration
    from jvcr.weights.onnx import replace_header

    landmarker = Landmarker(weights=path)
    faces = read_dataset(data, landmarker.scheme).split("val")
    with counting("calibrating", len(faces)) as advance:
        found = predict(landmarker, faces, "truth", advance)
    known = found.detected
    errors = 100 * landmark_errors(found.points_px[known], faces.points_px[known])
    calibration = Calibration.fit(found.confidence[known], errors, landmarker.scheme.mirror)
    replace_header(path, replace(header, calibration=calibration))
    print(f"calibrated on {known.sum()} faces: low is a mean confidence below {calibration.low_confidence:.2f}")
