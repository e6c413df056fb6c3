"""What training by recipes/paper.toml takes: operations, memory and hours, from measurements of its network.

    python benchmarks/paper_budget.py
    python benchmarks/paper_budget.py --faces 61225 --peak-tflops 989 --utilisation 0.3 --json budget.json

Multiply-adds are counted by torch as the layers run, and the bytes kept for the backward pass as they are saved. Hours
on a GPU are arithmetic, no measurement:

    hours = faces x epochs x operations of a face's step / (peak x utilisation) / 3600
    operations of a face's step = multiply-adds x 2 (a multiply and an add)
                                  x 3 (forward, backward to the inputs, backward to the weights)

and those on this processor follow from the step that was timed here.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from roofline import multiply_adds, subnetworks

from jvcr.model import JVCR
from jvcr.training.loss import JVCRLoss
from jvcr.training.recipe import Recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "paper.toml"
BATCHES = (1, 4, 8, 16, 32)


def saved_bytes(objective, image, points):
    """What a forward pass of the joint stage keeps for the backward pass, weights apart: each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in objective.parameters()}
    kept = {}  # the storages themselves, so that no address is used twice

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = objective.train()(image, points, "joint")
    total = sum(storage.nbytes() for storage in kept.values())
    del losses
    return total


def timed(objective, image, points, repeats):
    """Seconds of a forward and of a backward pass of the joint stage: the shortest of a few."""
    forward, backward = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        losses = objective.train()(image, points, "joint")
        middle = time.perf_counter()
        losses.total.backward()
        forward.append(middle - start)
        backward.append(time.perf_counter() - middle)
    return min(forward), min(backward)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="another recipe (default: recipes/paper.toml)")
    parser.add_argument("--faces", type=int, default=61_225, help="faces an epoch (300W-LP without mirrored images)")
    parser.add_argument("--gpu", default="A100, bfloat16", help="what the peak below belongs to")
    parser.add_argument("--peak-tflops", type=float, default=312.0, help="the maker's peak, 10^12 operations a second")
    parser.add_argument("--utilisation", type=float, default=0.3, help="assumed share of the peak that is reached")
    parser.add_argument("--repeats", type=int, default=2, help="timed steps; the shortest counts")
    parser.add_argument("--batch", type=int, default=2, help="faces of a timed step")
    parser.add_argument("--threads", type=int, help="processor threads of the timed step; torch's choice by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    recipe = Recipe.load(options.recipe)
    torch.manual_seed(recipe.seed)
    network = JVCR(recipe.network)
    objective = JVCRLoss(network, recipe.loss)
    size, points = recipe.network.voxel.image_size, recipe.network.num_landmarks
    image, truth = torch.rand(options.batch, 3, size, size), torch.rand(options.batch, points, 3) - 0.5

    parameters = {
        "voxel": sum(p.numel() for p in network.voxel.parameters()),
        "coordinate": sum(p.numel() for p in network.coordinate.parameters()),
    }
    print("measuring: a minute or two", file=sys.stderr)
    parts = subnetworks(network.eval())
    macs = {name: multiply_adds(*parts[part]) for name, part in (("voxel", "G"), ("coordinate", "P"))}
    # Two faces less one: what does not grow with the batch is no activation. Batch norms also want more than one.
    one, two = (saved_bytes(objective, torch.rand(n, 3, size, size), torch.rand(n, points, 3) - 0.5) for n in (1, 2))
    activations = two - one
    forward, backward = timed(objective, image, truth, options.repeats)

    per_face = 3 * 2 * sum(macs.values())
    epochs = recipe.stages.separate + recipe.stages.joint
    total = per_face * options.faces * epochs
    # float32: weights, gradients, and the optimiser's averages (one for RMSprop, two for Adam).
    fixed = 4 * sum(parameters.values()) * (3 if recipe.optimizer.name == "rmsprop" else 4)
    gpu_hours = total / (options.peak_tflops * 1e12 * options.utilisation) / 3600
    cpu_hours = (forward + backward) / options.batch * options.faces * epochs / 3600
    figures = {
        "recipe": options.recipe.name,
        "faces": options.faces,
        "epochs": epochs,
        "parameters": parameters,
        "multiply_adds": macs,
        "operations_a_face": per_face,
        "operations": total,
        "activation_bytes_a_face_float32": activations,
        "fixed_bytes": fixed,
        "memory_bytes": {str(b): fixed + b * activations for b in BATCHES},
        "gpu": {"name": options.gpu, "peak_tflops": options.peak_tflops, "utilisation": options.utilisation},
        "gpu_hours": gpu_hours,
        "cpu": {"threads": torch.get_num_threads(), "batch": options.batch, "torch": torch.__version__},
        "cpu_forward_seconds_a_face": forward / options.batch,
        "cpu_backward_seconds_a_face": backward / options.batch,
        "cpu_hours": cpu_hours,
    }

    rows = [
        ("parameters, G + P", " + ".join(f"{v / 1e6:.2f} M" for v in parameters.values())),
        ("multiply-adds of a face, G + P", " + ".join(f"{v / 1e9:.2f} G" for v in macs.values())),
        ("operations of a face's step (x 3 x 2)", f"{per_face / 1e9:.0f} G"),
        (f"all: {options.faces:,} faces x {epochs:g} epochs", f"{total:.3g}"),
        ("activations of a face, float32", f"{activations / 2**20:.0f} MiB"),
        ("weights, gradients, optimiser", f"{fixed / 2**20:.0f} MiB"),
        *(
            (f"memory at batch {b}, float32 (bfloat16 activations)", f"{m / 2**30:.1f} GiB ({h / 2**30:.1f})")
            for b in BATCHES
            for m, h in [(fixed + b * activations, fixed + b * activations / 2)]
        ),
        (
            f"one {options.gpu}: at {options.utilisation:.0%} of {options.peak_tflops:g} TFLOP/s",
            f"{gpu_hours:.1f} hours",
        ),
        (
            f"this processor, {torch.get_num_threads()} threads, float32: forward + backward of a face",
            f"{forward / options.batch:.2f} + {backward / options.batch:.2f} s",
        ),
        ("  and so all", f"{cpu_hours:,.0f} hours, {cpu_hours / 24:,.0f} days"),
        ("  sustained", f"{per_face * options.batch / (forward + backward) / 1e9:.0f} GFLOP/s"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
