"""The frame of the command: what is common to its sub-commands."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jvcr
from jvcr import cli
from jvcr.cli import app as cli_app

SOURCE = Path(__file__).resolve().parents[2] / "src"


def run(*arguments):
    with pytest.raises(SystemExit) as leaving:
        cli.main(arguments)
    return leaving.value.code


@pytest.fixture
def fails(monkeypatch):
    """Makes `jvcr predict` raise what a test wants."""

    def use(error):
        def predict(images: list[Path], /, *, out: Path) -> int:
            raise error

        monkeypatch.setattr("jvcr.cli.predict.predict", predict)

    return use


def test_help_and_version(capsys):
    assert run("--help") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("predict", "train", "evaluate", "export"))
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == jvcr.__version__
    assert run() == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli_app._COMMANDS)
def test_the_list_of_commands_says_what_their_own_help_says(name, capsys):
    *group, last = name.replace("-", "_").split(" ")
    function = getattr(importlib.import_module(f"jvcr.cli.{[*group, last][0]}"), last)
    paragraph = " ".join(function.__doc__.split("\n\n")[0].split())
    assert paragraph == cli_app._COMMANDS[name]
    # A command's own help goes on beyond that line.
    assert run(*name.split(" "), "--help") == 0
    assert len(capsys.readouterr().out.splitlines()) > 10


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predct"], "predict"),
        (["predict", "a.jpg", "--ot", "x"], "--out"),
        (["predict", "a.jpg"], "--out"),
        (["predict", "--out", "x"], "IMAGES"),
        (["predict", "a.jpg", "--out", "x", "--threads", "many"], "--threads"),
        (["predict", "a.jpg", "--out", "x", "--box-kind", "round"], "detector"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, told, capsys):
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("threads must be\n  at least 1"), "jvcr: threads must be at least 1"),
        (FileNotFoundError(2, "No such file or directory", "a.jpg"), "jvcr: a.jpg: no such file or directory"),
        (PermissionError(13, "Permission denied", "out"), "jvcr: out: permission denied"),
        (OSError("no space"), "jvcr: no space"),
        (ImportError("no face detector is installed"), "jvcr: no face detector is installed"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            'jvcr: this needs torch, which is not installed: pip install "jvcr[train]"',
        ),
        (
            ModuleNotFoundError("No module named 'onnx'", name="onnx.helper"),
            'jvcr: this needs onnx, which is not installed: pip install "jvcr[train]"',
        ),
        (
            ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn.protocols"),
            'jvcr: this needs uvicorn, which is not installed: pip install "jvcr[serve]"',
        ),
    ],
)
def test_errors_are_one_line_without_a_traceback(fails, error, line, capsys):
    fails(error)
    assert run("predict", "a.jpg", "--out", "x") == 1
    assert capsys.readouterr().err.splitlines() == [line]


def test_a_missing_extra_is_seen_behind_other_errors(fails, capsys):
    error = ImportError("Cannot import module 'jvcr.cli.train'")
    error.__cause__ = ModuleNotFoundError("No module named 'lightning_fabric'", name="lightning_fabric")
    fails(error)
    assert run("predict", "a.jpg", "--out", "x") == 1
    assert 'pip install "jvcr[train]"' in capsys.readouterr().err


def test_debugging_shows_where_an_error_comes_from(fails, monkeypatch):
    fails(ValueError("threads"))
    monkeypatch.setenv("JVCR_DEBUG", "1")
    with pytest.raises(ValueError, match="threads"):
        cli.main(["predict", "a.jpg", "--out", "x"])


def test_a_mistake_of_ours_is_not_hidden(fails):
    fails(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["predict", "a.jpg", "--out", "x"])


def test_ctrl_c_is_quiet(fails, capsys):
    fails(KeyboardInterrupt())
    assert run("predict", "a.jpg", "--out", "x") == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_is_no_traceback():
    code = "import sys, time; from jvcr.cli import main; time.sleep(0.5); main(['--help'])"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_the_entry_point_is_declared():
    project = (SOURCE.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert 'jvcr = "jvcr.cli:main"' in project


def test_an_empty_argument_is_not_the_current_folder(capsys):
    with pytest.raises(SystemExit) as leaving:
        cli.main(["predict", "", "--out", "x"])
    assert leaving.value.code == 2
    assert "empty" in capsys.readouterr().err


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "jvcr", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"{jvcr.__version__}\n")
