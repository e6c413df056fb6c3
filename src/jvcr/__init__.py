"""3D facial landmarks from one photograph: Joint Voxel and Coordinate Regression.

Example:
    >>> import jvcr
    >>> landmarker = jvcr.Landmarker()
    >>> faces = landmarker("portrait.jpg")
    >>> faces[0].points.shape, faces[0].yaw
    ((68, 3), -4.2)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jvcr.geometry.crop import Crop as Crop
    from jvcr.inference.face import Face as Face
    from jvcr.inference.landmarker import Landmarker as Landmarker
    from jvcr.inference.tracker import TrackedFace as TrackedFace
    from jvcr.inference.tracker import Tracker as Tracker
    from jvcr.scheme import FACE66 as FACE66
    from jvcr.scheme import FACE68 as FACE68
    from jvcr.scheme import LandmarkScheme as LandmarkScheme
    from jvcr.scheme import load_scheme as load_scheme
    from jvcr.weights.safetensors import load_network as load_network

    __version__: str

# From 1.29 on ONNX Runtime reports over the network how it is used, unless this says not to when it is imported. The
# threads that do so also keep forked children from ending.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Crop": "jvcr.geometry.crop",
    "FACE66": "jvcr.scheme",
    "FACE68": "jvcr.scheme",
    "Face": "jvcr.inference.face",
    "LandmarkScheme": "jvcr.scheme",
    "Landmarker": "jvcr.inference.landmarker",
    "TrackedFace": "jvcr.inference.tracker",
    "Tracker": "jvcr.inference.tracker",
    "load_network": "jvcr.weights.safetensors",
    "load_scheme": "jvcr.scheme",
}
"""Where each public name lives: it is imported when it is first used, so that ``import jvcr`` is quick (PEP 562)."""

__all__ = [
    "FACE66",
    "FACE68",
    "Crop",
    "Face",
    "LandmarkScheme",
    "Landmarker",
    "TrackedFace",
    "Tracker",
    "__version__",
    "load_network",
    "load_scheme",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            value = getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("jvcr"):
                raise
            raise ImportError(f'jvcr.{name} needs {error.name}: pip install "jvcr[train]"') from error
    elif name == "__version__":
        value = _version()
    else:
        raise AttributeError(f"module 'jvcr' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("jvcr")
    except PackageNotFoundError:  # the source tree on the path, never installed
        return "0+source"
