"""Running a network from its ONNX file: the only place that knows ONNX Runtime.

A file of ours takes ``image``, float32 (batch, 3, S, S) RGB in [0, 1], and gives ``coordinates``, (batch, N, 3) in the
unit frame, and ``volume``, (batch, D, H, W). Its metadata holds under the key ``jvcr`` what the network is, as JSON:
format, name, image_size (S), the landmark scheme, and under ``network`` what the crops are that it takes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jvcr.inference.per_process import PerProcess
from jvcr.weights.header import WeightsHeader, find_weights

# Imported where a network is loaded: it takes a moment, and neither help nor errors should wait for it.
if TYPE_CHECKING:
    import onnxruntime

Providers: TypeAlias = "Sequence[str | tuple[str, Mapping[str, Any]]]"
"""ONNX Runtime's execution providers, each a name or a name and its options."""


class _Opened(NamedTuple):
    session: onnxruntime.InferenceSession
    path: Path
    info: WeightsHeader


class OnnxNetwork:
    """A network, ready to run; safe to use from several threads at once.

    In a forked child, and where it is unpickled, the file is loaded again when it is first needed.

    Args:
        weights: the name of shipped weights, such as "compact", or the path of an .onnx file of ``jvcr export``.
        threads: how many threads a run may use; None is one for each core that this process may use.
        providers: ONNX Runtime's execution providers in order of preference, as ``("CUDAExecutionProvider",)``; the
            CPU takes what these cannot. None is the CPU alone.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: the file is damaged, not a network of this package, or of a newer format; threads or providers
            are not possible here.
    """

    def __init__(
        self, weights: str | Path = "compact", threads: int | None = None, providers: Providers | None = None
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, or None for all cores, got {threads}")
        self._opened = PerProcess(partial(_open, weights, threads, providers))
        self._opened()

    @property
    def path(self) -> Path:
        """The file."""
        return self._opened().path

    @property
    def info(self) -> WeightsHeader:
        """What the file says of its network."""
        return self._opened().info

    @property
    def on_cpu(self) -> bool:
        """Whether nothing but the CPU takes part."""
        return self._opened().session.get_providers() == ["CPUExecutionProvider"]

    def run(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Landmarks (n, N, 3) in the unit frame, and volumes (n, D, H, W), of crops (n, S, S, 3) RGB.

        Raises:
            ValueError: the network gave something that is not finite: its weights are damaged.
        """
        image = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32)
        image /= 255
        coordinates, volume = self._opened().session.run(["coordinates", "volume"], {"image": image})
        if not np.isfinite(coordinates).all():
            raise ValueError(f"{self.path} gives landmarks that are not finite: its weights are damaged or not trained")
        return coordinates, volume


def _open(weights: str | Path, threads: int | None, providers: Providers | None) -> _Opened:
    path = find_weights(weights, ".onnx")
    session = open_session(path, threads or available_cores(), providers)
    return _Opened(session, path, _read_info(session, path))


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_session(path: Path, threads: int, providers: Providers | None = None) -> onnxruntime.InferenceSession:
    """Any ONNX file, ready to run with the options that the networks of this package get.

    Raises:
        ValueError: the file is damaged, or providers are not possible here.
    """
    import onnxruntime

    providers = [providers] if isinstance(providers, str) else providers
    wanted = [p if isinstance(p, str) else (p[0], dict(p[1])) for p in providers or ()]
    names = [p if isinstance(p, str) else p[0] for p in wanted]
    available = onnxruntime.get_available_providers()
    if unknown := [name for name in names if name not in available]:
        raise ValueError(
            f"this ONNX Runtime has no execution provider {', '.join(unknown)}; it has {', '.join(available)} "
            "(others come with other packages, such as onnxruntime-gpu)"
        )
    if "CPUExecutionProvider" not in names:
        wanted.append("CPUExecutionProvider")

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads wait for each other's parts of a run by spinning, which is quick; between runs they leave the cores alone.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # errors; they are raised as well
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:  # ONNX Runtime's own exceptions have no common base but this
        raise ValueError(
            f"{path} is damaged, cut short or not an ONNX file: {error}; fetch or export it again"
        ) from error
    if lost := [name for name in names if name not in session.get_providers()]:
        raise ValueError(
            f"ONNX Runtime lists {', '.join(lost)} but could not start it: its driver or libraries do not fit; "
            "leave out `providers` to use the CPU"
        )
    return session


def _read_info(session: onnxruntime.InferenceSession, path: Path) -> WeightsHeader:
    metadata = session.get_modelmeta().custom_metadata_map
    if "jvcr" not in metadata:
        raise ValueError(f"{path} is an ONNX file, but not one of this package: make it with `jvcr export`")
    try:
        info = WeightsHeader.from_json(metadata["jvcr"])
        _check_shapes(session, info)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    return info


def _check_shapes(session: onnxruntime.InferenceSession, info: WeightsHeader) -> None:
    """Refuses a file whose metadata belong to another network than the one in it."""
    size, points = info.image_size, info.scheme.num_landmarks
    shapes = {node.name: list(node.shape) for node in (*session.get_inputs(), *session.get_outputs())}
    expected: dict[str, list[int | None]] = {
        "image": [3, size, size],
        "coordinates": [points, 3],
        "volume": [None, None, None],
    }
    for name, sides in expected.items():
        if name not in shapes:
            raise ValueError(f"its network has no {name!r}, only {', '.join(sorted(shapes))}")
        # A side that ONNX leaves open is a name or None.
        batch, *given = shapes[name]
        if isinstance(batch, int):
            raise ValueError(f"its {name!r} is for batches of {batch} only: export it with an open batch size")
        if len(given) != len(sides) or any(
            isinstance(f, int) and s is not None and f != s for f, s in zip(given, sides, strict=True)
        ):
            raise ValueError(
                f"its {name!r} is (batch, {', '.join(map(str, given))}), which does not fit the scheme "
                f"{info.scheme.name!r} of {points} landmarks and images of {size} pixels that it names"
            )
