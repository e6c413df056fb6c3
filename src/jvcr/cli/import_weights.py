"""``jvcr import-weights``."""

from __future__ import annotations

from pathlib import Path


def import_weights(checkpoint: Path, /, *, out: Path) -> int:
    """Turn the checkpoint that the paper's authors released into weights of this package.

    The file that comes out is a network of the paper's shape for 71 landmarks (the 68, the centres of the eyes and of
    the mouth) that gives the package's own frame. It says of itself what it expects of its crops, so that everything
    that takes weights treats it rightly: they go by the width of the face, and their pixels are stretched to the full
    range. Export it once, and use it like any other weights:

        jvcr import-weights checkpoint.pth.tar --out authors.safetensors
        jvcr export authors.safetensors --out authors.onnx
        jvcr predict photos/ --out faces --weights authors.onnx

    Every tensor is checked against the authors' network; a file of something else is refused. Nothing in the checkpoint
    is run. Confidences of these weights are low and only rank the landmarks: their volumes have the peaks beside the
    landmarks, one or two voxels off.

    Parameters
    ----------
    checkpoint
        The authors' file, with the entries state_dict_p2v and state_dict_v2c.
    out
        Where to write: a .safetensors file.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, got {out}; jvcr export makes an ONNX file of that")

    from jvcr.weights.authors import read_authors_checkpoint
    from jvcr.weights.safetensors import save_weights

    network, header = read_authors_checkpoint(checkpoint)
    save_weights(out, network, header)
    config, weights = network.config, sum(p.numel() for p in network.parameters())
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, {weights:,} weights, {config.num_landmarks} landmarks "
        f"({header.scheme.name}), images of {config.voxel.image_size} pixels"
    )
    print(f"next:    jvcr export {out} --out {out.with_suffix('.onnx')}")
    return 0
