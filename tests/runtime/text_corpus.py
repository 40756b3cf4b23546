"""A corpus, datasets over it, and the documents that their blocks hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xlm_runtime.datasets.text import TextDataset
from xlm_runtime.tokenizers import byte_tokenizer

TOKENIZER = byte_tokenizer()
TEXTS = [f"document {n} " + "text " * (n % 60) for n in range(600)]


def write(file: Path, texts: list[str]) -> Path:
    """A file of documents, one a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return file


def dataset(path: Any, cache: Path, tokenizer: Any = TOKENIZER, **options: Any) -> TextDataset:
    """Padded blocks of 64 tokens, unless said otherwise, of bytes."""
    options = {"block_size": 64, "layout": "padded", **options}
    if path is not None:
        options["path"] = path if isinstance(path, dict) else str(path)
    return TextDataset(tokenizer, cache_dir=cache, **options)


def texts(examples: Any) -> list[str]:
    """The documents of padded blocks: a block that is not full ends one, as none of these is a multiple."""
    found, text = [], []
    for example in examples:
        text += example["token_ids"]
        if len(example["token_ids"]) < 62:
            found.append(TOKENIZER.decode(text))
            text = []
    return found
