"""Tokenizers: numbers, bytes, byte-level BPE, and whatever ``AutoTokenizer`` can load.

All are ``transformers.PreTrainedTokenizerFast``. Those made here begin with the special tokens
PAD 0, CLS 1, MASK 2, EOS 3, BOS 4, SEP 5, UNK 6, and add none of them when they encode: special
tokens are the collators' business. Those of ``auto_tokenizer`` keep their own ids and may add some
when they encode (``add_special_tokens=False``). ``vocab_facts`` says which id is which.

transformers takes seconds to import, so each function imports what it needs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlm_runtime.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

#: The special tokens by their role, in the order of their ids.
SPECIAL_TOKENS: dict[str, str] = {
    "pad": "[PAD]",
    "cls": "[CLS]",
    "mask": "[MASK]",
    "eos": "[EOS]",
    "bos": "[BOS]",
    "sep": "[SEP]",
    "unk": "[UNK]",
}
#: The smallest byte-level vocabulary: the special tokens and every byte.
MIN_BYTE_LEVEL_SIZE = len(SPECIAL_TOKENS) + 256


def number_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """Words "0" … "size - 1", separated by whitespace. Number n has id n + 7, other words are UNK.

    Raises ``DataError`` if size < 1.
    """
    if size < 1:
        raise DataError(
            f"number_tokenizer: size is {size}, expected at least 1. "
            "Set it to one more than the largest number of the data."
        )
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [*SPECIAL_TOKENS.values(), *map(str, range(size))]
    vocab = {word: index for index, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocab, unk_token=SPECIAL_TOKENS["unk"]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrap(backend)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """The 256 bytes; byte b of UTF-8 has id b + 7. Every text survives encoding and decoding.

    The text "[PAD]" is five bytes, not the special token.
    """
    from tokenizers import models

    words = [*SPECIAL_TOKENS.values(), *_byte_symbols()]
    vocab = {word: index for index, word in enumerate(words)}
    backend = _byte_level(models.BPE(vocab=vocab, merges=[]), split_words=False)
    return _wrap(backend, split_special_tokens=True)


def train_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE learnt from ``texts``: 7 special tokens, 256 bytes, then the merges.

    ``vocab_size`` is the most that it may hold, special tokens included; short texts yield fewer.
    Keep it with ``.save_pretrained(directory)``, load it with ``bpe_tokenizer(directory)``.
    Raises ``DataError`` if vocab_size < 263 or if ``texts`` is a single string.
    """
    if vocab_size < MIN_BYTE_LEVEL_SIZE:
        raise DataError(
            f"train_bpe: vocab_size is {vocab_size}, expected at least {MIN_BYTE_LEVEL_SIZE} "
            f"({len(SPECIAL_TOKENS)} special tokens and 256 bytes)."
        )
    if isinstance(texts, str):
        raise DataError("train_bpe: texts is a string, expected several. Pass [text] for one.")
    from tokenizers import models, pre_tokenizers, trainers

    backend = _byte_level(models.BPE(), split_words=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer=trainer)
    return _wrap(backend, split_special_tokens=True)


def bpe_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """What ``train_bpe`` made, from its ``tokenizer.json`` or the directory that holds it.

    Raises ``DataError`` if there is no such file, if it is no tokenizer, or if its special tokens
    are not the seven of this module (``auto_tokenizer`` loads such tokenizers).
    """
    from tokenizers import Tokenizer

    file = Path(path).expanduser()
    if file.is_dir():
        file = file / "tokenizer.json"
    if not file.is_file():
        raise DataError(
            f"bpe_tokenizer: there is no file {file}. Expected a tokenizer.json, or a directory "
            "with one, as train_bpe(texts, vocab_size).save_pretrained(directory) writes it."
        )
    try:
        backend = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception for a file that it cannot parse
        raise DataError(
            f"bpe_tokenizer: {file} cannot be read as a tokenizer: {error}. "
            "Make it again with train_bpe(texts, vocab_size).save_pretrained(directory)."
        ) from error
    found = [backend.id_to_token(index) for index in range(len(SPECIAL_TOKENS))]
    if found != list(SPECIAL_TOKENS.values()):
        raise DataError(
            f"bpe_tokenizer: the first tokens of {file} are {found}, "
            f"expected {list(SPECIAL_TOKENS.values())}. "
            "Load it with auto_tokenizer (tokenizer=auto)."
        )
    return _wrap(backend, split_special_tokens=True)


