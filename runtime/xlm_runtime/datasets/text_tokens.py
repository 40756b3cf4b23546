"""Documents to token ids: by a tokenizer, or by a function of one's own."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xlm_runtime.datasets.text_sources import Record
from xlm_runtime.errors import DataError
from xlm_runtime.locate import locate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.unsignedinteger[Any]]
Preprocess = Callable[[dict[str, Any], Any], Mapping[str, Any]]

#: Documents, and about so many characters of them, are tokenised at once.
BATCH_DOCUMENTS, BATCH_CHARACTERS = 512, 1 << 20
_EXPECTED = 'expected {"token_ids": [...]}, for prompts and answers {"prompt_ids": [...], "token_ids": [...]}'


class Encoded(NamedTuple):
    """The ids of one document; ``prompt`` only from a function that returns ``prompt_ids``."""

    tokens: Ids
    prompt: Ids | None


class Limits(NamedTuple):
    """The most tokens of a prompt and of an answer; None where none was configured."""

    prompt: int | None
    answer: int | None


NO_LIMITS = Limits(None, None)


class Encoder:
    """Tokenises documents.

    Args:
        tokenizer: text to ids; no special tokens are added.
        preprocess: dotted path of a function ``(example, tokenizer) -> {"token_ids": …, "prompt_ids": …}`` that stands
            in the tokenizer's place; None: the column's text is tokenised.
        limits: of what the function returns.

    Raises:
        ComponentError: ``preprocess`` cannot be imported.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, preprocess: str | None = None, limits: Limits = NO_LIMITS
    ) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values()))
        self.dtype = np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)
        self.limits = limits
        self.path = preprocess
        self.preprocess: Preprocess | None = None
        if preprocess is not None:
            self.preprocess = locate(preprocess, "config key 'dataset.preprocess'")
        self._backend = self._own_backend()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "preprocess": None, "_backend": None}  # a loader's process imports the function itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.path is not None:
            self.preprocess = locate(self.path, "config key 'dataset.preprocess'")
        self._backend = self._own_backend()

    def key(self) -> dict[str, Any]:
        """What decides the ids, as JSON values: the tokenizer's content, and the source of the function's module."""
        if self.preprocess is None:
            return {"tokenizer": tokenizer_key(self.tokenizer)}
        return {
            "tokenizer": tokenizer_key(self.tokenizer),
            "preprocess": [self.path, _digest(_source(self.preprocess))],
            "limits": list(self.limits),
        }

    def encode(self, records: Sequence[Record], contents: Sequence[dict[str, Any]]) -> list[Encoded]:
        """The ids of each document, in order. ``contents`` are those of the records.

        Raises:
            DataError: names the row; a column that is missing or no text, what the function raised or returned.
        """
        if self.preprocess is not None:
            return [self._of_function(*pair) for pair in zip(records, contents, strict=True)]
        texts = [record.text(content) for record, content in zip(records, contents, strict=True)]
        try:
            found = self._ids(texts)
        except (UnicodeEncodeError, TypeError):  # half of a pair of surrogates, which JSON can hold
            found = [self._ids_of_one(record, text) for record, text in zip(records, texts, strict=True)]
        return [Encoded(np.asarray(ids, self.dtype), None) for ids in found]

    def _ids(self, texts: list[str]) -> list[Any]:
        if self._backend is None:
            ids: list[Any] = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            return ids
        return [found.ids for found in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _ids_of_one(self, record: Record, text: str) -> Any:
        try:
            return self._ids([text])[0]
        except (UnicodeEncodeError, TypeError) as error:
            raise DataError(
                f"{record.place}: the text cannot be written as UTF-8, for it holds half of a pair of surrogates. "
                "Correct the row."
            ) from error

    def _own_backend(self) -> Any:
        # The wrapper of transformers takes about as long as the tokenizer itself (measured: 2.6 MB/s, 5.2 without).
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        own = type(backend).from_str(backend.to_str())
        own.no_truncation()
        own.no_padding()
        own.encode_special_tokens = bool(getattr(self.tokenizer, "split_special_tokens", False))
        return own

    def _of_function(self, record: Record, content: dict[str, Any]) -> Encoded:
        assert self.preprocess is not None
        try:
            made = self.preprocess(content, self.tokenizer)
        except Exception as error:
            raise DataError(
                f"{record.place}: {self.path} raised {type(error).__name__}: {error}\n"
                f"The row has {', '.join(map(repr, content))}. XLM_TRACEBACK=1 shows where."
            ) from error
        if not isinstance(made, Mapping) or "token_ids" not in made or not {"token_ids", "prompt_ids"} >= set(made):
            keys = f"a dict with {', '.join(map(repr, made)) or 'nothing'}" if isinstance(made, Mapping) else repr(made)
            raise DataError(f"{record.place}: {self.path} returned {keys:.200}; {_EXPECTED}.")
        tokens = self._checked(record, made, "token_ids")
        prompt = self._checked(record, made, "prompt_ids") if "prompt_ids" in made else None
        if prompt is not None:
            self._check_length(record, "prompt_ids", len(prompt), "prompt_length", self.limits.prompt)
            self._check_length(record, "token_ids", len(tokens), "answer_length", self.limits.answer)
        return Encoded(tokens, prompt)

    def _checked(self, record: Record, made: Mapping[str, Any], name: str) -> Ids:
        try:
            ids = np.asarray(made[name])
            if ids.size == 0:
                ids = ids.reshape(-1).astype(np.int64)
        except ValueError:
            ids = np.zeros((), object)
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            found = f"{made[name]!r:.80}, expected a list of whole numbers"
        elif len(ids) and (ids.min() < 0 or ids.max() >= self.vocab_size):
            wrong = ids.min() if ids.min() < 0 else ids.max()
            found = f"with an id of {wrong}; the vocabulary has 0 to {self.vocab_size - 1}"
        else:
            return ids.astype(self.dtype)
        raise DataError(f"{record.place}: {self.path} returned {name} {found}. Correct the function.")

    def _check_length(self, record: Record, name: str, length: int, key: str, most: int | None) -> None:
        if most is None:
            raise DataError(
                f"{record.place}: {self.path} returned prompt_ids, but dataset.{key} is empty: set it to the tokens of "
                "the longest one" + (", special tokens included." if key == "answer_length" else ".")
            )
        if length > most:
            raise DataError(
                f"{record.place}: {self.path} returned {length} {name}, but dataset.{key} leaves room for {most}. "
                f"Raise dataset.{key}, or leave the row out of the file."
            )


def batches(records: Iterable[Record]) -> Iterator[tuple[list[Record], list[dict[str, Any]]]]:
    """Records and their contents, so many at once as are tokenised together."""
    group: list[Record] = []
    contents: list[dict[str, Any]] = []
    size = 0
    for record in records:
        content = record.content()
        group.append(record)
        contents.append(content)
        size += sum(len(value) for value in content.values() if isinstance(value, str))
        if len(group) >= BATCH_DOCUMENTS or size >= BATCH_CHARACTERS:
            yield group, contents
            group, contents, size = [], [], 0
    if group:
        yield group, contents


def tokenizer_key(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of all that decides how text becomes ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return _digest(f"{type(tokenizer).__name__} {getattr(tokenizer, 'split_special_tokens', False)} {content}")


def _source(function: Any) -> str:
    # The whole module's, for what the function calls.
    module = inspect.getmodule(function)
    try:
        return inspect.getsource(module if module is not None and module.__name__ != "__main__" else function)
    except (OSError, TypeError):
        return repr(Path(getattr(module, "__file__", None) or "."))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
