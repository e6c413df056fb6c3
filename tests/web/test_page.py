"""What `jvcr page` writes, without a browser."""

from pathlib import Path

from jvcr.web import page, runtime
from jvcr.weights.shipped import LICENSE


def test_who_gets_the_networks_gets_their_terms(tmp_path, monkeypatch, tiny_weights):
    (tmp_path / "ort").mkdir()
    for name in runtime.WEBGPU_FILES:
        (tmp_path / "ort" / name).write_bytes(b"")
    monkeypatch.setattr(page, "fetch_runtime", lambda **_: tmp_path / "ort")
    out = page.write_page(tmp_path / "site", [tiny_weights])
    assert (out / "models" / "LICENSE-WEIGHTS.txt").read_bytes() == LICENSE.read_bytes()
    terms = (out / "LICENSE.txt").read_text(encoding="utf-8")
    assert "models/LICENSE-WEIGHTS.txt" in terms
    code = Path(__file__).resolve().parents[2] / "LICENSE"
    assert terms.endswith(code.read_text(encoding="utf-8"))
    assert {path.name for path in (out / "ort").iterdir()} == set(runtime.FILES)
