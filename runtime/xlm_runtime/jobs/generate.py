"""``job_type=generate``: what a saved run makes of a split, of prompts or of nothing, as a table and as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.table import Table

from xlm_runtime.callbacks.generating import Generating
from xlm_runtime.generation import examples_of, generate_rows
from xlm_runtime.jobs._console import make_console
from xlm_runtime.jobs._quiet import quiet
from xlm_runtime.predictions import Row, exact_match, rows_file, write_rows
from xlm_runtime.prompts import asked_for
from xlm_runtime.report.run_report import report_after
from xlm_runtime.report.trajectory_page import trajectory_file, write_trajectories
from xlm_runtime.saved import load_run
from xlm_runtime.tracing import record
from xlm_runtime.weights import check_own_directory


def run(cfg: DictConfig) -> list[Row]:
    """Predict every row of the split, or of what is asked for (at most ``num_samples``); show ``show`` of them."""
    quiet()
    asked = asked_for(cfg.prompts, cfg.prompts_file, cfg.unconditional, cfg.num_samples)
    prompts = None if asked is None else asked.prompts
    if asked is not None:
        cfg.datamodule.limit = None
    elif cfg.num_samples is not None:
        limit = cfg.datamodule.limit
        cfg.datamodule.limit = cfg.num_samples if limit is None else min(limit, cfg.num_samples)
    saved = load_run(cfg, None if prompts is None else examples_of(cfg, prompts), [Generating()])
    check_own_directory(saved.parts.harness, saved.path, Path(cfg.run_dir))
    recorder = record(saved.parts.harness.predictor, cfg.show) if cfg.get("trace") else None
    source = cfg.split if asked is None else asked.name
    print(f"generating with {saved.path} (step {saved.step}) on {source}", flush=True)
    rows = generate_rows(cfg, saved, prompts)
    # Beside the rows of an evaluation, which has them for the whole split.
    label = ",".join(filter(None, ["generated", cfg.get("label")]))
    file = rows_file(Path(cfg.run_dir), source, saved.step, label)
    write_rows(file, rows)
    _show(rows[: cfg.show])
    print(f"{len(rows)} rows: {file}")
    if recorder is not None:
        page = trajectory_file(Path(cfg.run_dir), cfg.get("label"))
        title = f"{Path(cfg.run_dir).name}, {source}, step {saved.step}"
        print(f"trajectory: {write_trajectories(page, recorder.trajectories, rows, saved.parts.tokenizer, title)}")
    share = exact_match(rows)
    if share is not None:
        print(f"exact match {share:.3f}")
    report_after(Path(cfg.run_dir), loaded=saved.parts.cfg)
    return rows


def _show(rows: Sequence[Row]) -> None:
    table = Table(show_lines=False)
    columns = [name for name in ("prompt", "text", "truth") if any(row.get(name) is not None for row in rows)]
    for name in columns:
        table.add_column({"text": "prediction"}.get(name, name), overflow="fold")
    for row in rows:
        # Text is data: square brackets in it are no markup, and control characters do nothing to the terminal.
        table.add_row(*(_plain(row.get(name)) for name in columns))
    make_console().print(table)


def _plain(value: object) -> str:
    text = str("" if value is None else value).replace("[", r"\[")
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
