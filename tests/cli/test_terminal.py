import sys

import pytest

from jvcr.cli.app import main
from jvcr.cli.terminal import clean_output, console, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("żółw 1.jpg", "żółw 1.jpg"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\x9b31mb\x07\x08\r", r"a\x9b31mb\x07\x08\r"),
        ("caf\udce9", r"caf\udce9"),
        ("gnp\u202egpj", r"gnp\u202egpj"),
        ("two\n\tlines", "two\n\tlines"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_all_that_is_printed_is_printable(capsys):
    from rich.table import Table

    with clean_output():
        sys.stdout.write("a\x1b[2Jb\n")
        sys.stderr.write("c\x1b[2Jd\n")
        table = Table("[red]name\x1b[2J")
        table.add_row("[bold]e\x1b[2J")
        console().print(table)
        console(stderr=True).print("f[bold]\x1b]0;title\x07")
    printed = capsys.readouterr()
    for text in (r"a\x1b[2Jb", r"[red]name\x1b[2J", r"[bold]e\x1b[2J"):
        assert text in printed.out
    for text in (r"c\x1b[2Jd", r"f[bold]\x1b]0;title\x07"):
        assert text in printed.err
    assert "\x1b" not in printed.out + printed.err
    sys.stdout.write("\x1b")
    assert capsys.readouterr().out == "\x1b"  # only within


@pytest.mark.parametrize(
    "arguments", [["predict", "--\x1b[31mnope", "x"], ["\x1b[31mnope"], ["predict", "x\x1b[2J", "--out", "o"]]
)
def test_errors_name_what_was_given_as_text(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code in (1, 2)
    printed = capsys.readouterr()
    assert r"\x1b" in printed.err
    assert "\x1b" not in printed.err + printed.out
