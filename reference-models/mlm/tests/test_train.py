"""The commands of the README on a CPU: one batch is learnt by heart, then evaluated and generated."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from xlm_runtime.predictions import exact_match, read_rows

REPOSITORY = Path(__file__).resolve().parents[1]
EXPERIMENT = "star_easy_mlm"


def xlm(run_dir: Path, *words: str) -> str:
    """What `xlm` prints; it must succeed."""
    command = [sys.executable, "-m", "xlm_runtime.cli", *words, f"run_dir={run_dir}", "trainer.accelerator=cpu"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def only_rows(run_dir: Path, names: str) -> list[dict]:
    (file,) = run_dir.glob(f"predictions/test/{names}.jsonl")
    return read_rows(file)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `debug=overfit`."""
    directory = tmp_path_factory.mktemp("run")
    cache = tmp_path_factory.mktemp("cache")
    words = [f"experiment={EXPERIMENT}", "debug=overfit", "batch_size=16", f"cache_dir={cache}"]
    xlm(directory, "job_type=train", *words)
    return directory


@pytest.fixture(scope="module")
def history(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_loss_falls(history: list[dict[str, str]]) -> None:
    losses = [float(row["train/loss"]) for row in history if row["train/loss"]]
    assert losses[-1] < losses[0] / 2


def test_one_batch_is_learnt_by_heart(history: list[dict[str, str]]) -> None:
    assert max(float(row["val/exact_match"]) for row in history if row["val/exact_match"]) == 1.0


def test_eval_and_generate_agree(run_dir: Path) -> None:
    printed = xlm(run_dir, "job_type=eval")
    assert "exact_match" in printed
    metrics = json.loads((run_dir / "metrics-test.json").read_text(encoding="utf-8"))
    assert metrics["test/exact_match"] == 1.0
    texts = [(row["prompt"], row["text"]) for row in only_rows(run_dir, "step=*[0-9]")]

    printed = xlm(run_dir, "job_type=generate")
    assert "exact match 1.000" in printed
    generated = only_rows(run_dir, "step=*.generated")
    assert exact_match(generated) == 1.0
    assert [(row["prompt"], row["text"]) for row in generated] == texts
