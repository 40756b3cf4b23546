"""`xlm -m`: every job of a sweep has a place of its own, whatever it is that varies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from outcomes import Run
from tiny_models import CONFIGS, make_model, register, write

EXPERIMENT = "experiment=star_easy_my_model"


@pytest.fixture
def two_experiments(project: Path) -> Path:
    text = CONFIGS["experiment/star_easy_NAME"].replace("NAME", "my_model")
    write(project / "my_model/configs/experiment/slow_my_model.yaml", text + "optimizer: {lr: 1.0e-5}\n")
    return project


def test_a_sweep_over_experiments_trains_each_from_its_beginning(two_experiments: Path, xlm: Run) -> None:
    done = xlm("-m", "job_name=sweep", "experiment=star_easy_my_model,slow_my_model", "batch_size=2")
    assert "continued" not in done.done()
    directories = {file.parent.name for file in (two_experiments / "runs/sweep").rglob("config.yaml")}
    assert directories == {"experiment=star_easy_my_model", "experiment=slow_my_model"}


def test_keys_of_what_is_swept_may_be_overridden(two_experiments: Path, xlm: Run) -> None:
    words = [
        "experiment=star_easy_my_model,slow_my_model",
        "model.width=3",
        "dataset.sizes={train: 6, val: 2, test: 2}",
    ]
    xlm("-m", "job_name=sweep", *words, "+model_note=x").refused("model_note")
    xlm("-m", "job_name=sweep", *words).done()
    for file in (two_experiments / "runs/sweep").rglob("config.yaml"):
        assert "width: 3" in file.read_text(encoding="utf-8")
    assert len(list((two_experiments / "runs/sweep").rglob("config.yaml"))) == 2


def test_a_sweep_over_two_models(project: Path, xlm: Run) -> None:
    make_model(project / "other", "other")
    register(project, {"my_model": "my_model", "other": "other"})
    xlm("-m", "job_name=sweep", "experiment=star_easy_my_model,star_easy_other").done()
    assert len(list((project / "runs/sweep").rglob("best.ckpt"))) == 2


def test_a_sweep_with_a_long_command_line(project: Path, xlm: Run) -> None:
    fixed = [f"trainer.limit_{part}_batches=2" for part in ("train", "val", "test", "predict")]
    xlm("-m", "job_name=long", EXPERIMENT, *fixed, f"cache_dir={'c' * 90},{'d' * 90}", "seed=1,2").done()
    names_found = [file.parent.name for file in (project / "runs/long").rglob("config.yaml")]
    assert len(names_found) == 4 and all(len(name) < 130 for name in names_found)


def test_a_sweep_over_job_names_needs_no_directories_below_them(project: Path, xlm: Run) -> None:
    xlm("-m", EXPERIMENT, "job_name=a,b").done()
    assert sorted(str(file.parent) for file in Path("runs").rglob("config.yaml")) == ["runs/a", "runs/b"]


def test_saved_runs_are_swept_over_each_with_its_own_configuration(project: Path, xlm: Run) -> None:
    for name, width in (("a", 3), ("b", 5)):
        xlm(EXPERIMENT, f"job_name={name}", f"model.width={width}").done()
    xlm("-m", "job_type=eval", "job_name=a,b").done()
    xlm("-m", "job_type=eval", "job_name=a,b", "eval_batch_size=1,2").done()
    for name in "ab":
        found = sorted(path.name for path in (project / "runs" / name).glob("metrics-*.json"))
        labelled = [f"metrics-test.eval_batch_size={size}.json" for size in (1, 2)]
        assert found == [*labelled, "metrics-test.json"]
        values = [json.loads((project / "runs" / name / file).read_text()) for file in found]
        losses = [value["test/loss"] for value in values]
        assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)  # whatever the batch size


def test_rows_are_evaluated_where_they_are(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=demo").done()
    for split in ("val", "test"):
        xlm("job_type=eval", "job_name=demo", f"split={split}").done()
    words = ("job_name=demo", "split=val,test", "evaluators=[xlm_runtime.evaluators.length]")
    xlm("-m", "job_type=evaluate_rows", *words).done()
    entries = json.loads((project / "runs/demo/metrics.json").read_text(encoding="utf-8"))
    assert [entries[split]["evaluators"] for split in ("val", "test")] == [
        {"length": {"_target_": "xlm_runtime.evaluators.length"}}
    ] * 2
    assert not list((project / "runs/demo").glob("split=*"))


def test_what_is_generated_stands_beside_what_was_evaluated(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=demo").done()
    xlm("job_type=eval", "job_name=demo").done()
    xlm("job_type=generate", "job_name=demo", "num_samples=1").done()
    xlm("job_type=generate", "job_name=demo", "label=again").done()
    xlm("-m", "job_type=generate", "job_name=demo", "num_samples=2,3").done()
    lines = {
        file.name: len(file.read_text(encoding="utf-8").splitlines())
        for file in (project / "runs/demo/predictions/test").iterdir()
    }
    assert lines == {
        "step=2.jsonl": 4,
        "step=2.generated.jsonl": 1,
        "step=2.generated,again.jsonl": 4,
        "step=2.generated,num_samples=2.jsonl": 2,
        "step=2.generated,num_samples=3.jsonl": 3,
    }


def test_a_job_that_fails_does_not_end_a_sweep(project: Path, xlm: Run) -> None:
    done = xlm("-m", "job_name=sweep", EXPERIMENT, "global_batch_size=4,6,8", "batch_size=2,4")
    done.refused(
        "global_batch_size is 6, but one step takes batch_size 4",
        "1 job(s) of this sweep failed, each for the reason that stands above: global_batch_size=6 batch_size=4.",
    )
    assert done.err.count("Error: ") == 2
    assert len(list((project / "runs/sweep").rglob("last.ckpt"))) == 5


def test_a_saved_run_that_fails_does_not_end_a_sweep(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=b").done()
    done = xlm("-m", "job_type=eval", "job_name=a,b")
    done.refused("There is no run in runs/a", "1 job(s) of this sweep failed", "above: job_name=a.")
    assert (project / "runs/b/metrics-test.json").is_file()


ASKED = """\
import os
import signal

import lightning.pytorch as pl


class Asked(pl.Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_ends_the_sweep_and_the_same_command_trains_what_is_left(project: Path, xlm_process: Run) -> None:
    write(project / "asked.py", ASKED)
    words = ("-m", "job_name=sweep", EXPERIMENT, "seed=1,2", "batch_size=2")
    asked = ("+callbacks.asked={_target_: asked.Asked}",)
    done = xlm_process(*words, *asked, PYTHONPATH=str(project))
    assert done.code == 0
    assert "Stopped by SIGTERM at step 1; saved. The same command continues" in done.err
    assert "With it ends the sweep" in done.err
    assert not (project / "runs/sweep/seed=2").exists()
    xlm_process(*words).done()
    ends = [json.loads(file.read_text(encoding="utf-8"))["step"] for file in project.glob("runs/sweep/*/finished.json")]
    assert ends == [2, 2]
