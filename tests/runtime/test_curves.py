"""curves.png: a picture of what metrics.csv holds."""

from __future__ import annotations

from pathlib import Path

from xlm_runtime.curves import draw, read_curves

CSV = """\
step,train/loss,train/lr,val/loss
10,2.5,0.001,
20,nan,0.001,2.25
30,1.5,0.001,inf
"""


def test_a_metric_has_a_series_for_each_part_and_only_finite_values(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(CSV, encoding="utf-8")
    assert read_curves(tmp_path / "metrics.csv") == {
        "loss": {"train": [(10, 2.5), (30, 1.5)], "val": [(20, 2.25)]},
        "lr": {"train": [(10, 0.001), (20, 0.001), (30, 0.001)]},
    }


def test_the_picture_is_a_png_and_replaces_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(CSV, encoding="utf-8")
    image = draw(tmp_path)
    assert image == tmp_path / "curves.png"
    first = image.read_bytes()
    assert first.startswith(b"\x89PNG") and len(first) > 5000
    (tmp_path / "metrics.csv").write_text(CSV + "40,9,0.001,9\n", encoding="utf-8")
    draw(tmp_path)
    assert image.read_bytes() != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "metrics.csv"]


def test_without_metrics_there_is_no_picture(tmp_path: Path) -> None:
    assert draw(tmp_path) is None
    (tmp_path / "metrics.csv").write_text("step\n", encoding="utf-8")
    assert draw(tmp_path) is None
    assert not (tmp_path / "curves.png").exists()
