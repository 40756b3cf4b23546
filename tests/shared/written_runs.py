"""Writes the directory of a run as a run would leave it, without one: small, and at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CONFIG = """\
job_name: {name}
run_dir: runs/${{job_name}}
seed: {seed}
batch_size: 8
model:
  _target_: my_model.parts.Model
  width: {width}
optimizer: {{_target_: torch.optim.AdamW, lr: 0.001}}
"""

#: Text that would be markup if it were let, and what is no text at all.
HOSTILE = '<script>document.title = "broken"</script><b class="hostile">&amp; "\'`\u2028 \ud800 {{ 7 * 7 }}'

ROWS = [
    {"prompt": "1 2 >", "text": "3 4", "truth": "3 4", "ids": [3, 4], "network_calls": 2},
    {"prompt": "1 5 >", "text": "3 5", "truth": "5 3", "ids": [3, 5, 6], "network_calls": 3},
    {"prompt": HOSTILE, "text": HOSTILE, "truth": "no", "ids": [], "network_calls": 1},
    {"prompt": "alone", "text": "nobody knows", "truth": None, "ids": [1], "network_calls": 2},
]


def write_run(
    directory: Path, *, seed: int = 1, width: int = 4, steps: int = 10, scale: float = 1.0, finished: bool = True
) -> Path:
    """Two curves, a validation, an evaluation of ``ROWS`` on test; returns the directory."""
    _write(directory / "config.yaml", CONFIG.format(name=directory.name, seed=seed, width=width))
    lines = ["step,train/loss,train/lr,val/loss,val/exact_match"]
    for step in range(1, steps + 1):
        validation = f"{scale * 2 / step:.4f},{step / steps:.4f}" if step % 5 == 0 else ","
        lines.append(f"{step},{scale * 3 / step:.4f},0.001,{validation}")
    _write(directory / "metrics.csv", "\n".join(lines) + "\n")
    if finished:
        metrics = {"val/loss": scale * 2 / steps, "val/exact_match": 1.0}
        _write(directory / "finished.json", json.dumps({"step": steps, "metrics": metrics}))
    evaluation = {"checkpoint": "best.ckpt", "step": steps, "test/exact_match": 1 / 3, "test/loss": scale * 0.3}
    _write(directory / "metrics-test.json", json.dumps(evaluation))
    write_rows(directory / f"predictions/test/step={steps}.jsonl", ROWS)
    _write(directory / "checkpoints/best.ckpt", "weights")
    return directory


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    _write(file, "".join(json.dumps(row) + "\n" for row in rows))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
