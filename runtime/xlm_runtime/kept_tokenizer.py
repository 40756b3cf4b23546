"""The tokenizer in the checkpoint: an embedding means nothing under another one, and a corpus may be gone.

A checkpoint keeps the files that ``save_pretrained`` writes, as text. A tokenizer that is not backed by the tokenizers
library has none, and is made again from the configuration.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from xlm_runtime import checkpoint
from xlm_runtime.errors import CheckpointError
from xlm_runtime.exported import TOKENIZER, is_exported
from xlm_runtime.files import write_text

KEY = "xlm_tokenizer"


def files_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, str] | None:
    """What a checkpoint keeps of it: the texts of its files by their names; None where it has none."""
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return None
    with tempfile.TemporaryDirectory(prefix="xlm-") as directory:
        tokenizer.save_pretrained(directory)
        return {file.name: file.read_text(encoding="utf-8") for file in sorted(Path(directory).iterdir())}


def check_same(tokenizer: PreTrainedTokenizerBase, contents: Mapping[str, Any], path: Path) -> None:
    """Compare the tokenizer that was built with that of a checkpoint to be continued.

    Args:
        tokenizer: of this command.
        contents: of the checkpoint.
        path: where it is, for the message.

    Raises:
        CheckpointError: another vocabulary, or the same tokens under other ids.
    """
    if KEY not in contents:
        return
    trained_with = Tokenizer.from_str(contents[KEY]["tokenizer.json"]).get_vocab()
    vocabulary = tokenizer.get_vocab()
    if vocabulary == trained_with:
        return
    differing = sum(trained_with.get(token) != number for token, number in vocabulary.items())
    raise CheckpointError(
        f"{path} was trained with another tokenizer: of {len(vocabulary)} tokens, {differing} are not there, or have "
        "another id. It is made from the configuration, and what that names (a corpus, a directory) has changed since. "
        "Put that back, or choose another job_name to train anew."
    )


@contextmanager
def restored(cfg: DictConfig, path: Path) -> Iterator[None]:
    """Meanwhile ``cfg.tokenizer`` is the one that the checkpoint at ``path`` keeps, unless ``cfg`` chooses another."""
    if is_exported(path):  # its configuration names it already
        yield
        return
    contents = checkpoint.read(path)
    node = OmegaConf.select(cfg, "tokenizer")
    saved = (yaml.safe_load(str(contents.get(checkpoint.KEY, {}).get("config", ""))) or {}).get("tokenizer")
    if KEY not in contents or not OmegaConf.is_dict(node) or OmegaConf.to_container(node) != saved:
        yield
        return
    with _written(contents[KEY]) as directory, open_dict(cfg):
        cfg.tokenizer = {"_target_": TOKENIZER, "path": str(directory)}
        try:
            yield
        finally:
            cfg.tokenizer = saved


@contextmanager
def _written(files: Mapping[str, str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xlm-") as directory:
        for name, text in files.items():
            write_text(Path(directory) / Path(name).name, text)
        yield Path(directory)
