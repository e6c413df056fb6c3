"""How quick the page of `jvcr page` is in headless Chromium: loading, a photograph, the camera at 640 x 480.

    python benchmarks/browser.py SITE [--seconds 10] [--screenshots FOLDER]

SITE is a folder that `jvcr page` wrote. The camera shows one photograph of one face, again and again. Needs Playwright
(`pip install "jvcr[dev]"`) and Chromium.
"""

import argparse
import functools
import http.server
import json
import shutil
import statistics
import tempfile
import threading
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "astronaut.png"

FOLLOWED = """async (frames) => {
    const { Landmarker } = await import("./jvcr.js");
    const landmarker = await Landmarker.load();
    const picture = await createImageBitmap(await (await fetch("sample.jpg")).blob());
    const canvas = new OffscreenCanvas(640, 480);
    const context = canvas.getContext("2d");
    const took = { detect: [], track: [] };
    for (let n = 0; n < frames; n++) {
        context.drawImage(picture, 64 + 20 * Math.sin(n / 5), 0, 480, 480);
        for (const task of ["detect", "track"]) {
            if (task === "detect" && n % 4) continue;
            const started = performance.now();
            await landmarker[task](canvas);
            took[task].push(performance.now() - started);
        }
    }
    return took;
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that keeps silent."""

    extensions_map = {  # noqa: RUF012
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_):
        """Nothing."""


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of the page: light, dark, phone")
    arguments = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(arguments.site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        parser.error("there is no Chromium on this machine: apt install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        video = Path(folder) / "camera.mjpeg"
        frame = np.full((480, 640, 3), 90, np.uint8)
        frame[:, 64:576] = cv2.imread(str(PHOTO))[:480]
        video.write_bytes(cv2.imencode(".jpg", frame)[1].tobytes() * 10)
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        camera.append(f"--use-file-for-fake-video-capture={video}")
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu", *camera])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        loading = page.evaluate(
            "async () => { const started = performance.now(); const { Landmarker } = await import('./jvcr.js');"
            " await Landmarker.load(); return performance.now() - started; }"
        )
        took = page.evaluate(FOLLOWED, 60)
        figures = {"load_ms": round(loading)}
        figures |= {f"{task}_ms": round(statistics.median(times[3:]), 1) for task, times in took.items()}
        page.reload()
        page.wait_for_function("document.querySelector('#status').textContent.includes('Ready')")
        page.click("#camera")
        page.wait_for_function("document.querySelector('#rate').textContent.includes('second')")
        page.wait_for_timeout(1000 * arguments.seconds)
        figures["camera_frames_a_second"] = float(page.inner_text("#rate").split()[0])
        print(json.dumps(figures))
        if arguments.screenshots:
            shoot(browser, address, arguments.screenshots)
        browser.close()


def shoot(browser, address, folder):
    """Pictures of the page with the sample photograph."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, options in {
        "light": {"viewport": {"width": 1280, "height": 900}},
        "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
        "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "device_scale_factor": 2},
    }.items():
        page = browser.new_context(reduced_motion="reduce", **options).new_page()
        page.goto(address)
        page.click("#sample")
        page.wait_for_function("document.querySelector('#status').textContent.includes('1 face')")
        page.wait_for_timeout(500)
        page.screenshot(path=str(folder / f"{name}.png"), full_page=name == "phone")


if __name__ == "__main__":
    main()
