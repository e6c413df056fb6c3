"""The ``jvcr`` command.

Each sub-command is named by its import path and imported when it is called, so that help and wrong usage answer at
once. Exit codes: 0 done, 1 not (all) done, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

import jvcr
from jvcr.cli.terminal import clean_output

DEBUG_VARIABLE = "JVCR_DEBUG"
"""Environment variable that lets errors show where they come from."""

_EXTRAS = {
    "annotate": {"fsspec", "pyarrow"},
    "cluster": {"ray"},
    "serve": {"fastapi", "prometheus_client", "python_multipart", "starlette", "uvicorn", "websockets"},
    "tensorboard": {"tensorboard"},
    "train": {"jaxtyping", "lightning_fabric", "onnx", "onnxscript", "pydantic", "safetensors", "torch"},
    "video": {"av"},
}
"""Modules that only ``pip install "jvcr[EXTRA]"`` brings."""

_COMMANDS = {
    "predict": "Find the 3D landmarks of the faces in photographs.",
    "annotate": "Find the 3D landmarks of the faces in any number of images.",
    "video": "Follow the faces of a video: their 3D landmarks in every frame, each face under a number that stays.",
    "serve": "Serve landmarks over HTTP, and a page to look at them.",
    "page": "Write a page that finds landmarks in the visitor's browser, for any web server that serves files.",
    "evaluate": "Measure the landmarks on faces whose true landmarks are known.",
    "benchmark": "Measure where the time goes on this machine: each stage, the network, other models beside it.",
    "weights": "List the weights that ship: what they are for, how good they are, where they lie, and their terms.",
    "train": "Train a network by a recipe: the volume and the coordinates each for itself, then both jointly.",
    "compare": "Train methods and settings on the same faces for as many examples, and compare them in numbers.",
    "export": "Turn torch weights into an ONNX file, and compare the two in numbers.",
    "import-weights": "Turn the checkpoint that the paper's authors released into weights of this package.",
    "figure volume": "Draw a face's landmarks and its volume in 3D: Figure 2 of the paper, from one photograph.",
    "figure examples": "Draw photographs, volumes and landmarks of several faces, as Figures 4 and 5 of the paper do.",
    "data check": "Look a data set over: what is in it, and which faces deserve a look.",
    "data pack": "Write a data set as shards: tars with images and labels, for training on millions of faces.",
    "data basis": "Recover the Basel face model at the 68 landmarks from AFLW2000-3D, for reading 300W-LP.",
    "data synthetic": "Draw a set of synthetic faces with exact 3D landmarks, to try and to test everything without a "
    "download.",
}
"""Sub-commands and the first line of their help.

``NAME`` is the function ``jvcr.cli.NAME:NAME``, ``GROUP NAME`` is ``jvcr.cli.GROUP:NAME``; dashes are
underscores there."""

_GROUPS = {
    "figure": "Draw the paper's figures of your own photographs.",
    "data": "Look data sets over, and make what reading them needs.",
}
"""Groups of sub-commands, and their help."""


def make_app(called: str | None = None) -> App:
    """The command line.

    Args:
        called: the sub-command that will be called, if that is known. cyclopts shows a text given here in the list of
            commands without importing any, but in place of a command's own, longer help: this one goes without.
    """
    app = App(
        name="jvcr",
        help="3D facial landmarks from one photograph: Joint Voxel and Coordinate Regression.",
        version=lambda: jvcr.__version__,
        result_action="return_value",
    )
    groups = {name: App(name=name, help=text, result_action="return_value") for name, text in _GROUPS.items()}
    for command, summary in _COMMANDS.items():
        *group, name = command.split(" ")
        parent, module = (groups[group[0]], group[0]) if group else (app, name)
        function = f"jvcr.cli.{module}:{name}".replace("-", "_")
        parent.command(function, name=name, help=None if command == called else summary)
    for group_app in groups.values():
        app.command(group_app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command of these arguments, or of those of the process, and exits."""
    sys.exit(_run(sys.argv[1:] if arguments is None else list(arguments)))


@clean_output()
def _run(arguments: list[str]) -> int:
    """The exit code; what the user can mend is told in one line instead of a traceback."""
    if "" in arguments:
        # As a path it would mean the current folder, and all that lies in it.
        print("jvcr: an argument is empty: is a shell variable not set?", file=sys.stderr)
        return 2
    try:
        code = make_app(_called(arguments))(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        print(f"jvcr: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone, as with `jvcr predict ... | head`; nor can Python flush to it when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"jvcr: {_one_line(error)}", file=sys.stderr)
        return 1


def _called(arguments: Sequence[str]) -> str | None:
    """The sub-command that the arguments name."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    if words and words[0] in _GROUPS:
        words[:2] = [" ".join(words[:2])]
    return words[0] if words and words[0] in _COMMANDS else None


def _one_line(error: BaseException) -> str:
    """One line on an error, and the way out of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            module = cause.name.partition(".")[0]
            for extra, modules in _EXTRAS.items():
                if module in modules:
                    return f'this needs {module}, which is not installed: pip install "jvcr[{extra}]"'
        cause = cause.__cause__
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
