"""The documentation as a site: whole, and without anything from elsewhere."""

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))

LOADED = {"script", "link", "img", "iframe", "source", "video", "audio", "object", "embed", "use"}
"""Elements whose address a browser fetches without being asked to."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if not PAGES:
        pytest.skip("the pages are in clones of the repository alone")
    for module in ("mkdocs", "material", "mkdocstrings"):
        if find_spec(module) is None:
            pytest.skip(f'{module} is not installed: pip install "jvcr[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Addresses(HTMLParser):
    """What a page loads, what it links to, and which places in it can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.loaded, self.links, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids.add(attributes.get("id"))
        for name in ("src", "href", "srcset", "data"):
            if attributes.get(name):
                (self.loaded if tag in LOADED else self.links).append(attributes[name])


def test_every_page_is_in_the_navigation(site):
    start = Addresses(site / "index.html")
    linked = {urlsplit(link).path for link in start.links}
    assert [str(page) for page in PAGES if page.with_suffix(".html").as_posix() not in linked] == []


def test_nothing_is_loaded_from_elsewhere(site):
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert len(pages) > len(PAGES) and styles
    loaded = {address for page in pages for address in Addresses(page).loaded}
    for style in styles:
        loaded |= set(re.findall(r"""(?:url\(|@import)\s*["']?([^"')\s;]+)""", style.read_text(encoding="utf-8")))
    assert {address for address in loaded if urlsplit(address).netloc} == set()


def test_links_lead_somewhere(site):
    """In the pages as they are in the end, where the strict build looks at Markdown alone."""
    known = {page: Addresses(page) for page in site.rglob("*.html")}
    lost = []
    for page, addresses in known.items():
        for link in addresses.links + addresses.loaded:
            parts = urlsplit(link)
            if page.name == "404.html" or parts.scheme or parts.netloc:
                continue
            target = (page.parent / parts.path).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (parts.fragment and target in known and parts.fragment not in known[target].ids):
                lost.append(f"{page.relative_to(site)}: {link}")
    assert lost == []


@pytest.mark.parametrize("package", ["", "data", "geometry", "inference", "model"])
def test_the_reference_has_every_public_name(package, site):
    """Constants aside; read from the source, as importing some of these takes torch."""
    tree = ast.parse((ROOT / "src" / "jvcr" / package / "__init__.py").read_text(encoding="utf-8"))
    (names,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    documented = {
        str(name).rpartition(".")[2] for page in (site / "reference").glob("*.html") for name in Addresses(page).ids
    }
    assert [n for n in ast.literal_eval(names) if n not in documented and n.upper() != n and n != "__version__"] == []
