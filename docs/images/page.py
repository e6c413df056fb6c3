"""Draws page.jpg and page-dark-phone.jpg: the page of `jvcr serve` with a photograph, in Chromium.

python docs/images/page.py
"""

from __future__ import annotations

import io
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

HERE = Path(__file__).parent
PHOTO = HERE.parents[1] / "examples" / "astronaut.png"
SETTLED_MS = 2500
"""Until the view has glided to the face and the face has turned."""


def opened(browser: Browser, address: str, width: int, height: int, dark: bool, finer: float) -> Page:
    """The page at this size, with the photograph in it."""
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        device_scale_factor=finer,
        is_mobile=width < 500,
        has_touch=width < 500,
    )
    page.goto(address)
    page.set_input_files("#file", PHOTO)
    expect(page.locator("#status")).to_contain_text("1 face")
    page.wait_for_timeout(SETTLED_MS)
    return page


def save(page: Page, name: str, width: int, below: str) -> None:
    """Writes what the page shows, down to the end of an element, as a picture of this width."""
    box = page.locator(below).bounding_box()
    assert box is not None and page.viewport_size is not None
    page.set_viewport_size({"width": page.viewport_size["width"], "height": math.ceil(box["y"] + box["height"]) + 4})
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    height = round(picture.height * width / picture.width)
    picture.resize((width, height), Image.Resampling.LANCZOS).save(HERE / name, quality=86, optimize=True)


def main() -> None:
    """Writes both pictures beside this file."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    expect.set_options(timeout=60_000)
    service = subprocess.Popen(
        [sys.executable, "-m", "jvcr", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert service.stdout is not None
        found = re.search(r"http://\S+/", service.stdout.readline())
        assert found, "the service did not start"
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            save(opened(browser, found[0], 1200, 800, dark=False, finer=2), "page.jpg", 1200, "#results table")
            phone = opened(browser, found[0], 390, 844, dark=True, finer=2)
            save(phone, "page-dark-phone.jpg", 390, "figure:nth-of-type(3)")
            browser.close()
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()
