"""A model's own commands on a saved run: the helpers of eval and generate, and which configuration they get."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from outcomes import Run
from tiny_models import write

EXPERIMENT = "experiment=star_easy_my_model"
COMMAND = """\
import json

import torch
import torch.nn.functional as F
from xlm_runtime.saved import load_run


@torch.no_grad()
def measure(cfg):
    run = load_run(cfg)
    harness = run.parts.harness
    sizes = {kind: [len(batch["ids"]) for batch in run.batches(kind)] for kind in ("lm", "prediction")}
    losses = [harness.loss.loss_fn(batch)["loss"].item() for batch in run.batches()]
    print(json.dumps({"step": run.step, "width": cfg.model.width, "split": cfg.split, "training": harness.training,
                      "sizes": sizes, "loss": sum(losses) / len(losses)}))


def wrong(cfg):
    list(load_run(cfg).batches("pretend"))


def plain(cfg):
    print(cfg.run_dir, cfg.get("model"))
"""


@pytest.fixture
def trained(project: Path, xlm: Run) -> Path:
    names = ("measure", "wrong", "plain")
    lines = "".join(f"{name}: my_model.commands_my_model.{name}\n" for name in names)
    write(project / "my_model/configs/commands.yaml", lines)
    write(project / "my_model/my_model/commands_my_model.py", COMMAND)
    xlm(EXPERIMENT, "job_name=demo", "model.width=6").done()
    return project


def test_it_gets_the_runs_own_configuration_and_weights(trained: Path, xlm: Run) -> None:
    xlm("job_type=eval", "job_name=demo").done()
    evaluated = json.loads((trained / "runs/demo/metrics-test.json").read_text(encoding="utf-8"))
    (trained / "runs/demo/report.html").unlink()
    result = xlm("job_type=measure", "job_name=demo")
    found = json.loads(result.done())
    assert result.err == "", "Lightning is quiet"
    assert found.pop("loss") == pytest.approx(evaluated["test/loss"], abs=1e-6)
    sizes = {"lm": [4], "prediction": [4]}
    assert found == {"step": 2, "width": 6, "split": "test", "training": False, "sizes": sizes}
    assert (trained / "runs/demo/report.html").is_file()  # of every job


@pytest.mark.parametrize("named", ["run_dir=runs/demo", "ckpt_path=runs/demo/checkpoints/last.ckpt"])
def test_overrides_win(trained: Path, xlm: Run, named: str) -> None:
    found = json.loads(xlm("job_type=measure", named, "split=train", "eval_batch_size=3").done())
    assert found["split"] == "train" and found["sizes"]["lm"] == [3, 3, 2] and found["width"] == 6


def test_each_value_of_a_sweep_is_a_call(trained: Path, xlm: Run) -> None:
    lines = xlm("-m", "job_type=measure", "job_name=demo", "split=val,test").done().splitlines()
    assert [json.loads(line)["split"] for line in lines if line.startswith("{")] == ["val", "test"]


def test_an_experiment_is_composed_as_for_any_job(trained: Path, xlm: Run) -> None:
    result = xlm("job_type=measure", "job_name=demo", EXPERIMENT)
    result.refused("do not fit", "model.embedding.weight is (27, 6) in the file, (27, 4) in the model")


def test_without_a_run_there_is_the_plain_configuration(trained: Path, xlm: Run) -> None:
    assert xlm("job_type=plain").done() == "runs/default None\n"


def test_what_it_is_told_must_be_there(trained: Path, xlm: Run) -> None:
    xlm("job_type=plain", "job_name=dmo").refused("no run in runs/dmo", "Did you mean 'demo'?")
    xlm("job_type=measure", "ckpt_path=none.ckpt").refused("no checkpoint at none.ckpt")
    xlm("job_type=wrong", "job_name=demo").refused("no batches of kind 'pretend'", "lm, prediction")
