"""The part of a document that a script writes, between two lines that mark it; what is around it stays."""

from jvcr.files import replacing


def split(path, start, end):
    """What is before, between and behind the marks, which belong to the outer parts."""
    text = path.read_text(encoding="utf-8")
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise SystemExit(f"{path} must have the lines {start} and {end}, once each")
    before, rest = text.split(start)
    between, after = rest.split(end)
    return before + start, between, end + after


def put(path, start, end, lines):
    """Writes lines between the marks."""
    before, _, after = split(path, start, end)
    with replacing(path) as temporary:
        temporary.write_text("\n".join([before, *lines, after]), encoding="utf-8")
