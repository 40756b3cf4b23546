"""Components that cannot be imported or made, or that do not keep their contract."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from outcomes import Run
from tiny_models import PARTS, make_model, write

PARTS_FILE = "my_model/my_model/parts.py"
EXPERIMENT = "experiment=star_easy_my_model"


def change(project: Path, old: str, new: str) -> Path:
    """Replace a piece of the model's code."""
    assert old in PARTS
    return write(project / PARTS_FILE, PARTS.replace(old, new))


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
    file = change(project, old, new)
    xlm(EXPERIMENT).refused(f"{file}, line {line}", "_target_", *words)
    assert not (project / "runs").exists()


def test_a_metric_function_that_does_not_exist(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "metrics.lm.loss.update=my_model.parts.nl").refused(
        "metrics.lm.loss.update", "has no 'nl'", "'nll'"
    )


@pytest.mark.parametrize(
    ("old", "new", "key", "method"),
    [
        ("def loss_fn(", "def loss(", "loss", "loss_fn()"),
        ("def predict(", "def generate(", "predictor", "predict()"),
        ("def to_dict(", "def to_rows(", "predictor", "to_dict()"),
        ("def __call__(", "def collate(", "datamodule.collators.lm", "__call__()"),
        ("def forward(", "def forwards(", "model", "forward()"),
    ],
)
def test_a_component_without_a_method_of_its_contract(
    project: Path, xlm: Run, old: str, new: str, key: str, method: str
) -> None:
    change(project, old, new)
    xlm(EXPERIMENT).refused(f"config key '{key}'", f"lacks {method}", "contract", "contracts.py")
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("def loss_fn(self, batch)", "def loss_fn(self)", "loss", ["loss_fn() cannot be called as (batch)"]),
        ("    def loss_fn(self, batch)", "    @property\n    def loss_fn(self)", "loss", ["loss_fn is a property"]),
        ("def configure(self, pl_module)", "def configure(self)", "loss", ["configure() cannot be", "(pl_module)"]),
        ("def predict(self, batch)", "def predict(self, batch, steps)", "predictor", ["predict(batch, steps)"]),
        (
            "def to_dict(self, batch, preds)",
            "def to_dict(self, preds)",
            "predictor",
            ["to_dict(preds)", "(batch, preds)"],
        ),
        (
            "    def predict(",
            "    def check_batch(self):\n        pass\n\n    def predict(",
            "predictor",
            ["check_batch() cannot be called as (batch)"],
        ),
        ("def __call__(self, examples)", "def __call__(self)", "datamodule.collators.lm", ["__call__()", "(examples)"]),
    ],
)
def test_a_method_that_cannot_be_called_as_the_contract_says(
    project: Path, xlm: Run, old: str, new: str, key: str, words: list[str]
) -> None:
    change(project, old, new)
    xlm(EXPERIMENT).refused(f"config key '{key}'", "does not fit the contract", "contracts.py", *words)
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def configure(", "def setup("),  # it need not be there
        ("def loss_fn(", "def plain("),
        ("    def loss_fn(", "    @property\n    def loss_fn(self):\n        return self.plain\n\n    def plain("),
        ("    def loss_fn(self, batch)", "    def loss_fn(self, *batches, scale=1, **more)"),
        ("def predict(", "def predict(self, batch, steps=1):\n        return self.plain(batch)\n\n    def plain("),
        ("    def predict(", "    @torch.no_grad()\n    def predict("),
        ("    def predict(", "    @torch.inference_mode()\n    def predict("),
    ],
)
def test_methods_that_keep_the_contract_in_other_ways(project: Path, xlm: Run, old: str, new: str) -> None:
    file = change(project, old, new)
    text = file.read_text(encoding="utf-8").replace(
        "*batches, scale=1, **more):\n", "*batches, scale=1, **more):\n        batch, = batches\n"
    )
    if new == "def plain(":
        text = text.replace(
            "self.model, self.scale = model, scale", "self.model, self.scale = model, scale; self.loss_fn = self.plain"
        )
        text = text.replace("class Loss:", "from xlm_runtime import LossFunction\n\nclass Loss(LossFunction):")
    write(file, text)
    xlm(EXPERIMENT).done()


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
    change(project, "def nll(batch, output)", "def nll(output)")
    xlm(EXPERIMENT).refused("my_model.parts.nll(output) cannot be called as (batch, output)", "metrics.lm.loss.update")


def test_a_prediction_that_is_not_returned(project: Path, xlm: Run) -> None:
    change(project, 'return {"ids": self.model(', 'ids = {"ids": self.model(')
    xlm(EXPERIMENT).refused("Predictor.predict returned None", "Is a return missing?")


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


@pytest.mark.parametrize(
    ("name", "protocol", "method"),
    [("Loss", "LossFunction", "loss_fn"), ("Predictor", "Predictor", "to_dict"), ("Collator", "Collator", "__call__")],
)
def test_a_method_that_is_only_inherited_from_the_protocol(
    project: Path, xlm: Run, name: str, protocol: str, method: str
) -> None:
    text = PARTS.replace(f"class {name}:", f"class {name}(contracts.{protocol}):").replace(
        f"def {method}(", "def other("
    )
    write(project / PARTS_FILE, text.replace("import torch\n", "import torch\nfrom xlm_runtime import contracts\n"))
    xlm(EXPERIMENT).refused(f"lacks {method}()")


