"""Tokenizers: the special ids, round trips, and what bad input gets."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from xlm_runtime.errors import DataError
from xlm_runtime.tokenizers import (
    SPECIAL_TOKENS,
    auto_tokenizer,
    bpe_tokenizer,
    byte_tokenizer,
    number_tokenizer,
    train_bpe,
    vocab_facts,
)

SPECIAL_IDS = {"pad": 0, "cls": 1, "mask": 2, "eos": 3, "bos": 4, "sep": 5, "unk": 6}
CORPUS = ["the cat sat on the mat", "the dog sat on the log", "def f(x):\n    return x + 1\n"] * 20
TEXTS = [
    "",
    " ",
    "plain words",
    "  two  spaces , before . punctuation !  don 't ",
    "tabs\tand\r\nlines\n\n",
    "\N{GRINNING FACE} \N{WOMAN}\N{ZERO WIDTH JOINER}\N{WOMAN} \N{VARIATION SELECTOR-16}",
    "e\N{COMBINING ACUTE ACCENT} \N{LATIN SMALL LETTER E WITH ACUTE}",
    "\N{NO-BREAK SPACE} \N{SOFT HYPHEN} \N{IDEOGRAPHIC SPACE}",
    "\N{CJK UNIFIED IDEOGRAPH-4E2D}\N{CJK UNIFIED IDEOGRAPH-6587} \N{ARABIC LETTER MEEM}",
    "\x00\x01\x7f\ufeff\U0010ffff",
    "[PAD] [MASK]x[EOS] [UNK] <s>",
    "".join(map(chr, range(0x800))),
]


@pytest.fixture(scope="module")
def bpe() -> PreTrainedTokenizerFast:
    return train_bpe(CORPUS, 290)


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text)["input_ids"]


def test_importing_costs_no_torch() -> None:
    code = (
        "import sys, xlm_runtime.tokenizers, xlm_runtime.datasets.star; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_special_ids_come_first(bpe: PreTrainedTokenizerFast) -> None:
    for tokenizer, size in ((number_tokenizer(20), 27), (byte_tokenizer(), 263), (bpe, 290)):
        facts = vocab_facts(tokenizer)
        assert facts == {"size": size, **SPECIAL_IDS}
        assert list(facts) == ["size", "pad", "cls", "mask", "eos", "bos", "sep", "unk"]
        assert all(type(value) is int for value in facts.values())
        assert isinstance(tokenizer, PreTrainedTokenizerFast)
        assert tokenizer.convert_ids_to_tokens(range(7)) == list(SPECIAL_TOKENS.values())
        assert tokenizer.clean_up_tokenization_spaces is False


def test_numbers() -> None:
    tokenizer = number_tokenizer(20)
    assert ids(tokenizer, "3 17 5") == [10, 24, 12]
    assert ids(tokenizer, "  3\t17\n5 ") == [10, 24, 12]
    assert ids(tokenizer, "20 x 03") == [6, 6, 6]
    assert tokenizer.decode([10, 24, 12]) == "3 17 5"
    assert tokenizer.decode([0, 0, 4, 10, 24, 12, 3, 0], skip_special_tokens=True) == "3 17 5"
    assert tokenizer.decode([4, 10, 3]) == "[BOS] 3 [EOS]"
    assert ids(tokenizer, "[BOS] 3 [EOS]") == [4, 10, 3]
    everything = list(range(7, 27))
    assert ids(tokenizer, tokenizer.decode(everything)) == everything


def test_numbers_need_a_size() -> None:
    with pytest.raises(DataError, match="size is 0, expected at least 1"):
        number_tokenizer(0)


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_are_lossless(text: str) -> None:
    tokenizer = byte_tokenizer()
    encoded = ids(tokenizer, text)
    assert encoded == [7 + byte for byte in text.encode()]
    assert tokenizer.decode(encoded) == text
    assert tokenizer.decode([0, 4, *encoded, 3, 0], skip_special_tokens=True) == text


def test_bytes_that_are_no_text_decode_to_the_replacement_character() -> None:
    assert byte_tokenizer().decode([7 + 0xFF, 7 + ord("a")]) == "\N{REPLACEMENT CHARACTER}a"


@pytest.mark.parametrize("text", TEXTS)
def test_bpe_is_lossless(bpe: PreTrainedTokenizerFast, text: str) -> None:
    encoded = ids(bpe, text)
    assert not set(encoded) & set(range(7))
    assert bpe.decode(encoded) == text
    assert bpe.decode([0, 4, *encoded, 3, 0], skip_special_tokens=True) == text


def test_bpe_learns_and_repeats_itself(bpe: PreTrainedTokenizerFast) -> None:
    assert len(ids(bpe, "the cat sat")) < len("the cat sat")
    assert train_bpe(iter(CORPUS), 290).get_vocab() == bpe.get_vocab()
    assert vocab_facts(train_bpe([], 1000))["size"] == 263


def test_bpe_is_kept_and_loaded(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    bpe.save_pretrained(tmp_path / "bpe")
    for path in (tmp_path / "bpe", str(tmp_path / "bpe"), tmp_path / "bpe" / "tokenizer.json"):
        loaded = bpe_tokenizer(path)
        assert loaded.get_vocab() == bpe.get_vocab()
        assert vocab_facts(loaded) == vocab_facts(bpe)
        for text in TEXTS:
            assert ids(loaded, text) == ids(bpe, text)


def test_bpe_bad_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vocab_size is 262, expected at least 263"):
        train_bpe(CORPUS, 262)
    with pytest.raises(DataError, match="texts is a string"):
        train_bpe("one text", 300)
    with pytest.raises(DataError, match=r"no file .*tokenizer\.json.*train_bpe"):
        bpe_tokenizer(tmp_path)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(DataError, match=r"broken\.json cannot be read as a tokenizer.*line 1"):
        bpe_tokenizer(broken)
    Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")).save(str(tmp_path / "other.json"))
    with pytest.raises(DataError, match=r"first tokens of .*other\.json.*'a', 'b'.*auto_tokenizer"):
        bpe_tokenizer(tmp_path / "other.json")


def foreign(**special: str) -> PreTrainedTokenizerFast:
    """Byte-level, like many on the hub: no specials but those given."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def test_auto_adds_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    foreign(bos_token="<end>", eos_token="<end>").save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, logger="xlm_runtime.tokenizers"):
        tokenizer = auto_tokenizer(tmp_path)
    facts = vocab_facts(tokenizer)
    assert facts["bos"] == facts["eos"] == 256
    added = ("pad", "cls", "mask", "sep", "unk")
    assert sorted(facts[role] for role in added) == [257, 258, 259, 260, 261]
    assert facts["size"] == 262
    for role in added:
        assert f"'{SPECIAL_TOKENS[role]}': {facts[role]}" in caplog.text
    assert "[EOS]" not in caplog.text
    encoded = ids(tokenizer, "some text")
    assert tokenizer.decode([facts["pad"], *encoded], skip_special_tokens=True) == "some text"


