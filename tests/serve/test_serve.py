"""The service: what it answers, what it refuses, and what it stands."""

import base64
import contextlib
import io
import json
import logging
import multiprocessing
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import Future
from functools import partial

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason='the service needs pip install "jvcr[serve]"')

from fastapi import FastAPI
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from jvcr.inference.image import read_image
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.tracker import Tracker
from jvcr.serve import server
from jvcr.serve.access import Access
from jvcr.serve.app import make_app
from jvcr.serve.decode import Decoders
from jvcr.serve.limits import Limits, RefusedError
from jvcr.serve.schema import BatchAnswer, ImageAnswer

HEIGHT, WIDTH = 90, 120
TOKEN = "sésame"
STREAM = "ws://localhost/v1/stream"


class WholeImage:
    """Finds one face, in the middle; waits for its gate."""

    concurrent = True

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0

    def __call__(self, image):
        self.asked += 1
        assert self.gate.wait(60)
        height, width = image.shape[:2]
        return [[width / 4, height / 4, 3 * width / 4, 3 * height / 4]], [0.9]


@pytest.fixture
def detector():
    found = WholeImage()
    yield found
    found.gate.set()


@pytest.fixture
def landmarker(tiny_weights, detector):
    return Landmarker(tiny_weights, threads=1, detector=detector)


@pytest.fixture
def served(landmarker):
    """Makes clients of a service, and ends it."""
    with contextlib.ExitStack() as clients:

        def client(threads=2, token=None, hosts=(), origins=(), **limits):
            app = make_app(landmarker, threads, Limits(**limits), Access(token, hosts, origins))
            return clients.enter_context(client_of(app, raise_server_exceptions=False))

        yield client


client_of = partial(TestClient, base_url="http://localhost")


@pytest.fixture
def client(served):
    return served()


def picture(height=HEIGHT, width=WIDTH, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 10 or 1, width // 10 or 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height))


def encoded(kind="PNG", image=None, **options):
    file = io.BytesIO()
    (image or picture()).save(file, kind, **options)
    return file.getvalue()


PNG, JPEG = encoded(), encoded("JPEG")


def post(client, body, kind="image/png", route="/v1/landmarks", **headers):
    return client.post(route, content=body, headers={"Content-Type": kind, **headers})


def test_answers_are_the_faces_of_the_landmarker(shipped_weights, examples):
    landmarker = Landmarker(shipped_weights, threads=1)
    image = (examples / "astronaut.png").read_bytes()
    faces = [face.to_dict() for face in landmarker(image)]
    assert len(faces) == 1
    with client_of(make_app(landmarker)) as client:
        raw = post(client, image)
        form = client.post("/v1/landmarks", files={"image": ("..\\a.png", image)}, params={"volume": True})
    assert raw.status_code == form.status_code == 200
    assert raw.json() == {"width": 512, "height": 512, "faces": faces}
    assert form.json()["faces"] == faces
    for answer in (raw, form):
        ImageAnswer.model_validate(answer.json(), strict=True, extra="forbid")


def test_two_passes(client, landmarker):
    twice = [face.to_dict() for face in landmarker(PNG, passes=2)]
    assert post(client, PNG, route="/v1/landmarks?passes=2").json()["faces"] == twice
    assert twice != post(client, PNG).json()["faces"]


def test_the_volume_comes_with_its_place_in_the_image(client, landmarker):
    (answer,) = post(client, PNG, route="/v1/landmarks?volume=true").json()["volumes"]
    _, (volume,), (crop,) = landmarker.volumes(PNG)
    assert answer["shape"] == [4, 6, 8]
    cells = np.frombuffer(base64.b64decode(answer["data"]), np.uint8).reshape(4, 6, 8)
    np.testing.assert_allclose(cells / 255, volume, atol=0.5 / 255)
    for z, y, x in [(0, 0, 0), (3, 1, 7), (2, 5, 4)]:
        centre = (np.array([x, y, z]) + 0.5) * 2 / np.array([8, 6, 4]) - 1
        np.testing.assert_allclose(np.array(answer["to_image"]) @ [x, y, z, 1], crop.to_image(centre), atol=1e-2)


def test_no_face_is_an_empty_list(tiny_weights):
    landmarker = Landmarker(tiny_weights, threads=1, detector=lambda image: (np.zeros((0, 4)), np.zeros(0)))
    with client_of(make_app(landmarker)) as client:
        assert post(client, PNG).json() == {"width": WIDTH, "height": HEIGHT, "faces": []}
        with_volumes = post(client, PNG, route="/v1/landmarks?volume=1").json()
    assert (with_volumes["faces"], with_volumes["volumes"]) == ([], [])


class Crowd:
    """Finds six faces, the less certain ones first; not to be called twice at the same time."""

    def __init__(self):
        self.calls = 0
        self.turn = threading.Lock()

    def __call__(self, image):
        assert self.turn.acquire(blocking=False)
        self.calls += 1
        time.sleep(0.02)
        self.turn.release()
        return [[15 * i, 20, 15 * i + 20, 50] for i in range(6)], [0.70, 0.71, 0.72, 0.73, 0.74, 0.75]


def test_of_too_many_faces_the_most_certain_are_worked_on(tiny_weights, monkeypatch):
    landmarker = Landmarker(tiny_weights, threads=1, detector=Crowd())
    monkeypatch.setattr("jvcr.serve.stream.Tracker", partial(Tracker, min_confidence=0.0))
    with client_of(make_app(landmarker, limits=Limits(max_faces=2))) as client:
        answer = post(client, PNG, route="/v1/landmarks?volume=true").json()
        assert [face["score"] for face in answer["faces"]] == [0.75, 0.74]
        assert len(answer["volumes"]) == 2
        with client.websocket_connect(STREAM) as socket:
            for _ in range(2):
                socket.send_bytes(PNG)
                assert len(socket.receive_json()["faces"]) <= 2
    with client_of(make_app(landmarker)) as client:
        assert len(post(client, PNG).json()["faces"]) == 6
    assert len(landmarker(PNG)) == 6  # the caller's own is as before


def test_a_detector_that_must_not_is_never_called_twice_at_the_same_time(tiny_weights):
    crowd = Crowd()
    with client_of(make_app(Landmarker(tiny_weights, threads=1, detector=crowd), threads=4)) as client:
        files = [("images", (f"{i}.png", PNG)) for i in range(12)]
        answer = client.post("/v1/landmarks/batch", files=files)
    assert crowd.calls == len(answer.json()["results"]) == 12


def test_a_batch_keeps_its_order_and_tells_what_is_wrong_with_one(client):
    others = [encoded(image=picture(seed=seed)) for seed in (1, 2)]
    files = [("images", (f"{i}.png", body)) for i, body in enumerate([others[0], b"GIF89a no", others[1]])]
    answer = client.post("/v1/landmarks/batch", files=files)
    assert answer.status_code == 200
    BatchAnswer.model_validate(answer.json(), strict=True, extra="forbid")
    first, broken, second = answer.json()["results"]
    assert first == {"result": post(client, others[0]).json(), "problem": None}
    assert second == {"result": post(client, others[1]).json(), "problem": None}
    assert broken["result"] is None and "not an image" in broken["problem"]
    raw = post(client, others[0], route="/v1/landmarks/batch").json()["results"]
    assert raw == [first]


def test_images_are_turned_upright(client):
    image = picture()
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    answer = post(client, encoded("JPEG", image, exif=exif), "image/jpeg").json()
    assert (answer["width"], answer["height"]) == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB"), ("GIF", "P"), ("TIFF", "RGB")]
)
def test_the_kinds_of_images(kind, mode, client):
    body = encoded(kind, picture().convert(mode))
    assert post(client, body, "application/octet-stream").json()["width"] == WIDTH
    assert client.post("/v1/landmarks", content=body).status_code == 200


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height, rows=b""):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows, 9)) + png_chunk(b"IEND", b"")


