"""What xlm-runtime's extras bring: Weights & Biases, SLURM's launcher, Optuna's sweeper; and the profiler."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from outcomes import Run

EXPERIMENT = "experiment=star_easy_my_model"
#: Where the Makefile has put them: beside the environment, so that other commands start without them.
EXTRAS = Path(sys.prefix) / "extras"


@pytest.fixture(autouse=True)
def extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of the test find them."""
    assert (EXTRAS / "wandb").is_dir(), "make has not installed requirements-extras.txt"
    monkeypatch.setenv("PYTHONPATH", str(EXTRAS))


def test_wandb_beside_the_other_loggers_without_an_account(
    project: Path, xlm_process: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    xlm_process(EXPERIMENT, "job_name=demo", "logger=[default,wandb]").done()
    (log,) = (project / "runs/demo/wandb").glob("offline-run-*/run-*.wandb")
    assert log.stat().st_size > 0
    assert (project / "runs/demo/metrics.csv").is_file()
    assert sorted(path.name for path in project.iterdir()) == ["my_model", "runs", "xlm_models.json"]


def test_a_sweep_whose_jobs_are_started_as_slurm_would(project: Path, xlm_process: Run) -> None:
    xlm_process("-m", EXPERIMENT, "job_name=sweep", "seed=1,2", "hydra/launcher=submitit_local").done()
    for seed in (1, 2):
        end = json.loads((project / f"runs/sweep/seed={seed}/finished.json").read_text(encoding="utf-8"))
        assert end["step"] == 2


def test_optuna_is_told_the_monitored_metric(project: Path, xlm_process: Run) -> None:
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    xlm_process("-m", EXPERIMENT, "job_name=search", *words, "optimizer.lr=interval(0.001,0.1)").done()
    results = yaml.safe_load((project / "runs/search/optimization_results.yaml").read_text(encoding="utf-8"))
    ends = [json.loads(file.read_text(encoding="utf-8")) for file in (project / "runs/search").glob("*/finished.json")]
    assert len(ends) == 2
    assert results["best_value"] == pytest.approx(min(end["metrics"]["val/loss"] for end in ends))


def test_the_profiler_writes_into_the_run(project: Path, xlm_process: Run) -> None:
    xlm_process(EXPERIMENT, "job_name=demo", "debug=profile", "trainer.max_steps=10").done()
    assert "Self CPU" in (project / "runs/demo/fit-profile.txt").read_text(encoding="utf-8")
    assert list((project / "runs/demo").glob("*.pt.trace.json"))
