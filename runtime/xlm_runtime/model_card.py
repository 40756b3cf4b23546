"""The model card of an exported model: README.md, made from its run alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

#: What of a dataset's settings a reader wants to know.
_DATA = ("path", "name", "config_name", "revision", "layout", "block_size", "prompt_length", "answer_length", "sizes")


@dataclass(frozen=True)
class Measured:
    """What ``job_type=eval`` found of a split.

    Attributes:
        split: of the data.
        rows: how many examples of it were predicted; None where it predicted none.
        words: of the command line.
        numbers: of each its name, value, 95 % interval, and what it is.
    """

    split: str
    rows: int | None
    words: Sequence[str]
    numbers: Sequence[Sequence[str]]


def model_card(
    cfg: Mapping[str, Any],
    *,
    name: str,
    step: int,
    parameters: int,
    measured: Sequence[Measured],
    trained_by: Sequence[str],
    version: str,
    transformers_class: str | None = None,
    answers: bool = False,
    repo_id: str | None = None,
) -> str:
    """The text of the card.

    Args:
        cfg: the run's configuration, resolved.
        name: of the model.
        step: of the optimizer.
        parameters: how many.
        measured: that ``job_type=eval`` found, by split.
        trained_by: the words of the command line that trained it; none: they are not known.
        version: of the runtime.
        transformers_class: that loads it, for an export of that format.
        answers: whether it was trained on prompts and answers, and not on texts.
        repo_id: where it is on the hub.
    """
    license_name = cfg.get("license")
    head = {
        "license": license_name or "unknown",
        "library_name": "transformers" if transformers_class else "xlm-runtime",
        "tags": ["xlm", "text-generation"],
    }
    front = yaml.safe_dump(head, allow_unicode=True, sort_keys=False).rstrip()
    lines = ["---", front, "---", "", f"# {name}", ""]
    lines += [
        f"A language model of {parameters:,} parameters, `{_target(cfg, 'model')}`, trained for {step:,} steps with "
        f"xlm-runtime {version}.",
        "",
        "## Data",
        "",
        f"`{_target(cfg, 'dataset')}`",
        "",
    ]
    dataset = cfg.get("dataset") or {}
    lines += [f"- {key}: `{json.dumps(dataset[key], default=str)}`" for key in _DATA if dataset.get(key) is not None]
    lines += ["", "## Metrics", ""]
    lines += _table(measured) or ["None are recorded: `xlm job_type=eval` measures them.", ""]
    lines += ["## Training", ""]
    lines += [
        f"- {key}: `{value}`"
        for key, value in (
            ("seed", cfg.get("seed")),
            ("batch_size", cfg.get("batch_size")),
            ("optimizer", json.dumps(cfg.get("optimizer"), default=str)),
        )
    ]
    lines += ["", *_commands("Trained by", [trained_by]), "## Use", "", *_use(transformers_class, repo_id, answers)]
    lines += ["", "## License", "", f"{license_name or 'None is stated: ask its author.'}", ""]
    return "\n".join(lines)


def _target(cfg: Mapping[str, Any], key: str) -> str:
    return str((cfg.get(key) or {}).get("_target_", "unknown"))


def _table(measured: Sequence[Measured]) -> list[str]:
    rows = []
    for each in measured:
        count = "" if each.rows is None else f"{each.rows:,}"
        for name, value, interval, means in each.numbers:
            rows.append(f"| {each.split} | {name} | {value} | {interval} | {count} | {means} |")
    if not rows:
        return []
    head = ["| split | metric | value | 95 % interval | rows | |", "|---|---|---|---|---|---|"]
    return [*head, *rows, "", *_commands("Measured by", [each.words for each in measured])]


def _commands(title: str, commands: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"xlm {shlex.join(words)}" for words in commands if words]
    return [f"{title}:", "", "```bash", *lines, "```", ""] if lines else []


def _use(transformers_class: str | None, repo_id: str | None, answers: bool) -> list[str]:
    if transformers_class is not None:
        where = repr(repo_id or "this/folder").replace("'", '"')
        return [
            f"`{transformers_class}`, without code of its own:",
            "",
            "```python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"model = AutoModelForCausalLM.from_pretrained({where})",
            f"tokenizer = AutoTokenizer.from_pretrained({where})",
            "```",
            "",
            "A prompt is followed by BOS; the answer comes after it. The tokenizer does not add it by itself."
            if answers
            else "A text begins with the tokenizer's BOS, which it does not add by itself.",
        ]
    where = f"hf://{repo_id}" if repo_id else "this/folder"
    return [
        "The model's package must be installed, or registered in `xlm_models.json`.",
        "",
        "```bash",
        f"xlm job_type=generate ckpt_path={where}",
        f"xlm job_type=eval ckpt_path={where}",
        "```",
        "",
        "```python",
        "from xlm_runtime import load",
        "",
        f'rows = load("{where}").generate(["..."])',
        "```",
    ]
