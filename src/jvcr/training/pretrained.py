"""Beginning with trained weights instead of random ones."""

from __future__ import annotations

from typing import Any

from jvcr.files import sha256
from jvcr.model.config import NetworkConfig
from jvcr.model.jvcr import JVCR
from jvcr.training.recipe import flat
from jvcr.weights import find_weights
from jvcr.weights.safetensors import WeightsHeader, load_network, read_header


def load_pretrained(weights: str, network: JVCR) -> tuple[WeightsHeader, str]:
    """Gives a network the weights of a file.

    A refinement subnetwork that the file lacks stays as it is: a new one moves nothing, so the network begins with what
    the file's does.

    Args:
        weights: a shipped name or the path of a .safetensors file.
        network: the network, of the file's shape but for the refinement.

    Returns:
        The file's header, and the SHA-256 of the file.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: the file is damaged, or of a network of another shape; the message names what differs.
    """
    path = find_weights(weights, ".safetensors")
    header = read_header(path)
    there, here = load_network(path).state_dict(), network.state_dict()
    if not header.network.refinement.patches:
        there |= {k: v for k, v in here.items() if k.startswith("refinement.")}
    shapes = {k: (_shape(there, k), _shape(here, k)) for k in [*here, *(k for k in there if k not in here)]}
    if wrong := {k: v for k, v in shapes.items() if v[0] != v[1]}:
        first, (a, b) = next(iter(wrong.items()))
        settings = ", ".join(f"{k} {a} (here {b})" for k, a, b in config_differences(header.network, network.config))
        raise ValueError(
            f"{path} does not fit the recipe's network: it has {settings or 'another network'}; {len(wrong)} tensors "
            f"differ, the first is {first}, {a} there and {b} here. Give the recipe that network, or another start"
        )
    network.load_state_dict(there)
    return header, sha256(path)


def config_differences(old: NetworkConfig, new: NetworkConfig) -> list[tuple[str, Any, Any]]:
    """The recipe's keys in which two networks differ, each with both values."""
    a, b = flat(old.to_dict(), "network."), flat(new.to_dict(), "network.")
    return [(k, a.get(k), b.get(k)) for k in [*a, *(k for k in b if k not in a)] if a.get(k) != b.get(k)]


def _shape(tensors: dict[str, Any], name: str) -> str:
    return "x".join(map(str, tensors[name].shape)) or "a number" if name in tensors else "missing"
