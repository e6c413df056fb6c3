"""What docs/annotate.md says is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jvcr.annotate.destination import Destination
from jvcr.annotate.sources import Source
from jvcr.annotate.table import COLUMNS_VERSION, SCHEMA
from jvcr.annotate.work import Tally, annotate
from jvcr.inference.detector import WholeImage
from jvcr.inference.landmarker import Landmarker

PAGES = Path(__file__).resolve().parents[2] / "docs"
PAGE = (PAGES / "annotate.md").read_text(encoding="utf-8")


def test_the_table_has_every_column():
    table = PAGE.partition("| column | type | |")[2].partition("\n\n")[0]
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)]
    assert named == SCHEMA.names
    assert f"Columns, version {COLUMNS_VERSION}:" in PAGE


def test_the_tables_of_scale_are_what_the_script_computes():
    script, page = PAGES.parent / "benchmarks" / "scale.py", (PAGES / "scale.md").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in page


def test_the_query_runs(tiny_weights, pictures, tmp_path, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    (pictures(9) / "0" / "broken.png").write_bytes(b"no image")
    landmarker = Landmarker(tiny_weights, threads=1, detector=WholeImage())
    source, destination = Source(str(tmp_path / "pictures"), 4), Destination(str(tmp_path / "faces"), 4)
    destination.open({})
    done = Tally()
    annotate(landmarker, source.pieces(), destination, done.add)
    (query,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    monkeypatch.chdir(tmp_path)
    values = {}
    exec(compile(query, "annotate.md", "exec"), values)
    assert [image for image, _ in values["unused"].fetchall()] == ["0/broken.png"]
    rows = duckdb.sql("SELECT image, yaw, points[31], list_avg(confidence) FROM 'faces/*.parquet'").fetchall()
    assert sum(points is not None for _, _, points, _ in rows) == done.faces == 9
    kept = [(image, points[0]) for image, yaw, points, mean in rows if points and abs(yaw) > 30 and mean > 0.4]
    assert [(row[0], row[3]) for row in values["turned"].fetchall()] == sorted(kept)
