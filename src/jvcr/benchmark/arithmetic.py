"""What a network computes, counted in its ONNX file, and files to compare it with. All of it needs onnx."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jvcr.weights import READ_OFF

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FLOAT_BYTES = 4
"""Weights may be stored as float16; they are widened when a file is loaded, and all arithmetic is in float32."""

_VIEWS = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
"""These give the same values another shape."""


@dataclass(frozen=True)
class Arithmetic:
    """What a network does for one face.

    Attributes:
        multiply_adds: of its convolutions and matrix products; nothing else is counted.
        weights: numbers in it.
        weight_bytes: what they take as float32, read once a run.
        activation_bytes: what its layers give, each counted once, as float32. The runtime joins some layers with the
            next and then never writes what lies between: this is an upper bound.
    """

    multiply_adds: int
    weights: int
    weight_bytes: int
    activation_bytes: int


def cut_apart(path: Path, folder: Path) -> dict[str, Path]:
    """Cuts a network of ours into its subnetworks.

    "G" takes ``image`` and gives ``volume``, "P" takes that and gives the landmarks. Where these are moved afterwards,
    "R" takes them, and the maps that it reads of those that G makes on the way.

    Args:
        path: an ONNX file of ``jvcr export``.
        folder: where to write them.

    Returns:
        Their files by name.

    Raises:
        ModuleNotFoundError: onnx is not installed.
        ValueError: it cannot be cut so, as landmarks that are not read off the volume alone.
    """
    import onnx
    from onnx.utils import Extractor

    model = onnx.load(path)
    extractor = Extractor(model)
    cuts = [("G", ["image"], "volume")]
    made = {output for node in model.graph.node for output in node.output}
    if READ_OFF in made:
        begin = {READ_OFF, *(made & _on_the_way(model, "volume", set()))}
        taken = _on_the_way(model, "coordinates", begin) & begin
        cuts += [("P", ["volume"], READ_OFF), ("R", sorted(taken), "coordinates")]
    else:
        cuts += [("P", ["volume"], "coordinates")]
    files = {}
    for name, inputs, output in cuts:
        part = extractor.extract_model(inputs, [output])
        known = {*inputs, *(t.name for t in part.graph.initializer), *(o for n in part.graph.node for o in n.output)}
        if lacking := {i for n in part.graph.node for i in n.input if i} - known:
            raise ValueError(f"{path} cannot be cut apart: {name} also needs {', '.join(sorted(lacking))}")
        files[name] = folder / f"{name}.onnx"
        onnx.save(part, files[name])
    return files


def _on_the_way(model: ModelProto, value: str, begin: set[str]) -> set[str]:
    """Names of all values that one is computed of, back to where the computation begins, both included."""
    makers = {output: node for node in model.graph.node for output in node.output}
    found: set[str] = set()
    waiting = [value]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += makers[name].input if name in makers and name not in begin else ()
    return found


def count(path: Path) -> Arithmetic:
    """What the network of an ONNX file does for one face, if its batches can be of any size.

    Raises:
        ModuleNotFoundError: onnx is not installed.
        ValueError: the file leaves more than the size of its batches open.
    """
    import onnx
    from onnx import TensorProto

    model = onnx.load(path)
    shapes = _shapes(model)
    constant = {tensor.name for tensor in model.graph.initializer}
    multiply_adds = activations = 0
    for node in model.graph.node:
        if all(i in constant for i in node.input if i):
            constant.update(node.output)  # computed when the file is loaded
            continue
        try:
            multiply_adds += _multiply_adds(node, shapes)
            if node.op_type not in _VIEWS:
                activations += sum(math.prod(shapes[o]) for o in node.output if o)
        except KeyError as error:
            raise ValueError(f"{path} leaves the shape of {error} open: its arithmetic cannot be counted") from error
    weights = sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    )
    return Arithmetic(multiply_adds, weights, weights * FLOAT_BYTES, activations * FLOAT_BYTES)


def write_product(path: Path, side: int) -> Path:
    """Writes an ONNX file that multiplies ``a`` (side, side) by a matrix of its own: what a processor does at its best.

    Raises:
        ModuleNotFoundError: onnx is not installed.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [side, side])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [side, side])],
        [numpy_helper.from_array(matrix, "b")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of tensors by name, for a batch of one where its size is open; those that stay open are left out."""
    from onnx import shape_inference

    # What the exporter wrote has the batch open, in each shape under a name of its own.
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim[:1]:
            if not dim.HasField("dim_value"):
                dim.dim_value = 1
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _multiply_adds(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Each value of the output takes one for each number of the weights that it reads."""
    if node.op_type == "Conv":
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if turned else -1]
    return 0