def auto_tokenizer(name_or_path: str | Path) -> PreTrainedTokenizerFast:
    """Whatever ``AutoTokenizer.from_pretrained`` loads: a name on the hub or a local directory.

    Special tokens that it lacks are added to its vocabulary; a logged warning says which.
    Raises ``DataError`` if it cannot be loaded, or is not backed by the tokenizers library.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(name_or_path))
    except Exception as error:  # OSError, ValueError, ImportError …: each backend has its own
        raise DataError(
            f"auto_tokenizer: {str(name_or_path)!r} cannot be loaded: {error}\n"
            "Expected a tokenizer's name on the hub (which needs a network, or a copy in the hub's "
            "cache) or a directory written by save_pretrained. Correct tokenizer.name_or_path."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise DataError(
            f"auto_tokenizer: {str(name_or_path)!r} is a {type(tokenizer).__name__}, expected a "
            "PreTrainedTokenizerFast. Choose a tokenizer that has a tokenizer.json."
        )
    missing = _missing_roles(tokenizer)
    if missing:
        tokenizer.add_special_tokens({f"{role}_token": SPECIAL_TOKENS[role] for role in missing})
        added = {SPECIAL_TOKENS[role]: getattr(tokenizer, f"{role}_token_id") for role in missing}
        logger.warning("tokenizer %r lacked special tokens; added %s", str(name_or_path), added)
    return tokenizer


def exported_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer of an exported model, from its folder; nothing is fetched.

    Raises ``DataError`` if there is none.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(str(path), local_files_only=True)
    except Exception as error:  # the libraries raise many
        raise DataError(
            f"exported_tokenizer: the tokenizer in {path} cannot be read: {error}\n"
            "Expected tokenizer.json and tokenizer_config.json, as job_type=export writes them. Export again."
        ) from error
    return tokenizer


def vocab_facts(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """``{size, pad, cls, mask, eos, bos, sep, unk}``: the rows of an embedding, the special ids.

    ``size`` is one more than the largest id, so that gaps in a vocabulary are no trap.
    Raises ``DataError`` if a special token is missing.
    """
    missing = _missing_roles(tokenizer)
    if missing:
        raise DataError(
            f"The tokenizer ({type(tokenizer).__name__}, {len(tokenizer)} tokens) has no "
            f"{', '.join(missing)} token. Expected {', '.join(SPECIAL_TOKENS)}: add them with "
            "tokenizer.add_special_tokens, or load it with auto_tokenizer, which adds them."
        )
    size = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values()))
    return {
        "size": size,
        **{role: int(getattr(tokenizer, f"{role}_token_id")) for role in SPECIAL_TOKENS},
    }


def _missing_roles(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return [role for role in SPECIAL_TOKENS if getattr(tokenizer, f"{role}_token_id") is None]


def _wrap(backend: Tokenizer, split_special_tokens: bool = False) -> PreTrainedTokenizerFast:
    """``split_special_tokens``: text that spells a special token remains text."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        clean_up_tokenization_spaces=False,
        split_special_tokens=split_special_tokens,
        **{f"{role}_token": text for role, text in SPECIAL_TOKENS.items()},
    )


def _byte_level(model: Any, split_words: bool) -> Tokenizer:
    """``split_words``: no merge reaches from one word into the next."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split_words)
    backend.decoder = decoders.ByteLevel()
    return backend


def _byte_symbols() -> list[str]:
    """The characters by which byte-level tokenizers write the bytes 0 to 255, in this order.

    Bytes that are a visible character of Latin-1 stand for themselves, the others count up from
    U+0100.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    symbols = {byte: chr(byte) for byte in visible}
    symbols |= {byte: chr(0x100 + place) for place, byte in enumerate(hidden)}
    return [symbols[byte] for byte in range(256)]
