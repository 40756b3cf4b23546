"""The workflows, of this repository and of every model repository, as GitHub reads them, and their scripts as bash does.

actionlint, whose package fetches a program while it is installed, is not used; its three questions are asked by
check-jsonschema (is it a workflow?), zizmor (is it safe?) and shellcheck (would the scripts run as meant?).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from rendering import ROOT, run

WORKFLOWS = [*sorted((ROOT / ".github/workflows").glob("*.yml")), *sorted((ROOT / "template/.github/workflows").glob("*"))]
SCRIPTS = sorted(path for place in ("scripts", "template/scripts", ".ci") for path in (ROOT / place).iterdir())
PYTHON = [ROOT / "template/scripts/update"]
ZIZMOR = ["zizmor", "--offline", "--quiet", "--no-progress", "--config", str(ROOT / ".github/zizmor.yml")]
BROKEN = {
    "no entry of the matrix": ("names", "matrix.python", "matrix.pyton"),
    "no workflow": ("check-jsonschema", "runs-on: ubuntu-latest", "runs: ubuntu-latest"),
    "unsafe": ("zizmor", "- run: scripts/check", "- run: echo ${{ github.event.pull_request.title }}"),
    "no script": ("shellcheck", "- run: scripts/check", "- run: if scripts/check; fi"),
}


def faults(workflow: Path, tmp_path: Path) -> list[str]:
    """What each linter says against it."""
    schema = run(["check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)], tmp_path)
    safety = run([*ZIZMOR, str(workflow)], tmp_path)
    found = [f"check-jsonschema: {schema.stdout}"] if schema.returncode else []
    found += [f"zizmor: {safety.stdout}{safety.stderr}"] if safety.returncode else []
    for job in yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values():
        for number, step in enumerate(job["steps"]):
            if "run" in step:
                script = tmp_path / f"step-{number}.sh"
                # GitHub fills ${{ }} in before bash reads the line.
                script.write_text(re.sub(r"\$\{\{.*?\}\}", "filled_in", step["run"]), encoding="utf-8")
                checked = run(["shellcheck", "--shell=bash", str(script)], tmp_path)
                found += [f"shellcheck: {checked.stdout}"] if checked.returncode else []
    return found + [f"names: {name}" for name in unknown_names(workflow)]


def unknown_names(workflow: Path) -> list[str]:
    """Outputs of steps that no step writes, and entries of a matrix that it has not: GitHub takes them for empty."""
    unknown = []
    for job in yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values():
        written = [name for step in job["steps"] for name in re.findall(r"(\w+)=\$", step.get("run", ""))]
        known = {f"matrix.{key}" for key in job.get("strategy", {}).get("matrix", {})}
        known |= {f"steps.{step['id']}.outputs.{name}" for step in job["steps"] if "id" in step for name in written}
        unknown += [name for name in re.findall(r"\b(?:steps|matrix)\.[\w.]+", str(job)) if name not in known]
    return unknown


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_workflow_is_one(workflow: Path, tmp_path: Path) -> None:
    assert faults(workflow, tmp_path) == []


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_workflow_is_noticed(case: str, tmp_path: Path) -> None:
    linter, old, new = BROKEN[case]
    text = (ROOT / "template/.github/workflows/ci.yml").read_text(encoding="utf-8")
    assert old in text
    broken = tmp_path / "ci.yml"
    broken.write_text(text.replace(old, new), encoding="utf-8")
    if linter == "check-jsonschema":  # what is no workflow has no steps to look at
        assert run([linter, "--builtin-schema", "vendor.github-workflows", str(broken)], tmp_path).returncode
        return
    assert [fault for fault in faults(broken, tmp_path) if fault.startswith(linter)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_is_sound(script: Path) -> None:
    done = run([*(["ruff", "check", "--no-cache"] if script in PYTHON else ["shellcheck"]), str(script)], ROOT)
    assert done.returncode == 0, done.stdout


def test_ci_runs_exactly_what_scripts_check_does() -> None:
    ci = yaml.safe_load((ROOT / "template/.github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["check"]
    runs = [step["run"] for step in ci["steps"] if "run" in step]
    assert runs == ['python -m pip install --editable ".[dev]"', "scripts/check"]
    assert ci["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    check = (ROOT / "template/scripts/check").read_text(encoding="utf-8").partition('cd "$(dirname "$0")/.."\n')[2]
    commands = ["ruff format --check .", "ruff check .", "mypy", 'pytest "$@"']
    assert check.split("\n") == ["", *(f"python -m {command}" for command in commands), ""]
