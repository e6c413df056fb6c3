"""What a timing was made on and with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2

from jvcr.inference.session import available_cores

PACKAGES = ("jvcr", "onnxruntime", "numpy", "opencv-python-headless", "pillow", "onnx", "mediapipe")

INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "fma": "FMA",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX INT8",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
    "asimdhp": "NEON FP16",
    "asimddp": "NEON dot product",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
}
"""Those that decide how fast a network runs: Linux's names and the usual ones."""


def machine() -> dict[str, Any]:
    """Processor, cores, instruction sets, and how busy the machine is."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    sets = [usual for name, usual in INSTRUCTION_SETS.items() if name in flags]
    return {
        "processor": info.get("model name") or _processor() or platform.machine(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count() or 1,
        "available_cores": available_cores(),
        # Elsewhere than on Linux OpenCV tells what it was built for and finds; "?" is what it does not find.
        "instruction_sets": sets or [s.lstrip("*") for s in cv2.getCPUFeaturesLine().split() if not s.endswith("?")],
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str | None]:
    """Of Python and what the time depends on; None for what is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # Other builds of OpenCV go by other names.
        return cv2.__version__ if package.startswith("opencv") else None


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first core."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _processor() -> str:
    """The processor's name, where Linux is not there to tell."""
    if platform.system() == "Darwin":
        try:
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        except OSError:
            return ""
    return platform.processor()
