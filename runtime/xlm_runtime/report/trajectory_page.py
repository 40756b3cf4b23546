"""``trajectory.html``: a page that plays how texts came about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlm_runtime.predictions import Row, suffix
from xlm_runtime.report.pages import write_page
from xlm_runtime.tracing import Trajectory


def trajectory_file(run_dir: Path, label: str | None = None) -> Path:
    """Where the trajectories of a run are: ``trajectory.html``, or with a label in its name."""
    return run_dir / f"trajectory{suffix(label)}.html"


def write_trajectories(
    file: Path, trajectories: Sequence[Trajectory], rows: Sequence[Row], tokenizer: Any, title: str
) -> Path:
    """Make the page.

    Args:
        file: what is written.
        trajectories: of the first rows.
        rows: prediction rows in the same order.
        tokenizer: makes text of single tokens, and knows which are special.
        title: of the page.
    """
    used = {token for each in trajectories for token in [*each.start, *each.tokens()]}
    used |= {token for each in trajectories for step in each.steps for _, token, _ in step.changes}
    data = {
        "tokens": {str(token): _token(token, tokenizer) for token in sorted(used)},
        "samples": [
            {
                "start": each.start,
                "steps": [
                    {
                        "number": step.number,
                        "kind": step.kind,
                        "changes": [[at, token, round(sure, 4)] for at, token, sure in step.changes],
                    }
                    for step in each.steps
                ],
                "text": str(row.get("text", "")),
                "truth": row.get("truth"),
            }
            for each, row in zip(trajectories, rows, strict=False)
        ],
    }
    return write_page(file, "trajectory", title=title, data=data)


def _token(token: int, tokenizer: Any) -> list[str]:
    """How a token is shown, and what it is: "blank", "special" or "text"."""
    kind = "text"
    if token == tokenizer.mask_token_id:
        kind = "blank"
    elif token in tokenizer.all_special_ids:
        kind = "special"
    return [str(tokenizer.decode([token])), kind]
