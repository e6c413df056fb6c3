"""``jvcr weights``."""

from __future__ import annotations

import json as json_text


def weights(*, json: bool = False) -> int:
    """List the weights that ship: what they are for, how good they are, where they lie, and their terms.

    Figures are those of the faces that the training was validated on, as the files say them; the model cards have more.
    Of the SHA-256 the first 16 digits stand in the table, as in the cards; ``--json`` has all.

        jvcr weights
        jvcr weights --json

    Parameters
    ----------
    json
        Print them as JSON.
    """
    from rich.table import Column, Table

    from jvcr.cli.terminal import console
    from jvcr.weights.shipped import LICENSE, shipped_weights

    files = shipped_weights()
    if json:
        plain = [
            {
                "name": file.name,
                "path": str(file.path),
                "bytes": file.path.stat().st_size,
                "sha256": file.sha256,
                "purpose": file.purpose,
                "terms": "research, non-commercial",
                "faces_seen": file.faces_seen,
                "validation": file.validation,
            }
            for file in files
        ]
        print(json_text.dumps({"terms": str(LICENSE), "files": plain}, indent=2))
        return 0
    table = Table(
        Column("file", no_wrap=True),
        "MB",
        "what for",
        "faces seen",
        "validation",
        Column("SHA-256", no_wrap=True),
        box=None,
        pad_edge=False,
    )
    for file in files:
        whole = {name: value for name, value in file.validation.items() if "_" not in name}  # not of single parts
        figures = ", ".join(f"{name.upper()} {value:.2f} %" for name, value in whole.items())
        seen = f"{file.faces_seen:,}" if file.faces_seen else ""
        table.add_row(
            file.path.name, f"{file.path.stat().st_size / 1e6:.1f}", file.purpose, seen, figures, file.sha256[:16]
        )
    output = console(soft_wrap=True)
    output.print(table)
    output.print(f"\nfolder: {files[0].path.parent}", highlight=False)
    output.print(f"terms:  research, non-commercial, unlike the code: {LICENSE}", highlight=False)
    return 0
