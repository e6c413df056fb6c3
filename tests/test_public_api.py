"""The public names and what they take are those of public_api.txt, so that a change of them is a decision.

After such a decision, which CHANGELOG.md tells of, `python tests/test_public_api.py` writes the list anew.
"""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("public_api.txt")
SOURCE = Path(__file__).resolve().parents[1] / "src"
MODULES = sorted(
    ".".join(path.parent.relative_to(SOURCE).parts)
    for path in (SOURCE / "jvcr").rglob("__init__.py")
    if "\n__all__ = " in path.read_text(encoding="utf-8")
)


def parameters(function, bound):
    """A function's parameters as Python writes them; of defaults only those that are plain values."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a builtin, which is not ours to decide on
        return ""
    shown = []
    for parameter in list(signature.parameters.values())[bound:]:
        default = parameter.default
        if default is not parameter.empty and not _is_plain(default):
            default = ...
        shown.append(parameter.replace(annotation=parameter.empty, default=default))
    return str(inspect.Signature(shown)).replace("=Ellipsis", "=...")


def _is_plain(value):
    try:
        return ast.literal_eval(repr(value)) == value
    except (SyntaxError, ValueError):
        return False


def described(name, thing):
    """Lines for a public name: a function with its parameters, a class with those of its methods."""
    if inspect.isfunction(thing):
        yield f"{name}{parameters(thing, 0)}"
    elif inspect.isclass(thing):
        ours = [base for base in thing.__mro__ if base.__module__.startswith("jvcr")]
        made = not getattr(thing, "_is_protocol", False) and any(
            {"__init__", "__new__"} & vars(base).keys() for base in ours
        )
        yield f"{name}{parameters(thing, 0)}" if made else name
        members = {key: value for base in reversed(ours) for key, value in vars(base).items()}
        for key, value in sorted(members.items()):
            if key.startswith("_") and key != "__call__":
                continue
            if isinstance(value, (staticmethod, classmethod)):
                yield f"{name}.{key}{parameters(value.__func__, isinstance(value, classmethod))}"
            elif inspect.isfunction(value):
                yield f"{name}.{key}{parameters(value, 1)}"
            elif isinstance(value, property) or hasattr(value, "__set_name__"):
                yield f"{name}.{key}"
    else:
        yield name


def lines(module):
    """All that a module's public names take."""
    public = importlib.import_module(module)
    return [line for name in sorted(public.__all__) for line in described(f"{module}.{name}", getattr(public, name))]


def test_the_public_names_are_those_decided_on():
    pytest.importorskip("torch")
    assert [line for module in MODULES for line in lines(module)] == LIST.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_has_a_docstring(module):
    pytest.importorskip("torch")
    public = importlib.import_module(module)
    things = {name: getattr(public, name) for name in public.__all__}
    callables = {n: t for n, t in things.items() if inspect.isclass(t) or inspect.isfunction(t)}
    assert [name for name, thing in callables.items() if not inspect.getdoc(thing)] == []


if __name__ == "__main__":
    LIST.write_text("".join(f"{line}\n" for module in MODULES for line in lines(module)), encoding="utf-8")
