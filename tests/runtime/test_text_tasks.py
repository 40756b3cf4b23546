"""dataset=text with a function of one's own, which makes prompts and answers of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from text_corpus import dataset

from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.tokenizers import number_tokenizer


def pairs(example: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    return {"prompt_ids": ids(example["question"]), "token_ids": ids(example["answer"])}


def returns(example: dict[str, Any], tokenizer: Any) -> Any:
    return eval(example["returns"])


def pairs_file(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_prompts_and_answers_of_a_function(tmp_path: Path) -> None:
    rows = [{"question": f"{n} + {n}", "answer": str(2 * n)} for n in range(200)]
    options = {"preprocess": f"{__name__}.pairs", "prompt_length": 12, "answer_length": 5}
    data = dataset(pairs_file(tmp_path, rows), tmp_path / "cache", number_tokenizer(400), **options)
    assert not data.is_prepared()
    found = [example for split in data.splits for example in data[split]]
    assert data.is_prepared()
    answers = {tuple(example["prompt_ids"]): example["token_ids"] for example in found}
    assert len(found) == 200 and answers[(7 + 3, 6, 7 + 3)] == [7 + 6]
    assert len({example["index"] for example in found}) == 200
    with pytest.raises(ConfigError, match=r"layout is packed.*prompts.*layout=padded"):
        dataset(tmp_path / "pairs.jsonl", tmp_path, number_tokenizer(400), layout="packed", **options)["train"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("None", r"returned None; expected \{\"token_ids\""),
        ("{}", "returned a dict with nothing"),
        ("{'ids': [1]}", "returned a dict with 'ids'"),
        ("{'token_ids': [1], 'mask': [1]}", "returned a dict with 'token_ids', 'mask'"),
        ("{'token_ids': 'x'}", "returned token_ids 'x', expected a list of whole numbers"),
        ("{'token_ids': [1.5]}", r"returned token_ids \[1.5\], expected a list of whole numbers"),
        ("{'token_ids': [[1], [1, 2]]}", r"returned token_ids \[\[1\], \[1, 2\]\], expected a list of whole numbers"),
        ("{'token_ids': [-1]}", "returned token_ids with an id of -1; the vocabulary has 0 to 262"),
        ("{'token_ids': [263]}", "returned token_ids with an id of 263"),
        (
            "{'token_ids': [8] * 4, 'prompt_ids': []}",
            "returned 4 token_ids, but dataset.answer_length leaves room for 3",
        ),
        ("{'token_ids': [8], 'prompt_ids': [8] * 9}", "returned 9 prompt_ids, but dataset.prompt_length"),
    ],
)
def test_what_a_function_does_wrong_is_named_by_row(value: str, words: str, tmp_path: Path) -> None:
    good = {"returns": "{'token_ids': [8], 'prompt_ids': [8]}"}
    file = pairs_file(tmp_path, [good, {"returns": value}])
    options = {"preprocess": f"{__name__}.returns", "prompt_length": 8, "answer_length": 5, "shares": {}}
    with pytest.raises(DataError, match=rf"pairs\.jsonl, row 2: {__name__}\.returns {words}"):
        _ = dataset(file, tmp_path / "cache", **options).prepared


def test_prompts_of_some_rows_only_and_without_lengths(tmp_path: Path) -> None:
    rows = [{"returns": "{'token_ids': [8], 'prompt_ids': [8]}"}, {"returns": "{'token_ids': [8]}"}]
    options = {"preprocess": f"{__name__}.returns", "shares": {}}
    with pytest.raises(DataError, match=r"row 1: .*dataset\.prompt_length is empty: set it"):
        _ = dataset(pairs_file(tmp_path, rows), tmp_path / "cache", **options).prepared
    options |= {"prompt_length": 8, "answer_length": 5}
    with pytest.raises(DataError, match=r"row 2: .*returned no prompt_ids, but for earlier rows it did"):
        _ = dataset(tmp_path / "pairs.jsonl", tmp_path / "cache", **options).prepared
