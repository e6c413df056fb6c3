"""Weight files: safetensors whose header rebuilds the network they belong to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save

from jvcr.files import replacing
from jvcr.model.method import Method, build
from jvcr.weights.header import WeightsHeader, find_weights

_RENAMED = {".features_back.": ".merge_features.", ".heads_back.": ".merge_predictions."}
"""Parts of tensors' names in older files, and what they are called now."""


def save_weights(path: str | Path, network: Method, header: WeightsHeader, dtype: torch.dtype = torch.float32) -> None:
    """Writes a network's weights and its header.

    ``dtype`` is that of the stored kernels and matrices; float16 halves the file. Biases and batch norms stay float32.

    Raises:
        ValueError: a weight is not finite, or beyond what the type can hold.
    """
    tensors = {k: v.to(dtype) if v.is_floating_point() and v.ndim > 1 else v for k, v in network.state_dict().items()}
    if wrong := [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]:
        raise ValueError(f"{len(wrong)} tensors hold values that are not finite in {dtype}, the first is {wrong[0]}")
    content = save({k: v.contiguous() for k, v in tensors.items()}, metadata={"jvcr": header.to_json()})
    with replacing(path) as temporary:
        temporary.write_bytes(content)  # safetensors itself tells of no full disk


def read_header(path: str | Path) -> WeightsHeader:
    """The header of a weight file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or not one of jvcr's.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    if "jvcr" not in metadata:
        raise ValueError(f"{path} holds weights, but not of jvcr: its header does not say what network they belong to")
    try:
        header = WeightsHeader.from_json(metadata["jvcr"])
        return replace(header, network=header.config.to_dict())  # its keys are this version's
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_network(weights: str | Path = "compact") -> Method:
    """The torch module of a weight file, in evaluation mode, for research and fine-tuning.

    Example:
        >>> network = load_network("compact")
        >>> network.config.num_landmarks
        68

    Args:
        weights: a shipped name or the path of a .safetensors file.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: the file is damaged or its tensors do not fit the network its header names.
    """
    path = find_weights(weights, ".safetensors")
    config = read_header(path).config
    try:
        with torch.device("meta"):  # its tensors come from the file: a header alone takes no memory
            network = build(config)
        tensors = load_file(path)
        for name in list(tensors):
            for old, new in _RENAMED.items():
                if old in name:
                    tensors[name.replace(old, new)] = tensors.pop(name)
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, assign=True)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: its tensors do not fit the network its header names: {error}") from error
    return network.eval()
