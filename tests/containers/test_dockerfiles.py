"""The Dockerfiles: linted, and their steps run as a script, since images cannot be built everywhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "containers").glob("*Dockerfile"))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the steps are those of a shell")


def instructions(path):
    """Name and arguments of each, the lines that belong together joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line]


def last(path, name):
    """The arguments of the last instruction of a name."""
    return [arguments for found, arguments in instructions(path) if found == name][-1]


def test_there_are_two():
    assert [path.name for path in FILES] == ["Dockerfile", "serve.Dockerfile"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_linter_finds_nothing(path):
    linter = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if linter is None:
        pytest.skip("hadolint is not installed: pip install 'jvcr[dev]'")
    done = subprocess.run([linter, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_who_uses_it_is_nobody(path):
    assert int(last(path, "USER").split(":")[0]) > 0


def built(path, folder):
    """Runs the steps of the first stage in a folder, with what is copied there and nothing else of the environment."""
    source = folder / "src"
    (folder / "home").mkdir()
    source.mkdir()
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder / "home")}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    for name, arguments in instructions(path):
        if name == "COPY" and "--from" not in arguments:
            *names, target = arguments.split()
            for item in names:
                copy = shutil.copytree if (ROOT / item).is_dir() else shutil.copy
                copy(ROOT / item, source / target / (item if target.startswith(".") else ""))
        elif name == "ARG":
            variable, value = arguments.split("=")
            environment[variable] = value
        elif name == "RUN":
            step = re.sub(r"--mount=\S+ ", "", arguments).replace("/opt/jvcr", str(folder / "jvcr"))
            step = step.replace("python3 -m venv", f"{shlex.quote(sys.executable)} -m venv")
            done = subprocess.run(["sh", "-ec", step], cwd=source, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return {"PATH": f"{folder / 'jvcr' / 'bin'}:{environment['PATH']}"}


def has(environment, module):
    return not subprocess.run(["python3", "-c", f"import {module}"], env=environment, capture_output=True).returncode


@pytest.mark.slow
def test_the_image_for_use(tmp_path, examples):
    path = ROOT / "containers" / "Dockerfile"
    environment = built(path, tmp_path)
    assert not has(environment, "torch") and not has(environment, "pip")
    assert json.loads(last(path, "ENTRYPOINT")) == ["jvcr"]
    data = tmp_path / "data"
    shutil.copytree(examples, data / "photos")
    command = ["jvcr", *["predict", "photos", "--out", "faces", "--json", "--plot"]]
    done = subprocess.run(command, cwd=data, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "2 faces in 2 photographs" in done.stdout
    size = sum(file.stat().st_size for file in (tmp_path / "jvcr").rglob("*") if file.is_file())
    assert size < 450 * 2**20


@pytest.mark.slow
def test_the_image_of_the_service(tmp_path, examples):
    path = ROOT / "containers" / "serve.Dockerfile"
    environment = built(path, tmp_path)
    assert not has(environment, "torch")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = json.loads(last(path, "ENTRYPOINT").replace("8000", port))
    check = json.loads(last(path, "HEALTHCHECK").partition("CMD ")[2].replace("8000", port))
    service = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            healthy = subprocess.run(check, env=environment, capture_output=True).returncode == 0
            if healthy or service.poll() is not None:
                break
            time.sleep(0.2)
        assert healthy, service.communicate()[1]
        post = (
            "import sys, urllib.request as r; "
            f"print(r.urlopen(r.Request('http://127.0.0.1:{port}/v1/landmarks', open(sys.argv[1], 'rb').read(), "
            "{'Content-Type': 'image/png'})).read().decode())"
        )
        photo = examples / "astronaut.png"
        answer = subprocess.run(["python3", "-c", post, photo], env=environment, capture_output=True, text=True)
        assert len(json.loads(answer.stdout)["faces"]) == 1, answer.stderr
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0
