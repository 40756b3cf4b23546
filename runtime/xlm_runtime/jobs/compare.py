"""``job_type=compare``: several runs side by side, as a table and as a page."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xlm_runtime.errors import ConfigError
from xlm_runtime.jobs._console import make_console
from xlm_runtime.report.comparison import Cell, Comparison, compare, find_runs, write_comparison
from xlm_runtime.report.pages import number, shown


def run(cfg: DictConfig) -> Comparison:
    """Compare the runs that ``runs`` names; print what they reached and where they differ. Imports no torch."""
    names = OmegaConf.to_container(cfg.runs) if OmegaConf.is_list(cfg.runs) else cfg.runs
    comparison = compare(find_runs(names))
    console = make_console()
    metrics = {
        name: ["" if found is None else _cell(found) for found in values] for name, values in comparison.metrics.items()
    }
    states = [run.status.partition(":")[0] for run in comparison.runs]
    _show(console, "metric", comparison.names, {"state": states, **metrics})
    settings = {key: ["" if v is None else shown(v) for v in values] for key, values in comparison.settings.items()}
    if settings:
        _show(console, "setting", comparison.names, settings)
    try:
        file = write_comparison(Path(cfg.compare_file), comparison)
    except OSError as error:
        raise ConfigError(
            f"Cannot write {cfg.compare_file}: {error.strerror or error}. Expected a file that you may create: set "
            "compare_file=<path>."
        ) from error
    print(f"page: {file}")
    return comparison


def _cell(found: Cell) -> str:
    interval = f" ({found.estimate.low:.4g}-{found.estimate.high:.4g})" if found.estimate else ""
    return number(found.value) + interval + (f" {found.means}" if found.means else "")


def _show(console: Console, first: str, names: list[str], rows: dict[str, list[str]]) -> None:
    table = Table()
    for name in (first, *names):
        table.add_column(escape(name), overflow="fold")
    for name, values in rows.items():
        table.add_row(*(escape(text) for text in (name, *values)))
    console.print(table)
