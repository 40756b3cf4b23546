"""Builds tiny model repositories, registries and fake installed packages for tests of discovery."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_model(
    root: Path,
    name: str,
    *,
    flat: bool = False,
    configs: str | None = "configs",
    experiments: Sequence[str] = (),
    commands: str | None = None,
) -> Path:
    """A repository at ``root``: its package ``root/<name>/`` (flat: ``root`` itself), its configs."""
    package = root if flat else root / name
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(f"NAME = {name!r}\nHOME = __file__\n", encoding="utf-8")
    if configs is not None:
        (root / configs / "experiment").mkdir(parents=True)
        for experiment in experiments:
            file = root / configs / "experiment" / f"{experiment}.yaml"
            file.write_text("seed: 1\n", encoding="utf-8")
    if commands is not None:
        (root / "configs" / "commands.yaml").write_text(commands, encoding="utf-8")
    return root


def write_registry(directory: Path, entries: Mapping[str, str] | str) -> Path:
    """``directory/xlm_models.json`` with these entries, or with this very text."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "xlm_models.json"
    text = entries if isinstance(entries, str) else json.dumps(entries, indent=2)
    file.write_text(text, encoding="utf-8")
    return file


def write(file: Path, text: str) -> Path:
    """Write a file and make its directory."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def declare(site: Path, name: str, *, value: str | None = None, metadata: bool = True) -> None:
    """The ``dist-info`` of a distribution ``<name>-dist`` with the entry point ``name = value``."""
    info = site / f"{name}_dist-1.0.dist-info"
    info.mkdir(parents=True)
    if metadata:
        text = f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n"
        (info / "METADATA").write_text(text, encoding="utf-8")
    text = f"[xlm.models]\n{name} = {value or name}\n"
    (info / "entry_points.txt").write_text(text, encoding="utf-8")