def test_auto_leaves_a_complete_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    tokenizer = auto_tokenizer(str(tmp_path))
    assert caplog.text == ""
    assert vocab_facts(tokenizer) == {"size": 263, **SPECIAL_IDS}
    for text in TEXTS:
        assert ids(tokenizer, text) == ids(byte_tokenizer(), text)


def test_auto_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent' cannot be loaded.*") as error:
        auto_tokenizer(tmp_path / "absent")
    assert "name_or_path" in str(error.value)
    assert error.value.__cause__ is not None
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty' cannot be loaded"):
        auto_tokenizer(tmp_path / "empty")


def test_auto_wants_a_fast_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda name: object())
    with pytest.raises(DataError, match="'slow' is a object, expected a PreTrainedTokenizerFast"):
        auto_tokenizer("slow")


def test_facts_want_every_special_token() -> None:
    with pytest.raises(DataError, match=r"has no pad, cls, mask, sep, unk token.*auto_tokenizer"):
        vocab_facts(foreign(bos_token="<end>", eos_token="<end>"))


def test_size_reaches_the_largest_id() -> None:
    vocab = {text: index for index, text in enumerate(SPECIAL_TOKENS.values())} | {"far": 90}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocab, unk_token="[UNK]")),
        **{f"{role}_token": text for role, text in SPECIAL_TOKENS.items()},
    )
    assert len(tokenizer) == 8
    assert vocab_facts(tokenizer)["size"] == 91