def scan_bomb(side, scans):
    """A JPEG that goes over all its pixels for 12 bytes of the file: each scan begins, and a marker that means nothing
    (FF 02) ends it at its first restart."""
    body = encoded("JPEG", Image.new("L", (side, side)), progressive=True)
    start = 2
    while body[start + 1] != 0xDA:
        start += 2 + int.from_bytes(body[start + 2 : start + 4], "big")
    end = start + 2 + int.from_bytes(body[start + 2 : start + 4], "big")
    restart_after_each_block = b"\xff\xdd\x00\x04\x00\x01"
    return body[:start] + restart_after_each_block + (body[start:end] + b"\xff\x02") * scans + b"\xff\xd9"


def form_of(*parts, end=b"--x--\r\n", begin=b""):
    return begin + b"".join(b"--x\r\n" + head + b"\r\n\r\n" + body + b"\r\n" for head, body in parts) + end


IMAGE_HEAD = b'Content-Disposition: form-data; name="image"; filename="/etc/passwd"'
FORM = "multipart/form-data; boundary=x"

HOSTILE = {
    "nothing": ("image/png", b"", 400),
    "text": ("image/png", b"no image at all", 400),
    "cut header": ("image/png", PNG[:20], 400),
    "cut PNG": ("image/png", PNG[: len(PNG) // 2], 400),
    "cut JPEG": ("image/jpeg", JPEG[: len(JPEG) // 2], 400),
    "damaged JPEG": ("image/jpeg", JPEG[:200] + bytes(200) + JPEG[400:], (200, 400)),
    "damaged PNG": ("image/png", PNG[:60] + b"\xff" * 40 + PNG[100:], 400),
    "bomb of zeros": ("image/png", png_of(20_000, 20_000, bytes(20_000 * 2501)), 413),
    "only a large header": ("image/png", png_of(2**31 - 1, 2**31 - 1), (400, 413)),
    "too many pixels": ("image/png", encoded(image=Image.new("L", (1001, 1000))), 413),
    "nothing but fill bytes": ("image/jpeg", b"\xff\xd8" + b"\xff" * 900_000, 400),
    "markers without a length": ("image/jpeg", b"\xff\xd8" + b"\xff\x01" * 450_000, 400),
    "PostScript": ("image/eps", encoded("EPS"), 400),
    "PostScript that says it is a JPEG": ("image/jpeg", encoded("EPS"), 400),
    "SVG": ("image/svg+xml", b"<svg><image href='file:///etc/passwd'/></svg>", 400),
    "BMP of negative size": ("image/bmp", b"BM" + struct.pack("<IIIIii", 99, 0, 54, 40, -9, -9) + bytes(40), 400),
    "cut WebP": ("image/webp", encoded("WEBP")[:40], 400),
    "32 bit pixels": ("image/png", PNG[:25] + bytes([5]) + PNG[26:], 400),
    "JSON": ("application/json", b'{"image": 1}', 415),
    "plain text": ("text/plain", PNG, 415),
    "no type at all": ("", PNG, 415),
    "form without boundary": ("multipart/form-data", form_of((IMAGE_HEAD, PNG)), 400),
    "form of an empty boundary": ("multipart/form-data; boundary=", form_of((IMAGE_HEAD, PNG)), 400),
    "form of an endless boundary": (f"multipart/form-data; boundary={'x' * 5000}", b"--x", 400),
    "form of another boundary": ("multipart/form-data; boundary=y", form_of((IMAGE_HEAD, PNG)), 400),
    "form that does not end": (FORM, form_of((IMAGE_HEAD, PNG), end=b"")[:-300], 400),
    "form without a name": (FORM, form_of((b"Content-Disposition: form-data", PNG)), 400),
    "form without a disposition": (FORM, form_of((b"X: y", PNG)), 400),
    "form of another field": (FORM, form_of((IMAGE_HEAD.replace(b"image", b"photo"), PNG)), 400),
    "form of text": (FORM, form_of((b'Content-Disposition: form-data; name="image"', b"abc")), 400),
    "form of long text": (FORM, form_of((b'Content-Disposition: form-data; name="a"', b"a" * 5000)), 400),
    "form of an empty file": (FORM, form_of((IMAGE_HEAD, b"")), 400),
    "form of too many files": (FORM, form_of(*[(IMAGE_HEAD, PNG)] * 2), 422),
    "form of something else, too": (
        FORM,
        form_of((IMAGE_HEAD, PNG), (b'Content-Disposition: form-data; name="a"', b"")),
        400,
    ),
    "form of too many fields": (FORM, form_of(*[(b'Content-Disposition: form-data; name="a"', b"")] * 200), 400),
    "form of long heads": (FORM, form_of((b"A: " + b"b" * 50_000, PNG)), 400),
    "form of many heads": (FORM, form_of((b"A: b\r\n" * 5000 + IMAGE_HEAD, PNG)), 400),
    "form of a strange alphabet": (FORM + "; charset=punycode", form_of((IMAGE_HEAD, b"")), 400),
    "form of bytes": (FORM + "; charset=hex", form_of((IMAGE_HEAD, b"")), 400),
    "form of noise": (FORM, np.random.default_rng(0).bytes(5000), 400),
    "too many bytes": ("image/png", PNG + bytes(1_000_000), 413),
}


def tells_nothing(text, *more):
    """Whether an answer or a log is without paths, traces and pieces of what was sent."""
    secret = ["Traceback", "File ", "/src/", "site-packages", "jvcr/", ".py", "BytesIO", "0x", "passwd", *more]
    return not [word for word in secret if word in text]


def logged(caplog, name=""):
    return "\n".join(record.getMessage() for record in caplog.records if record.name.startswith(name))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies(name, served, caplog, capfd):
    client = served(max_bytes=1_000_000, max_pixels=1_000_000)
    kind, body, status = HOSTILE[name]
    answer = post(client, body, kind)
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    if answer.status_code != 200:
        assert list(answer.json()) == ["detail"]
        assert len(answer.json()["detail"]) > 15
    printed = capfd.readouterr()
    assert tells_nothing(answer.text + logged(caplog) + printed.out + printed.err)
    assert post(client, PNG).status_code == 200


def test_cut_files_of_every_length(client):
    for body in (PNG, JPEG, encoded("WEBP"), encoded("GIF"), encoded("BMP")):
        for length in np.linspace(1, len(body) - 1, 15).astype(int):
            assert post(client, body[:length]).status_code in (200, 400)
    assert post(client, PNG).status_code == 200


# ---- decoding, in processes


@pytest.fixture
def decoders():
    """Makes sets of decoding processes, and ends them."""
    with contextlib.ExitStack() as ends:

        def make(**limits):
            made = Decoders(Limits(**limits))
            ends.callback(made.close)
            return made

        yield make


def in_thread(function, *arguments):
    """What a function returns or raises, once it has."""
    future = Future()

    def run():
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run).start()
    return future


def test_pixels_are_the_same_from_a_process(decoders):
    decoded = decoders()
    for body in (PNG, JPEG, encoded("WEBP"), encoded("PNG", picture().convert("RGBA")), PNG):
        image = decoded(body)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, read_image(body))
    assert len(decoded._idle) == 1  # one process for one thread


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "kind", "options"), [("RGBA", "PNG", {"compress_level": 1}), ("CMYK", "JPEG", {"progressive": True})]
)
def test_the_largest_images_that_are_taken_are_decoded(mode, kind, options, decoders):
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 4), np.uint8)
    body = encoded(kind, Image.frombytes(mode, (500, 500), noise.tobytes()).resize((5000, 5000)), **options)
    assert decoders(max_seconds=200.0)(body).shape == (5000, 5000, 3)


