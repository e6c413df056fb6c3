"""The page of `jvcr serve` in a real browser, with the shipped weights."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image

import jvcr
from jvcr.geometry.pose import HeadPose, euler_to_rotation
from jvcr.geometry.visibility import hidden_landmarks
from jvcr.viz.landmarks import depth_colors
from jvcr.web.runtime import find_runtime

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'jvcr[serve]'")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install 'jvcr[dev]'")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Download, Page

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
ASTRONAUT = EXAMPLES / "astronaut.png"

PATIENCE_MS = 60_000
"""For what takes a second on an idle machine."""

RAMP = np.array([[214, 38, 70], [250, 172, 48], [54, 208, 184]], np.float64)
"""Colours of confidence 0.2, 0.5 and 0.8."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a service that runs as long as this module's tests."""
    service = subprocess.Popen(
        [sys.executable, "-m", "jvcr", "serve", "--port", "0", "--threads", "2"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert service.stdout is not None
        told = service.stdout.readline()
        found = re.search(r"http://\S+/", told)
        assert found, f"the service did not start: {told!r}"
        yield found[0]
    finally:
        service.terminate()
        service.wait(timeout=60)


@dataclass
class Opened:
    """A page, what it asked for and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def drop(self, path: Path, name: str = "") -> None:
        """Drops a file onto the picture, as a mouse would."""
        data = base64.b64encode(path.read_bytes()).decode()
        kind = {".png": "image/png", ".jpg": "image/jpeg"}.get(path.suffix, "text/plain")
        self.page.evaluate(
            """([data, name, type]) => {
                const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([bytes], name, { type }));
                for (const kind of ["dragenter", "dragover", "drop"]) {
                    const event = new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true });
                    document.querySelector("#photo").dispatchEvent(event);
                }
            }""",
            [data, name or path.name, kind],
        )

    def wait_for(self, status: str) -> str:
        """Until the page says so; gives all it says."""
        told = self.page.locator("#status")
        playwright.expect(told).to_contain_text(status)
        return told.inner_text()

    def pixels(self, canvas: str) -> np.ndarray:
        """(h, w, 4) what a canvas shows."""
        url = self.page.evaluate("(id) => document.getElementById(id).toDataURL()", canvas)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"))

    def frame(self) -> tuple[float, float, float]:
        """Where the picture's corner lies on its canvas, and the size of its pixels there."""
        x0, y0, scale = map(float, (self.page.get_attribute("#photo", "data-frame") or "").split())
        return x0, y0, scale

    def saved(self, kind: str) -> str:
        """What a download holds."""
        with self.page.expect_download() as waiting:
            self.page.click(f"#save-{kind}")
        download: Download = waiting.value
        assert download.suggested_filename.endswith(f".{kind}")
        return download.path().read_text(encoding="utf-8")