def test_a_loss_that_inherits_from_the_protocol_need_not_configure(project: Path, xlm: Run) -> None:
    text = PARTS.replace("class Loss:", "class Loss(contracts.LossFunction):").replace("def configure(", "def other(")
    write(project / PARTS_FILE, text.replace("import torch\n", "import torch\nfrom xlm_runtime import contracts\n"))
    xlm(EXPERIMENT, "debug=fast_dev_run").done()


def test_a_required_argument_that_no_config_gives(project: Path, xlm: Run) -> None:
    write(project / "my_model/configs/collator/my_model.yaml", "_target_: my_model.parts.Collator\n")
    xlm(EXPERIMENT).refused(
        "my_model.parts.Collator needs the argument length", "datamodule.collators.lm.length", "config"
    )


def test_a_part_that_does_not_take_what_the_runtime_gives(project: Path, xlm: Run) -> None:
    change(project, "def __init__(self, model, tokenizer, noise_schedule=None, scale=1.0)", "def __init__(self, scale)")
    xlm(EXPERIMENT).refused("my_model.parts.Loss", "takes no argument", "model, noise_schedule, tokenizer")


def test_a_part_that_raises(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "model.width=-1").refused("my_model.parts.Model", "config node 'model'", "RuntimeError", "-1")


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ('{"lss": loss}', ["loss_fn returned no 'loss', only: lss"]),
        ("{}", ["loss_fn returned no 'loss', only: an empty dict"]),
        ("loss", ["loss_fn returned a tensor of shape ()", "a dict"]),
        ("None", ["loss_fn returned a value of type NoneType", "a dict"]),
        ('{"loss": loss.item()}', ["'loss' a value of type float", "scalar tensor"]),
        ('{"loss": loss.expand(2)}', ["'loss' a tensor of shape (2,)", "scalar tensor"]),
        ('{"loss": loss.detach()}', ["'loss' a tensor of shape ()", "without gradient"]),
    ],
)
def test_a_loss_that_returns_something_else(project: Path, xlm: Run, returned: str, words: list[str]) -> None:
    change(project, 'return {"loss": loss * self.scale}', f"return {returned}")
    xlm(EXPERIMENT).refused(*words)
    assert not (project / "runs").exists()


def test_the_tracking_of_a_scalar_that_is_not_returned(project: Path, xlm: Run) -> None:
    result = xlm(EXPERIMENT, "harness.track=[loss, los]")
    result.refused("harness.track names 'los'", "returned only: loss", "Did you mean 'loss'?")
    assert not (project / "runs").exists()


def test_the_tracking_of_what_is_no_scalar(project: Path, xlm: Run) -> None:
    change(project, 'return {"loss": loss * self.scale}', 'return {"loss": loss, "ids": batch["ids"]}')
    xlm(EXPERIMENT, "harness.track=[loss, ids]").refused("harness.track names 'ids'", "a tensor of shape (4, 8)")


def test_the_tracking_of_a_python_number(project: Path, xlm: Run) -> None:
    change(project, 'return {"loss": loss * self.scale}', 'return {"loss": loss, "rows": len(batch["ids"])}')
    xlm(EXPERIMENT, "harness.track=[loss, rows]").done()
    header, *_ = (project / "runs/default/metrics.csv").read_text(encoding="utf-8").splitlines()
    assert "train/rows" in header.split(",")


def test_prediction_rows_that_are_no_list_of_dicts(project: Path, xlm: Run) -> None:
    change(project, 'return [{"text"', 'return [0] or [{"text"')
    xlm(EXPERIMENT).refused("to_dict returned a value of type list", "one dict a row")


def test_prediction_rows_that_json_cannot_say(project: Path, xlm: Run) -> None:
    change(project, '"truth": self.tokenizer.decode(t)', '"truth": torch.tensor(t)')
    xlm(EXPERIMENT).refused("to_dict", "not JSON-serialisable", "tensor.tolist()")


def test_a_command_that_cannot_be_imported(project: Path, xlm_process: Run) -> None:
    write(project / "my_model/configs/commands.yaml", "show: my_model.absent.main\n")
    xlm_process("job_type=show").refused(
        "command 'show' in the commands.yaml of", str(project / "my_model"), "No module named 'my_model.absent'"
    )


def test_a_commands_file_that_names_no_function(project: Path, xlm: Run) -> None:
    file = write(project / "my_model/configs/commands.yaml", "# commands\nshow: main\n")
    xlm("job_type=show").refused(f"{file}, line 2", "'show'", "not the dotted path of a function")


def test_a_fault_of_the_model_is_shown_with_its_traceback(project: Path, xlm: Run) -> None:
    file = change(project, "return self.head(", "return self.haed(")
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
    change(project, '    return {"value": output["loss"]}', f"    return {returned}")
    xlm(EXPERIMENT).refused(*words)


def test_rows_without_text_are_not_judged(project: Path, xlm: Run) -> None:
    change(project, '{"text": self.tokenizer.decode(p), "truth"', '{"written": self.tokenizer.decode(p), "truth"')
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
    change(project, "    def to_dict(", check)
    words = [] if split else ["~dataset.sizes.val", "trainer.limit_val_batches=0"]
    result = xlm(EXPERIMENT, *words)
    result.refused("(1, 8) is no batch for me")
    assert "step 1" not in result.out
