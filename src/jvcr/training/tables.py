"""Recipes as plain tables: presets, changes on the command line, and what is wrong with them."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from pydantic import ValidationError

from jvcr.files import parse
from jvcr.model.config import PRESETS

RENAMED = {
    "start": "pretrained",
    "fixed": "frozen",
    "optimizer.clip": "optimizer.max_grad_norm",
    "optimizer.average": "optimizer.ema_decay",
    "loss.opening_weight": "loss.aperture_weight",
    "loss.opening_balance": "loss.aperture_balance",
    "network.points": "network.num_landmarks",
    "network.refinement.windows": "network.refinement.patches",
}
"""What older recipes call keys, and what they are called now."""


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys; tuples as lists."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = list(value) if isinstance(value, tuple) else value
    return result


def network(value: object) -> dict[str, Any]:
    """A preset's name, or a table with ``preset`` and what differs from it, as a full table."""
    if not isinstance(value, (str, dict)):
        raise ValueError(f"network: a preset's name or a table, got {value!r}")
    table: dict[str, Any] = {"preset": value} if isinstance(value, str) else dict(value)
    preset = table.pop("preset", "paper")
    if preset not in PRESETS:
        raise ValueError(f"network: no preset {preset!r}; there are {', '.join(PRESETS)}")
    base = PRESETS[preset].to_dict()
    for part in ("voxel", "coordinate", "refinement"):
        changes = table.pop(part, {})
        if not isinstance(changes, dict):
            raise ValueError(f"network.{part}: a table, got {changes!r}")
        base[part] = {**base[part], **changes}
    return {**base, **table}


MOST_PARENTS = 8
"""Of a key: more than any recipe has."""


def apply(data: dict[str, Any], change: str) -> str:
    """Puts "key=value", its value in TOML or a bare word, into nested tables, and gives the key.

    Raises:
        ValueError: not written so.
    """
    key, equals, text = change.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ValueError(f"--set: a change is written key=value, got {change!r}")
    try:
        value = parse(f"value = {text}", tomllib.loads)["value"]
    except tomllib.TOMLDecodeError:
        value = text
    except ValueError as error:
        raise ValueError(f"--set {key}: {error}") from error
    *parents, last = key.split(".")
    if len(parents) > MOST_PARENTS:
        raise ValueError(f"--set {key[:40]}...: it is nested too deeply, no key of a recipe has so many parts")
    if parents and parents[0] == "network" and isinstance(data.get("network"), str):
        data["network"] = {"preset": data["network"]}
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ValueError(f"--set {change}: {parent} is a value and has no parts")
    data[last] = value
    return key


def blames(text: str, key: str) -> bool:
    """Whether what `explained` says, or a check of a recipe's own, is about a key."""
    parents = accumulate(key.split("."), "{}.{}".format)
    return key in text or any(f"{parent}: no such key" in text for parent in parents)


def explained(error: ValidationError, known: Iterable[str]) -> str:
    """What is wrong with a recipe, all of it; of ``known`` keys those that a wrong one may have meant."""
    wrong = []
    for fault in error.errors():
        key = ".".join(map(str, fault["loc"]))
        if fault["type"] != "unexpected_keyword_argument":
            wrong.append(f"{key}: {fault['msg']}" if key else fault["msg"].removeprefix("Value error, "))
        elif key in RENAMED:
            wrong.append(f"{key} is {RENAMED[key]} now")
        else:
            close = difflib.get_close_matches(key, known, 1)
            wrong.append(f"{key}: no such key" + (f"; did you mean {close[0]}?" if close else ""))
    return f"the recipe does not fit: {'; '.join(wrong)}"
