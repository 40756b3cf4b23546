"""Components that cannot be imported or made, or that are of another kind than is configured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from outcomes import Run
from tiny_models import change_parts, make_model, write

PARTS_FILE = "my_model/my_model/parts.py"
EXPERIMENT = "experiment=star_easy_my_model"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("my_model.prts.Model", ["No module named 'my_model.prts'", "Did you mean 'parts'?", "python -c"]),
        ("my_modle.parts.Model", ["No module named 'my_modle'", "Did you mean 'my_model'?", "xlm_models.json"]),
        ("my_model.parts.Modle", ["has no 'Modle'", "Did you mean 'Model'?", "parts.py"]),
        ("Model", ["'Model'", "no dotted path", "package.module.Name"]),
        ("my_model.parts.torch", ["is a module", "expected a class"]),
        ("null", ["no '_target_'"]),
    ],
)
def test_a_target_that_cannot_be_imported(project: Path, xlm: Run, target: str, words: list[str]) -> None:
    xlm(EXPERIMENT, f"model._target_={target}").refused("model", *words)
    assert not (project / "runs").exists()


def test_a_target_names_the_place_of_its_key(project: Path, xlm: Run) -> None:
    file = project / "my_model/configs/collator/my_model.yaml"
    write(file, file.read_text(encoding="utf-8").replace("parts.Collator", "absent.Collator"))
    xlm(EXPERIMENT).refused(
        "config key 'datamodule.collators.lm._target_'",
        "No module named 'my_model.absent'",
        f"Written in {file}, line 1",
    )


def test_the_command_to_try_shows_the_same_error(project: Path, xlm: Run) -> None:
    write(project / "my_model/my_model/light.py", "import absent_module\n")
    result = xlm(EXPERIMENT, "model._target_=my_model.light.Model")
    command = re.search(r"Try it by itself: (.+)", result.err)
    assert command and "python -c" in command[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    tried = subprocess.run(command[1], shell=True, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert "No module named 'absent_module'" in tried.stderr


def test_a_traceback_for_those_who_ask(project: Path, xlm: Run) -> None:
    result = xlm(EXPERIMENT, "model._target_=my_model.parts.Modle", XLM_TRACEBACK="1")
    assert result.code == 2
    assert "Traceback (most recent call last)" in result.err and "Error: Cannot import" in result.err


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("class Model(", "clas Model(", 8, ["SyntaxError: invalid syntax", "clas Model("]),
        ("import torch\n", "import torch, absent_module\n", 3, ["No module named 'absent_module'"]),
        ("import torch\n", "import torch; 1 / 0\n", 3, ["ZeroDivisionError: division by zero"]),
        ("from torch import nn\n", "from torch import nnn\n", 5, ["cannot import name 'nnn' from 'torch'"]),
    ],
)
def test_an_error_in_the_model_file(project: Path, xlm: Run, old: str, new: str, line: int, words: list[str]) -> None:
    file = change_parts(project, old, new)
    xlm(EXPERIMENT).refused(f"{file}, line {line}", "_target_", *words)
    assert not (project / "runs").exists()


def test_a_metric_function_that_does_not_exist(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "metrics.lm.loss.update=my_model.parts.nl").refused(
        "metrics.lm.loss.update", "has no 'nl'", "'nll'"
    )


def test_a_collator_that_is_a_function_with_its_last_argument_open(project: Path, xlm: Run) -> None:
    file = project / PARTS_FILE
    collate = "\n\ndef collate(examples, tokenizer, length):\n    return Collator(tokenizer, length)(examples)\n"
    write(file, file.read_text(encoding="utf-8") + collate)
    config = "_target_: my_model.parts.collate\n_partial_: true\nlength: 8\n"
    write(project / "my_model/configs/collator/my_model.yaml", config)
    xlm(EXPERIMENT).done()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["+callbacks.mine._target_=collections.OrderedDict"],
            "'callbacks.mine' makes OrderedDict; expected lightning Callback",
        ),
        (
            ["+logger.mine._target_=collections.OrderedDict"],
            "'logger.mine' makes OrderedDict; expected lightning Logger",
        ),
        (
            ["metrics.lm.loss.metric._target_=collections.OrderedDict"],
            "'metrics.lm.loss.metric' makes OrderedDict; expected torchmetrics Metric",
        ),
        (["metrics.lm.loss=my_model.parts.nll"], "'metrics.lm.loss' is 'my_model.parts.nll'; expected a mapping"),
        (["harness.track=loss"], "harness.track is 'loss'; expected a list of names: [loss]"),
        (["trainer.log_every_n_steps=abc"], "trainer.log_every_n_steps is 'abc'; expected a whole number"),
        (["trainer.max_steps=1.5"], "trainer.max_steps is 1.5; expected a whole number"),
        (["optimizer._target_=torch.optim.Adagrad"], "It comes from the runtime's optimizer=adamw"),
    ],
)
def test_what_is_configured_as_something_else(project: Path, xlm: Run, words: list[str], told: str) -> None:
    xlm(EXPERIMENT, *words).refused(told)
    assert not (project / "runs").exists()


def test_a_metric_function_that_takes_something_else(project: Path, xlm: Run) -> None:
    change_parts(project, "def nll(batch, output)", "def nll(output)")
    xlm(EXPERIMENT).refused("my_model.parts.nll(output) cannot be called as (batch, output)", "metrics.lm.loss.update")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("async def show(cfg):\n    pass\n", ["async function"]),
        ("def show():\n    pass\n", ["show() cannot be called as (cfg)", "def main(cfg: DictConfig)"]),
        (
            "def show(cfg):\n    print(cfg.widht)\n",
            ["'widht'", "It is asked for in", "show.py, line 2: print(cfg.widht)"],
        ),
        ("def show(cfg):\n    print(cfg.vocab.size)\n", ["'vocab.size'", "show.py, line 2"]),
    ],
)
def test_a_command_that_is_at_fault(project: Path, xlm: Run, code: str, words: list[str]) -> None:
    write(project / "my_model/configs/commands.yaml", "show: my_model.show.show\n")
    write(project / "my_model/my_model/show.py", code)
    xlm("job_type=show", EXPERIMENT).refused(*words)


def test_a_command_that_names_a_module(project: Path, xlm: Run) -> None:
    write(project / "my_model/configs/commands.yaml", "show: my_model.show\n")
    write(project / "my_model/my_model/show.py", "")
    xlm("job_type=show", EXPERIMENT).refused("'my_model.show'", "is a module", "my_model.show.<Name>")


def test_a_required_argument_that_no_config_gives(project: Path, xlm: Run) -> None:
    write(project / "my_model/configs/collator/my_model.yaml", "_target_: my_model.parts.Collator\n")
    xlm(EXPERIMENT).refused(
        "my_model.parts.Collator needs the argument length", "datamodule.collators.lm.length", "config"
    )


def test_a_part_that_does_not_take_what_the_runtime_gives(project: Path, xlm: Run) -> None:
    change_parts(
        project, "def __init__(self, model, tokenizer, noise_schedule=None, scale=1.0)", "def __init__(self, scale)"
    )
    xlm(EXPERIMENT).refused("my_model.parts.Loss", "takes no argument", "model, noise_schedule, tokenizer")


def test_a_part_that_raises(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "model.width=-1").refused("my_model.parts.Model", "config node 'model'", "RuntimeError", "-1")


def test_a_command_that_cannot_be_imported(project: Path, xlm_process: Run) -> None:
    write(project / "my_model/configs/commands.yaml", "show: my_model.absent.main\n")
    xlm_process("job_type=show").refused(
        "command 'show' in the commands.yaml of", str(project / "my_model"), "No module named 'my_model.absent'"
    )


def test_a_commands_file_that_names_no_function(project: Path, xlm: Run) -> None:
    file = write(project / "my_model/configs/commands.yaml", "# commands\nshow: main\n")
    xlm("job_type=show").refused(f"{file}, line 2", "'show'", "not the dotted path of a function")


def test_a_fault_of_the_model_is_shown_with_its_traceback(project: Path, xlm: Run) -> None:
    file = change_parts(project, "return self.head(", "return self.haed(")
    result = xlm(EXPERIMENT)
    assert result.code == 1
    assert "Traceback" in result.err and str(file) in result.err and "'haed'" in result.err
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ('{"valu": output["loss"]}', ["metric 'loss'", "MeanMetric", "my_model.parts.nll", "valu: Tensor"]),
        ('output["loss"]', ["metric 'loss'", "my_model.parts.nll", "type Tensor", "keyword arguments"]),
    ],
)
def test_a_metric_that_is_given_what_it_does_not_take(project: Path, xlm: Run, returned: str, words: list[str]) -> None:
    change_parts(project, '    return {"value": output["loss"]}', f"    return {returned}")
    xlm(EXPERIMENT).refused(*words)


def test_rows_without_text_are_not_judged(project: Path, xlm: Run) -> None:
    change_parts(project, '{"text": self.tokenizer.decode(p), "truth"', '{"written": self.tokenizer.decode(p), "truth"')
    xlm(EXPERIMENT, "job_name=demo").done()
    assert "exact match" not in xlm("job_type=generate", "job_name=demo").done()


def test_a_dataset_without_the_collators_made_for_it(project: Path, xlm: Run) -> None:
    collator = "_target_: NAME.parts.Collator\nlength: ${dataset.prompt_length}\n"
    make_model(project / "my_model", changes={"configs/collator/NAME.yaml": collator})
    result = xlm(EXPERIMENT, "dataset=pydoc")
    result.refused("datamodule.collators.lm", "choose both together", "datamodule=<dataset>_<model>")


@pytest.mark.parametrize("split", ["val", None])
def test_what_a_predictor_refuses_is_refused_before_training(project: Path, xlm: Run, split: str | None) -> None:
    check = """\
    def check_batch(self, batch):
        from xlm_runtime.errors import ConfigError

        raise ConfigError(f"{tuple(batch['ids'].shape)} is no batch for me")

    def to_dict("""
    change_parts(project, "    def to_dict(", check)
    words = [] if split else ["~dataset.sizes.val", "trainer.limit_val_batches=0"]
    result = xlm(EXPERIMENT, *words)
    result.refused("(1, 8) is no batch for me")
    assert "step 1" not in result.out
