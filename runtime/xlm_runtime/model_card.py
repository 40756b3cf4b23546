"""The model card of an exported model: README.md, made from its run alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

#: What of a dataset's settings a reader wants to know.
_DATA = ("path", "name", "config_name", "revision", "layout", "block_size", "prompt_length", "answer_length", "sizes")


def model_card(
    cfg: Mapping[str, Any],
    *,
    name: str,
    step: int,
    parameters: int,
    metrics: Sequence[Sequence[str]],
    version: str,
    transformers_class: str | None = None,
    repo_id: str | None = None,
) -> str:
    """The text of the card.

    Args:
        cfg: the run's configuration, resolved.
        name: of the model.
        step: of the optimizer.
        parameters: how many.
        metrics: that ``job_type=eval`` found: of each its split, name, value, 95 % interval, and what it is.
        version: of the runtime.
        transformers_class: that loads it, for an export of that format.
        repo_id: where it is on the hub.
    """
    license_name = cfg.get("license")
    head = ["---", f"license: {license_name or 'unknown'}"]
    head += [f"library_name: {'transformers' if transformers_class else 'xlm-runtime'}", "tags: [xlm, text-generation]"]
    lines = [*head, "---", "", f"# {name}", ""]
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
    lines += _table(metrics) or ["None are recorded: `xlm job_type=eval` measures them.", ""]
    lines += ["## Training", ""]
    lines += [
        f"- {key}: `{value}`"
        for key, value in (
            ("seed", cfg.get("seed")),
            ("batch_size", cfg.get("batch_size")),
            ("optimizer", json.dumps(cfg.get("optimizer"), default=str)),
        )
    ]
    lines += ["", "## Use", "", *_use(transformers_class, repo_id)]
    lines += ["", "## License", "", f"{license_name or 'None is stated: ask its author.'}", ""]
    return "\n".join(lines)


def _target(cfg: Mapping[str, Any], key: str) -> str:
    return str((cfg.get(key) or {}).get("_target_", "unknown"))


def _table(metrics: Sequence[Sequence[str]]) -> list[str]:
    rows = [f"| {' | '.join(cells)} |" for cells in metrics]
    return ["| split | metric | value | 95 % interval | |", "|---|---|---|---|---|", *rows, ""] if rows else []


def _use(transformers_class: str | None, repo_id: str | None) -> list[str]:
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
            "A text begins with the tokenizer's BOS, which it does not add by itself.",
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
