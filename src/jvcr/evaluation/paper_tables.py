"""The paper's tables, to put figures of an evaluation into, and what such figures differ in from the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

from rich.markup import escape
from rich.table import Table

from jvcr.evaluation.figures import Summary
from jvcr.evaluation.metrics import YAW_BINS
from jvcr.evaluation.report import figure

TableName: TypeAlias = Literal["table1", "table2", "table3", "table4"]


@dataclass(frozen=True)
class PublishedRow:
    """A method's line."""

    method: str
    """With the paper's reference number."""
    values: tuple[float | None, ...]
    """One for each column, percent; None where it was not published."""
    in_paper: bool = True
    """False for figures that are not in the paper's table: published later, or measured again."""


@dataclass(frozen=True)
class PublishedTable:
    """One of the paper's tables and how its figures were made."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    """In the paper's order; those that are not in the paper last."""
    layout: str
    """The data set, as `jvcr.data.readers.find_layout` names it."""
    faces: int
    split: str | None
    annotation: str
    """Of the data set; "" where it has one."""
    box: str | None
    """Whose boxes were behind the published figures; None where the paper does not say."""
    trained_on: str
    """The training set of the paper's own row, with its size."""
    bands: tuple[int, ...] = ()


_on_3dfaw = partial(
    PublishedTable, layout="3DFAW", annotation="", box=None, trained_on="3DFAW's training part (13,969 images)"
)
_on_aflw2000 = partial(
    PublishedTable,
    layout="AFLW2000-3D",
    faces=2000,
    split=None,
    annotation="original",
    box="truth",
    trained_on="300W-LP (61,225 images)",
)

TABLES: dict[TableName, PublishedTable] = {
    "table1": _on_3dfaw(
        title="Table I: GTE (%) on the 3DFAW validation set",
        columns=("GTE",),
        rows=(
            PublishedRow("SDM+3DMM [10]", (6.34,)),
            PublishedRow("Gou et al. [10]", (5.90,)),
            PublishedRow("Bulat et al. [9]", (4.94,)),
            PublishedRow("JVCR", (4.36,)),
        ),
        faces=4725,
        split="val",
    ),
    "table2": _on_3dfaw(
        title="Table II: CVGTCE and GTE (%) on the 3DFAW test set",
        columns=("CVGTCE", "GTE"),
        rows=(
            PublishedRow("Zavan et al. [36]", (5.90, 10.80)),
            PublishedRow("Gou et al. [10]", (4.94, 6.20)),
            PublishedRow("Zhao et al. [8]", (3.97, 5.88)),
            PublishedRow("Bulat et al. [9]", (3.47, 4.56)),
            PublishedRow("Tulyakov et al. [22]", (3.80, 5.10)),
            PublishedRow("JVCR", (3.46, 4.35)),
        ),
        faces=4912,
        split="test",
    ),
    "table3": _on_aflw2000(
        title="Table III: GTE (%) on AFLW2000-3D",
        columns=("GTE",),
        rows=(
            PublishedRow("FAN+Depth [2]", (7.45,)),
            PublishedRow("JVCR", (7.28,)),
            PublishedRow("3DDFA_V2 x0.5", (7.51,), in_paper=False),
        ),
    ),
    "table4": _on_aflw2000(
        title="Table IV: NME (%) on AFLW2000-3D, 68 landmarks, x and y only",
        columns=(*(f"{band}°" for band in YAW_BINS), "mean", "std"),
        rows=(
            PublishedRow("RCPR [37]", (4.26, 5.96, 13.18, 7.80, 4.74)),
            PublishedRow("ESR [4]", (4.60, 6.70, 12.67, 7.99, 4.19)),
            PublishedRow("SDM [3]", (3.67, 4.94, 9.76, 6.12, 3.21)),
            PublishedRow("3DDFA [13]", (3.78, 4.54, 7.93, 5.42, 2.21)),
            PublishedRow("3DDFA+SDM [13]", (3.43, 4.24, 7.17, 4.94, 1.97)),
            PublishedRow("3DSTN [35]", (3.15, 4.33, 5.98, 4.49, 1.42)),
            PublishedRow("FAN [2]", (2.77, 3.48, 4.60, 3.62, 0.92)),
            PublishedRow("JVCR", (2.94, 3.46, 4.53, 3.64, 0.81)),
            PublishedRow("3DDFA_V2 x0.5", (2.93, 3.67, 4.78, 3.79, None), in_paper=False),
            PublishedRow("PRNet", (None, None, None, 3.62, None), in_paper=False),
            PublishedRow("3DDFA_V2", (None, None, None, 3.51, None), in_paper=False),
            PublishedRow("SynergyNet", (None, None, None, 3.41, None), in_paper=False),
        ),
        bands=(1312, 383, 305),
    ),
}
"""Tables I-IV, and under III and IV figures for AFLW2000-3D's original annotation that are not the paper's."""


