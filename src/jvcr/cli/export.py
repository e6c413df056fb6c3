"""``jvcr export``."""

from __future__ import annotations

from pathlib import Path


def export(weights: str = "compact", *, out: Path, half: bool | None = None) -> None:
    """Turn torch weights into an ONNX file, and compare the two in numbers.

    The file is what `jvcr predict --weights` and `jvcr.Landmarker` take; it needs no torch to run. Random images, one
    at a time and seven together, go through torch and through the file; if what comes out differs by more than
    rounding, nothing is written.

        jvcr export runs/compact/best.safetensors --out compact.onnx

    Parameters
    ----------
    weights
        A .safetensors file, or a shipped name.
    out
        Where to write: a .onnx file; or a .safetensors file, for the same weights rounded to half precision.
    half
        Store the weights as float16, half the size; arithmetic stays in float32. Without either flag they are stored so
        where that moves no landmark by more than a thousandth of half the crop.
    """
    import torch

    from jvcr.weights.header import find_weights
    from jvcr.weights.onnx import export_onnx
    from jvcr.weights.safetensors import load_network, read_header, save_weights

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
    else:
        raise ValueError(f"--out must end in .onnx or .safetensors, got {out}")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
