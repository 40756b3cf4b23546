"""Gradients before a step: clipped as torch clips, named when they are not finite, and never waited for."""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_parts as tiny
import torch
from torch import nn

from xlm_runtime.errors import ConfigError, NonFiniteError
from xlm_runtime.gradients import Gradients, check_weights, describe_batches


def network() -> nn.Module:
    """Two parameters with gradients."""
    torch.manual_seed(0)
    linear = nn.Linear(3, 2)
    linear(torch.randn(5, 3)).square().sum().backward()
    return linear


def prepare(gradients: Gradients, module: nn.Module, step: int = 1, loss: float = 1.0, **options: Any) -> None:
    gradients.saw(torch.tensor(loss), (0, step - 1))
    gradients.prepare(list(module.named_parameters()), step, **options)


def spoil(module: nn.Module, value: float = float("nan")) -> None:
    module.bias.grad[1] = value


@pytest.fixture
def gradients() -> Gradients:
    return Gradients("stop", lambda epoch, batches: describe_batches(epoch, batches, lambda *place: [3, 1]))


@pytest.mark.parametrize("clip", [0.5, 1e6])
def test_norms_are_clipped_as_torch_does(gradients: Gradients, clip: float) -> None:
    ours, torchs = network(), network()
    prepare(gradients, ours, clip=clip)
    torch.nn.utils.clip_grad_norm_(torchs.parameters(), clip)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours.parameters(), torchs.parameters(), strict=True))


def test_entries_are_clipped_as_torch_does(gradients: Gradients) -> None:
    ours, torchs = network(), network()
    prepare(gradients, ours, clip=0.1, by_value=True)
    torch.nn.utils.clip_grad_value_(torchs.parameters(), 0.1)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours.parameters(), torchs.parameters(), strict=True))


def test_a_factor_comes_before_clipping(gradients: Gradients) -> None:
    module = network()
    before = module.weight.grad.clone()
    prepare(gradients, module, factor=torch.tensor(0.5))
    assert torch.equal(module.weight.grad, before / 2)
    prepare(gradients, module, factor=torch.tensor(1e6), clip=1.0)
    total = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in module.parameters()]))
    assert float(total) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_is_named_with_its_step_and_batch(gradients: Gradients, value: float) -> None:
    module = network()
    for step in (1, 2, 3, 4):
        if step == 3:
            spoil(module, value)
        prepare(gradients, module, step, clip=1.0)
    with pytest.raises(NonFiniteError) as caught:
        gradients.look()
    first = str(caught.value).splitlines()[0]
    assert first == ("Not finite at step 3 (epoch 0, batch 2: training examples 3, 1), the gradient of bias (of 2).")
    gradients.look()  # what was told is not told again


def test_a_loss_that_is_not_finite_is_named(gradients: Gradients) -> None:
    prepare(gradients, network(), loss=float("inf"))
    with pytest.raises(NonFiniteError, match=r"step 1 .*, the loss\."):
        gradients.look()


@pytest.mark.parametrize(
    ("losses", "named"),
    [
        ([1.0, float("nan"), 1.0, 1.0], "batch 5"),
        ([float("inf"), 1.0, float("nan"), 1.0], "batches 4, 6"),
        ([1.0, 1.0, 1.0, 1.0], "batches 4, 5, 6, 7"),
    ],
)
def test_of_an_accumulated_step_the_batches_at_fault_are_named(
    gradients: Gradients, losses: list[float], named: str
) -> None:
    module = network()
    spoil(module)
    for batch, loss in enumerate(losses[:-1], 4):
        gradients.saw(torch.tensor(loss), (0, batch))
    prepare(gradients, module, 8, losses[-1])
    with pytest.raises(NonFiniteError, match=rf"step 8 \(epoch 0, {named}: training"):
        gradients.look()


def test_of_a_shared_step_the_gradients_decide_for_all_processes(gradients: Gradients) -> None:
    prepare(gradients, network(), loss=float("inf"), shared=True)  # another process has a finite loss
    gradients.look()
    module = network()
    spoil(module)
    prepare(gradients, module, loss=float("inf"), shared=True)
    with pytest.raises(NonFiniteError, match=r"the loss and the gradient of bias"):
        gradients.look()


def test_a_scaler_looks_after_its_gradients_itself(gradients: Gradients) -> None:
    module = network()
    spoil(module)
    prepare(gradients, module, scaled=True)
    gradients.look()


def test_skipping_takes_the_gradient_for_zero_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    gradients, module = Gradients("skip", lambda epoch, batches: f"batch {batches[0]}"), network()
    kept = copy.deepcopy([p.grad for p in module.parameters()])
    prepare(gradients, module, 1)
    assert all(torch.equal(p.grad, grad) for p, grad in zip(module.parameters(), kept, strict=True))
    spoil(module)
    prepare(gradients, module, 2)
    assert all(not p.grad.any() for p in module.parameters())
    gradients.look()
    assert capsys.readouterr().out == ("skipped step 2 (batch 1), the gradient of bias (of 2); 1 skipped so far\n")


def test_the_mode_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match=r"harness\.nonfinite is 'no'; expected one of: stop, skip"):
        Gradients("no", describe_batches)  # type: ignore[arg-type]


def test_a_process_that_holds_no_weights_is_told_of_those_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xlm_runtime.processes.gather", lambda mine: ["b (of 2 weights)", mine])
    with pytest.raises(NonFiniteError, match=r"after step 3: b \(of 2 weights\)"):
        check_weights({"a": None, "b": None}, 3)


def test_weights_are_checked_by_name() -> None:
    check_weights({"a": torch.ones(2), "b": None}, 3)
    with pytest.raises(NonFiniteError, match=r"after step 3: b \(of 2 weights\)"):
        check_weights({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])}, 3)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Each time that the runtime asks a tensor for a number: on a device, it would wait there."""
    asked: list[str] = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "numpy"):
        original = getattr(torch.Tensor, name)

        def ask(self: torch.Tensor, *args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            caller = Path(sys._getframe(1).f_code.co_filename)
            if "xlm_runtime" in caller.parts and caller.name != "sampler.py":  # which orders examples on the host
                asked.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, ask)
    yield asked


class Marks(tiny.pl.Callback):
    """How often a tensor was asked up to the end of each step."""

    def __init__(self, asked: list[str]) -> None:
        self.asked, self.counts = asked, [0]

    def on_train_batch_end(self, *args: Any) -> None:
        self.counts.append(len(self.asked))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_between_two_logs_no_step_asks_a_tensor(waits: list[str], accumulate: int) -> None:
    marks = Marks(waits)
    trainer = tiny.make_trainer(
        max_steps=12, log_every_n_steps=6, callbacks=[marks], gradient_clip_val=1.0, logger=tiny.Memory(),
        accumulate_grad_batches=accumulate,
    )  # fmt: skip
    optimizer = tiny.functools.partial(torch.optim.AdamW, lr=0.1, foreach=True, capturable=False)
    trainer.fit(tiny.make_harness(optimizer=optimizer), datamodule=tiny.make_datamodule())
    each = [after - before for before, after in itertools.pairwise(marks.counts)]
    steps = [sum(each[i : i + accumulate]) for i in range(0, len(each), accumulate)]
    assert [step for step, count in enumerate(steps, 1) if count] == [6, 12]
