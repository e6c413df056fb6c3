"""The JSON Schema of ``summary.json``, made from the dataclasses of `Summary`: ``python -m jvcr.evaluation.schema``."""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from jvcr.evaluation import figures, hand, metrics, regions, reliability
from jvcr.evaluation.figures import Metadata, Summary


def summary_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12), with unit and protocol of every figure; figures are required, metadata are not."""
    for module in (metrics, regions, reliability, hand, figures):
        for part in filter(is_dataclass, vars(module).values()):
            setattr(part, "__pydantic_config__", ConfigDict(extra="forbid", use_attribute_docstrings=True))  # noqa: B010
    schema = TypeAdapter(Summary).json_schema()
    of_faces = {name: part for name, part in schema["properties"].items() if name != "metadata"}
    return schema | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "summary.json of jvcr evaluate",
        "properties": of_faces | TypeAdapter(Metadata).json_schema()["properties"],
        "required": [name for name in schema["required"] if name != "metadata"],
        "additionalProperties": True,
    }


if __name__ == "__main__":
    print(json.dumps(summary_schema(), indent=2))  # noqa: T201
