"""The folder of a page that any static host serves: files, networks, and what the networks' files say of themselves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from jvcr.files import whole_folder, write_json
from jvcr.geometry import aperture, crop
from jvcr.inference import face_detector, one_euro, regressor, tracker
from jvcr.inference.session import OnnxNetwork
from jvcr.web.runtime import FILES, WEBGPU_FILES, fetch_runtime, find_runtime
from jvcr.weights.shipped import LICENSE

STATIC = Path(__file__).with_name("static")

MODELS = "models"
MANIFEST = "manifest.json"
RUNTIME = "ort"


WEIGHTS = ("compact", "nano")
"""Of the page: for photographs, and for the camera."""


def write_page(out: str | Path, weights: Sequence[str | Path] = WEIGHTS, webgpu: bool = False) -> Path:
    """Writes the page with all that it needs, to be served by any web server from any path.

    Args:
        out: a folder, which must not be there yet, or be empty.
        weights: names or ONNX files of networks of one scheme; the page takes the first for photographs and the last
            for the camera.
        webgpu: with the runtime that computes on GPUs, too.

    Raises:
        FileNotFoundError: no such weights, or no way to fetch what runs them (`fetch_runtime`).
        ValueError: ``out`` is a file or a folder with something in it; the weights cannot be used.
    """
    files = WEBGPU_FILES if webgpu else FILES
    runtime = fetch_runtime(files=files)
    networks = [OnnxNetwork(name, threads=1) for name in weights]
    with whole_folder(Path(out).resolve()) as folder:
        shutil.copytree(STATIC, folder, dirs_exist_ok=True)
        for part in (RUNTIME, MODELS):
            (folder / part).mkdir()
        for name in files:
            shutil.copyfile(runtime / name, folder / RUNTIME / name)
        for name, path in model_files(networks).items():
            shutil.copyfile(path, folder / name)
        write_json(folder / MANIFEST, manifest(networks, webgpu))
    return Path(out)


def page_files(networks: Sequence[OnnxNetwork]) -> dict[str, Path]:
    """Files of the page but its manifest, by their paths in it; where the runtime is not at hand, no networks."""
    files = {path.name: path for path in sorted(STATIC.iterdir())}
    if (runtime := find_runtime()) is not None:
        files |= {f"{RUNTIME}/{name}": runtime / name for name in FILES}
        files |= model_files(networks)
    return files


def model_files(networks: Sequence[OnnxNetwork]) -> dict[str, Path]:
    """Where the files of the networks and their terms lie, by their paths in the page's folder."""
    files = {f"{MODELS}/{network.info.name}.onnx": network.path for network in networks}
    files |= {f"{MODELS}/{path.name}": path for path in face_detector.network_files()}
    return {**files, f"{MODELS}/{LICENSE.name}.txt": LICENSE}  # who gets the networks from a page gets their terms


def manifest(networks: Sequence[OnnxNetwork], webgpu: bool = False) -> dict[str, Any]:
    """What the page must know: constants of the package, and what the networks' files say of themselves."""
    propose, look = face_detector.network_files()
    detector = face_detector.FaceDetector(threads=1)
    return {
        "version": metadata.version("jvcr"),
        "webgpu": webgpu,
        "detector": {
            "propose": f"{MODELS}/{propose.name}",
            "look": f"{MODELS}/{look.name}",
            **detector.decoding(),
            "settings": asdict(detector.settings),
            "longSides": face_detector.LONG_SIDES,
            "longSide": detector.long_side,
            "minScore": detector.min_score,
        },
        "page": {"photo": networks[0].info.name, "live": networks[-1].info.name},
        "networks": {network.info.name: _network(network) for network in networks},
        "constants": {
            "crops": {
                "margin": crop.TRAINING_MARGIN,
                "detectorScale": crop.DETECTOR_SCALE,
                "detectorRise": crop.DETECTOR_RISE,
            },
            "otherAngles": regressor.OTHER_ANGLES_DEG,
            "clearlyMore": regressor.CLEARLY_MORE,
            "openRanges": {"eye": aperture.EYE_RANGE._asdict(), "mouth": aperture.MOUTH_RANGE._asdict()},
            "tracker": _tracking(),
            "smoother": _smoothing(),
        },
    }


def _tracking() -> dict[str, int | float]:
    return {
        "detectLongSide": tracker.DETECT_LONG_SIDE,
        "detectEvery": tracker.DETECT_EVERY_S,
        "searchEvery": tracker.SEARCH_EVERY_S,
        "keep": tracker.KEEP_S,
        "uprightWithin": tracker.UPRIGHT_WITHIN_DEG,
        "smallestFace": tracker.SMALLEST_FACE,
        "largestChange": tracker.LARGEST_CHANGE,
        "sameSquare": tracker.SAME_SQUARE,
        "sameFace": tracker.SAME_FACE,
        "sameView": tracker.SAME_VIEW,
        "sameLook": tracker.SAME_LOOK,
        "reach": tracker.REACH,
        "reachPerSecond": tracker.REACH_PER_S,
        "longestReach": tracker.LONGEST_REACH,
        "largestGrowth": tracker.LARGEST_GROWTH,
        "velocityMemory": tracker.VELOCITY_MEMORY_S,
    }


def _smoothing() -> dict[str, float]:
    return {
        "cutoff": one_euro.CUTOFF_HZ,
        "speedCutoff": one_euro.SPEED_CUTOFF_HZ,
        "motionBeta": one_euro.MOTION_BETA,
        "shapeBeta": one_euro.SHAPE_BETA,
        "poseBeta": one_euro.POSE_BETA,
    }


def _network(network: OnnxNetwork) -> dict[str, Any]:
    info = network.info
    return {
        "name": info.name,
        "file": f"{MODELS}/{info.name}.onnx",
        "imageSize": info.image_size,
        "crop": info.crop,
        "stretch": info.stretch,
        "scheme": info.scheme.to_dict(),
        "calibration": None if info.calibration is None else info.calibration.to_dict(),
    }