@pytest.fixture
def opened(chromium: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """The page, freshly opened and without motion; afterwards: it asked nobody else, and nothing went wrong."""
    options = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | getattr(request, "param", {})
    playwright.expect.set_options(timeout=PATIENCE_MS)
    context = chromium.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    result = Opened(context.new_page())
    context.on("request", lambda asked: result.requests.append(asked.url))
    result.page.on("websocket", lambda socket: result.requests.append(socket.url))
    # A browser writes down answers of 400 and more by itself; what the page says then is tested.
    result.page.on(
        "console",
        lambda told: (
            told.type in ("error", "warning")
            and not told.text.startswith("Failed to load resource")
            and result.complaints.append(told.text)
        ),
    )
    result.page.on("pageerror", lambda error: result.complaints.append(str(error)))
    result.page.goto(f"{address}?by=service")
    result.wait_for("Ready")
    yield result
    context.close()
    host = address.partition("://")[2]
    elsewhere = [url for url in result.requests if url.partition("://")[2].partition("/")[0] + "/" != host]
    assert [url for url in elsewhere if not url.startswith(("blob:", "data:"))] == []
    assert result.complaints == []


@pytest.fixture(scope="module")
def face() -> jvcr.Face:
    (face,) = jvcr.Landmarker()(ASTRONAUT)
    return face


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The faces of both photographs side by side."""
    left, right = cv2.imread(str(ASTRONAUT)), cv2.imread(str(EXAMPLES / "grace_hopper.jpg"))
    right = cv2.resize(right, (437, 512), interpolation=cv2.INTER_AREA)
    left, right = left[:320, 90:400], right[:320, 40:400]
    path = tmp_path_factory.mktemp("pictures") / "two.jpg"
    cv2.imwrite(str(path), np.hstack([left, right]))
    return path


def color_of(confidence: float) -> np.ndarray:
    place = np.clip((confidence - 0.2) / 0.6, 0, 1) * 2
    return np.array([np.interp(place, [0, 1, 2], RAMP[:, channel]) for channel in range(3)])


@pytest.mark.parametrize("opened", [{}, {"device_scale_factor": 2}], indirect=True, ids=["plain", "fine screen"])
def test_a_dropped_photo_shows_68_points_where_they_belong(opened: Opened, face: jvcr.Face) -> None:
    opened.drop(ASTRONAUT)
    opened.wait_for("1 face in astronaut.png")
    assert opened.page.inner_text("#faces tr td:nth-child(2)") == f"{face.yaw:.1f}°".replace("-", "−")
    finer = opened.page.evaluate("devicePixelRatio")
    colors, hidden = depth_colors(face).astype(float), hidden_landmarks(face.points, jvcr.FACE68)  # as `jvcr predict`
    ends = np.array(jvcr.FACE68.edges)
    depths = face.points[:, 2].copy()  # a dot lies on all lines that end in it
    np.minimum.at(depths, ends, face.points[ends, 2].mean(1, keepdims=True))
    for near in (True, False):  # the face from near, which is shown first, and the whole picture
        shown = opened.pixels("photo")
        width = opened.page.evaluate("document.getElementById('photo').clientWidth")
        assert shown.shape[1] == width * finer
        x0, y0, scale = opened.frame()
        places = (face.points[:, :2] + 0.5) * scale + (x0, y0)
        assert (places > 0).all() and (places < (shown.shape[1], shown.shape[0])).all()
        apart = (11 if near else 4) * finer  # from here on no later dot covers this one
        covers = (np.linalg.norm(places[:, None] - places, axis=2) < apart) & (depths <= depths[:, None])
        free = np.flatnonzero((covers.sum(1) == 1) & ~hidden)
        assert len(free) >= 40
        for n in free:
            # Its middle, and on the fine screen what lies around it in the dot: half a pixel of the picture would show.
            reach = 4 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]] if near and finer == 2 else [[0, 0]])
            x, y = (places[n] + reach).astype(int).T
            seen = shown[y, x, :3].astype(np.float64)
            assert np.abs(seen - colors[n]).max() < (30 if near else 45), n
        if near:
            assert np.ptp(places[:, 1]) > 0.4 * shown.shape[0]
            opened.page.click("#whole")
            playwright.expect(opened.page.locator("#whole")).to_have_attribute("aria-pressed", "true")
    assert scale == pytest.approx(min(shown.shape[1], shown.shape[0]) / 512, abs=1e-3)


def test_the_colours_are_those_of_confidence_where_asked_for(opened: Opened, face: jvcr.Face) -> None:
    opened.drop(ASTRONAUT)
    opened.wait_for("1 face")
    legend = opened.page.locator("#drop .scale")
    assert legend.inner_text().split() == ["near", "far"]
    by_depth = opened.pixels("photo"), opened.pixels("shape")
    opened.page.click("#confidence")
    assert legend.inner_text().split() == ["0.2", "0.8"]
    shown = opened.pixels("photo")
    x0, y0, scale = opened.frame()
    for n in (30, 8, 19):  # the nose's tip, the chin, a brow
        x, y = ((face.points[n, :2] + 0.5) * scale + (x0, y0)).astype(int)
        assert np.abs(shown[y, x, :3] - color_of(face.confidence[n])).max() < 30
    opened.page.click("#confidence")
    assert all((opened.pixels(view) == before).all() for view, before in zip(("photo", "shape"), by_depth, strict=True))


def test_hidden_landmarks_are_those_of_the_command_line(opened: Opened, face: jvcr.Face) -> None:
    """`jvcr predict` draws them thin and faded, too."""
    scheme = jvcr.FACE68.to_dict()
    points = face.points - face.points.mean(0)
    differing = numbers = 0
    for yaw in range(-180, 180, 15):
        for pitch in (-30, 0, 20):
            turned = points @ euler_to_rotation(HeadPose(float(yaw), float(pitch), 0.0)).T
            found = opened.page.evaluate(
                "async ([points, scheme]) => (await import('./view.js')).hiddenOf(points, scheme)",
                [turned.tolist(), json.loads(json.dumps(scheme))],
            )
            expected = hidden_landmarks(turned, jvcr.FACE68)
            differing += (np.array(found) != expected).sum()
            numbers += expected.size
            if abs(yaw) == 60:
                assert 8 < sum(found) < 40
    assert differing < 0.01 * numbers  # where four points lie on a circle their triangles can be drawn in two ways


def test_a_photo_lying_on_its_side_is_shown_and_measured_upright(
    opened: Opened, face: jvcr.Face, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter turn clockwise makes it upright
    upright = Image.open(ASTRONAUT).convert("RGB").crop((0, 0, 512, 400))
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    opened.drop(tmp_path / "turned.jpg")
    opened.wait_for("1 face in turned.jpg")
    opened.page.click("#whole")
    x0, y0, scale = opened.frame()
    shown = opened.pixels("photo")
    warp_crop = shown[round(y0) : round(y0 + 400 * scale), round(x0) : round(x0 + 512 * scale), :3]
    small = [
        cv2.resize(np.asarray(p), (64, 50), interpolation=cv2.INTER_AREA).astype(float) for p in (warp_crop, upright)
    ]
    assert np.abs(small[0] - small[1]).mean() < 6
    answer = json.loads(opened.saved("json"))
    assert (answer["width"], answer["height"]) == (512, 400)
    np.testing.assert_allclose(np.array(answer["faces"][0]["points"])[:, :2], face.points[:, :2], atol=3)


def test_the_face_and_its_volume_turn_together(opened: Opened) -> None:
    opened.drop(ASTRONAUT)
    opened.wait_for("1 face")
    views = ("shape", "volume")

    def seen() -> list[bytes]:
        return [opened.pixels(view).tobytes() for view in views]

    def differ(first: list[bytes], second: list[bytes]) -> bool:
        return all(a != b for a, b in zip(first, second, strict=True))

    start = seen()
    for view in views:
        coloured = np.ptp(opened.pixels(view)[..., :3].astype(int), axis=2) > 60
        assert coloured.sum() > {"shape": 1000, "volume": 8000}[view]
        box = opened.page.locator(f"#{view}").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        opened.page.mouse.move(x, y)
        opened.page.mouse.down()
        opened.page.mouse.move(x + 60, y + 10, steps=4)
        dragged = seen()
        opened.page.mouse.up()
        assert differ(dragged, start)
        opened.page.mouse.move(x - 60, y)
        assert seen() == dragged  # the button is up: it stays as it is
        opened.page.focus(f"#{view}")
        for key in ("ArrowLeft", "ArrowUp", "+"):
            before = seen()
            opened.page.keyboard.press(key)
            assert differ(seen(), before), key
        opened.page.keyboard.press("0")
        assert seen() == start
    for button in ("front", "side"):
        opened.page.click(f"#{button}")
        assert differ(seen(), start)
    opened.page.click("#rest")
    assert seen() == start


def test_a_text_file_is_refused_in_words(opened: Opened, tmp_path: Path) -> None:
    opened.drop(ASTRONAUT)
    opened.wait_for("1 face")
    (tmp_path / "notes.txt").write_text("Dear diary, ...")
    opened.drop(tmp_path / "notes.txt")
    told = opened.wait_for("notes.txt: not an image")
    assert "JPEG" in told and told.endswith(".")
    assert "bad" in (opened.page.get_attribute("#status", "class") or "")
    assert not opened.page.is_visible("#results")
    assert opened.page.is_visible("#empty")
    (tmp_path / "nothing.txt").write_text("")
    opened.drop(tmp_path / "nothing.txt")
    opened.wait_for("nothing.txt is empty.")


def test_a_picture_without_a_face_and_one_that_is_too_large(opened: Opened, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((300, 500, 3), 90, np.uint8))
    opened.drop(tmp_path / "wall.png")
    opened.wait_for("No face was found in wall.png")
    assert not opened.page.is_visible("#results")
    assert opened.pixels("photo")[200, 200].tolist() == [90, 90, 90, 255]
    large = cv2.resize(cv2.imread(str(ASTRONAUT)), (2000, 2400)).astype(int)
    large = (large + np.random.default_rng(1).integers(0, 50, large.shape)).clip(0, 255).astype(np.uint8)  # over 10 MB
    cv2.imwrite(str(tmp_path / "large.png"), large, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    opened.page.set_input_files("#file", tmp_path / "large.png")
    opened.wait_for(" in large.png, ")
    opened.wait_for("sent as a JPEG of 2000 × 2400 pixels")


def test_several_faces(opened: Opened, two_faces: Path) -> None:
    opened.page.set_input_files("#file", two_faces)
    opened.wait_for("2 faces in two.jpg")
    buttons = opened.page.locator("#faces button")
    assert [b.get_attribute("aria-pressed") for b in buttons.all()] == ["true", "false"]
    answer = json.loads(opened.saved("json"))
    x0, y0, scale = opened.frame()
    x, y = np.mean(answer["faces"][1]["points"], axis=0)[:2] * scale + (x0, y0)
    before = opened.pixels("shape")
    opened.page.click("#photo", position={"x": x, "y": y})
    assert [b.get_attribute("aria-pressed") for b in buttons.all()] == ["false", "true"]
    assert opened.page.inner_text("#pose").startswith("Face 2: ")
    assert (opened.pixels("shape") != before).any()
    buttons.nth(0).click()
    assert (opened.pixels("shape") == before).all()


def test_downloads(opened: Opened, face: jvcr.Face) -> None:
    opened.drop(ASTRONAUT)
    opened.wait_for("1 face")
    answer = json.loads(opened.saved("json"))
    assert (answer["width"], answer["height"]) == (512, 512)
    (found,) = (jvcr.Face.from_dict(f) for f in answer["faces"])
    np.testing.assert_allclose(found.points, face.points, atol=0.05)
    rows = list(csv.DictReader(io.StringIO(opened.saved("csv"))))
    assert [(row["face"], int(row["landmark"])) for row in rows] == [("1", n) for n in range(68)]
    points = np.array([[float(row[axis]) for axis in "xyz"] for row in rows])
    np.testing.assert_allclose(points, found.points, atol=1e-4)
    np.testing.assert_allclose([float(row["confidence"]) for row in rows], found.confidence, atol=1e-4)
    lines = opened.saved("obj").splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    np.testing.assert_allclose(vertices * (1, -1, -1), found.points, atol=1e-4)
    joined = {int(n) for line in lines if line.startswith("l ") for n in line.split()[1:]}
    assert joined == set(range(1, 69))


def test_the_camera(opened: Opened) -> None:
    opened.page.click("#camera")
    opened.wait_for("The camera is on: 1 face.")
    playwright.expect(opened.page.locator("#rate")).to_contain_text(re.compile(r"\d pictures a second"))
    playwright.expect(opened.page.locator("#faces tr")).to_have_count(1)
    # Now and then the volume of a picture is asked for, too.
    with opened.page.expect_response("**/v1/landmarks?volume=true") as answered:
        assert answered.value.ok
    end = time.monotonic() + PATIENCE_MS / 1000
    while (np.ptp(opened.pixels("volume")[..., :3].astype(int), axis=2) > 60).sum() <= 8000:
        assert time.monotonic() < end
        opened.page.wait_for_timeout(50)
    opened.page.click("#whole")
    opened.page.wait_for_function("() => document.getElementById('photo').dataset.frame.split(' ')[2] > 1.5")
    opened.page.click("#camera")
    opened.wait_for("The camera is off. 1 face in its last picture")
    assert opened.page.inner_text("#camera") == "Use the camera"
    assert not opened.page.is_visible("#rate")
    assert opened.page.evaluate("document.getElementById('video').srcObject") is None
    assert any(url.endswith("/v1/stream") for url in opened.requests)


def test_a_camera_that_is_not_there(opened: Opened) -> None:
    opened.page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }; }"
    )
    opened.page.click("#camera")
    opened.wait_for("The camera cannot be used: there is none.")


def test_pasting(opened: Opened) -> None:
    paste = """(data) => {
        const clipboardData = new DataTransfer();
        const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
        if (data) clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
        document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
    }"""
    opened.page.evaluate(paste, base64.b64encode(ASTRONAUT.read_bytes()).decode())
    opened.wait_for("1 face in the pasted picture")
    opened.page.evaluate(paste, "")
    opened.wait_for("There is no picture on the clipboard.")


def test_the_keyboard_alone_is_enough(opened: Opened) -> None:
    def reached() -> str:
        opened.page.keyboard.press("Tab")
        return opened.page.evaluate("document.activeElement.id || document.activeElement.tagName.toLowerCase()")

    assert [reached(), reached()] == ["choose", "sample"]
    opened.page.keyboard.press("Enter")
    opened.wait_for("1 face in the sample")
    expected = [
        "camera",
        *(["where"] if find_runtime() is not None else []),
        "confidence",
        "whole",
        "shape",
        "front",
        "rest",
        "side",
        "volume",
        "save-json",
        "save-csv",
        "save-obj",
    ]
    expected += ["button", "summary", "summary", "body"]
    assert [reached() for _ in expected] == expected


@pytest.mark.parametrize(
    "opened", [{"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}], indirect=True
)
def test_a_phone_is_wide_enough(opened: Opened, two_faces: Path, tmp_path: Path) -> None:
    def overflow() -> int:
        return opened.page.evaluate("document.documentElement.scrollWidth") - 390

    assert overflow() <= 0
    opened.drop(two_faces, "a_name_without_any_place_to_break_" * 4 + ".jpg")
    opened.wait_for("2 faces")
    for summary in opened.page.locator("summary").all():
        summary.click()
    assert overflow() <= 0
    for button in opened.page.locator("button:visible").all():
        box = button.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 30
    (tmp_path / "notes.txt").write_text("Dear diary, ...")
    opened.drop(tmp_path / "notes.txt")
    opened.wait_for("notes.txt: not an image")
    assert overflow() <= 0


def test_a_token_is_asked_for(opened: Opened) -> None:
    def guard(route) -> None:
        if route.request.headers.get("authorization") == "Bearer sesame":
            route.continue_()
        else:
            route.fulfill(status=401, json={"detail": "send the service's token"})

    opened.page.route("**/v1/landmarks*", guard)
    opened.page.click("#sample")
    opened.wait_for("This service asks for a token.")
    for token, told in (("open", "This token is not the service's."), ("sesame", "1 face in the sample")):
        opened.page.keyboard.type(token)  # the field has the focus
        opened.page.keyboard.press("Enter")
        opened.wait_for(told)
        opened.page.fill("#token", "") if token == "open" else None
    assert not opened.page.is_visible("#token")


def test_a_service_that_is_gone(opened: Opened) -> None:
    opened.page.route("**/v1/landmarks*", lambda route: route.abort())
    opened.page.click("#sample")
    opened.wait_for("The service does not answer. Is it still running?")


def test_the_picture_that_came_last_is_shown(opened: Opened, two_faces: Path) -> None:
    held = []
    opened.page.route("**/v1/landmarks*", lambda route: route.continue_() if held else held.append(route))
    opened.drop(two_faces)
    opened.wait_for("Looking at two.jpg")
    opened.page.wait_for_function("() => document.getElementById('drop').classList.contains('busy')")
    while not held:
        opened.page.wait_for_timeout(20)
    opened.drop(ASTRONAUT)
    opened.wait_for("1 face in astronaut.png")
    with opened.page.expect_response("**/v1/landmarks*"):
        held[0].continue_()
    opened.page.wait_for_timeout(100)
    opened.wait_for("1 face in astronaut.png")
    assert opened.page.locator("#faces tr").count() == 1
