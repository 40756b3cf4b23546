"""Configurations that cannot be composed, and keys in files that nobody declares."""

from __future__ import annotations

from pathlib import Path

import pytest
from outcomes import Run
from tiny_models import make_model, register, write

EXPERIMENT = "my_model/configs/experiment/mine.yaml"
CHOICES = """\
defaults:
  - override /model: my_model
  - override /model_type: my_model
  - override /datamodule: star_easy_my_model
"""


@pytest.mark.parametrize("group", ["experiment", "model", "model_type", "datamodule", "dataset", "optimizer", "debug"])
def test_a_config_that_does_not_exist(project: Path, xlm: Run, group: str) -> None:
    result = xlm("experiment=star_easy_my_model", f"{group}=nothing")
    result.refused(f"Could not find '{group}/nothing'", f"configs/{group}/nothing.yaml", f"What exists in '{group}'")
    assert not (project / "runs").exists()


@pytest.mark.parametrize("missing", ["model", "model_type"])
def test_a_registered_model_without_one_of_its_configs(project: Path, xlm: Run, missing: str) -> None:
    (project / f"my_model/configs/{missing}/my_model.yaml").rename(project / f"my_model/configs/{missing}/other.yaml")
    result = xlm("job_type=train", "model=my_model", "model_type=my_model")
    result.refused(f"Could not find '{missing}/my_model'", f"What exists in '{missing}': ", "other")
    assert "Searched" not in result.err  # the model itself is found


def test_a_missing_config_that_a_file_asks_for(project: Path, xlm_process: Run) -> None:
    file = write(project / EXPERIMENT, CHOICES.replace("/model: my_model", "/model: my_modle"))
    result = xlm_process("experiment=mine")
    result.refused("Could not find 'model/my_modle'", f"Written in {file}, line 2", "Did you mean 'my_model'?")


BAD_YAML = {
    "an open bracket": ("seed: 1\nlist: [1, 2\nlast: 3\n", ["line 3, column 5", "not valid YAML"]),
    "a tab": ("trainer:\n\tmax_steps: 3\n", ["line 2, column 1", "not valid YAML", "spaces"]),
    "a list": ("# nothing but\n- a\n- list\n", ["line 2", "found a list", "mapping"]),
    "words": ("only words\n", ["line 1", "'only words'", "mapping"]),
    "a key twice": ("seed: 1\nseed: 2\n", ["line 2, column 1", "duplicate key seed"]),
    "a control character": ("seed: 1\nseed: \x01\n", ["line 2", "not valid YAML"]),
    "an unknown alias": ("seed: *start\n", ["line 1", "undefined alias"]),
    "defaults that are no list": ("seed: 1\ndefaults: my_model\n", ["line 2", "'defaults'", "expected a list"]),
    "a misspelt override": ("defaults:\n  - overide /model: my_model\n", ["line 2", "Expected 'override /model'"]),
}


@pytest.mark.parametrize(("text", "words"), BAD_YAML.values(), ids=BAD_YAML)
def test_bad_yaml_in_an_experiment(project: Path, xlm: Run, text: str, words: list[str]) -> None:
    file = write(project / EXPERIMENT, text)
    xlm("experiment=mine").refused(str(file), *words)
    assert not (project / "runs").exists()


@pytest.mark.parametrize("name", ["datamodule/star_easy_my_model", "collator/my_model", "model/my_model"])
@pytest.mark.parametrize("case", ["an open bracket", "a tab", "a list"])
def test_bad_yaml_in_a_file_below(project: Path, xlm: Run, name: str, case: str) -> None:
    text, words = BAD_YAML[case]
    file = write(project / f"my_model/configs/{name}.yaml", text)
    xlm("experiment=star_easy_my_model").refused(str(file), *words)


def test_a_config_that_is_not_utf_8(project: Path, xlm_process: Run) -> None:
    file = project / "my_model/configs/model/my_model.yaml"
    file.write_bytes("_target_: a.b\nname: größe\n".encode("latin-1"))
    xlm_process("experiment=star_easy_my_model").refused(f"{file}, line 2", "UTF-8")


def test_a_group_in_a_defaults_list_that_there_is_not(project: Path, xlm: Run) -> None:
    file = write(project / EXPERIMENT, CHOICES.replace("/model:", "/modle:"))
    xlm("experiment=mine").refused("Unknown group 'modle'", f"Written in {file}, line 2", "Did you mean 'model'")


def test_a_choice_without_override(project: Path, xlm: Run) -> None:
    file = write(project / EXPERIMENT, CHOICES.replace("override /model:", "/model:"))
    xlm("experiment=mine").refused("'model' is chosen twice", "override /model: my_model", f"{file}, line 2")


def test_an_interpolation_to_nothing(project: Path, xlm: Run) -> None:
    file = write(project / EXPERIMENT, CHOICES + "batch_size: ${size_of_batch}\n")
    xlm("experiment=mine").refused("key 'batch_size'", "'size_of_batch' not found", f"{file}, line 5")


def test_an_interpolation_that_does_not_end(project: Path, xlm: Run) -> None:
    write(project / EXPERIMENT, CHOICES + "batch_size: ${size\n")
    xlm("experiment=mine").refused("key 'batch_size'", "${size")


def test_no_model_at_all(project: Path, xlm: Run) -> None:
    xlm("job_type=train").refused("no 'model'", "experiment=", "model_type=")
    assert not (project / "runs").exists()


