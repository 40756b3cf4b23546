"""What a loss may return in training, and a predictor in evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from xlm_runtime.errors import ContractError, did_you_mean


def check_loss_output(output: Any, track: Sequence[str]) -> None:
    """Check what ``loss_fn`` returned in training: a dict with a differentiable scalar under ``"loss"``.

    Args:
        output: the returned value.
        track: names that must be there too, each a scalar.

    Raises:
        ContractError: says what was returned instead.
    """
    expected = 'expected a dict with "loss", a scalar tensor that gradients flow through'
    if not isinstance(output, Mapping):
        raise ContractError(f"loss_fn returned {_described(output)}; {expected}.")
    for name in dict.fromkeys(["loss", *track]):
        if name in output:
            continue
        returned = ", ".join(map(str, output)) or "an empty dict"
        if name == "loss":
            raise ContractError(f"loss_fn returned no 'loss', only: {returned}; {expected}.")
        raise ContractError(
            f"harness.track names '{name}', but loss_fn returned only: {returned}. {did_you_mean(name, output)}\n"
            "Track one of these, or return it from loss_fn."
        )
    loss = output["loss"]
    if not _is_scalar(loss) or not loss.is_floating_point() or not loss.requires_grad:
        raise ContractError(f"loss_fn returned as 'loss' {_described(loss)}; {expected}.")
    for name in track:
        if not isinstance(output[name], (int, float)) and not _is_scalar(output[name]):
            raise ContractError(
                f"harness.track names '{name}', but loss_fn returned {_described(output[name])} there. "
                "What is tracked is a number or a scalar tensor."
            )


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0


def to_rows(predictor: Any, batch: Any, preds: Any) -> list[dict[str, Any]]:
    """The predictor's rows, one a row of the batch, of what its ``predict`` returned.

    Raises:
        ContractError: there are no predictions, or the rows are no list of dicts.
    """
    name = type(predictor).__name__
    if preds is None:
        raise ContractError(
            f"{name}.predict returned None; expected the predictions of a batch, which to_dict makes rows of. "
            "Is a return missing?"
        )
    rows: list[dict[str, Any]] = predictor.to_dict(batch, preds)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ContractError(
            f"{name}.to_dict returned {_described(rows)}; expected a list with one dict a row, such as "
            '[{"text": "..."}].'
        )
    return rows


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a value of type {type(value).__name__}"
    detached = "" if value.requires_grad else " without gradient"
    return f"a tensor of shape {tuple(value.shape)}, {value.dtype}{detached}"
