"""``jvcr serve`` as it is called."""

import contextlib
import http.client
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image

from jvcr import cli
from jvcr.cli.serve import TOKEN_VARIABLE, _token

pytest.importorskip("fastapi", reason='the service needs pip install "jvcr[serve]"')

SOURCE = Path(__file__).resolve().parents[2] / "src"


class Service:
    """``jvcr serve`` in a process of its own."""

    def __init__(self, *arguments, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jvcr", "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        )
        self.told = self.process.stdout.readline()
        assert self.told.startswith("jvcr serves at http://127.0.0.1:"), self.told + self.process.stderr.read()
        self.port = int(self.told.split(":")[2].split("/")[0])

    def ask(self, method="GET", route="/healthz", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, route, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def end(self, how=signal.SIGTERM):
        """Its exit code, and what it has printed since it began to serve."""
        self.process.send_signal(how)
        printed, errors = self.process.communicate(timeout=60)
        return self.process.returncode, printed + errors


@pytest.fixture
def serving():
    running = []

    def start(*arguments, **environment):
        running.append(Service("--port", "0", "--threads", "1", *arguments, **environment))
        return running[-1]

    yield start
    for service in running:
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()


def waits_until_nobody_listens(port):
    end = time.monotonic() + 60
    with contextlib.suppress(ConnectionError):
        while True:
            assert time.monotonic() < end
            with socket.create_connection(("127.0.0.1", port)):
                time.sleep(0.05)


@pytest.mark.parametrize(
    ("package", "mended", "why"),
    [
        ("starlette", "0.49.1", "CVE-2025-62727"),
        ("torch", "2.10", "CVE-2026-24747"),
        ("pillow", "13", "overflows in its decoders"),
    ],
)
def test_no_version_with_a_known_hole_is_installed(package, mended, why):
    """By the project's own metadata, whichever group of its requirements names the package."""
    metadata = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())["project"]
    groups = [metadata["dependencies"], *metadata["optional-dependencies"].values()]
    needed = [need for need in map(Requirement, itertools.chain(*groups)) if need.name.lower() == package]
    assert needed
    for need in needed:
        (lowest,) = [Version(one.version) for one in need.specifier if one.operator == ">="]
        assert lowest >= Version(mended), why


def test_names_and_pages_that_may_be_used(serving):
    service = serving(
        "--allow-host", "one.example", "--allow-host", "two.example", "--allow-origin", "https://a.example"
    )
    for host, origin, status in (
        ("two.example", "https://a.example", 200),
        ("one.example", "https://one.example", 200),
        ("three.example", "https://a.example", 403),
        ("one.example", "https://b.example", 403),
    ):
        assert service.ask(Host=host, Origin=origin)[0] == status


def test_it_serves_and_finishes_what_it_took(serving, examples):
    service = serving("--max-bytes", "1000000")
    assert service.ask()[0] == 200
    image = (examples / "grace_hopper.jpg").read_bytes()
    status, answer = service.ask("POST", "/v1/landmarks", image)
    assert (status, len(answer["faces"])) == (200, 1)
    assert service.ask("POST", "/v1/landmarks", bytes(1_000_001))[0] == 413

    head = "POST /v1/landmarks HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    head += f"Content-Length: {len(image)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as wire:
        wire.sendall(head.encode())
        assert wire.recv(1000).startswith(b"HTTP/1.1 100")  # it has taken the request
        wire.sendall(image[:-1000])
        ended = []
        thread = threading.Thread(target=lambda: ended.append(service.end()))
        thread.start()
        waits_until_nobody_listens(service.port)
        assert not ended
        wire.sendall(image[-1000:])
        heard = b""
        while piece := wire.recv(65536):
            heard += piece
    thread.join()
    assert heard.startswith(b"HTTP/1.1 200") and json.loads(heard.partition(b"\r\n\r\n")[2]) == answer
    assert ended == [(0, "")]


def test_ctrl_c_ends_it_quietly(serving):
    service = serving()
    with socket.create_connection(("127.0.0.1", service.port)):
        assert service.end(signal.SIGINT) == (0, "")


def test_damaged_requests_leave_no_trace(serving):
    service = serving()
    for body in (b"\x89PNG\r\n\x1a\n" + bytes(500), b"x" * 500, b""):
        assert service.ask("POST", "/v1/landmarks", body)[0] == 400
    warned_of = io.BytesIO()  # Pillow gives a warning, and what it can read
    Image.new("RGB", (64, 64)).save(warned_of, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12")
    assert service.ask("POST", "/v1/landmarks", warned_of.getvalue())[0] == 200
    for garbage in (
        b"\x00\xff" * 500,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", service.port)) as wire:
            wire.sendall(garbage)
            assert wire.recv(1000).startswith(b"HTTP/1.1 4")
    assert service.ask()[0] == 200
    assert service.end() == (0, "")


@pytest.mark.parametrize("way", ["file", "environment"])
def test_the_token(way, serving, tmp_path):
    (tmp_path / "token").write_text("sésame\n", encoding="utf-8")
    if way == "file":
        service = serving("--token-file", str(tmp_path / "token"))
    else:
        service = serving(**{TOKEN_VARIABLE: "sésame"})
    assert service.ask("GET", "/v1/scheme")[0] == 401
    assert service.ask("GET", "/v1/scheme", Authorization="Bearer sésame".encode())[0] == 200
    assert service.ask()[0] == 200
    assert service.end() == (0, "")


def test_the_file_goes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert _token(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, "one")
    (tmp_path / "token").write_text(" two \n")
    assert (_token(None), _token(tmp_path / "token")) == ("one", "two")
    for wrong in ("two words", "", " "):
        monkeypatch.setenv(TOKEN_VARIABLE, wrong)
        with pytest.raises(ValueError, match=f"{TOKEN_VARIABLE} must hold the token"):
            _token(None)
    for wrong in (b"", b"\n", b"two words", b"two\nlines", b"\xff\xfe\x00"):
        (tmp_path / "token").write_bytes(wrong)
        with pytest.raises(ValueError, match="must hold the token"):
            _token(tmp_path / "token")


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as leaving:
        cli.main(["serve", *arguments])
    assert leaving.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "anyone" not in line]
    return line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535"),
        (["--threads", "0"], "--threads must be at least 1"),
        (["--max-bytes", "0"], "max_bytes must be above 0"),
        (["--max-seconds", "inf"], "max_seconds must be above 0 and finite"),
        (["--max-waiting", "2"], "max_images (16) must not be above max_waiting (2)"),
        (["--weights", "none"], "none"),
        (["--token-file", "nowhere"], "nowhere: no such file"),
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid:8000"),
    ],
)
def test_what_is_wrong_is_told(arguments, told, capsys):
    assert told in fails(capsys, *arguments)


def test_a_port_in_use(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = fails(capsys, "--port", str(port))
    assert f"cannot listen at 127.0.0.1:{port}" in told and "--port" in told


@pytest.mark.parametrize(("more", "warned"), [([], True), (["--token-file"], False)])
def test_an_open_port_without_a_token_is_told(more, warned, tmp_path, capsys):
    (tmp_path / "token").write_text("secret")
    with socket.create_server(("0.0.0.0", 0)) as taken:
        arguments = ["serve", "--host", "0.0.0.0", "--port", str(taken.getsockname()[1]), *more]
        with pytest.raises(SystemExit):
            cli.main([*arguments, *([str(tmp_path / "token")] if more else [])])
    assert ("anyone who reaches 0.0.0.0" in capsys.readouterr().err) == warned