def test_a_mistyped_key_of_a_file_in_the_printed_configuration(project: Path, xlm: Run) -> None:
    file = write(project / EXPERIMENT, CHOICES + "bacth_size: 3\n")
    result = xlm("--cfg", "job", "experiment=mine")
    result.refused("Unknown key 'bacth_size'", f"Written in {file}, line 5")
    assert result.out == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainr: {max_steps: 3}\n", ["'trainr'", "Did you mean 'trainer'?"]),
        ("monitor: {metrc: val/loss}\n", ["'monitor.metrc'", "Did you mean 'metric'?"]),
        ("metrics: {predictions: {}}\n", ["'metrics.predictions'", "'prediction'"]),
        ("trainer: {max_step: 3}\n", ["takes no argument 'max_step'", "'trainer.max_step'", "'max_steps'"]),
        ("datamodule: {limt: 3}\n", ["takes no argument 'limt'", "'datamodule.limt'", "'limit'"]),
        ("harness: {trak: [loss]}\n", ["takes no argument 'trak'", "'harness.trak'", "'track'"]),
        ("model: {widht: 3}\n", ["my_model.parts.Model takes no argument 'widht'", "'width'"]),
        ("datamodule: {collators: {predict: {a: 1}}}\n", ["datamodule.collators names predict", "lm, prediction"]),
        ("metrics: {lm: {loss: {metrik: {}}}}\n", ["'metrics.lm.loss'", "'metrik'", "'metric', 'update'"]),
        ("optimizer: {groups: {modle: {lr: 1}}}\n", ["optimizer.groups", "'modle'", "model"]),
    ],
)
def test_a_mistyped_key_in_an_experiment(project: Path, xlm: Run, text: str, words: list[str]) -> None:
    file = write(project / EXPERIMENT, CHOICES + text)
    result = xlm("experiment=mine", "dataset.sizes={train: 8, val: 4, test: 4}")
    result.refused(*words)
    if "takes no argument" in words[0] or "Did you mean" in words[-1]:
        assert f"Written in {file}, line 5" in result.err
    assert not (project / "runs").exists()


def test_a_run_directory_that_cannot_be_made(project: Path, xlm: Run) -> None:
    write(project / "file", "")
    xlm("experiment=star_easy_my_model", "run_dir=file").refused("file is a file", "run_dir")
    xlm("experiment=star_easy_my_model", "run_dir=file/run").refused("Cannot write file/run", "run_dir")
    assert (project / "file").is_file()


def test_a_gpu_that_is_not_there(project: Path, xlm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

    for accelerator in (CUDAAccelerator, MPSAccelerator):
        monkeypatch.setattr(accelerator, "is_available", staticmethod(lambda: False))
    result = xlm("experiment=star_easy_my_model", "trainer.accelerator=gpu")
    result.refused("trainer.accelerator is gpu", "trainer.accelerator=auto takes what this machine has")
    assert not (project / "runs").exists()


def test_a_metric_to_be_monitored_that_is_not_measured(project: Path, xlm: Run) -> None:
    result = xlm("experiment=star_easy_my_model", "monitor.metric=val/exactmatch")
    result.refused("monitors 'val/exactmatch'", "Did you mean 'val/exact_match'?", "monitor.metric")
    assert not (project / "runs").exists()  # noticed before the first step


def test_a_batch_is_learnt_by_heart_where_nothing_is_predicted(project: Path, xlm: Run) -> None:
    words = ["predictor=null", "datamodule.collators.prediction=null", "trainer.max_steps=3", "batch_size=4"]
    out = xlm("experiment=star_easy_my_model", "debug=overfit", *words, "trainer.val_check_interval=1").done()
    assert "finished at step 3: val/loss" in out


def test_one_config_name_in_two_models(project: Path, xlm: Run) -> None:
    make_model(project / "other", "other")
    register(project, {"my_model": "my_model", "other": "other"})
    files = [write(project / f"{name}/configs/experiment/mine.yaml", CHOICES) for name in ("my_model", "other")]
    xlm("experiment=mine").refused("'mine' of the group 'experiment'", *map(str, files), "Rename")
    xlm("experiment=star_easy_my_model").done()  # what is not chosen does no harm


def test_a_command_named_like_a_job(project: Path, xlm: Run) -> None:
    write(project / "my_model/configs/commands.yaml", "eval: my_model.parts.nll\n")
    xlm("job_type=eval", "job_name=demo").refused(str(project / "my_model"), "'eval'", "Rename the command")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("optimizer: 3", "optimizer is 3; expected a mapping."),
        ("callbacks: 3", "callbacks is 3; expected a mapping."),
        ("metrics: {lm: 3}", "metrics.lm is 3; expected a mapping."),
    ],
)
def test_a_value_where_a_mapping_belongs(project: Path, xlm: Run, lines: str, told: str) -> None:
    file = project / "my_model/configs/experiment/flat_my_model.yaml"
    write(file, f"defaults: [star_easy_my_model, _self_]\n{lines}\n")
    xlm("experiment=flat_my_model").refused(told, f"{file}, line 2")


def test_an_experiment_that_begins_with_itself(project: Path, xlm: Run) -> None:
    write(project / "my_model/configs/experiment/round_my_model.yaml", "defaults: [round_my_model, _self_]\n")
    xlm("experiment=round_my_model").refused("begins with itself", "experiment=round_my_model")


def test_only_files_that_were_chosen_are_blamed(project: Path, xlm: Run) -> None:
    make_model(project / "other", "other")
    register(project, {"my_model": "my_model", "other": "other"})
    for name in ("my_model", "other"):
        file = project / name / f"configs/model/{name}.yaml"
        file.write_text(file.read_text(encoding="utf-8") + "depth: 3\n", encoding="utf-8")
    done = xlm("experiment=star_easy_my_model")
    done.refused("takes no argument 'depth'", str(project / "my_model/configs/model/my_model.yaml"))
    assert "other.yaml" not in done.err
