"""template-update.yml, step by step as GitHub would run it, on a project with a remote; `gh` only writes down its words."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from releases import OLD, OLDEST, replace
from rendering import run
from snapshot import git, release

BRANCH = f"template-update/my_model-{OLD.removeprefix('v')}"


@pytest.fixture(autouse=True)
def remote_repository(project: Path) -> None:
    git(project.parent, "init", "--quiet", "--bare", "remote.git")
    git(project, "remote", "add", "origin", "../remote.git")
    git(project, "push", "--quiet", "origin", "main")


class Workflow:
    """The workflow of a project: what its steps printed, and what they asked of `gh`."""

    def __init__(self, project: Path) -> None:
        file = project / ".github/workflows/template-update.yml"
        workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
        self.triggers = workflow[True]  # YAML reads `on` so
        self._steps = workflow["jobs"]["update"]["steps"]
        self._project, self._outputs = project, dict[str, str]()
        self.printed, self.status = "", 0
        (project.parent / "gh").write_text('#!/bin/sh\necho "$@" >> "$RUNNER_TEMP/asked"\n', encoding="utf-8")
        (project.parent / "gh").chmod(0o755)

    def run(self) -> Workflow:
        place = self._project.parent
        variables = {"RUNNER_TEMP": str(place), "GITHUB_OUTPUT": str(place / "output")}
        for step in self._steps:
            condition = self._filled(f"${{{{ {step.get('if', 'true')} }}}}")
            if "run" not in step or "pip install" in step["run"] or condition != "true" or self.status:
                continue
            own = {key: self._filled(value) for key, value in step.get("env", {}).items()}
            script = f'export PATH="{place}:$PATH"\n{self._filled(step["run"])}'
            done = run(["bash", "-e", "-c", script], self._project, **variables, **own)
            self.printed, self.status = self.printed + done.stdout + done.stderr, done.returncode
            if (place / "output").exists():
                lines = (place / "output").read_text(encoding="utf-8").splitlines()
                self._outputs = {f"steps.{step['id']}.outputs.{key}": value for key, value in split(lines)}
                (place / "output").unlink()
        return self

    @property
    def asked(self) -> str:
        file = self._project.parent / "asked"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def _filled(self, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            left, _, right = found[1].partition(" == ")
            known = self._outputs.get(left, "" if left.startswith("steps.") else left)
            return str(known == right.strip("'")).lower() if right else known

        return re.sub(r"\$\{\{ (.*?) \}\}", value, text)


def split(lines: list[str]) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def remote(project: Path, *words: str) -> str:
    return git(project.parent / "remote.git", *words)


def test_a_newer_template_becomes_a_branch_and_a_pull_request(project: Path) -> None:
    workflow = Workflow(project).run()
    assert workflow.status == 0, workflow.printed
    assert remote(project, "log", "-1", "--format=%s", BRANCH).strip() == "Update the template to 0.0.2"
    changed = remote(project, "diff", "--name-only", "main", BRANCH).split()
    assert changed == [".copier-answers.yml", "requirements/xlm.txt", "setup.py"]
    assert workflow.asked.startswith(f"pr create --head {BRANCH} --title Update the template to 0.0.2")
    git(project, "switch", "--quiet", "main")
    git(project, "merge", "--quiet", BRANCH)
    again = Workflow(project).run()  # nothing is newer now
    assert (again.status, again.asked) == (0, workflow.asked), again.printed


def test_a_conflict_fails_visibly_and_is_not_pushed(project: Path) -> None:
    replace(project / "setup.py", f"# {OLDEST}\n", "# mine\n")
    release(project, "mine")
    workflow = Workflow(project).run()
    assert workflow.status and "lines of these files:\nsetup.py\n" in workflow.printed
    assert BRANCH not in remote(project, "branch") and not workflow.asked


def test_what_somebody_has_put_on_the_branch_stays(project: Path) -> None:
    git(project, "switch", "--quiet", "--create", BRANCH)
    (project / "fix.py").write_text("FIX = 1\n", encoding="utf-8")
    release(project, "fix")
    git(project, "push", "--quiet", "origin", BRANCH)
    git(project, "switch", "--quiet", "main")
    before = remote(project, "rev-parse", BRANCH)
    workflow = Workflow(project).run()
    assert workflow.status == 0 and f"::notice::The branch {BRANCH} exists" in workflow.printed
    assert remote(project, "rev-parse", BRANCH) == before
    assert git(project, "status", "--porcelain") == "" and not workflow.asked


def test_it_runs_every_week_and_by_hand(project: Path) -> None:
    triggers = Workflow(project).triggers
    assert set(triggers) == {"schedule", "workflow_dispatch"}
    assert [len(entry["cron"].split()) for entry in triggers["schedule"]] == [5]
    assert os.access(project / "scripts/update", os.X_OK)
