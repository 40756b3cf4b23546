"""A saved model as lm-evaluation-harness sees one: text to tokens, log-likelihoods, continuations cut at stop words.

How a row is laid out follows from the model's prediction collator: ``BOS context tokens`` for text, ``context BOS
tokens`` for prompts and answers. A context that is too long loses its beginning; what is scored is never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from xlm_runtime import parts
from xlm_runtime.api import LoadedModel
from xlm_runtime.contracts import InfillingCollatorPrediction, Likelihood, Seq2SeqCollatorPrediction, inherits
from xlm_runtime.errors import ConfigError, DataError

#: Of a model whose collator does not say how many tokens it takes.
_LONGEST = 1024


class Requests:
    """What the harness asks of a model, without the harness.

    Args:
        model: the saved model.
        batch_size: rows that are scored or written at once.
        device: torch's name of one, for scoring.
    """

    def __init__(self, model: LoadedModel, batch_size: int, device: Any) -> None:
        self._model, self._batch_size, self._device = model, batch_size, device
        self._tokenizer: Any = model.tokenizer
        self._collator = model.collator
        self.answers = inherits(self._collator, Seq2SeqCollatorPrediction)
        block = OmegaConf.select(model.cfg, "datamodule.collators.prediction.block_size")
        prompt = OmegaConf.select(model.cfg, "datamodule.collators.prediction.prompt_length")
        answer = OmegaConf.select(model.cfg, "datamodule.collators.prediction.answer_length")
        #: Tokens of context and continuation together, special tokens aside; an answer has a room of its own.
        self.room: int = (block or _LONGEST) - 2
        self.prompt_room: int | None = prompt if self.answers else None
        self.answer_room: int | None = answer - 1 if self.answers and answer else None

    def encode(self, text: str) -> list[int]:
        """Ids without special tokens.

        Raises:
            DataError: something of the text is not in the vocabulary.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        unknown = getattr(self._tokenizer, "unk_token_id", None)
        if unknown is not None and unknown in ids:
            raise DataError(
                f"{text[:60]!r} has something that is not in the model's vocabulary of {len(self._tokenizer)} tokens. "
                "Expected a task in words of the data that the model was trained on."
            )
        return ids

    def log_likelihoods(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """log p(continuation | context), in nats, and whether greedy decoding writes it, of pairs of ids.

        Raises:
            ConfigError: the model's loss gives neither a likelihood nor a bound of one.
            DataError: a continuation that is empty, or too long for the model.
        """
        harness = self._model.harness
        loss = harness.loss
        if not isinstance(loss, Likelihood):
            raise ConfigError(
                f"{type(loss).__name__} gives neither a likelihood nor a bound of one, and the task asks for one. "
                "Expected a loss that is a xlm_runtime.Likelihood, as those of arlm and mdlm are. Tasks of "
                "output_type generate_until need none."
            )
        rows = [self._row(context, tokens) for context, tokens in pairs]
        order = sorted(range(len(rows)), key=lambda place: sum(map(len, rows[place])))
        found: list[tuple[float, bool]] = [(0.0, False)] * len(rows)
        home = harness.device
        harness.to(self._device).eval()
        parts.configure(harness.loss, harness)
        try:
            for start in range(0, len(order), self._batch_size):
                places = order[start : start + self._batch_size]
                values, greedy = loss.log_likelihood([rows[p][0] for p in places], [rows[p][1] for p in places])
                for place, value, likeliest in zip(places, values.tolist(), greedy.tolist(), strict=True):
                    found[place] = (value, likeliest)
        finally:
            harness.to(home)
        return found

    def _row(self, context: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], list[int]]:
        most = self.answer_room if self.answer_room is not None else self.room
        if not 1 <= len(tokens) <= most:
            raise DataError(
                f"A continuation has {len(tokens)} tokens; the model takes between 1 and {most} (the block that it was "
                "trained with), and what is scored is not cut. Choose a task with shorter ones, or a model with a "
                "larger block."
            )
        left = self.prompt_room if self.prompt_room is not None else self.room - len(tokens)
        kept = list(context)[len(context) - left :] if len(context) > left else list(context)
        bos = self._tokenizer.bos_token_id
        return ([*kept, bos] if self.answers else [bos, *kept]), list(tokens)

    def continuations(self, contexts: Sequence[str], until: Sequence[str], **options: Any) -> list[str]:
        """What the model writes after each context, up to the first of ``until``.

        Args:
            contexts: texts.
            until: stop words, which are left out.
            options: ``max_gen_toks``, and ``temperature``, ``top_k``, ``top_p`` where ``do_sample`` is true; greedy
                else.

        Raises:
            UnknownKeyError: the model's predictor has no such option.
        """
        infills = inherits(self._collator, InfillingCollatorPrediction)
        most = int(options.get("max_gen_toks") or max(1, self.room // 2))
        most = min(most, self.answer_room or max(1, self.room - 1))
        room = self.prompt_room or self.room - most
        chosen = self._options(options, None if infills else most)
        prompts = [self._shortened(text, room) for text in contexts]
        asked = [f"{text}<mask:{most}>" for text in prompts] if infills else prompts
        rows = self._model.generate(asked, batch_size=self._batch_size, **chosen)
        texts = [str(row["text"]) for row in rows]
        if infills:  # whose text begins with what was given
            texts = [text.removeprefix(prompt) for text, prompt in zip(texts, prompts, strict=True)]
        return [_cut(text, until) for text in texts]

    def _options(self, asked: dict[str, Any], most: int | None) -> dict[str, Any]:
        known = self._model.cfg.predictor or {}
        chosen = {"max_new_tokens": most} if most is not None and "max_new_tokens" in known else {}
        if not asked.get("do_sample") and "temperature" in known:
            return {**chosen, "temperature": 0.0}
        return chosen | {key: asked[key] for key in ("temperature", "top_k", "top_p") if asked.get(key) is not None}

    def _shortened(self, text: str, room: int) -> str:
        while len(ids := self.encode(text)) > room:
            starts = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            text = text[max(1, starts[len(ids) - room][0]) :]  # cut anew, a text may have a token more
        return text


def _cut(text: str, until: Sequence[str]) -> str:
    ends = [place for word in until if word and (place := text.find(word)) >= 0]
    return text[: min(ends)] if ends else text