def test_images_that_take_too_long_keep_nobody_waiting(served, caplog):
    """Two of them hold both threads for the seconds that are allowed, and no longer."""
    client = served(threads=2, max_pixels=16_000_000)
    bomb = scan_bomb(4000, 8000)
    assert len(bomb) < 100_000
    bombs = [in_thread(post, client, bomb, "image/jpeg") for _ in range(2)]
    waits_until(lambda: len(multiprocessing.active_children()) >= 2)
    assert client.get("/healthz").status_code == 200
    assert post(client, PNG).status_code == 200
    for answer in (bomb.result(60) for bomb in bombs):
        assert answer.status_code == 400 and "too long" in answer.json()["detail"]
    assert logged(caplog, "jvcr") == ""


def test_nothing_that_is_decoded_holds_up_the_end(listening):
    port, made = listening(max_seconds=4.0)
    answer = in_thread(speak, port, request_of(scan_bomb(4000, 20_000)))
    waits_until(multiprocessing.active_children)
    time.sleep(1)
    start = time.monotonic()
    made.should_exit = True
    assert is_refusal(answer.result(60), b"4") or is_refusal(answer.result(), b"504")
    waits_until(lambda: not multiprocessing.active_children())
    assert time.monotonic() - start < 2 * 4.0


def test_decoding_is_ended_at_once(decoders):
    decoded = decoders(max_seconds=200.0)
    waiting = in_thread(decoded, scan_bomb(5000, 5000))
    waits_until(lambda: decoded._all)
    time.sleep(0.5)
    start = time.monotonic()
    decoded.close()
    with pytest.raises(RefusedError) as refused:
        waiting.result(60)
    assert refused.value.status == 503
    assert time.monotonic() - start < 5
    with pytest.raises(RefusedError, match="ends"):
        decoded(PNG)


