"""The sampling loop of ARLM: prefill the prompt once, then one token a step over a preallocated KV cache.

    x_{j+1} ~ softmax(f(logits_j / temperature)),  f: top-k (arXiv 1805.04833), then top-p (arXiv 1904.09751)

Temperature 0 takes the likeliest token. At temperature 1 without f a text is an exact draw from the model, but for the
special tokens besides EOS: no text holds them, so they are left out before the softmax.

A row that has produced EOS leaves the batch, so it costs nothing more; the loop ends when no row is left, or at
``max_new_tokens``. Under greedy decoding the result is the same, token for token, as without a cache. Departures from
common practice: the token that crosses p is kept, as the paper of top-p has it; masses are float64; and a row's draws
depend on (seed, its index, the step), so that they are the same in every batch.

With ``compile`` every step after the first runs as one compiled program with fixed shapes, on a GPU as a CUDA graph.
Rows stay in the batch to its end, and whether all have ended is asked once in a while, as asking waits for the device.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Predictor
from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import SamplingOptions, counter_uniforms
from xlm_runtime.options import check_switch, check_whole_number
from xlm_runtime.tracing import Traceable, probability

from .types_arlm import Prediction, PredictionBatch

#: Compiled steps between two looks whether every row has ended.
LOOK_EVERY = 16


class ArlmPredictor(Traceable, Predictor[PredictionBatch, Prediction]):
    """x_{j+1} ~ softmax(f(logits_j / temperature)), token after token, until EOS; see the top of this file.

    ``input_ids`` (B, P) -> ``ids`` (B, T).

    Args:
        model: ids -> logits, with ``transformer.make_cache``.
        tokenizer: for the special ids, and to make text.
        noise_schedule: not used; the runtime gives it to every predictor.
        max_new_tokens: T, at most so many tokens a row, EOS included.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draw among the k likeliest tokens; None: among all.
        top_p: draw among the smallest set of likeliest tokens whose mass reaches p; None: among all.
        use_cache: False runs the whole sequence through the model at each step.
        compile: compile the step of one token, once for each size of a batch. A trace is made without it.
        seed: of the draws. A row's draws depend on the seed, its index and the step, not on its batch.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        noise_schedule: Any = None,
        max_new_tokens: int = 32,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        use_cache: bool = True,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        check_whole_number("predictor.max_new_tokens", max_new_tokens, least=1)
        check_switch("predictor.use_cache", use_cache)
        check_switch("predictor.compile", compile)
        if compile and not use_cache:
            raise ConfigError(
                "predictor.compile is true, and predictor.use_cache false: what is compiled is the step on the cache. "
                "Leave one of the two as it is."
            )
        check_whole_number("predictor.seed", seed, least=0)
        self.model: Any = model  # with a cache besides what a module has
        self.tokenizer = tokenizer
        self.noise_schedule = noise_schedule
        self.max_new_tokens = max_new_tokens
        self.sampling = SamplingOptions(temperature, top_k, top_p, prefix="predictor.")
        self.use_cache = use_cache
        self.compile = compile
        self.seed = seed
        self.eos, self.pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        self.never = sorted(set(tokenizer.all_special_ids) - {self.eos})  # no answer holds these
        self._compiled_step: Any = None
        self._caches: dict[tuple[int, int], Any] = {}  # of compiled steps: their memory stays where it is

    @torch.no_grad()
    def predict(self, batch: PredictionBatch) -> Prediction:
        """Continue every row of ``input_ids`` (B, P)."""
        if self.compile and self.recorder is None:
            return {"ids": self._predict_compiled(batch)}
        input_ids, mask, index = batch["input_ids"], batch["attention_mask"], batch["index"]
        rows = torch.arange(len(input_ids), device=input_ids.device)  # those that still go on
        ids = torch.full((len(input_ids), self.max_new_tokens), self.pad, device=input_ids.device)
        if self.recorder is not None:
            self.recorder.begin(input_ids, mask)
        cache = None
        if self.use_cache:
            cache = self.model.transformer.make_cache(len(input_ids), input_ids.shape[1] + self.max_new_tokens)
        new_ids, new_mask, previous_ids = input_ids, mask, None  # what the model has not seen yet
        for step in range(self.max_new_tokens):
            logits = self.model(new_ids, new_mask, logits_to_keep=1, cache=cache, previous_ids=previous_ids)[:, 0]
            token = self._draw(logits, index[rows], step)  # (rows,)
            ids[rows, step] = token
            if self.recorder is not None:
                self.recorder.append(rows, token, probability(logits, token))
            going = (token != self.eos).nonzero().squeeze(1)
            if len(going) == 0:
                break
            previous_ids = new_ids[:, -1]
            if len(going) < len(rows):
                rows, token, previous_ids = rows[going], token[going], previous_ids[going]
                new_ids, new_mask = new_ids[going], new_mask[going]
                if cache is not None:
                    cache.select(going)
            one = torch.ones_like(token[:, None], dtype=torch.bool)
            if cache is None:
                new_ids, new_mask = torch.cat([new_ids, token[:, None]], 1), torch.cat([new_mask, one], 1)
                previous_ids = None
            else:
                new_ids, new_mask = token[:, None], one
        return {"ids": ids}

    def _predict_compiled(self, batch: PredictionBatch) -> Tensor:
        """The same tokens as ``predict``: (B, max_new_tokens) int64."""
        new_ids, new_mask, index = batch["input_ids"], batch["attention_mask"], batch["index"]
        cache = self._fixed_cache(*new_ids.shape)
        ids = torch.full((len(new_ids), self.max_new_tokens), self.pad, device=new_ids.device)
        ended = torch.zeros(len(new_ids), dtype=torch.bool, device=new_ids.device)
        one = torch.ones_like(ended[:, None])
        step_fn, previous_ids = self._step, None
        for step in range(self.max_new_tokens):
            logits = step_fn(new_ids, new_mask, cache, previous_ids)
            token = self._draw(logits, index, step).where(~ended, self.pad)
            ids[:, step] = token
            ended |= token == self.eos
            if step % LOOK_EVERY == LOOK_EVERY - 1 and bool(ended.all()):
                break
            previous_ids, new_ids, new_mask = new_ids[:, -1].contiguous(), token[:, None], one
            if self._compiled_step is None:
                self._compiled_step = torch.compile(self._step, mode="reduce-overhead", dynamic=False)
            step_fn = self._compiled_step
        return ids

    def _step(self, ids: Tensor, mask: Tensor, cache: Any, previous_ids: Tensor | None) -> Tensor:
        logits: Tensor = self.model(ids, mask, logits_to_keep=1, cache=cache, previous_ids=previous_ids)[:, 0]
        return logits

    def _fixed_cache(self, rows: int, prompt: int) -> Any:
        size = rows, -(-(prompt + self.max_new_tokens) // 64) * 64  # in steps, so that few sizes are compiled
        if size not in self._caches:
            self._caches = {size: self.model.transformer.make_cache(*size, fixed=True)}
        self._caches[size].clear()
        return self._caches[size]

    def _draw(self, logits: Tensor, index: Tensor, step: int) -> Tensor:
        logits[:, self.never] = -torch.inf
        if self.sampling.temperature == 0:
            return logits.argmax(-1)
        return self.sampling.sample(logits, uniforms=counter_uniforms(self.seed, index, step))

    def to_dict(self, batch: PredictionBatch, preds: Prediction) -> list[dict[str, Any]]:
        """Rows of text and ids, and how often the network ran. ``truth`` is None where no answer is known."""

        def text(ids: list[int]) -> str:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True))

        rows = []
        for prompt, ids, truth in zip(
            batch["input_ids"].tolist(), preds["ids"].tolist(), batch["target_ids"].tolist(), strict=True
        ):
            known = truth[0] != self.pad
            written = [i for i in ids if i != self.pad]
            rows.append(
                {
                    "prompt": text(prompt),
                    "text": text(ids),
                    "truth": text(truth) if known else None,
                    "ids": written,
                    "network_calls": len(written),  # the first of them reads the prompt
                }
            )
        return rows
