"""Templates to pages: one file each, everything within it, text escaped."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from xlm_runtime.files import write_text


@cache
def _environment() -> Environment:
    # Predictions are data: whatever a template is given is escaped.
    environment = Environment(
        loader=PackageLoader("xlm_runtime.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["shown"] = shown
    return environment


def write_page(file: Path, template: str, **values: Any) -> Path:
    """Render ``templates/<template>.html.jinja`` into ``file``, whole or not at all."""
    text = _environment().get_template(f"{template}.html.jinja").render(**values)
    write_text(file, text.encode("utf-8", "replace").decode("utf-8"))  # half a surrogate pair is no text
    return file


def number(value: float) -> str:
    """A number for reading: whole ones as they are, others to four digits."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def shown(value: Any) -> str:
    """Any value of a configuration or a row, as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