def test_a_process_that_has_ended_is_replaced(decoders, caplog):
    decoded = decoders()
    assert decoded(PNG).shape == (HEIGHT, WIDTH, 3)
    (first,) = decoded._all
    first.process.kill()
    first.process.join()
    assert decoded(PNG).shape == (HEIGHT, WIDTH, 3)
    assert first not in decoded._all

    waiting = in_thread(decoded, scan_bomb(5000, 5000))
    (second,) = decoded._all
    time.sleep(0.5)
    second.process.kill()  # as the system does when memory is short
    with pytest.raises(RefusedError) as refused:
        waiting.result(60)
    assert refused.value.status == 400
    assert "has ended" in logged(caplog, "jvcr")
    assert decoded(PNG).shape == (HEIGHT, WIDTH, 3)


# ---- limits


def test_a_body_whose_length_is_not_told_is_bounded_too(served):
    client = served(max_bytes=1000)
    answer = client.post(
        "/v1/landmarks", content=(bytes(300) for _ in range(10)), headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 413 and "1,000 bytes" in answer.json()["detail"]


def test_bodies_that_arrive_together_are_bounded(served, monkeypatch):
    monkeypatch.setattr(Limits, "max_held_bytes", 100)
    answer = post(served(), PNG)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    monkeypatch.undo()
    assert post(served(), PNG).status_code == 200


def test_a_batch_of_too_many_images(served):
    client = served(max_images=2)
    answer = client.post("/v1/landmarks/batch", files=[("images", ("a", PNG))] * 3)
    assert answer.status_code == 422 and "2" in answer.json()["detail"]


@pytest.mark.parametrize(
    "limits",
    [{"max_bytes": 0}, {"max_seconds": -1.0}, {"max_seconds": float("inf")}, {"max_waiting": 2, "max_images": 3}],
)
def test_limits_that_are_none(limits):
    with pytest.raises(ValueError, match=next(iter(limits))):
        Limits(**limits)


def closed_with(socket):
    with pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_text()
    return closed.value.code, closed.value.reason


def waits_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def waiting_images(client):
    line = next(x for x in client.get("/metrics").text.splitlines() if x.startswith("jvcr_waiting_images"))
    return float(line.split()[1])


def test_a_full_queue_says_when_to_come_again(served, detector):
    client = served(threads=1, max_waiting=2, max_images=2)
    detector.gate.clear()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(post(client, PNG))) for _ in range(3)]
    for thread in threads:
        thread.start()
    waits_until(lambda: waiting_images(client) == 2)
    for refused in (post(client, PNG), client.post("/v1/landmarks/batch", files=[("images", ("a", PNG))])):
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "come again" in refused.json()["detail"]
    assert client.get("/healthz").status_code == 200
    detector.gate.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 3
    waits_until(lambda: waiting_images(client) == 0)
    assert post(client, PNG).status_code == 200


def test_a_batch_is_taken_as_a_whole_or_not_at_all(served, detector):
    client = served(threads=1, max_waiting=2, max_images=2)
    detector.gate.clear()
    thread = threading.Thread(target=post, args=(client, PNG))
    thread.start()
    batch_thread = threading.Thread(
        target=lambda: client.post("/v1/landmarks/batch", files=[("images", ("a", PNG))] * 2)
    )
    batch_thread.start()
    waits_until(lambda: waiting_images(client) == 2)
    assert client.post("/v1/landmarks/batch", files=[("images", ("a", PNG))] * 2).status_code == 503
    assert waiting_images(client) == 2
    detector.gate.set()
    thread.join()
    batch_thread.join()


def test_what_takes_too_long_is_given_up(served, detector):
    client = served(threads=1, max_waiting=2, max_images=2, max_seconds=1.0)
    detector.gate.clear()
    answer = client.post("/v1/landmarks/batch", files=[("images", ("a", PNG))] * 2)
    assert answer.status_code == 504 and "1 s" in answer.json()["detail"]
    assert waiting_images(client) == 0  # what had not begun is not done for nobody
    detector.gate.set()
    waits_until(lambda: post(client, PNG).status_code == 200)


