"""The pages of results: their commands are commands, and each figure on them is one that a run has left behind."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import results
from results_page import write_page

from xlm_runtime.config import compose

PAGES = Path(__file__).resolve().parents[2] / "docs" / "results"


def small(run: str, model: str, exact_match: float, steps: int) -> dict[str, Any]:
    facts = {"run": run, "model": model, "note": "as configured", "command": f"xlm job_name={run}", "commit": "abc"}
    facts |= {"seconds": 90.0, "steps": steps, "best_step": steps, "parameters": 7, "date": "today", "machine": "mine"}
    return {**facts, "exact_match": exact_match, "token_accuracy": 0.5, "loss": 1.0, "curve": [[1, 0.0], [2, 0.1]]}


@pytest.mark.parametrize("kind", ["processor", "gpu", "published"])
@pytest.mark.parametrize("task", results.TASKS)
def test_every_planned_run_composes(task: str, kind: str) -> None:
    """A sample: each model in each task, with all of its options."""
    published = kind == "published"
    planned = results.published_runs(task) if published else results.laptop_runs(task, gpu=kind == "gpu")
    for run in {run.model: run for run in planned}.values():
        words = results.command(run, task, None if published else 10, published)
        cfg = compose(words[1:])
        assert cfg.trainer.accelerator == ("cpu" if kind == "processor" else "gpu")
        assert cfg.trainer.max_steps == run.steps and cfg.run_dir == f"runs/results/{task}/{run.name}"


@pytest.mark.parametrize("file", sorted(PAGES.glob("star_*.json")), ids=lambda file: file.stem)
def test_every_command_on_a_page_composes_and_its_figures_stand_there(file: Path) -> None:
    page = file.with_suffix(".md").read_text(encoding="utf-8")
    for result in json.loads(file.read_text(encoding="utf-8")):
        assert f"```\n{result['command']}\n```" in page
        compose(shlex.split(result["command"])[1:])
        assert f"| {result['run']} | {result['note']} | **{result['exact_match']:.3f}** (" in page


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs and pages of the tool, empty."""
    monkeypatch.setattr(results, "RUNS", tmp_path / "runs")
    return tmp_path


def keep(places: Path, *rows: dict[str, Any]) -> str:
    """The page that is written when ``rows`` are what the runs have left behind."""
    for found in rows:
        directory = places / "runs" / "star_easy" / found["run"]
        directory.mkdir(parents=True)
        (directory / "result.json").write_text(json.dumps(found), encoding="utf-8")
    planned = {run.name: run.steps for run in results.laptop_runs("star_easy")}
    write_page("star_easy", places / "runs" / "star_easy", places / "pages", planned)
    return (places / "pages" / "star_easy.md").read_text(encoding="utf-8")


def test_a_page_says_what_the_runs_reached_and_what_falls_short(places: Path) -> None:
    page = keep(places, small("arlm", "arlm", 0.3, 4000), small("ilm-shift", "ilm", 0.2, 150))
    # Wilson's interval of 1,500 in 5,000, by hand.
    assert "| arlm | as configured | **0.300** (0.287–0.313) | 0.500 | 7 | 4,000 (4,000) | 1.5 min | 0.323 |" in page
    assert "before their planned steps: ilm-shift (150 of 4,000 steps)." in page
    assert "Not run yet: arlm-reversed-shift, mlm-shift, mdlm-shift, arlm-reversed, mlm, ilm, mdlm, ilm-" in page
    assert (places / "pages" / "star_easy.svg").read_text(encoding="utf-8").count("<path") > 2
    assert json.loads((places / "pages" / "star_easy.json").read_text(encoding="utf-8"))[1]["run"] == "ilm-shift"


def test_rows_of_another_machine_stay_and_stand_by_device(places: Path) -> None:
    keep(places, small("arlm", "arlm", 0.3, 4000), small("ilm", "ilm", 0.1, 8000))
    shutil.rmtree(places / "runs")
    gpu = small("arlm-gpu", "arlm", 0.4, 4000) | {"command": "xlm job_name=arlm-gpu trainer.accelerator=gpu seed=1"}
    page = keep(places, small("ilm", "ilm", 0.2, 8000), gpu)
    processor, _, card = page.partition("## On one GPU")
    assert "| arlm | as configured | **0.300** (" in processor and "| arlm-gpu | as configured | **0.400** (" in card
    assert "**0.200** (" in processor and "**0.100** (" not in page


def test_a_curve_keeps_its_end(tmp_path: Path) -> None:
    rows = "".join(f"{step},{step / 1000}\n{step + 1},\n" for step in range(0, 400, 2))
    (tmp_path / "metrics.csv").write_text(f"step,val/exact_match\n{rows}", encoding="utf-8")
    points = results.curve(tmp_path)
    assert points[-1] == (398, 0.398) and points[-2] == (392, 0.392) and 60 < len(points) <= 80


def test_a_run_that_is_stopped_counts_its_time_and_is_finished_once(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []

    def stopped(words: list[str], **_: Any) -> None:
        called.append(words)
        raise KeyboardInterrupt

    monkeypatch.setattr(results.subprocess, "run", stopped)
    (run, *_) = results.laptop_runs("star_easy")
    directory = places / "runs" / "star_easy" / run.name
    directory.mkdir(parents=True)
    (directory / "seconds.txt").write_text("100.0\n", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        results.carry_out(run, "star_easy", 10, False)
    assert float((directory / "seconds.txt").read_text(encoding="utf-8")) >= 100.0
    assert called[0][3:5] == ["job_type=train", "job_name=results/star_easy/arlm"]
    (directory / "result.json").write_text("{}", encoding="utf-8")
    results.carry_out(run, "star_easy", 10, False)  # is not made again
    assert len(called) == 1
