"""``jvcr page``."""

from __future__ import annotations

from pathlib import Path


def page(*, out: Path, weights: tuple[str, ...] = ("compact", "nano"), webgpu: bool = False) -> int:
    """Write a page that finds landmarks in the visitor's browser, for any web server that serves files.

    The folder holds all that is needed: networks, the runtime for them, the page, and jvcr.js for pages of your own
    (example.html). Nothing in it has the address of another host, and pictures do not leave the browser. It works under
    any path, and offline once it is loaded.

        jvcr page --out site
        python -m http.server --directory site

    The runtime, two files of onnxruntime-web, comes with jvcr's wheel; in a checkout npm fetches it the first time.

    Parameters
    ----------
    out
        Folder for the page; it must not be there yet, or be empty.
    weights
        A shipped name or an ONNX file; may be repeated. The first is for photographs, the last for the camera.
    webgpu
        Add the runtime that computes on GPUs, too (27 MB, fetched by npm). A visitor's browser then finds out whether
        its GPU is quicker, which pays for larger networks than those that ship.
    """
    from jvcr.web.page import write_page

    write_page(out, weights, webgpu)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"a page of {size / 1e6:.1f} MB in {out}")
    print(f"look at it: python -m http.server --directory {out}")
    return 0