def test_a_failure_says_no_more_than_that_there_was_one(served, landmarker, monkeypatch, caplog):
    def fail(self, *arguments, **more):
        raise RuntimeError("in /home/someone/secret.py with 0x1234")

    monkeypatch.setattr(Landmarker, "__call__", fail)
    client = served()
    with caplog.at_level(logging.DEBUG):
        answer = post(client, PNG)
        with client.websocket_connect(STREAM) as socket:
            socket.send_bytes(PNG)
            assert closed_with(socket) == (1011, "the service failed")
    assert (answer.status_code, answer.json()) == (500, {"detail": "the service failed"})
    assert logged(caplog, "jvcr") == "a request failed: RuntimeError\na stream failed: RuntimeError"
    assert tells_nothing(logged(caplog), "secret", "someone")


def test_wrong_parameters_are_named_and_not_repeated(client):
    answer = post(client, PNG, route="/v1/landmarks?passes=3&volume=%3Cscript%3E")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("passes: ") and "volume: " in answer.json()["detail"]
    assert "script" not in answer.text


@pytest.mark.parametrize(
    ("method", "route", "status"),
    [
        ("GET", "/v1/landmarks", 405),
        ("DELETE", "/healthz", 405),
        ("GET", "/nowhere", 404),
        ("POST", "/v1/landmarks/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/static/app.js", 404),
        ("HEAD", "/healthz", 200),
        ("HEAD", "/", 200),
    ],
)
def test_methods_and_routes(method, route, status, client):
    answer = client.request(method, route, follow_redirects=False)
    assert answer.status_code == status
    assert (answer.content == b"") == (method == "HEAD")
    assert tells_nothing(answer.text)


def test_the_token(served):
    client = served(token=TOKEN)
    answer = post(client, PNG)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    for given in (b"Bearer", b"Bearer ", b"Bearer sesame", TOKEN.encode(), b"Basic " + TOKEN.encode(), b"\xff\x00"):
        assert post(client, PNG, Authorization=given).status_code == 401
    assert client.get("/v1/scheme").status_code == 401
    assert client.post("/v1/nowhere").status_code == 401
    for given in (b"Bearer " + TOKEN.encode(), b"bearer  " + TOKEN.encode()):
        assert post(client, PNG, Authorization=given).status_code == 200
    for route in ("/", "/healthz", "/metrics", "/openapi.json"):
        assert client.get(route).status_code == 200
    assert TOKEN not in client.get("/openapi.json").text + client.get("/metrics").text


def test_the_token_is_asked_for_under_a_prefix_too(landmarker):
    app = make_app(landmarker, access=Access(TOKEN))
    outer = FastAPI()
    outer.mount("/faces", app)
    for client in (client_of(outer), client_of(app, root_path="/faces")):
        assert client.get("/faces/healthz").status_code == 200
        assert client.get("/faces/v1/scheme").status_code == 401
        right = client.get("/faces/v1/scheme", headers={"Authorization": b"Bearer " + TOKEN.encode()})
        assert right.status_code == 200
    for prefix in ("/v", "/v1"):  # of a server that does not put it before the path
        assert client_of(app, root_path=prefix).get("/v1/scheme").status_code in (401, 404)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({"Host": "localhost:8000"}, True),
        ({"Host": "LOCALHOST"}, True),
        ({"Host": "127.0.0.1:8000"}, True),
        ({"Host": "[::1]:8000"}, True),
        ({"Host": "192.168.1.7:8000"}, True),  # an address leads nowhere else
        ({"Host": "faces.example.org"}, True),
        ({"Host": "evil.example:8000"}, False),
        ({"Host": "localhost.evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "[::1"}, False),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, True),
        ({"Host": "faces.example.org", "Origin": "https://faces.example.org"}, True),  # TLS ends at a proxy
        ({"Host": "localhost:8000", "Origin": "https://friend.example"}, True),
        ({"Host": "localhost:8000", "Origin": "http://localhost:3000"}, False),
        ({"Host": "localhost:8000", "Origin": "https://evil.example"}, False),
        ({"Host": "localhost:8000", "Origin": "https://evil.example/localhost:8000"}, False),
        ({"Host": "localhost:8000", "Origin": "null"}, False),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, False),
    ],
    ids=str,
)
def test_other_names_and_other_peoples_pages_are_refused(headers, known, served):
    client = served(hosts=("Faces.example.org",), origins=("https://friend.example",))
    answers = [post(client, PNG, **headers), *(client.get(route, headers=headers) for route in ("/", "/healthz"))]
    assert {answer.status_code for answer in answers} == {200 if known else 403}
    if known:
        with client.websocket_connect(STREAM, headers=headers) as socket:
            socket.send_bytes(PNG)
            assert socket.receive_json()["width"] == WIDTH
        return
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(STREAM, headers=headers):
        pass
    for answer in [*answers, refused.value]:
        assert answer.status_code == 403 and "--allow-" in answer.json()["detail"]


def test_pages_that_may_ask_can_read_the_answers(served):
    page = {"Origin": "https://friend.example"}
    asked = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    client = served(token=TOKEN, origins=("https://friend.example",))
    for answer, status in (
        (client.options("/v1/landmarks", headers=asked), 200),
        (post(client, PNG, **page), 401),
        (post(client, PNG, Authorization=b"Bearer " + TOKEN.encode(), **page), 200),
    ):
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    assert "access-control-allow-origin" not in client.get("/healthz").headers
    everyone = served(hosts=("*",), origins=("*",))
    assert post(everyone, PNG, Host="any.example", Origin="https://other.example").status_code == 200


