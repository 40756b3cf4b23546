"""The sampling loop of ILM: insert one token a step into each row, until the network says that nothing is missing.

    while P(stop) < theta and there is room:
        (slot, token) ~ softmax(f(logits / temperature));  insert token right after slot
                                                           f: top-k, then top-p (arXiv 1904.09751)

Jointly, or the slot first, by logsumexp_v logits[i, v], then the token given the slot: without filters and at
temperature 1 the same law. Special tokens are left out before any of it. (Insertion Language Models, arXiv 2505.05755.)

Or several at once, "threshold": every pair that is the likeliest of its slot and the likeliest of its token, if its
probability is at least 1 - gamma times that of the likeliest pair. Of n missing tokens, one that is missing c times in
a slot has c/n of the softmax's mass where the network is sure of it; what it wavers about has less, and waits for a
later step. A token beside one like it could go before or after it; that no token goes to two places at once keeps it
from going to both. gamma is away from 1/2, where a single token beside a double one would hang in the balance. Where
the stop head counts (``count_up_to``) and is sure of n, c is known: tokens that are missing once go together with those
that are missing more often, if c >= 1 - gamma; and where all n were inserted, the row is finished without another call.
(Parallel decoding: Insertion Transformer, arXiv 1902.03249; the rule is ours.)

An insertion changes what every token attends to, so that no cache is exact, but that of a prompt which attends itself
alone (the model's ``cached_prompt``). The network runs once a step, on rows that still go on, over columns in use. New
tokens are appended, in the order of insertion, and know their place by explicit positions; the text is put in order
once, at the end.

Departures from the paper: a text with gaps opens the slots of its gaps alone, so that what is given stays together;
masses are float64, and a row's draws depend on (seed, its index, the step), not on its batch.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from xlm_runtime import Predictor
from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import KVCache, SamplingOptions, counter_uniforms, stream_seed
from xlm_runtime.nn.inserting import Canvas
from xlm_runtime.nn.unmasking import commit_top, pack
from xlm_runtime.options import check_choice, check_number, check_whole_number
from xlm_runtime.tracing import Traceable

from .loss_ilm import STOP, insertion_logits
from .types_ilm import TEXT_TYPE, ModelOutput, Prediction, PredictionBatch

METHODS = ("joint", "slot_first", "threshold")


def canvas_of(batch: PredictionBatch, room: int) -> Canvas:
    """What is given, and room for so many tokens more in each row."""
    columns = batch["input_ids"], batch["attention_mask"], batch["type_ids"], batch["slots"]
    return Canvas(*columns, text_type=TEXT_TYPE, room=room)


def _select(rows: Tensor, which: Tensor, cache: KVCache | None) -> Tensor:
    """The rows at the places ``which``; the cache keeps theirs."""
    if cache is not None:
        cache.select(which)
    return rows[which]


class IlmPredictor(Traceable, Predictor[PredictionBatch, Prediction]):
    """(slot, token) ~ softmax(f(logits / temperature)), inserted one a step, or several, until P(stop) reaches theta.

    ``input_ids`` (B, L) -> ``ids`` (B, T), in the order of the text; see the top of this file.

    Args:
        model: ids -> ``ModelOutput``; where its ``cached_prompt`` is true, with a cache besides.
        tokenizer: for the special ids, and to make text.
        noise_schedule: not used; the runtime gives it to every predictor.
        max_new_tokens: insert at most so many tokens into a row.
        stop_threshold: theta, in (0, 1]: a row is finished when the probability that nothing is missing reaches it.
        method: "joint": draw slot and token together; "slot_first": the slot, then its token; "threshold":
            every pair that is likeliest of its slot and of its token, and nearly as likely as the best one.
        gamma: in [0, 1), for "threshold": how much less likely than the best, as a share of its probability. 0 inserts
            one token a step, but for ties.
        temperature: divides the logits; 0 takes the likeliest (slot, token), or the likeliest token of the slot.
        top_k: draw among the k likeliest (slot, token) pairs, or tokens of the slot; None: among all.
        top_p: draw among the smallest set of likeliest ones whose mass reaches p; None: among all.
        slot_temperature: the same for slots; with "slot_first" only, as the next two. None: as ``temperature``.
        slot_top_k: draw among the k likeliest slots; None: among all.
        slot_top_p: draw among the smallest set of likeliest slots whose mass reaches p; None: among all.
        seed: of the draws. A row's draws depend on the seed, its index and the step, not on its batch.

    Raises:
        ConfigError: an option out of its range; slot options, or filters, that the method has no use for.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        noise_schedule: Any = None,
        max_new_tokens: int = 32,
        stop_threshold: float = 0.9,
        method: str = "joint",
        gamma: float = 0.3,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        slot_temperature: float | None = None,
        slot_top_k: int | None = None,
        slot_top_p: float | None = None,
        seed: int = 0,
    ) -> None:
        check_whole_number("predictor.max_new_tokens", max_new_tokens, least=1)
        check_number("predictor.stop_threshold", stop_threshold, "(0, 1]")
        check_choice("predictor.method", method, METHODS)
        check_number("predictor.gamma", gamma, "[0, 1)")
        check_whole_number("predictor.seed", seed, least=0)
        slot_options = {"temperature": slot_temperature, "top_k": slot_top_k, "top_p": slot_top_p}
        given = [f"predictor.slot_{name}" for name, value in slot_options.items() if value is not None]
        if given and method != "slot_first":
            raise ConfigError(
                f"{', '.join(given)} is set, but predictor.method is {method!r}, which draws no slot by itself. "
                "Set predictor.method=slot_first, or leave it null."
            )
        drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        drawn = [f"predictor.{name} is {value}" for name, value in drawing.items() if value]
        if method == "threshold" and drawn:
            raise ConfigError(
                f"{', '.join(drawn)}, but predictor.method is 'threshold', which draws nothing: it takes the likeliest "
                "tokens. Set predictor.temperature=0 and leave the others null, or choose another method."
            )
        self.model: Any = model  # with a prompt of its own, besides what a module has
        self.tokenizer = tokenizer
        self.noise_schedule = noise_schedule
        self.max_new_tokens = max_new_tokens
        self.stop_threshold = stop_threshold
        self.method = method
        self.gamma = gamma
        self.sampling = SamplingOptions(temperature, top_k, top_p, prefix="predictor.")
        slot_temperature = temperature if slot_temperature is None else slot_temperature
        self.slot_sampling = SamplingOptions(slot_temperature, slot_top_k, slot_top_p, prefix="predictor.slot_")
        self.seed = stream_seed(seed, "token")
        self.slot_seed = stream_seed(seed, "slot")
        self.bos, self.pad = tokenizer.bos_token_id, tokenizer.pad_token_id
        self.mask, self.special = tokenizer.mask_token_id, set(tokenizer.all_special_ids)
        self.never = torch.tensor(sorted(self.special))

    @torch.no_grad()
    def predict(self, batch: PredictionBatch) -> Prediction:
        """Insert into every row of ``input_ids`` (B, L)."""
        canvas = canvas_of(batch, self.max_new_tokens)
        if self.recorder is not None:
            self.recorder.begin(canvas.ids, canvas.real)
        calls, step = torch.zeros_like(batch["index"]), 0
        rows = batch["slots"].any(1).nonzero().squeeze(1)  # those that still go on
        cache = self._make_cache(canvas, rows)
        while len(rows):
            logits, stop_logits = self._run(canvas, rows, cache)
            calls[rows] += 1
            q = stop_logits.float().softmax(-1)  # (R, 1 + N)
            going = (q[:, STOP] < self.stop_threshold).nonzero().squeeze(1)
            if len(going) < len(rows):
                rows, logits = _select(rows, going, cache), logits[going]
            if len(rows):
                slots = canvas.slots[rows, canvas.bos : canvas.width]
                missing = torch.zeros_like(rows)
                if self.method == "threshold":
                    missing = self.count(q[going])
                    room = self.max_new_tokens - canvas.inserted[rows]
                    slot, token, valid = self.choose(logits, slots, room, missing)
                else:
                    (slot, token), valid = self.draw(logits, slots, batch["index"][rows], step), None
                if self.recorder is not None:
                    at, new = canvas.bos + slot.view(len(rows), -1), token.view(len(rows), -1)
                    pair = at.sub(canvas.bos) * logits.shape[-1] + new  # (R, K)
                    mass = self._open(logits, slots).flatten(1).softmax(-1).gather(1, pair)
                    self.recorder.insert(rows, canvas.positions[rows].gather(1, at), new, mass, valid)
                before = canvas.inserted[rows]
                canvas.insert(rows, canvas.bos + slot, token, valid)
                inserted = canvas.inserted[rows]
                whole = (missing > 0) & (inserted - before == missing)
                unfinished = (~whole & (inserted < self.max_new_tokens)).nonzero().squeeze(1)
                if len(unfinished) < len(rows):
                    rows = _select(rows, unfinished, cache)
            step += 1
        return {"ids": canvas.text(self.pad), "network_calls": calls}

    def _make_cache(self, canvas: Canvas, rows: Tensor) -> KVCache | None:
        if canvas.bos == 1 or not getattr(self.model, "cached_prompt", False):
            return None  # there is no prompt between CLS and BOS, or it sees the text
        cache: KVCache = self.model.transformer.make_cache(len(rows), canvas.ids.shape[1] + 1)
        return cache

    def _run(self, canvas: Canvas, rows: Tensor, cache: KVCache | None) -> ModelOutput:
        cached = {} if cache is None else {"cache": cache, "prompt": canvas.bos - 1}
        ids, real, types, positions = canvas.columns(rows)
        output: ModelOutput = self.model(
            ids, real, type_ids=types, positions=positions, logits_to_keep=canvas.width - canvas.bos, **cached
        )
        return output

    def _open(self, logits: Tensor, slots: Tensor) -> Tensor:
        """Minus infinity where nothing may be inserted: (R, S, V)."""
        return insertion_logits(logits, self.never).masked_fill(~slots[..., None], -torch.inf)

    def draw(self, logits: Tensor, slots: Tensor, index: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One insertion a row.

        Args:
            logits: (R, S, V).
            slots: (R, S) bool, one True a row at least.
            index: (R,) int64, names the rows' draws, together with ``step``.

        Returns:
            Slot and token, (R,) int64 each.
        """
        logits = self._open(logits, slots)
        uniforms = counter_uniforms(self.seed, index, step)
        if self.method == "joint":
            pair = self.sampling.sample(logits.flatten(1), uniforms=uniforms)  # slots * V + token
            return pair // logits.shape[-1], pair % logits.shape[-1]
        slot = self.slot_sampling.sample(logits.logsumexp(-1), uniforms=counter_uniforms(self.slot_seed, index, step))
        of_slot = logits[torch.arange(len(slot), device=slot.device), slot]  # (R, V)
        return slot, self.sampling.sample(of_slot, uniforms=uniforms)

    def count(self, q: Tensor) -> Tensor:
        """How many tokens are missing, where the stop head is as sure of it as it has to be to stop.

        Args:
            q: (R, 1 + N), the probabilities of 0, 1, ... N or more.

        Returns:
            (R,) int64; 0 where it is not sure, and where all that it knows is "N or more".
        """
        mass, n = q.max(-1)
        return torch.where((mass >= self.stop_threshold) & (n < q.shape[-1] - 1), n, 0)

    def choose(self, logits: Tensor, slots: Tensor, room: Tensor, missing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The insertions of a step of "threshold".

        Args:
            logits: (R, S, V).
            slots: (R, S) bool, one True a row at least.
            room: (R,) int64, at most so many tokens; at least 1. The likeliest go first.
            missing: (R,) int64, how many tokens are, and no more than these are inserted; 0 where that is not known.

        Returns:
            Slots and tokens, (R, K) int64 each, and which of them are meant, (R, K) bool: the first ones of a row, at
            least one.
        """
        logits = self._open(logits, slots)
        score, token = logits.max(-1)  # (R, S); the softmax over all pairs shifts every score by the same
        best = score.amax(1)
        # A token that is missing once has 1 / n of the mass. What has less wavers, but may be all that there is.
        once = logits.flatten(1).logsumexp(1) - missing.clamp(min=1).log()
        bound = torch.where(missing > 0, once.minimum(best), best)[:, None] + math.log1p(-self.gamma)
        room = torch.where(missing > 0, missing.minimum(room), room)
        # (R, S): where the slot's token would go best. On a CPU, argmax over what is not last takes ten times as long.
        best_slot = logits.max(1).indices.gather(1, token)
        mutual = best_slot == torch.arange(slots.shape[1], device=slots.device)
        chosen = commit_top(score, slots & mutual & (score >= bound), room)
        slot, valid = pack(chosen)
        return slot, token.gather(1, slot), valid

    def to_dict(self, batch: PredictionBatch, preds: Prediction) -> list[dict[str, Any]]:
        """Rows of text and ids, and how often the network ran. ``truth`` is None where no text is known. The prompt
        of a text with gaps is what is left of it, with a mask token in each gap.
        """
        read = (batch["input_ids"], batch["slots"], batch["target_ids"], batch["known"])
        columns = (*read, preds["ids"], preds["network_calls"])
        return [
            {
                "prompt": self._prompt(given, slots),
                "text": self._text(ids),
                "truth": self._text(truth) if known else None,
                "ids": [i for i in ids if i != self.pad],
                "network_calls": calls,
            }
            for given, slots, truth, known, ids, calls in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _prompt(self, ids: list[int], slots: list[bool]) -> str:
        bos = ids.index(self.bos)
        if all(i == self.pad for i in ids[bos + 1 :]):
            return self._text(ids)  # no text is given
        parts = []
        for i, is_open in zip(ids, slots, strict=True):
            parts += [i] * (i not in self.special) + [self.mask] * is_open
        return str(self.tokenizer.decode(parts))
