"""Components that do not keep their contract: methods that are missing or cannot be called, and what they return."""

from __future__ import annotations

from pathlib import Path

import pytest
from outcomes import Run
from tiny_models import PARTS, change_parts, write

PARTS_FILE = "my_model/my_model/parts.py"
EXPERIMENT = "experiment=star_easy_my_model"


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
    change_parts(project, old, new)
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
    change_parts(project, old, new)
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
    file = change_parts(project, old, new)
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


def test_a_prediction_that_is_not_returned(project: Path, xlm: Run) -> None:
    change_parts(project, 'return {"ids": self.model(', 'ids = {"ids": self.model(')
    xlm(EXPERIMENT).refused("Predictor.predict returned None", "Is a return missing?")


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
    change_parts(project, 'return {"loss": loss * self.scale}', f"return {returned}")
    xlm(EXPERIMENT).refused(*words)
    assert not (project / "runs").exists()


def test_the_tracking_of_a_scalar_that_is_not_returned(project: Path, xlm: Run) -> None:
    result = xlm(EXPERIMENT, "harness.track=[loss, los]")
    result.refused("harness.track names 'los'", "returned only: loss", "Did you mean 'loss'?")
    assert not (project / "runs").exists()


def test_the_tracking_of_what_is_no_scalar(project: Path, xlm: Run) -> None:
    change_parts(project, 'return {"loss": loss * self.scale}', 'return {"loss": loss, "ids": batch["ids"]}')
    xlm(EXPERIMENT, "harness.track=[loss, ids]").refused("harness.track names 'ids'", "a tensor of shape (4, 8)")


def test_the_tracking_of_a_python_number(project: Path, xlm: Run) -> None:
    change_parts(project, 'return {"loss": loss * self.scale}', 'return {"loss": loss, "rows": len(batch["ids"])}')
    xlm(EXPERIMENT, "harness.track=[loss, rows]").done()
    header, *_ = (project / "runs/default/metrics.csv").read_text(encoding="utf-8").splitlines()
    assert "train/rows" in header.split(",")


def test_prediction_rows_that_are_no_list_of_dicts(project: Path, xlm: Run) -> None:
    change_parts(project, 'return [{"text"', 'return [0] or [{"text"')
    xlm(EXPERIMENT).refused("to_dict returned a value of type list", "one dict a row")


def test_prediction_rows_that_json_cannot_say(project: Path, xlm: Run) -> None:
    change_parts(project, '"truth": self.tokenizer.decode(t)', '"truth": torch.tensor(t)')
    xlm(EXPERIMENT).refused("to_dict", "not JSON-serialisable", "tensor.tolist()")