def has_the_shape(headers, body):
    """Whether a refusal is as documented."""
    answer = json.loads(body)
    return (
        list(answer) == ["detail"]
        and isinstance(answer["detail"], str)
        and headers["content-type"] == "application/json"
        and headers["x-content-type-options"] == "nosniff"
    )


def test_every_refusal_has_the_same_shape(served, monkeypatch):
    client, guarded = served(max_bytes=1000, max_images=1), served(token=TOKEN)
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("ws://localhost/nowhere"):
        pass
    answers = [
        (400, post(client, b"x")),
        (401, post(guarded, PNG)),
        (403, client.get("/healthz", headers={"Host": "evil.example"})),
        (404, client.get("/nowhere")),
        (404, refused.value),
        (405, client.get("/v1/landmarks")),
        (413, post(client, bytes(1001))),
        (415, post(client, b"x", "text/plain")),
        (422, post(client, b"x", route="/v1/landmarks?passes=9")),
        (431, client.get("/healthz", headers={"X": "y" * 40_000})),
    ]
    monkeypatch.setattr(Landmarker, "__call__", lambda *arguments, **more: 1 / 0)
    answers.append((500, post(guarded, PNG, Authorization=b"Bearer " + TOKEN.encode())))
    monkeypatch.setattr(Limits, "max_held_bytes", 0)
    answers.append((503, post(served(), PNG)))
    for status, answer in answers:
        assert answer.status_code == status
        assert has_the_shape(answer.headers, answer.content), status
    for route in ("/", "/app.js", "/healthz", "/metrics", "/openapi.json", "/v1/scheme"):
        assert client.get(route).headers["x-content-type-options"] == "nosniff"


def test_the_page_is_made_of_its_own_files(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name, kind in [("app.js", "javascript"), ("view.js", "javascript"), ("style.css", "css"), ("icon.svg", "svg")]:
        file = client.get(f"/{name}")
        assert file.status_code == 200 and kind in file.headers["content-type"]
        assert file.headers["x-content-type-options"] == "nosniff"
    assert post(client, client.get("/sample.jpg").content).status_code == 200


def test_health_scheme_and_description(client, landmarker):
    health = client.get("/healthz").json()
    assert (health["status"], health["weights"], health["num_landmarks"]) == ("ok", "tiny", 68)
    assert client.get("/v1/scheme").json() == json.loads(json.dumps(landmarker.scheme.to_dict()))
    described = client.get("/openapi.json").json()
    assert described["info"]["version"] == health["version"]
    assert {"/v1/landmarks", "/v1/landmarks/batch", "/healthz", "/metrics"} <= set(described["paths"])
    fields = described["components"]["schemas"]["FaceAnswer"]["properties"]
    assert set(fields) == set(landmarker(PNG)[0].to_dict())
    for name, unit in [("points", "pixels"), ("box", "pixels"), ("confidence", "0 to 1"), ("yaw", "egrees")]:
        assert unit in fields[name]["description"]
    for route in ("/v1/landmarks", "/v1/landmarks/batch"):
        answers = described["paths"][route]["post"]["responses"]
        assert {"200", "400", "401", "408", "413", "415", "422", "503", "504"} <= set(answers)


def test_metrics(client):
    post(client, PNG)
    post(client, b"none")
    client.get("/wp-login.php")
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'jvcr_requests_total{route="/v1/landmarks",status="200"} 1.0',
        'jvcr_requests_total{route="/v1/landmarks",status="400"} 1.0',
        'jvcr_requests_total{route="other",status="404"} 1.0',
        'jvcr_request_seconds_count{route="/v1/landmarks"} 2.0',
        "jvcr_images_total 1.0",
        "jvcr_faces_total 1.0",
        "jvcr_streams 0.0",
        "jvcr_waiting_images 0.0",
    ):
        assert line in lines


# ---- frames


def test_frames_are_followed(client, landmarker, detector, monkeypatch):
    frames = [encoded("JPEG", picture(seed=3)) for _ in range(3)]
    times = iter([1.0, 1.1, 1.2])
    tracker = Tracker(landmarker, detector, min_confidence=0.0)
    monkeypatch.setattr("jvcr.serve.stream.Tracker", lambda *arguments, **more: tracker)
    with client.websocket_connect(STREAM) as socket:
        for frame in frames:
            socket.send_bytes(frame)
            answer = socket.receive_json()
            assert (answer["width"], answer["height"]) == (WIDTH, HEIGHT)
            assert [face["id"] for face in answer["faces"]] == [1]
    alone = Tracker(landmarker, detector, min_confidence=0.0, smooth=False)
    first = alone(np.asarray(Image.open(io.BytesIO(frames[0]))), next(times))
    np.testing.assert_allclose(answer["faces"][0]["points"], first[0].points, atol=0.1)
    assert set(answer["faces"][0]) == set(first[0].to_dict())


def test_a_frame_that_cannot_be_used_does_not_end_the_stream(served):
    client = served(max_bytes=100_000, max_pixels=50_000)
    with client.websocket_connect(STREAM) as socket:
        socket.send_json({"token": "of a client that does not know"})
        for bad, told in [(b"", "empty"), (b"x", "not an image"), (PNG[:-40], "damaged"), (bytes(100_001), "longer")]:
            socket.send_bytes(bad)
            assert told in socket.receive_json()["detail"]
        socket.send_bytes(encoded(image=Image.new("L", (1000, 100))))
        assert "pixels" in socket.receive_json()["detail"]
        for text in ("hello", "[" * 5000, '{"token": 3}', "null", json.dumps({"token": "a" * 40_000})):
            socket.send_text(text)
            assert "binary" in socket.receive_json()["detail"]
        socket.send_bytes(PNG)
        assert socket.receive_json()["width"] == WIDTH


