"""Prompts: markers, lists, files, and the examples that a collator gets of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlm_runtime import Collator, CollatorPrediction, InfillingCollatorPrediction, Seq2SeqCollatorPrediction
from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.prompt_examples import PromptExamples
from xlm_runtime.prompts import NOTHING, Prompt, asked_for, parse, read_prompts
from xlm_runtime.tokenizers import byte_tokenizer, number_tokenizer


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("no marker", ("no marker",)),
        ("The <mask> sat on the <mask:3>.", ("The ", 1, " sat on the ", 3, ".")),
        ("<mask:12>", (12,)),
        ("<mask><mask:2>", (1, 2)),
        ("a masked ball, <masks>, 1 < 2", ("a masked ball, <masks>, 1 < 2",)),
    ],
)
def test_markers_stand_between_pieces_of_text(text: str, parts: tuple[str | int, ...]) -> None:
    assert parse(text, "here") == Prompt(text, parts)
    assert parse(text, "here").marked == any(isinstance(part, int) for part in parts)


@pytest.mark.parametrize(
    "marker", ["<mask:0>", "<mask:x>", "<mask:>", "<mask:-1>", "<mask 3>", "<mask", "<MASK>", "<mask:3"]
)
def test_a_malformed_marker_is_named_with_its_place(marker: str) -> None:
    with pytest.raises(DataError, match=r"prompts, number 1: the marker '<.*at character 5 .*malformed.*<mask:3>"):
        parse(f"The {marker}", "prompts, number 1")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_prompt_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"the prompt is empty.*unconditional=true"):
        parse(text, "here")


def test_nothing_asked_for_is_a_split() -> None:
    assert asked_for() is None
    assert asked_for(num_samples=3) is None


def test_what_is_asked_for() -> None:
    asked = asked_for(prompts=["a", "b", "c"], num_samples=2)
    assert asked is not None and asked.name == "prompts" and [p.text for p in asked.prompts] == ["a", "b"]
    asked = asked_for(unconditional=True, num_samples=3)
    assert asked is not None and asked.name == "unconditional" and asked.prompts == (NOTHING,) * 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompts": ["a"], "unconditional": True}, "prompts and unconditional are given"),
        ({"prompts": ["a"], "prompts_file": "f.txt"}, "prompts and prompts_file are given"),
        ({"unconditional": True}, "num_samples=64"),
        ({"prompts": "a"}, "expected a list of texts"),
        ({"prompts": []}, "expected a list of texts"),
        ({"prompts": ["a", 3]}, "number 2, is 3; expected text"),
    ],
)
def test_what_cannot_be_asked_for(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        asked_for(**given)


def test_a_file_holds_a_prompt_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes("\ufeffone\r\n\n  zwei <mask> ü\n".encode())
    assert [prompt.text for prompt in read_prompts(tmp_path / "p.txt")] == ["one", "  zwei <mask> ü"]
    (tmp_path / "p.jsonl").write_text('{"prompt": "a\\nb", "text": "c"}\n{"text": "d"}\n', encoding="utf-8")
    assert [prompt.text for prompt in read_prompts(tmp_path / "p.jsonl")] == ["a\nb", "d"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.txt", b"", "p.txt is empty"),
        ("p.txt", b"\n \n", "p.txt is empty"),
        ("p.txt", b"good\nb\xe4d\n", "not UTF-8: byte 0xe4 in line 2"),
        ("p.txt", b"good\n<mask:x>", "p.txt, line 2: the marker"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt"', "p.jsonl, line 2: no JSON"),
        ("p.jsonl", b'{"question": "a"}', 'p.jsonl, line 1.*expected an object with the text under "prompt"'),
        ("p.jsonl", b'["a"]', "expected an object"),
        ("p.jsonl", b'{"text": 3}', "expected an object"),
        ("p.csv", b"a", "expected a .txt file"),
        ("p.txt", None, "cannot be read: No such file"),
    ],
)
def test_a_bad_file_is_one_message(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_prompts(tmp_path / name)


class Answers(Seq2SeqCollatorPrediction):
    pass


class Continues(CollatorPrediction):
    pass


class Fills(InfillingCollatorPrediction):
    pass


class Nothing(Collator):
    pass


def of(
    collator: type, *texts: str, tokenizer: Callable[[], Any] = byte_tokenizer, **lengths: int
) -> list[dict[str, Any]]:
    prompts = [parse(text, "here") for text in texts] or [NOTHING]
    return PromptExamples(prompts, tokenizer(), collator(), **lengths)["test"]


A, B, MASK = (ord("a") + 7, ord("b") + 7, 2)


def test_each_collator_gets_the_examples_that_its_class_says() -> None:
    assert of(Answers, "ab", "b") == [{"prompt_ids": [A, B], "index": 0}, {"prompt_ids": [B], "index": 1}]
    assert of(Continues, "ab") == [{"prompt_ids": [A, B], "index": 0}]
    filled = [{"token_ids": [A, MASK, MASK, B], "infill_mask": [False, True, True, False], "index": 0}]
    assert of(Fills, "a<mask:2>b") == filled


def test_texts_from_nothing() -> None:
    assert of(Continues) == [{"prompt_ids": [], "index": 0}]
    assert of(Nothing) == [{"token_ids": [], "index": 0}]
    assert of(Fills, block_size=4) == [{"token_ids": [MASK] * 4, "infill_mask": [True] * 4, "index": 0}]
    with pytest.raises(ConfigError, match="Answers answers prompts: give prompts"):
        of(Answers)


def test_what_a_collator_has_no_use_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="takes none: its class inherits none of"):
        of(Nothing, "a")
    for collator in (Answers, Continues, Nothing):
        with pytest.raises(ConfigError, match=f"has a mask marker, but {collator.__name__} fills no blanks"):
            of(collator, "a<mask>")
    with pytest.raises(DataError, match="has no blank, and Fills fills blanks"):
        of(Fills, "ab")


def test_a_word_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(DataError, match=r"Prompt 2: 'cat', '99' is not in the model's vocabulary of 27 tokens"):
        of(Answers, "1 2", "1 cat 99 cat", tokenizer=lambda: number_tokenizer(20))
    with pytest.raises(DataError, match=r"'\[PAD\]' is not in"):
        of(Answers, "1 [PAD]", tokenizer=lambda: number_tokenizer(20))


def test_a_prompt_that_is_too_long_is_refused() -> None:
    assert (
        of(Answers, "aaa", prompt_length=3)
        and of(Continues, "aaa", block_size=5)
        and of(Fills, "a<mask:2>", block_size=5)
    )
    for collator, text, lengths in (
        (Answers, "aaaa", {"prompt_length": 3}),
        (Continues, "aaaa", {"block_size": 5}),
        (Fills, "a<mask:3>", {"block_size": 5}),
    ):
        with pytest.raises(DataError, match="Prompt 1 has 4 tokens, blanks included; the model takes at most 3"):
            of(collator, text, **lengths)
