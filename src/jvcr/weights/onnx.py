"""Networks as ONNX files, compared in numbers with the torch module they come from."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from jvcr.files import replacing
from jvcr.model.method import Method
from jvcr.model.methods.jvcr import JVCR
from jvcr.weights.fold import FoldedCoordinateNet
from jvcr.weights.header import WeightsHeader

EXACT = {"coordinates": 2e-5, "volume": 2e-4}
"""Greatest difference between the two with the same weights: of landmarks in the unit frame and of voxels, each as a
share of the greatest value, or of 1 if that is less, as it is for the landmarks of a trained network."""

TOLERANCE = {"coordinates": 1e-3, "volume": 1e-2}
"""The same for weights stored as float16; 0.001 is a fifteenth of a pixel in a 128-pixel crop."""


class _Served(nn.Module):
    """What use needs of the network: the landmarks and the volume that tells how sure they are."""

    def __init__(self, network: Method) -> None:
        super().__init__()
        self.network = copy.copy(network)  # its submodules are shared, but for the one that is replaced
        if isinstance(network, JVCR):
            self.network._modules = {**network._modules, "coordinate": FoldedCoordinateNet(network.coordinate)}

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network(image)
        return output.points, output.volume


@dataclass(frozen=True)
class Comparison:
    """How far ONNX Runtime's outputs are from torch's: the greatest difference over the greatest value, at least 1."""

    batch: int
    coordinates: float
    volume: float


def export_onnx(path: str | Path, network: Method, header: WeightsHeader, half: bool | None = None) -> list[Comparison]:
    """Writes a network for ONNX Runtime and compares the two on random images.

    The file takes ``image`` (batch, 3, size, size) float32 RGB in [0, 1] and gives ``coordinates`` (batch, N, 3), in
    the unit frame, and ``volume`` (batch, depth, height, width). Its metadata hold the header, under the key "jvcr".

    ``half`` stores the weights as float16, which halves the file; they are widened when it is loaded, and all
    arithmetic stays in float32. None does so where the two then differ by no more than `TOLERANCE`, and stores float32
    where they would.

    Raises:
        ValueError: the two differ by more than `EXACT`, or with float16 weights by more than `TOLERANCE`; nothing is
            written then.
    """
    network = network.eval()
    size = network.config.voxel.image_size
    example, batch = torch.zeros(2, 3, size, size), torch.export.Dim("batch")
    model = traced(_Served(network), example, "image", ("coordinates", "volume"), {0: batch})
    entry = model.metadata_props.add()
    entry.key, entry.value = "jvcr", header.to_json()
    onnx.checker.check_model(model)
    with replacing(path) as temporary:
        onnx.save(model, temporary)
        compared = compare(network, temporary)
        if fault := _fault(compared, EXACT):
            raise ValueError(f"{fault}; not written")
        if half is not False:
            halved = onnx.ModelProto()
            halved.CopyFrom(model)
            store_half(halved)
            onnx.save(halved, temporary)
            compared_halved = compare(network, temporary)
            fault = _fault(compared_halved, TOLERANCE)
            if fault and half:
                raise ValueError(f"{fault}, as its weights are rounded to float16; not written (--no-half keeps them)")
            if not fault:
                return compared_halved
            onnx.save(model, temporary)
    return compared


def replace_header(path: str | Path, header: WeightsHeader) -> None:
    """Writes another header into a file of `export_onnx`."""
    model = onnx.load(path)
    (entry,) = (entry for entry in model.metadata_props if entry.key == "jvcr")
    entry.value = header.to_json()
    with replacing(path) as temporary:
        onnx.save(model, temporary)


def _fault(compared: Sequence[Comparison], tolerance: dict[str, float]) -> str:
    """What is wrong with an exported network; an empty text if nothing is."""
    for c in compared:
        if not (c.coordinates <= tolerance["coordinates"] and c.volume <= tolerance["volume"]):
            return f"the exported network differs from torch by more than {tolerance}: {c}"
    return ""


def compare(network: Method, path: str | Path, batches: Sequence[int] = (1, 7), seed: int = 0) -> list[Comparison]:
    """Runs the same random images through torch and through an ONNX file."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    size = network.config.voxel.image_size
    rng = np.random.default_rng(seed)
    compared = []
    for batch in batches:
        image = rng.random((batch, 3, size, size), dtype=np.float32)
        coordinates, volume = session.run(["coordinates", "volume"], {"image": image})
        with torch.inference_mode():
            output = network(torch.from_numpy(image))
        pairs = (coordinates, output.points), (volume, output.volume)
        differences = [float(np.abs(a - b.numpy()).max() / max(1.0, np.abs(a).max())) for a, b in pairs]
        compared.append(Comparison(batch, *differences))
    return compared


def traced(
    network: nn.Module, example: Tensor, inputs: str, outputs: Sequence[str], dynamic: dict[int, torch.export.Dim]
) -> onnx.ModelProto:
    """A network as an ONNX graph.

    Args:
        network: is put into evaluation mode.
        example: an input to trace it with.
        inputs: name of the input.
        outputs: names of the outputs.
        dynamic: which axes of the input may have another length, and its name.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            input_names=[inputs],
            output_names=list(outputs),
            dynamic_shapes={inputs: dynamic},
        )
    assert program is not None
    model = program.model_proto
    # The exporter notes with each node where in the sources it comes from, with paths of this machine.
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, *model.graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    return model


def store_half(model: onnx.ModelProto) -> None:
    """Turns kernels and matrices into float16 constants, each widened by a Cast that the runtime folds on loading."""
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """The exporter reports every pass it makes; only what goes wrong is of interest here."""
    loggers = [logging.getLogger(n) for n in names]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