@pytest.mark.parametrize("first", [b"x", "", "{}", "no", '{"token": "wrong"}', '{"token": "\\ud800"}', "[" * 5000])
def test_a_stream_without_the_token(first, served):
    with served(token=TOKEN).websocket_connect(STREAM) as socket:
        socket.send_bytes(first) if isinstance(first, bytes) else socket.send_text(first)
        code, reason = closed_with(socket)
    assert code == 4401 and "token" in reason


def test_a_stream_with_the_token(served):
    client = served(token=TOKEN)
    with client.websocket_connect(STREAM) as socket:
        socket.send_json({"token": TOKEN})
        socket.send_bytes(PNG)
        assert socket.receive_json()["width"] == WIDTH
    headers = {"Authorization": b"Bearer " + TOKEN.encode()}
    with client.websocket_connect(STREAM, headers=headers) as socket:
        socket.send_bytes(PNG)
        assert socket.receive_json()["width"] == WIDTH


def test_there_are_no_more_streams_than_allowed(served):
    client = served(max_streams=1)
    with client.websocket_connect(STREAM) as first:
        first.send_bytes(PNG)
        first.receive_json()
        assert "jvcr_streams 1.0" in client.get("/metrics").text
        with client.websocket_connect(STREAM) as second:
            code, reason = closed_with(second)
        assert code == 1013 and "come again" in reason
    waits_until(lambda: "jvcr_streams 0.0" in client.get("/metrics").text)
    with client.websocket_connect(STREAM) as third:
        third.send_bytes(PNG)
        assert third.receive_json()["width"] == WIDTH


def test_silent_streams_are_closed(served):
    for token in (None, TOKEN):
        with served(token=token, max_seconds=0.2).websocket_connect(STREAM) as socket:
            code, reason = closed_with(socket)
        assert code == (1001 if token is None else 4401) and reason


@pytest.mark.parametrize("message", ["{}", "hello"])
def test_messages_without_frames_hold_no_stream(message, served):
    def talk(socket):
        for _ in range(1000):
            socket.send_text(message)
            assert "binary" in socket.receive_json()["detail"]
            time.sleep(0.05)

    with served(max_seconds=0.5).websocket_connect(STREAM) as socket, pytest.raises(WebSocketDisconnect) as closed:
        talk(socket)
    assert closed.value.code == 1001


def test_tokens_that_nobody_asked_for_hold_no_stream(served):
    with served(max_seconds=0.5).websocket_connect(STREAM) as socket:
        for _ in range(30):
            socket.send_text('{"token": "of a client that does not know"}')
            time.sleep(0.05)
        assert closed_with(socket)[0] == 1001


def test_a_stream_waits_for_room_in_the_queue(served, detector):
    client = served(threads=1, max_waiting=1, max_images=1)
    detector.gate.clear()
    threads = [threading.Thread(target=post, args=(client, PNG)) for _ in range(2)]
    for thread in threads:
        thread.start()
    waits_until(lambda: waiting_images(client) == 1)
    with client.websocket_connect(STREAM) as socket:
        socket.send_bytes(PNG)
        time.sleep(0.2)
        assert waiting_images(client) == 1
        detector.gate.set()
        assert socket.receive_json()["width"] == WIDTH
    for thread in threads:
        thread.join()


def test_a_frame_that_takes_too_long_ends_the_stream(served, detector):
    client = served(max_seconds=1.0)
    detector.gate.clear()
    with client.websocket_connect(STREAM) as socket:
        socket.send_bytes(PNG)
        assert closed_with(socket)[0] == 1013
    detector.gate.set()


# ---- on the wire


@pytest.fixture
def listening(landmarker):
    """Starts services on ports of their own; gives the port and the server."""
    running = []

    def start(token=None, threads=2, **limits):
        bounds = Limits(**limits)
        made = server.make_server(make_app(landmarker, threads, bounds, Access(token)), bounds)
        at = server._listening("127.0.0.1", 0)
        thread = threading.Thread(target=made.run, args=([at],))
        port = at.getsockname()[1]
        thread.start()
        waits_until(lambda: made.started)
        running.append((made, thread))
        return port, made

    yield start
    for made, thread in running:
        made.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def speak(port, *parts):
    """Sends parts, and gives all that comes back until the service hangs up."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                wire.sendall(part)
        with contextlib.suppress(ConnectionError):
            while piece := wire.recv(65536):
                heard += piece
    return heard


def drip(port, begin, part):
    """Sends a part again and again, until the service hangs up although there is more, and gives all that came back."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        end = time.monotonic() + 60
        with contextlib.suppress(ConnectionError):
            wire.sendall(begin)
            while True:
                assert time.monotonic() < end, "it goes on listening"
                wire.sendall(part)
                time.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            while piece := wire.recv(65536):
                heard += piece
    return heard


def request_of(body=PNG, more="", method="POST", route="/v1/landmarks", length=None):
    length = len(body) if length is None else length
    head = f"{method} {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    return f"{head}Content-Length: {length}\r\n{more}\r\n".encode() + body


