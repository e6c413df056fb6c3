"""Imports point one way, and the package is quick to import."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"

BASICS = {"files", "scheme"}
"""What every part may import."""

MAY_IMPORT = {
    "files": set(),
    "scheme": {"files"},
    "geometry": set(),
    "frozen": set(),
    "model": {"geometry"},
    "weights": {"geometry", "model"},
    "inference": {"geometry", "viz", "weights"},
    "annotate": {"inference"},
    "viz": {"geometry"},
    "data": {"geometry"},
    "synthetic": {"data", "geometry"},
    "training": {"data", "geometry", "model", "weights"},
    "evaluation": {"data", "geometry", "inference", "viz"},
    "video": {"geometry", "inference", "viz"},
    "web": {"geometry", "inference", "weights"},
    "serve": {"geometry", "inference", "weights", "web"},
    "benchmark": {"geometry", "inference", "viz", "weights"},
    "__main__": {"cli"},
    "cli": {
        "annotate",
        "benchmark",
        "data",
        "evaluation",
        "geometry",
        "inference",
        "jvcr",
        "model",
        "serve",
        "synthetic",
        "training",
        "video",
        "viz",
        "web",
        "weights",
    },
}
"""For each part of the package the other parts that it may import."""


def part_of(path):
    return path.relative_to(SOURCE / "jvcr").parts[0].removesuffix(".py")


def imports_of_ours(path):
    """Names of our modules that a file imports anywhere, also within functions and for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "jvcr")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            if node.module.split(".")[0] == "jvcr":
                yield from (f"jvcr.{alias.name}" for alias in node.names) if node.module == "jvcr" else [node.module]


MODULES = sorted(p for p in (SOURCE / "jvcr").rglob("*.py") if p != SOURCE / "jvcr" / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    part = part_of(path)
    assert part in MAY_IMPORT, f"a new part of the package: say in this test what {part} may import"
    allowed = {part} | MAY_IMPORT[part] | (BASICS if part not in BASICS else set())
    for name in imports_of_ours(path):
        imported = name.split(".")[1] if "." in name else "jvcr"
        assert imported in allowed, f"{path.relative_to(SOURCE)} imports {name}"


def test_the_rules_have_no_cycle():
    known = set(MAY_IMPORT) | {"jvcr"}
    assert all(allowed <= known for allowed in MAY_IMPORT.values())
    list(graphlib.TopologicalSorter(MAY_IMPORT).static_order())


def test_only_these_parts_see_both_networks_and_data():
    both = {part for part, allowed in MAY_IMPORT.items() if {"model", "data"} <= allowed}
    assert both == {"training", "cli"}


def run_python(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def best_of(times, limit, measure):
    """The least of a few measurements of processor time: what the code takes, however busy the machine is."""
    seconds = float("inf")
    for _ in range(times):
        seconds = min(seconds, measure())
        if seconds < limit:
            break
    return seconds


def test_import_jvcr_is_quick():
    code = "import time; start = time.process_time(); import jvcr; print(time.process_time() - start)"
    assert best_of(5, 0.3, lambda: float(run_python("-c", code))) < 0.3


def test_help_is_quick():
    # Windows does not tell the processor time of a child: there it is the clock's.
    code = (
        "import os, subprocess, sys, time; start = time.perf_counter();"
        "subprocess.run([sys.executable, '-m', 'jvcr', '--help'], check=True, stdout=subprocess.DEVNULL);"
        "taken = os.times();"
        "print(taken.children_user + taken.children_system or time.perf_counter() - start)"
    )
    assert best_of(5, 0.5, lambda: float(run_python("-c", code))) < 0.5


HEAVY = ("torch", "onnxruntime", "cv2", "numpy", "PIL", "matplotlib", "lightning_fabric")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import jvcr; dir(jvcr)", HEAVY),
        ("from jvcr.cli import make_app; make_app().help_print([])", HEAVY),
        ("from jvcr.cli import make_app; make_app('predict').help_print(['predict'])", HEAVY),
        ("from jvcr import Face, Crop, Landmarker, Tracker, FACE68", ("torch", "onnxruntime", "matplotlib")),
        (
            "import jvcr.inference, jvcr.cli.photos, jvcr.viz.landmarks, jvcr.video.sinks, jvcr.geometry",
            ("torch", "onnxruntime", "matplotlib"),
        ),
        ("import jvcr.cli.predict, jvcr.cli.train, jvcr.cli.evaluate, jvcr.cli.export", HEAVY),
        ("import jvcr.cli.video", HEAVY),
        ("import jvcr.cli.serve", (*HEAVY, "fastapi", "uvicorn")),
        ("import jvcr.serve", ("torch", "onnxruntime", "matplotlib")),
    ],
)
def test_what_is_not_imported(code, absent):
    loaded = run_python("-c", f"{code}\nimport sys; print('LOADED', *sys.modules)").partition("LOADED")[2].split()
    assert not set(absent) & set(loaded)


def test_using_the_package_needs_no_torch(tiny_weights, examples):
    """`pip install jvcr` brings no torch: finding landmarks must go without it, from the first import to the result."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["torch", "jaxtyping", "safetensors", "onnx", "matplotlib"]))  # importing these fails
import jvcr
landmarker = jvcr.Landmarker({str(tiny_weights)!r}, threads=1)
faces = landmarker({str(examples / "astronaut.png")!r}, boxes=[[178, 63, 267, 175]])
print(faces[0].points.shape)
"""
    assert run_python("-c", code).strip() == "(68, 3)"


def test_what_needs_torch_says_which_extra():
    code = """
import sys
sys.modules['safetensors'] = None
import jvcr
try:
    jvcr.load_network
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == 'jvcr.load_network needs safetensors: pip install "jvcr[train]"\n', done.stderr


def test_public_names():
    import jvcr

    expected = ["FACE66", "FACE68", "Crop", "Face", "LandmarkScheme", "Landmarker", "__version__", "load_network"]
    assert set(jvcr.__all__) == {*expected, "TrackedFace", "Tracker", "load_scheme"}
    assert set(jvcr.__all__) <= set(dir(jvcr))
    for name in jvcr.__all__:
        assert getattr(jvcr, name) is not None
    assert jvcr.load_scheme("face66") == jvcr.FACE66
    with pytest.raises(AttributeError, match="no attribute 'Landmarks'"):
        jvcr.Landmarks  # noqa: B018


def test_type_checkers_see_what_python_sees():
    """The names under TYPE_CHECKING, which nothing runs, are those that the package gives."""
    import jvcr

    tree = ast.parse((SOURCE / "jvcr" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert told == jvcr._HOMES
