"""The folder of `jvcr page` in a real browser: the numbers of Python, and what the page does and says."""

from __future__ import annotations

import base64
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jvcr import Landmarker
from jvcr.inference.tracker import Tracker
from jvcr.web.page import write_page
from jvcr.web.runtime import WEBGPU_FILES, find_runtime

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install 'jvcr[dev]'")

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS = (EXAMPLES / "astronaut.png", EXAMPLES / "grace_hopper.jpg")
PATIENCE_MS = 60_000

LOAD = "async () => { const { Landmarker } = await import('./jvcr.js'); window.landmarker = await Landmarker.load(); }"
BITMAP = "const image = new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], { type: 'image/png' });"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """A plain file server, with the types that browsers insist on."""

    extensions_map = {  # noqa: RUF012 (as the class above has it)
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page, with all runtimes, below a path of its own."""
    if find_runtime(WEBGPU_FILES) is None and shutil.which("npm") is None:
        pytest.skip("no npm, which fetches what runs networks in browsers")
    root = tmp_path_factory.mktemp("host")
    write_page(root / "some" / "path", webgpu=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/some/path/"
    server.shutdown()


@pytest.fixture
def page(chromium: Any, site: str) -> Iterator[Any]:
    """A blank page of the site; afterwards: it asked nobody else, and nothing went wrong."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    asked: list[str] = []
    complaints: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    opened = context.new_page()
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(f"{site}jvcr.d.ts")
    yield opened
    context.close()
    assert [
        url for url in asked if not url.startswith((site, "blob:", "data:", site.partition("some")[0] + "favicon"))
    ] == []
    assert complaints == []


def png(image: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()


def turned(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photograph at another size, angle, place and light."""
    height, width = photo.shape[:2]
    side = int(rng.integers(360, 900)), int(rng.integers(360, 900))
    scale = rng.uniform(0.5, 0.95) * min(side) / max(height, width)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-180, 180), scale)
    matrix[:, 2] += (side[0] / 2 - width / 2, side[1] / 2 - height / 2)
    small = cv2.warpAffine(photo, matrix, side, flags=cv2.INTER_AREA, borderValue=(90, 90, 90))
    return np.clip(small * rng.uniform(0.4, 1.2), 0, 255).astype(np.uint8)


def test_the_numbers_are_those_of_python(page: Any) -> None:
    page.evaluate(LOAD)
    landmarker, rng = Landmarker(threads=1), np.random.default_rng(5)
    faces = 0
    for number in range(60):
        image = turned(cv2.imread(str(PHOTOS[number % 2])), rng)
        expected = landmarker(cv2.imencode(".png", image)[1].tobytes())
        script = f"async (data) => {{ {BITMAP} return landmarker.detect(image); }}"
        answer = page.evaluate(script, png(image))
        assert (answer["width"], answer["height"]) == image.shape[1::-1]
        found = answer["faces"]
        assert len(found) == len(expected), f"picture {number}"
        for face, other in zip(expected, found, strict=True):
            written = face.to_dict()
            assert written.keys() == other.keys()
            np.testing.assert_allclose(other["box"], written["box"], atol=0.02)
            assert other["score"] == pytest.approx(written["score"], abs=0.002)
            apart = np.abs(np.array(other["points"]) - written["points"]).max()
            if written["score"] < 0.98:  # hardly a face: the network does not know where its landmarks are
                assert apart <= 1
                continue
            faces += 1
            assert apart <= 0.02, f"picture {number}"
            shares = {"confidence": 0.005, "expected_error": 0.1, "eye_open": 0.01, "rotation": 0.002}
            for key, tolerance in shares.items():
                np.testing.assert_allclose(other[key], written[key], atol=tolerance, err_msg=key)
            for key, tolerance in {"yaw": 0.05, "pitch": 0.05, "mouth_open": 0.01}.items():
                assert other[key] == pytest.approx(written[key], abs=tolerance), key
    assert faces >= 50


def test_a_gpu_gives_the_same_landmarks(page: Any) -> None:
    if not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
        pytest.skip("this Chromium imitates no GPU")
    script = """async (webgpu) => {
        const { Landmarker } = await import("./jvcr.js");
        const landmarker = await Landmarker.load(undefined, { weights: "nano", webgpu });
        const blob = await (await fetch("sample.jpg")).blob();
        return { device: landmarker.device, faces: (await landmarker.detect(blob)).faces };
    }"""
    on_gpu, by_itself = page.evaluate(script, True), page.evaluate(script, "auto")
    assert (on_gpu["device"], by_itself["device"]) == ("gpu", "cpu")  # an imitated one is never quicker
    (face,), (other,) = on_gpu["faces"], by_itself["faces"]
    np.testing.assert_allclose(face["points"], other["points"], atol=0.02)


def test_given_boxes_and_volumes(page: Any) -> None:
    page.evaluate(LOAD)
    image, landmarker = cv2.imread(str(PHOTOS[0])), Landmarker(threads=1)
    boxes = [[150.0, 50.0, 300.0, 220.0], [160.0, 60.0, 300.0, 210.0, 8.0]]
    for box, kind in ((boxes[0], "detector"), (boxes[0], "landmarks"), (boxes[1], "detector")):
        faces, volumes, crops = landmarker.volumes(image[:, :, ::-1].copy(), [box], kind)
        script = f"""async ([data, box, boxKind]) => {{ {BITMAP}
            const {{ faces: [face] }} = await landmarker.detect(image, {{ boxes: [box], boxKind, volumes: true }});
            return {{ ...face, volume: {{ ...face.volume, data: Array.from(face.volume.data) }} }}; }}"""
        face = page.evaluate(script, [png(image), box, kind])
        np.testing.assert_allclose(face["points"], faces[0].points, atol=0.02)
        assert face["score"] is None
        depth, height, width = volumes[0].shape
        assert face["volume"]["shape"] == [depth, height, width]
        shown = np.array(face["volume"]["data"]).reshape(depth, height, width) / 255
        np.testing.assert_allclose(shown, volumes[0].clip(0, 1), atol=0.01)
        last = np.array(face["volume"]["to_image"]) @ [width - 1, height - 1, depth - 1, 1]
        np.testing.assert_allclose(last, crops[0].to_image(1 - 1 / np.array([width, height, depth])), atol=0.05)


def test_faces_of_a_video_are_followed_as_in_python(page: Any) -> None:
    """A face that moves, one that comes, a cut."""
    page.evaluate(LOAD)
    one, other = (cv2.resize(cv2.imread(str(photo)), (300, 300)) for photo in PHOTOS)
    tracker = Tracker(Landmarker(threads=1))
    apart: list[float] = []
    turned_apart: list[float] = []
    for number in range(24):
        frame = np.full((480, 640, 3), 90, np.uint8)
        if number < 18:
            frame[40:340, 10 + 3 * number : 310 + 3 * number] = one
        if number >= 8:
            frame[150:450, 335:635] = other
        time_s = number / 8
        expected = tracker(frame[:, :, ::-1].copy(), time_s)
        script = f"async ([data, time]) => {{ {BITMAP} return landmarker.track(image, {{ time }}); }}"
        faces = page.evaluate(script, [png(frame), time_s])["faces"]
        assert [face["id"] for face in faces] == [face.id for face in expected], f"frame {number}"
        for face, truth in zip(faces, expected, strict=True):
            apart.append(np.abs(np.array(face["points"]) - truth.points).max())
            turned_apart.append(abs(face["yaw"] - truth.yaw))
    # Each frame's crop follows from the landmarks before, so last digits add up while a face is covered.
    for distances in (apart, turned_apart):
        assert np.median(distances) <= 0.02 and max(distances) <= 2
    assert len({face.id for face in expected}) == 1 and tracker.landmarker is not None


def test_the_page_works_without_the_network(page: Any, site: str) -> None:
    page.goto(site)
    status = page.locator("#status")
    playwright.expect(status).to_contain_text("Ready", timeout=PATIENCE_MS)
    assert "nothing is sent" in page.inner_text("#promise")
    assert page.locator("#where-label").is_hidden()  # there is no service
    page.click("#sample")
    playwright.expect(status).to_contain_text("1 face in the sample", timeout=PATIENCE_MS)
    page.context.set_offline(True)
    page.set_input_files("#file", str(PHOTOS[1]))
    playwright.expect(status).to_contain_text("1 face in grace_hopper.jpg", timeout=PATIENCE_MS)
    (face,) = Landmarker(threads=1)(PHOTOS[1])
    assert page.inner_text("#faces tr td:nth-child(2)") == f"{face.yaw:.1f}°".replace("-", "−")
    assert page.evaluate("document.getElementById('volume').toDataURL().length") > 5000


def test_what_goes_wrong_is_told_in_words(page: Any, site: str, tmp_path: Path) -> None:
    page.goto(site)
    status = page.locator("#status")
    playwright.expect(status).to_contain_text("Ready", timeout=PATIENCE_MS)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((300, 400, 3), 120, np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_text("")
    for name, words in {"grey": "No face was found", "text": "is not an image", "empty": "is empty"}.items():
        page.set_input_files("#file", str(tmp_path / f"{name}.png"))
        playwright.expect(status).to_contain_text(words, timeout=PATIENCE_MS)
    refused = "Promise.reject(new DOMException('no', 'NotAllowedError'))"
    page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = () => {refused}; }}")
    page.click("#camera")
    playwright.expect(status).to_contain_text("The camera cannot be used: it was not allowed")


def test_a_browser_without_webassembly(chromium: Any, site: str) -> None:
    context = chromium.new_context()
    context.add_init_script("delete globalThis.WebAssembly;")
    opened = context.new_page()
    opened.goto(site)
    playwright.expect(opened.locator("#status")).to_contain_text("no WebAssembly", timeout=PATIENCE_MS)
    context.close()


def test_networks_that_cannot_be_fetched(chromium: Any, site: str) -> None:
    context = chromium.new_context()
    context.route("**/models/*.onnx", lambda route: route.fulfill(status=404))
    opened = context.new_page()
    opened.goto(site)
    playwright.expect(opened.locator("#status")).to_contain_text(".onnx cannot be fetched: 404", timeout=PATIENCE_MS)
    context.close()


def test_memory_that_is_short(chromium: Any, site: str) -> None:
    failing = """export class Landmarks {
        constructor(run, info) { this.info = info; }
        async faces() { throw new RangeError("Array buffer allocation failed"); }
    }"""
    context = chromium.new_context()
    context.route("**/landmarks.js", lambda route: route.fulfill(body=failing, content_type="text/javascript"))
    opened = context.new_page()
    opened.goto(site)
    playwright.expect(opened.locator("#status")).to_contain_text("Ready", timeout=PATIENCE_MS)
    opened.click("#sample")
    playwright.expect(opened.locator("#status")).to_contain_text("too little memory", timeout=PATIENCE_MS)
    context.close()


def test_the_camera_is_followed_live(page: Any, site: str) -> None:
    page.goto(site)
    status = page.locator("#status")
    playwright.expect(status).to_contain_text("Ready", timeout=PATIENCE_MS)
    page.click("#camera")
    playwright.expect(status).to_contain_text("The camera is on: 1 face", timeout=PATIENCE_MS)
    playwright.expect(page.locator("#rate")).to_contain_text("pictures a second")
    page.wait_for_timeout(3000)
    assert float(page.inner_text("#rate").split()[0]) > 5  # what an idle machine does is in docs/browser.md
    assert page.inner_text("#faces button") == "1"
    page.click("#camera")
    playwright.expect(status).to_contain_text("The camera is off. 1 face in its last picture", timeout=PATIENCE_MS)


def test_the_example_of_ten_lines(page: Any, site: str) -> None:
    page.goto(f"{site}example.html")
    page.wait_for_function("document.querySelector('#told').textContent.includes('mouth_open')")