def test_slow_heads_and_silence_are_hung_up_on(listening):
    port, _ = listening(max_seconds=0.5)
    assert speak(port) == b""
    assert speak(port, request_of()[:40]) == b""
    assert drip(port, request_of()[:40], b"a") == b""
    # Nor may a second head be slower than the first.
    assert drip(port, request_of(b"", method="GET", route="/healthz"), b"G").startswith(b"HTTP/1.1 200")


def test_slow_bodies_are_answered_with_408(listening):
    port, _ = listening(max_seconds=0.5)
    heard = drip(port, request_of(length=100_000), b"x")
    assert heard.startswith(b"HTTP/1.1 408") and b"0.5 s" in heard


def test_the_connection_goes_on_after_a_body_that_was_refused(listening):
    port, _ = listening(max_bytes=1_000_000)
    too_long = request_of(bytes(3_000_000))
    heard = speak(port, too_long + request_of(more="Connection: close\r\n"))
    assert heard.count(b"HTTP/1.1 413") == 1 and heard.count(b"HTTP/1.1 200") == 1


def test_endless_bodies_are_hung_up_on(listening):
    port, _ = listening(max_bytes=1000, max_seconds=0.5)
    head = request_of(b"", more="").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    heard = drip(port, head, b"3e8\r\n" + bytes(1000) + b"\r\n")
    # Where the answer is lost because the client still wrote, so be it.
    assert heard == b"" or heard.startswith(b"HTTP/1.1 413")


def is_refusal(heard, status):
    """Whether bytes of the wire are an answer of such a status, and as documented."""
    head, _, body = heard.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return start.split()[1].startswith(status.decode()) and has_the_shape(headers, body)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Long: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET / HTTP/1.1\r\n\r\n",
        request_of().replace(b"Content-Length: ", b"Content-Length: -"),
        request_of(more="Transfer-Encoding: chunked\r\n").replace(b"Content-Length", b"X"),
        b"GET / HTTP/x\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=["long head", "heads", "long path", "TLS", "no host", "length", "no chunks", "other HTTP", "half a handshake"],
)
def test_damaged_requests(request_bytes, listening, capfd, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    port, _ = listening()
    heard = speak(port, request_bytes)
    assert heard == b"" or is_refusal(heard, b"4"), heard
    assert tells_nothing(heard.decode("latin-1") + capfd.readouterr().err)
    assert speak(port, request_of(more="Connection: close\r\n")).startswith(b"HTTP/1.1 200")


def test_a_client_that_goes_away_leaves_nothing_behind(listening, capfd):
    port, made = listening()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as wire:
            wire.sendall(request_of()[:-100])
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    waits_until(lambda: not made.server_state.connections and not made.server_state.tasks)
    assert capfd.readouterr().err == ""


def test_connections_are_bounded(listening, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    port, made = listening()
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(socket.create_connection(("127.0.0.1", port)))
        waits_until(lambda: len(made.server_state.connections) == 3)
        heard = speak(port, request_of())
        assert heard == b"" or (is_refusal(heard, b"503") and b"Retry-After: 1" in heard)
    waits_until(lambda: speak(port, request_of(more="Connection: close\r\n")).startswith(b"HTTP/1.1 200"))


def test_what_was_taken_is_finished_before_the_end(listening, detector):
    port, made = listening()
    detector.gate.clear()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(speak(port, request_of())))
    thread.start()
    waits_until(lambda: detector.asked)
    made.should_exit = True
    waits_until(lambda: not made.servers or not made.servers[0].is_serving())
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    assert answers == []
    detector.gate.set()
    thread.join(60)
    assert answers[0].startswith(b"HTTP/1.1 200") and b'"faces":[{' in answers[0]


def test_streams_on_the_wire(listening, monkeypatch):
    client = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import ConnectionClosed

    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    port, made = listening(max_bytes=100_000)
    with client.connect(f"ws://127.0.0.1:{port}/v1/stream") as wire:
        for _ in range(4):  # for longer than a head may take
            wire.send(PNG)
            assert json.loads(wire.recv(timeout=60))["width"] == WIDTH
            time.sleep(0.2)
        made.should_exit = True
        with pytest.raises(ConnectionClosed) as closed:
            wire.recv(timeout=60)
        assert closed.value.rcvd.code == 1012

    port, _ = listening(max_bytes=100_000)
    with client.connect(f"ws://127.0.0.1:{port}/v1/stream") as wire:
        wire.send(bytes(100_001))
        with pytest.raises(ConnectionClosed) as closed:
            wire.recv(timeout=60)
        assert closed.value.rcvd.code == 1009


# ---- what is described is what is done


@pytest.mark.slow
def test_the_description_holds(landmarker):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis tries the description out")
    from hypothesis import HealthCheck, given, settings, strategies
    from hypothesis.errors import Unsatisfiable

    images = strategies.sampled_from([PNG, JPEG, encoded("WEBP"), encoded("GIF")])
    schemathesis.openapi.format("binary", images)
    for kind in ("image/*", "application/octet-stream"):
        schemathesis.openapi.media_type(kind, images)
    # No schema can say that the bytes of a form's file must be an image.
    accepted = {"positive_data_acceptance": {"expected-statuses": ["2xx", 400]}}
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json",
        make_app(landmarker, access=Access(hosts=("*",))),
        config=schemathesis.Config.from_dict({"checks": accepted}),
    )
    tried = []
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:

            @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def holds(case):
                tried.append(case.call_and_validate().status_code)

            with contextlib.suppress(Unsatisfiable):  # a route that takes nothing has no wrong requests
                holds()
    assert {200, 422} <= set(tried)
