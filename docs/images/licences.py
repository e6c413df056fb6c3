"""Writes the table of docs/licences.md: the packages that jvcr uses, and the licences that they state.

python docs/images/licences.py > docs/licences.md
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

HEAD = """# Licences of what jvcr uses

jvcr's code is MIT, its weights are for research ([LICENSE-WEIGHTS](../src/jvcr/weights/LICENSE-WEIGHTS)). It installs
the packages below, each under its own licence, as they state it; none of their code is in this repository. Those of
`[dev]` alone are for work on jvcr. Where a package of Python holds compiled libraries, such as FFmpeg in `av`, these
have licences of their own. The page of `jvcr page` comes with two files of onnxruntime-web (MIT). Made by
`python docs/images/licences.py`.

| package | needed by | licence |
|---|---|---|
"""


def licence_of(name):
    """What a package's metadata say, in a line."""
    about = metadata.metadata(name)
    named = about.get("License-Expression")
    classified = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    stated = (about.get("License") or "").strip().partition("\n")[0]
    return named or ", ".join(classified) or stated[:60] or "not stated"


def main():
    """The whole table."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {"": project["dependencies"], **project["optional-dependencies"]}
    by_package = {}
    for extra, requirements in needed.items():
        for requirement in requirements:
            name = re.match(r"[\w-]+", requirement)[0]
            if name != "jvcr":
                by_package.setdefault(name, []).append(f"`[{extra}]`" if extra else "everything")
    print(HEAD, end="")
    for name, extras in sorted(by_package.items()):
        print(f"| {name} | {', '.join(extras)} | {licence_of(name)} |")


if __name__ == "__main__":
    main()
