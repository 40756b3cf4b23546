"""``build_trainer``: what the Trainer is made of, how many processes it has, and what is refused before they start."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import tiny_parts as tiny
from lightning.pytorch.accelerators import AcceleratorRegistry, CPUAccelerator

from xlm_runtime.build import build_trainer
from xlm_runtime.callbacks.last_checkpoint import LastCheckpoint
from xlm_runtime.callbacks.progress import Progress
from xlm_runtime.errors import ConfigError
from xlm_runtime.loggers import MetricsCSV


def test_the_trainer_has_the_configured_callbacks_and_loggers(cache: Path, tmp_path: Path) -> None:
    trainer = build_trainer(tiny.arlm_config(cache, f"run_dir={tmp_path / 'run'}", "trainer.max_steps=7"))
    assert trainer.max_steps == 7
    assert [type(logger) for logger in trainer.loggers] == [MetricsCSV, pl.loggers.TensorBoardLogger]
    for kind, count in ((Progress, 1), (pl.callbacks.ModelCheckpoint, 1), (LastCheckpoint, 1)):
        assert sum(isinstance(callback, kind) for callback in trainer.callbacks) == count
    assert not (tmp_path / "run").exists()  # nothing is written yet


def test_a_fast_dev_run_has_neither_loggers_nor_checkpoints(cache: Path, tmp_path: Path) -> None:
    trainer = build_trainer(tiny.arlm_config(cache, f"run_dir={tmp_path / 'run'}", "debug=fast_dev_run"))
    assert not [callback for callback in trainer.callbacks if isinstance(callback, pl.callbacks.Checkpoint)]
    assert not [logger for logger in trainer.loggers if isinstance(logger, MetricsCSV)]


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ([], 1),
        (["global_batch_size=8"], 1),
        (["global_batch_size=32"], 4),
        (["global_batch_size=32", "trainer.devices=2"], 2),
        (["trainer.accumulate_grad_batches=3"], 3),
    ],
)
def test_gradients_are_accumulated_to_the_global_batch(cache: Path, overrides: list[str], steps: int) -> None:
    assert build_trainer(tiny.arlm_config(cache, *overrides)).accumulate_grad_batches == steps


class TwoDevices(CPUAccelerator):
    """A machine with two devices, which can be chosen one by one as GPUs can."""

    @staticmethod
    def parse_devices(devices: Any) -> int:
        return len(devices) if isinstance(devices, list) else 2 if int(devices) == -1 else int(devices)

    @staticmethod
    def auto_device_count() -> int:
        return 2


@pytest.fixture
def two_devices() -> Iterator[None]:
    AcceleratorRegistry.register("two", TwoDevices)
    yield
    AcceleratorRegistry.remove("two")


@pytest.mark.parametrize("trainer", ["default", "ddp", "fsdp"])
@pytest.mark.parametrize(
    ("devices", "steps"), [("2", 2), ("'2'", 2), ("auto", 2), ("-1", 2), ("[0,1]", 2), ("[1]", 4), ("'1'", 4)]
)
@pytest.mark.usefixtures("two_devices")
def test_the_number_of_processes_is_lightnings(cache: Path, trainer: str, devices: str, steps: int) -> None:
    words = [f"trainer={trainer}", "trainer.accelerator=two", f"trainer.devices={devices}", "global_batch_size=32"]
    assert build_trainer(tiny.arlm_config(cache, *words)).accumulate_grad_batches == steps


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of four processes that torchrun has started."""
    sizes = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}
    ranks = {"RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0"}
    for name, value in {"TORCHELASTIC_RUN_ID": "none", **sizes, **ranks}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("torchrun")
def test_under_a_launcher_the_number_of_processes_is_its_own(cache: Path) -> None:
    words = ["trainer=ddp", "trainer.devices=4", "global_batch_size=64"]
    assert build_trainer(tiny.arlm_config(cache, *words)).accumulate_grad_batches == 2


@pytest.mark.usefixtures("torchrun")
@pytest.mark.parametrize(("words", "says"), [([], "1 x 1 = 1"), (["trainer=ddp", "trainer.devices=2"], "2 x 1 = 2")])
def test_another_number_of_processes_than_torchruns_is_an_error(cache: Path, words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=rf"torchrun started 4 process\(es\), but .* is {says}: .*--nproc-per-node"):
        build_trainer(tiny.arlm_config(cache, *words))


