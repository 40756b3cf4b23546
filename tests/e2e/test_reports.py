"""Every job ends by writing report.html; report, compare and trace on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from outcomes import REFERENCE_MODELS, Run

EXPERIMENT = "experiment=star_easy_my_model"


def report(project: Path, name: str = "demo") -> str:
    return (project / f"runs/{name}/report.html").read_text(encoding="utf-8")


def test_every_job_ends_with_a_report(project: Path, xlm: Run) -> None:
    xlm("job_type=train", "job_name=demo", EXPERIMENT).done()
    assert "finished at step 2" in report(project) and "No split was evaluated" not in report(project)
    xlm("job_type=eval", "job_name=demo").done()
    assert "metrics-test.json" in report(project) and "generated" not in report(project)
    xlm("job_type=generate", "job_name=demo").done()
    assert "step=2.generated.jsonl" in report(project)
    (project / "runs/demo/report.html").unlink()
    assert "runs/demo/report.html" in xlm("job_type=report", "job_name=demo").done()
    assert "finished at step 2" in report(project)


def test_a_run_that_dies_has_a_report(project: Path, xlm: Run) -> None:
    parts = project / "my_model/my_model/parts.py"
    dying = parts.read_text(encoding="utf-8").replace(
        "    def loss_fn(self, batch):\n",
        "    calls = 0\n\n    def loss_fn(self, batch):\n        self.calls += 1\n"
        "        assert self.calls < 4, 'dies'\n",
    )
    parts.write_text(dying, encoding="utf-8")
    words = ("trainer.max_steps=9", "trainer.log_every_n_steps=1", "trainer.val_check_interval=9")
    outcome = xlm("job_type=train", "job_name=demo", EXPERIMENT, *words)
    assert outcome.code == 1 and "dies" in outcome.err
    assert "not finished" in report(project) and "the last step logged is 3" in report(project)


def test_a_trial_writes_no_report(project: Path, xlm: Run) -> None:
    xlm("job_type=train", "job_name=demo", EXPERIMENT, "debug=fast_dev_run").done()
    assert not list(project.rglob("report.html"))


def test_a_report_that_fails_leaves_the_job_done(project: Path, xlm: Run) -> None:
    (project / "runs/demo/report.html").mkdir(parents=True)
    outcome = xlm("job_type=train", "job_name=demo", EXPERIMENT)
    assert "finished at step 2" in outcome.done()
    assert "report of runs/demo could not be written" in outcome.err
    xlm("job_type=report", "job_name=demo").refused("Cannot write the report into runs/demo")


def test_a_report_of_nothing_is_refused(project: Path, xlm: Run) -> None:
    xlm("job_type=train", "job_name=demo", EXPERIMENT).done()
    xlm("job_type=report", "job_name=dmeo").refused("no run in runs/dmeo", "Did you mean 'demo'?")


def test_runs_are_compared(project: Path, xlm: Run) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        xlm("job_type=train", f"job_name={name}", EXPERIMENT, f"seed={seed}").done()
    out = xlm("job_type=compare", "runs=[a,runs/b]").done()
    assert "val/loss" in out and "seed" in out and "page: runs/compare.html" in out
    assert "val/loss" in (project / "runs/compare.html").read_text(encoding="utf-8")
    assert "elsewhere.html" in xlm("job_type=compare", "runs=[a,b]", "compare_file=elsewhere.html").done()
    xlm("job_type=compare", "runs=[a,c]").refused("no run 'c'", "Runs in runs: a, b")
    xlm("job_type=compare").refused("at least two", "runs=[a,b]")


def test_neither_report_nor_compare_imports_torch(project: Path, xlm: Run) -> None:
    for name in ("a", "b"):
        xlm("job_type=train", f"job_name={name}", EXPERIMENT).done()
    script = (
        "import sys; from xlm_runtime.cli import main\n"
        "main(['job_type=report', 'job_name=a']); main(['job_type=compare', 'runs=[a,b]'])\n"
        "print({'torch', 'lightning', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_predictor_that_cannot_be_traced_says_so(project: Path, xlm: Run) -> None:
    xlm("job_type=train", "job_name=demo", EXPERIMENT).done()
    xlm("job_type=generate", "job_name=demo", "trace=true").refused("trace=true", "Predictor cannot be traced")
    xlm("job_type=generate", "job_name=demo", "trace=yes please").refused("trace", "true or false")


def test_a_trajectory_is_written_and_linked(home: Path, xlm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLM_MODELS_PATH", str(REFERENCE_MODELS))
    small = ("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64")
    data = "dataset.sizes={train: 8, val: 4, test: 4}"
    words = ("experiment=star_easy_mdlm", *small, data, "batch_size=2", "trainer.max_steps=1")
    xlm("job_type=train", "job_name=demo", *words).done()
    out = xlm("job_type=generate", "job_name=demo", "trace=true", "show=3").done()
    assert "trajectory: runs/demo/trajectory.html" in out
    text = (home / "runs/demo/trajectory.html").read_text(encoding="utf-8")
    assert text.count('"start"') == 3  # over two batches of two
    assert 'href="trajectory.html"' in report(home)
