"""The model ``xlm`` of lm-evaluation-harness; importing this module registers it. It needs the extra."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from xlm_runtime.api import load
from xlm_runtime.lm_eval.requests import Requests

_BATCH_SIZE = 8  # where the harness is told "auto"


@register_model("xlm")
class XlmLM(TemplateLM):
    """A saved model: ``--model xlm --model_args path=runs/x``.

    Log-likelihoods are exact where the model's loss says so (arlm), bounds from below where it says that (mdlm, the
    NELBO: compare them among themselves only), and an error elsewhere. ``generate_until`` is the model's own predictor.

    Args:
        path: a run's directory, a ``.ckpt`` file, an exported folder, or ``hf://user/name@revision``.
        batch_size: rows at once.
        max_batch_size: not used; the harness gives it to every model.
        device: torch's name of one; None: the first accelerator there is, else the processor.
        overrides: keys of the configuration, such as ``seed=1`` or ``loss.eval_times=64``.

    Raises:
        XlmError: the model cannot be loaded.
    """

    def __init__(
        self,
        path: str,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **overrides: Any,
    ) -> None:
        super().__init__()
        self._model = load(str(path), **overrides)
        rows = int(batch_size) if batch_size is not None and str(batch_size).isdigit() else _BATCH_SIZE
        if device is None or (device.startswith("cuda") and not torch.cuda.is_available()):  # as it says unless told
            device = str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else "cpu"
        self._requests = Requests(self._model, rows, device)
        self.tokenizer: Any = self._model.tokenizer

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        return int(self.tokenizer.bos_token_id)

    @property
    def tokenizer_name(self) -> str:
        return type(self.tokenizer).__name__

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return self._requests.encode(string)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        # Of an empty context the harness makes its prefix; the layout of a row adds that by itself.
        pairs = [([] if context == [self.prefix_token_id] else context, tokens) for _, context, tokens in requests]
        return self._requests.log_likelihoods(pairs)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        # A text is cut into windows, each token scored once, with as much before it as fits.
        pairs, owners = [], []
        for owner, request in enumerate(requests):
            windows = get_rolling_token_windows(
                token_list=self._requests.encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self._requests.room,
                context_len=1,
            )
            for window in windows:
                context, tokens = make_disjoint_window(window)
                pairs.append(([] if context == [self.prefix_token_id] else context, tokens))
                owners.append(owner)
        sums = [0.0] * len(requests)
        for owner, (value, _) in zip(owners, self._requests.log_likelihoods(pairs), strict=True):
            sums[owner] += value
        return sums

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(place)
        found = [""] * len(requests)
        for text, places in groups.items():
            options = json.loads(text)
            until = options.pop("until", None) or []
            words = [until] if isinstance(until, str) else until
            texts = self._requests.continuations([requests[p].args[0] for p in places], words, **options)
            for place, continuation in zip(places, texts, strict=True):
                found[place] = continuation
        return found
