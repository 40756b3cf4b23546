"""Several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from written_runs import write_run

from xlm_runtime.errors import CheckpointError, ConfigError
from xlm_runtime.report.comparison import compare, find_runs, write_comparison


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with the runs narrow and wide."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs/narrow")
    write_run(tmp_path / "runs/wide", width=64, seed=2, scale=0.5, steps=20)
    return tmp_path


def test_metrics_curves_and_differing_settings(here: Path) -> None:
    found = compare(find_runs(["narrow", str(here / "runs/wide")]))
    assert found.names == ["narrow", "wide"]
    assert found.settings == {"seed": [1, 2], "model.width": [4, 64]}
    cell = found.metrics["test/exact_match"][0]
    assert cell is not None and cell.value == pytest.approx(1 / 3) and cell.means is None
    assert cell.estimate is not None and cell.estimate.count == 3
    assert [each and each.value for each in found.metrics["val/loss"]] == pytest.approx([0.2, 0.05])
    assert [each.title for each in found.charts] == ["train/loss", "val/loss", "train/lr", "val/exact_match"]
    assert all([line.label for line in each.lines] == ["narrow", "wide"] for each in found.charts)


def test_exact_is_told_from_a_bound(here: Path) -> None:
    for name, words in (("narrow", "exact"), ("wide", "a bound")):
        with (here / f"runs/{name}/config.yaml").open("a", encoding="utf-8") as file:
            file.write(f"metrics: {{lm: {{loss: {{means: {words}}}}}, prediction: 3}}\n")
    found = compare(find_runs(["narrow", "wide"]))
    for name in ("test/loss", "val/loss"):
        assert [each and each.means for each in found.metrics[name]] == ["exact", "a bound"]
    text = write_comparison(here / "runs/compare.html", found).read_text(encoding="utf-8")
    assert '0.15 <span class="soft">a bound</span>' in text


def test_a_run_of_which_little_is_left(here: Path) -> None:
    (here / "runs/poor").mkdir()
    (here / "runs/poor/metrics.csv").write_text("step,train/loss\n1,2\n3", encoding="utf-8")
    found = compare(find_runs(["poor", "narrow"]))
    assert found.without_config == ["poor"] and found.settings == {}
    assert found.metrics["test/loss"][0] is None
    text = write_comparison(here / "runs/compare.html", found).read_text(encoding="utf-8")
    assert "No configuration can be read of poor" in text and text.count("<svg") == 4


def test_runs_of_one_name_are_told_apart(here: Path) -> None:
    write_run(here / "elsewhere/narrow")
    assert compare(find_runs(["narrow", "elsewhere/narrow"])).names == ["runs/narrow", "elsewhere/narrow"]


def test_an_unknown_run_is_an_error_that_names_near_ones(here: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no run 'narow'.*\n?.*Did you mean 'narrow'\?[\s\S]*narrow, wide"):
        find_runs(["narow", "wide"])
    (here / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty holds no file of a run"):
        find_runs(["narrow", "empty"])


@pytest.mark.parametrize("runs", [None, "narrow", [], ["narrow"], 7])
def test_less_than_two_runs_are_an_error(here: Path, runs: Any) -> None:
    with pytest.raises(ConfigError, match=r"at least two.*runs=\[a,b\]"):
        find_runs(runs)


def test_one_run_twice_is_an_error(here: Path) -> None:
    with pytest.raises(ConfigError, match="twice"):
        find_runs(["narrow", "runs/narrow"])