@pytest.mark.parametrize(("tasks", "refused"), [("2", True), ("1", False), (None, False)])
def test_another_number_of_processes_than_sruns_is_an_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tasks: str | None, refused: bool
) -> None:
    job = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "train"}
    for name, value in {**job, **({"SLURM_STEP_NUM_TASKS": tasks} if tasks else {})}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="srun started 2") if refused else contextlib.nullcontext():
        build_trainer(tiny.arlm_config(cache))


@pytest.mark.parametrize("size", [4, 12, 36])
def test_a_global_batch_that_a_step_does_not_divide_is_an_error(cache: Path, size: int) -> None:
    with pytest.raises(ConfigError, match=rf"global_batch_size is {size}.*batch_size 8.*multiple of 8"):
        build_trainer(tiny.arlm_config(cache, f"global_batch_size={size}"))


@pytest.mark.parametrize("word", ["limit_train_batches=3", "limit_train_batches=0.5", "overfit_batches=1"])
def test_a_global_batch_that_an_epoch_cuts_short_is_an_error(cache: Path, word: str) -> None:
    words = ["global_batch_size=16", f"trainer.{word}" if "limit" in word else f"+trainer.{word}"]
    with pytest.raises(ConfigError, match=rf"global_batch_size is 16, .*2 batch.*trainer.{word.replace('=', ' is ')}"):
        build_trainer(tiny.arlm_config(cache, *words))


@pytest.mark.parametrize(
    "words", [["trainer.limit_train_batches=4"], ["trainer.limit_train_batches=1.0"], ["trainer.fast_dev_run=true"]]
)
def test_epochs_of_whole_steps_are_none(cache: Path, words: list[str]) -> None:
    assert build_trainer(tiny.arlm_config(cache, "global_batch_size=16", *words)).accumulate_grad_batches == 2


def test_a_global_batch_and_another_number_of_batches_are_an_error(cache: Path) -> None:
    words = ["global_batch_size=16", "trainer.accumulate_grad_batches=4"]
    with pytest.raises(ConfigError, match=r"(?s)global_batch_size is 16.*2 batch.*accumulate_grad_batches is 4.*one"):
        build_trainer(tiny.arlm_config(cache, *words))
    words[1] = "trainer.accumulate_grad_batches=2"
    assert build_trainer(tiny.arlm_config(cache, *words)).accumulate_grad_batches == 2
    one = {"devices": 1, "strategy": "auto"}  # an evaluation of a run of two devices, which makes no steps
    build_trainer(tiny.arlm_config(cache, *words, "trainer.devices=2", "batch_size=4"), **one)


@pytest.mark.parametrize("precision", ["16-mixed", "16"])
def test_half_precision_on_a_cpu_is_not_exchanged_for_another(cache: Path, precision: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.precision is {precision}, .*CPU.*precision=bf16-mixed"):
        build_trainer(tiny.arlm_config(cache, f"trainer.precision={precision}"))
    for other in ("bf16-mixed", "bf16", "bf16-true", "32-true", "32", "16-true", "64-true"):
        build_trainer(tiny.arlm_config(cache, f"trainer.precision={other}"))


def test_a_model_trained_in_half_precision_may_be_used_on_a_cpu(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_trainer(tiny.arlm_config(cache, "trainer.precision=16-mixed"), devices=1)
    expected = "trainer.precision is 16-mixed, which there is not on a CPU; bf16-mixed is taken for it."
    assert expected in capsys.readouterr().err.splitlines()


def test_an_average_of_weights_that_nobody_has_whole_is_an_error_before_processes_start(cache: Path) -> None:
    with pytest.raises(ConfigError, match="ema_decay is set, but the weights are spread over processes"):
        build_trainer(tiny.arlm_config(cache, "trainer=fsdp", "trainer.devices=2", "ema_decay=0.9"))
    build_trainer(tiny.arlm_config(cache, "trainer=fsdp", "trainer.devices=2"))
    build_trainer(tiny.arlm_config(cache, "trainer=ddp", "trainer.devices=2", "ema_decay=0.9"))


def test_a_job_may_change_what_the_trainer_is_made_of(cache: Path) -> None:
    trainer = build_trainer(tiny.arlm_config(cache), logger=False, callbacks=[], max_steps=3)
    assert trainer.loggers == []
    assert trainer.max_steps == 3


def test_every_key_of_the_trainers_config_is_an_argument_of_lightnings(cache: Path) -> None:
    keys = set(tiny.arlm_config(cache).trainer) - {"_target_"}
    assert keys <= set(inspect.signature(pl.Trainer.__init__).parameters)
