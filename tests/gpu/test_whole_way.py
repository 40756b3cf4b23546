"""Train, evaluate and generate on the GPU that is chosen without a word, and what a CPU makes of the same weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import Done, Xlm

MODELS = ("arlm", "mlm", "ilm", "mdlm")


def numbers(directory: Path, run: str) -> dict[str, float]:
    file = directory / "runs" / run / "metrics-test.json"
    return json.loads(file.read_text(encoding="utf-8"))


def well(done: Done) -> str:
    assert done.code == 0, done.out + done.err
    return done.out


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_is_learnt_by_heart_and_a_cpu_says_the_same_of_it(xlm: Xlm, tmp_path: Path, model: str) -> None:
    out = well(xlm("job_type=train", "job_name=heart", f"experiment=star_easy_{model}", "debug=overfit"))
    assert "device  CUDAAccelerator x 1, 32-true" in out
    assert "val/exact_match 1.0000" in out
    well(xlm("job_type=eval", "job_name=heart"))
    gpu = numbers(tmp_path, "heart")
    assert "exact match 1.000" in well(xlm("job_type=generate", "job_name=heart"))
    well(xlm("job_type=eval", "job_name=heart", "trainer.accelerator=cpu", "label=cpu"))
    cpu = json.loads((tmp_path / "runs/heart/metrics-test.cpu.json").read_text(encoding="utf-8"))
    assert gpu["test/exact_match"] == cpu["test/exact_match"] == 1.0
    assert gpu["test/loss"] == pytest.approx(cpu["test/loss"], abs=1e-4)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true"])
def test_it_trains_compiled_in_half_precision(xlm: Xlm, tmp_path: Path, model: str, precision: str) -> None:
    words = ["job_type=train", "job_name=half", f"experiment=star_easy_{model}", f"trainer.precision={precision}"]
    words += ["compile=true", "datamodule.limit=640", "trainer.val_check_interval=40", "trainer.log_every_n_steps=20"]
    out = well(xlm(*words, "trainer.max_steps=40", "num_workers=2"))
    assert f"CUDAAccelerator x 1, {precision}" in out
    out = well(xlm(*words, "trainer.max_steps=80", "num_workers=2"))
    assert "continued from step 40" in out
    losses = [float(value) for value in re.findall(r"val/loss ([\d.]+)", out)]
    assert losses and all(value < 4 for value in losses)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_strategy_of_several_devices_runs_on_one(xlm: Xlm, strategy: str) -> None:
    words = ["job_type=train", "job_name=shared", "experiment=star_easy_arlm", f"trainer={strategy}"]
    out = well(xlm(*words, "datamodule.limit=640", "trainer.max_steps=12", "trainer.val_check_interval=6"))
    assert "finished at step 12: " in out and "val/loss" in out


def test_a_run_that_was_stopped_continues_as_if_it_had_not(xlm: Xlm, tmp_path: Path) -> None:
    words = ["job_type=train", "experiment=star_easy_mdlm", "datamodule.limit=640", "trainer.val_check_interval=20"]
    words += ["ema_decay=0.99", "model.dropout=0.1", "trainer.deterministic=true"]
    well(xlm(*words, "job_name=whole", "trainer.max_steps=60"))
    for steps in (20, 40, 60):
        well(xlm(*words, "job_name=parts", f"trainer.max_steps={steps}"))
    files = (tmp_path / "runs" / name / "checkpoints/last.ckpt" for name in ("whole", "parts"))
    whole, parts = (torch.load(file, map_location="cpu", weights_only=True)["state_dict"] for file in files)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []


def test_a_batch_that_does_not_fit_is_told(xlm: Xlm) -> None:
    words = ["experiment=star_easy_arlm", "model=arlm_small", "batch_size=50000", "trainer.max_steps=2"]
    done = xlm("job_type=train", "job_name=large", *words)
    assert done.code == 2 and "Traceback" not in done.err
    assert re.search(r"Error: Out of memory: .*batch_size.*50000", done.err), done.err


@pytest.mark.parametrize("model", MODELS)
def test_a_text_does_not_depend_on_its_batch(xlm: Xlm, tmp_path: Path, model: str) -> None:
    well(
        xlm(
            "job_type=train", "job_name=texts", f"experiment=star_easy_{model}", "datamodule.limit=640",
            "trainer.max_steps=50",
        )
    )  # fmt: skip
    texts = []
    for size in (1, 7):
        words = ["job_type=generate", "ckpt_path=runs/texts/checkpoints/last.ckpt", "seed=3", f"label=by{size}"]
        well(xlm(*words, f"eval_batch_size={size}", "predictor.temperature=0.8", "datamodule.limit=21"))
        (file,) = (tmp_path / "runs/texts/predictions/test").glob(f"*by{size}*.jsonl")
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        texts.append([row["ids"] for row in rows])
    assert texts[0] == texts[1]
