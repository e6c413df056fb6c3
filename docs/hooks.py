"""What MkDocs and griffe need to know of this repository.

Its pages are read on code hosts, too, and link to files outside of docs/. Such links stay as they are in the pages. In
the site each leads to a page with the file in it, made while the site is built, so that it needs no address of a host.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "src/jvcr/weights/MODEL_CARD.md": "model-card.md",
    "src/jvcr/weights/MODEL_CARD_NANO.md": "model-card-nano.md",
    "src/jvcr/weights/detector/MODEL_CARD.md": "detector-card.md",
}
"""Pages of the site that lie elsewhere in the repository."""

COPIED = {".json", ".jpg", ".png"}
"""Files that a browser shows best as they are."""

LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from elsewhere, and a page for each file that any page links to."""
    for path, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for file in list(files.documentation_pages()):
        for path in _linked(file.content_string, _origin(file)):
            _add(path, files, config)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links that are right in the repository into those that are right in the site."""
    origin, here = _origin(page.file), posixpath.dirname(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        path = _resolved(match[2], origin)
        if not (ROOT / path).exists():
            return match[0]  # code that looks like a link; or a broken one, of which MkDocs tells
        return f"{match[1]}{posixpath.relpath(_uri(path), here or '.')}{match[3] or ''}{match[4]}"

    return LINK.sub(moved, markdown)


class Docstrings(griffe.Extension):
    """What griffe does not know of the package's docstrings and classes."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Takes "Example:" for the section that griffe calls "Examples:"."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Leaves out pydantic's settings, which griffe takes for an argument of the constructor."""
        cls.members.pop("__pydantic_config__", None)


def _origin(file: File) -> str:
    """Where a page's text lies in the repository."""
    at_home = {uri: path for path, uri in PAGES.items()}
    return at_home.get(file.src_uri, f"docs/{file.src_uri}")


def _resolved(link: str, origin: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))


def _linked(markdown: str, origin: str) -> Iterator[str]:
    """What a page links to in the repository, outside of docs/."""
    for match in LINK.finditer(markdown):
        path = _resolved(match[2], origin)
        if path not in PAGES and not path.startswith("docs/") and (ROOT / path).exists():
            yield path


def _uri(path: str) -> str:
    """Where the site has a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        return f"files/{path}/index.md"
    return f"files/{path}" if Path(path).suffix in COPIED else f"files/{path}.md"


def _add(path: str, files: Files, config: MkDocsConfig) -> None:
    uri, source = _uri(path), ROOT / path
    if files.get_file_from_path(uri) is not None:
        return
    if source.is_dir():
        inside = sorted(p.name for p in source.iterdir() if p.suffix in COPIED)
        for name in inside:
            _add(f"{path}/{name}", files, config)
        text = "\n".join(f"- [{name}]({name})" for name in inside)
    elif source.suffix in COPIED:
        files.append(File.generated(config, uri, abs_src_path=str(source)))
        return
    else:
        language = {".py": "python", ".toml": "toml"}.get(source.suffix, "dockerfile")
        text = f"````{language}\n{source.read_text(encoding='utf-8')}````"
    # Found by their links, not by the search, which would answer with them instead of with pages.
    content = f"---\ntitle: {source.name}\nsearch:\n  exclude: true\n---\n\n# {path}\n\n{text}\n"
    files.append(File.generated(config, uri, content=content, inclusion=InclusionLevel.NOT_IN_NAV))