def like_published(name: TableName, runs: Mapping[str, Summary]) -> tuple[Table, list[str]]:
    """A table of the paper with a row for each run, and under it what these differ in from the published figures."""
    published = TABLES[name]
    table = Table("method", title=published.title, title_justify="left")
    for column in published.columns:
        table.add_column(column, justify="right")
    for row in published.rows:
        mark = "" if row.in_paper else " *"
        table.add_row(row.method + mark, *map(figure, row.values), end_section=row is published.rows[-1])
    notes = [] if all(row.in_paper for row in published.rows) else ["* not in the paper"]
    for run, summary in runs.items():
        comparable, differences = protocol_differences(name, summary)
        table.add_row(escape(run), *map(figure, _values(name, summary)))
        verdict = "the published data set and faces" if comparable else "no comparison with the rows above"
        notes += [f"{run}: {verdict}", *(f"  - {difference}" for difference in differences)]
    return table, notes


def protocol_differences(name: TableName, summary: Summary) -> tuple[bool, list[str]]:
    """Whether a run is on a published table's faces with its labels, and a line for each difference in protocol."""
    published, metadata = TABLES[name], summary.metadata
    layout, split, images = metadata.get("layout"), metadata.get("split"), summary.images
    annotation = summary.annotation or "the data set's only one"
    lines = []  # what makes the figures incomparable
    if layout != published.layout:
        lines.append(f"data set: {layout or 'not stated'} ({metadata.get('data', '?')}), not {published.layout}")
    elif split != published.split:
        lines.append(f"part: {split or 'all faces'}, not {published.split or 'all faces'}")
    if images != published.faces:
        lines.append(f"faces: {images}, not {published.faces}")
    if published.annotation and layout == published.layout and annotation != published.annotation:
        lines.append(f"annotation: {annotation}, not {published.annotation}: a number belongs to its annotation")
    counts = tuple(count.detected + count.not_detected for count in summary.counts.bins.values())
    if published.bands and (layout, images) == (published.layout, published.faces) and counts != published.bands:
        lines.append(f"faces in the yaw bands: {_listed(counts)}, not {_listed(published.bands)}")
    if published.bands and (empty := [band for band, mean in summary.nme.bins.items() if mean is None]):
        lines.append(f"no face in {', '.join(f'{band}°' for band in empty)}: the mean is over the other bands")
    comparable = not lines
    if (lost := images - summary.detected) > 0:
        lines.append(f"faces not detected: {lost} of {images}, left out of the averages")
    box = metadata.get("box", "not stated")
    if published.box is None:
        lines.append(f"input box: {box}; the paper does not say whose boxes it used")
    elif box != published.box:
        lines.append(f"input box: {box}, not {published.box}")
    if name == "table2" and summary.cvgtce is None:
        lines.append("CVGTCE: the data set names no views of the same face")
    if (metadata.get("passes") or 1) > 1:
        lines.append(f"passes: {metadata['passes']}; the paper's is one")
    lines.append(f"trained on {_trained_on(metadata)}; the paper's JVCR on {published.trained_on}")
    return comparable, lines


def _trained_on(metadata: Mapping[str, Any]) -> str:
    training = metadata.get("training") or {}
    if not (faces := training.get("train_faces")):
        return f"faces that the weights ({metadata.get('weights', '?')}) do not name"
    recipe = f" (recipe {training['recipe']})" if training.get("recipe") else ""
    return f"{faces:,} faces{recipe}"


def _values(name: TableName, summary: Summary) -> tuple[float | None, ...]:
    if name == "table4":
        return (*summary.nme.bins.values(), summary.nme.bin_mean, summary.nme.bin_std)
    if name == "table2":
        return (summary.cvgtce.mean if summary.cvgtce else None, summary.gte.aligned_z)
    return (summary.gte.aligned_z,)


def _listed(numbers: tuple[int, ...]) -> str:
    return " / ".join(map(str, numbers))
