"""What the tests of the template share: where it is, what it offers, and how a rendered repository is spoken to."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_MODELS = ROOT / "reference-models"
QUESTIONS: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
STARTING_POINTS: list[str] = list(QUESTIONS["starting_point"]["choices"].values())
COMPONENTS = ("types", "model", "loss", "predictor", "datamodule", "metrics")

#: The worst of both kinds: it sorts last, and it makes the longest class names.
SHORT_NAME = "zoe"
LONG_NAME = "autoregressivelanguagemodelwithalongname"
assert (len(SHORT_NAME), len(LONG_NAME)) == (3, 40)


#: Directories with programs that are found before all others.
FIRST: list[str] = []


def run(command: list[str], cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run to the end, whatever the status. Models of the surroundings are out of sight; variables are added."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("XLM_")}
    scripts = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([*FIRST, scripts, environment.get("PATH", "")])
    if first := variables.pop("programs", ""):  # a directory that is searched before all others
        environment["PATH"] = os.pathsep.join([first, environment["PATH"]])
    return subprocess.run(command, cwd=cwd, env={**environment, **variables}, capture_output=True, text=True)


def succeed(command: list[str], cwd: Path, **variables: str) -> str:
    """What a command prints, which must end well."""
    done = run(command, cwd, **variables)
    assert done.returncode == 0, f"{command} in {cwd}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def files_of(directory: Path) -> dict[str, bytes]:
    """Every file that belongs to a repository, by its path in it."""
    skipped = ("__pycache__", "build", "dist", "runs", ".git", ".venv")
    found = {}
    for file in directory.rglob("*"):
        path = file.relative_to(directory)
        if file.is_file() and not any(part in skipped or part.endswith(("_cache", ".egg-info")) for part in path.parts):
            found[path.as_posix()] = file.read_bytes()
    return found
