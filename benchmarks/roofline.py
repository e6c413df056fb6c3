"""How near G, P and R come to what the processor can do: their multiply-adds, over those of a matrix product.

    python benchmarks/roofline.py
    python benchmarks/roofline.py --weights runs/mine/best.safetensors --threads 1 2 --batch 1 8

The subnetworks are cut from the torch module, each run by ONNX Runtime as a file of its own, beside a product of two
matrices that fit into the caches: the fastest that a processor computes. Apart they can take a little more than in the
one file that ships, or, as R needs maps that G could otherwise forget, a little less. Needs torch and onnx:
pip install "jvcr[train]".
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jvcr import load_network
from jvcr.benchmark.clock import side_by_side
from jvcr.benchmark.models import model_task

PRODUCT_SIDE = 512


def multiply_adds(module, inputs):
    """Of the convolutions and matrix products of one pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*inputs)
    return counter.get_total_flops() // 2  # torch counts a multiply and an add


class G(nn.Module):
    """The image to the volume, and to the maps that R reads."""

    def __init__(self, network):
        super().__init__()
        self.voxel, self.with_maps = network.voxel, network.refinement is not None

    def forward(self, image):
        maps = self.voxel.stem_maps(image)
        volume = self.voxel.volumes(maps[-1])[-1]
        return (volume, *maps) if self.with_maps else volume


class R(nn.Module):
    """Maps and landmarks to the landmarks moved; its inputs apart, as an ONNX file has them."""

    def __init__(self, network):
        super().__init__()
        self.refinement = network.refinement

    def forward(self, coarse, *maps):
        return self.refinement(list(maps), coarse)


def subnetworks(network):
    """Name -> module and the inputs of one face."""
    side = network.config.voxel.image_size
    image = torch.rand(1, 3, side, side)
    with torch.no_grad():
        maps = network.voxel.stem_maps(image)
        volume = network.voxel.volumes(maps[-1])[-1]
        parts = {"G": (G(network), (image,)), "P": (network.coordinate, (volume,))}
        if network.refinement is not None:
            parts["R"] = (R(network), (network.coordinate(volume), *maps))
    return parts


def write(path, module, inputs):
    """The module as an ONNX file whose batches are of any size."""
    shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    # The shapes of a module that takes any number of inputs are those of its one tuple of them.
    shapes = (shapes[0], shapes[1:]) if isinstance(module, R) else shapes
    torch.onnx.export(module.eval(), tuple(torch.cat([i, i]) for i in inputs), dynamo=True, dynamic_shapes=shapes,
                      verbose=False).save(path)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="compact", help="shipped weights, or a .safetensors file")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="processor threads (default: 1)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="faces at once (default: 1 8)")
    parser.add_argument("--repeats", type=int, default=30, help="rounds that count")
    options = parser.parse_args()
    parts = subnetworks(load_network(options.weights).eval())
    product = nn.Linear(PRODUCT_SIDE, PRODUCT_SIDE, bias=False)
    counts = {name: multiply_adds(*part) for name, part in parts.items()}
    tasks = []
    with tempfile.TemporaryDirectory(prefix="jvcr-") as folder:
        for name, (module, inputs) in parts.items():
            write(Path(folder) / f"{name}.onnx", module, inputs)
        write(Path(folder) / "product.onnx", product, (torch.rand(1, PRODUCT_SIDE),))
        for threads in options.threads:
            tasks.append(model_task("peak", "product", Path(folder) / "product.onnx", threads, PRODUCT_SIDE))
            for batch in options.batch:
                tasks += [model_task("part", n, Path(folder) / f"{n}.onnx", threads, batch) for n in parts]
        timings = side_by_side(tasks, options.repeats, warm_up=3)
    rates = {t.threads: PRODUCT_SIDE**3 / t.least_ms for t in timings if t.subject == "peak"}  # multiply-adds a ms
    for threads, rate in rates.items():
        print(f"{threads} threads: {rate / 1e6:.0f} billion multiply-adds a second in a matrix product")
    print(f"{'':>4}{'threads':>8}{'batch':>6}{'million multiply-adds':>24}{'ms a face':>11}{'share of the best':>19}")
    for t in timings:
        if t.subject == "part":
            share = counts[t.part] * t.batch / rates[t.threads] / t.median_ms
            row = (t.threads, t.batch, counts[t.part] / 1e6, t.median_ms / t.batch, share)
            print(f"{t.part:>4}{row[0]:>8}{row[1]:>6}{row[2]:>24.1f}{row[3]:>11.2f}{row[4]:>19.0%}")


if __name__ == "__main__":
    main()
