"""The documents name all that there is: read from the code, so that a new thing without a word about it fails."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml
from documents import ROOT, blocks, page_name, pages

import xlm_runtime.nn
from xlm_runtime import api, contracts, errors
from xlm_runtime.jobs import JOBS

DOCS = ROOT / "docs"
RUNTIME = ROOT / "runtime" / "xlm_runtime"
PRIMARY = yaml.safe_load((RUNTIME / "configs" / "config.yaml").read_text(encoding="utf-8"))
COPIER = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
ERRORS = [name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.XlmError)]
MODULES = sorted(
    path.stem
    for path in RUNTIME.iterdir()
    if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").is_file())
)
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def missing(words: list[str], page: str) -> list[str]:
    """The words that the page does not have as code: `word`, or `word.…`, or `word=…`."""
    text = text_of(page)
    return [word for word in words if not re.search(rf"`{re.escape(word)}\b[^`\n]*`", text)]


def test_troubleshooting_names_every_error() -> None:
    # What has subclasses is not raised as such, but for ConfigError and ComponentError.
    roots = {"XlmError", "DiscoveryError"}
    assert not missing([name for name in ERRORS if name not in roots], "docs/troubleshooting.md")


def test_the_reference_has_every_error() -> None:
    text = text_of("docs/reference/errors.md")
    assert [name for name in ERRORS if f"::: xlm_runtime.errors.{name}\n" not in text] == []


def test_the_reference_has_every_building_block() -> None:
    listed = re.findall(r"\w+", " ".join(re.findall(r"members: \[(.*)\]", text_of("docs/reference/nn.md"))))
    assert sorted(listed) == sorted(xlm_runtime.nn.__all__)


def test_the_reference_has_every_contract() -> None:
    listed = re.findall(r"::: xlm_runtime\.contracts\.(\w+)", text_of("docs/reference/contracts.md"))
    public = [name for name in xlm_runtime.__all__ if name in vars(contracts)]
    assert sorted(listed) == sorted(public)


def test_configuration_names_every_job_type_and_key() -> None:
    keys = [key for key in PRIMARY if key not in ("defaults", "hydra")]
    assert not missing([*JOBS, *keys], "docs/configuration.md")


def test_configuration_names_every_group() -> None:
    groups = {path.name for path in (RUNTIME / "configs").iterdir() if path.is_dir() and path.name != "__pycache__"}
    models = {path.name for path in (ROOT / "reference-models").glob("*/configs/*") if path.is_dir()}
    assert not missing(sorted(groups | models), "docs/configuration.md")


def test_starting_points_and_questions_are_explained() -> None:
    questions = [key for key, value in COPIER.items() if not key.startswith("_") and value.get("when") is not False]
    points = list(COPIER["starting_point"]["choices"].values())
    assert not missing([*questions, *points], "docs/starting-points.md")


#: A seed in the words of those who read of it.
SEED_WORDS = {
    "/README.md": "README|this file",
    "/configs/model": "configs/model|sizes",
    "/configs/experiment": "experiment",
}


@pytest.mark.parametrize("page", ["docs/starting-points.md", "docs/updating.md", "template/README.md.jinja"])
def test_the_seeds_are_named_where_updates_are_explained(page: str) -> None:
    components, *others = COPIER["seeds"]["default"]
    assert components == "/{{ model_name }}/*_{{ model_name }}.py" and "component" in text_of(page)
    words = {pattern: SEED_WORDS.get(pattern, re.escape(pattern.strip("/"))) for pattern in others}
    assert [pattern for pattern in others if not re.search(words[pattern], text_of(page))] == []


@pytest.mark.parametrize("model", [name for name in COPIER["points"]["default"] if name != "skeleton"])
def test_the_page_of_a_model_names_every_option(model: str) -> None:
    configs = ROOT / "reference-models" / model / "configs"
    parts = yaml.safe_load((configs / "model_type" / f"{model}.yaml").read_text(encoding="utf-8"))
    options = [f"{part}.{key}" for part in ("loss", "predictor") for key in parts[part] if key != "_target_"]
    for file in (configs / "collator").glob("*.yaml"):
        kind = "prediction" if "prediction" in file.stem else "lm"
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        own = [key for key, value in values.items() if key != "_target_" and not str(value).startswith("${")]
        options += [f"datamodule.collators.{kind}.{key}" for key in own]
    assert not missing(options, f"docs/models/{model}.md")


def test_the_architecture_names_every_file_of_the_runtime() -> None:
    assert not missing(MODULES, "docs/architecture.md")


def test_every_variable_of_the_environment_is_documented() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in RUNTIME.rglob("*.py"))
    documented = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    used = set(re.findall(r"\bXLM_[A-Z]+(?:_[A-Z]+)*\b", code))
    assert {name for name in used if name not in documented} == set()


def test_every_target_of_the_makefile_is_explained() -> None:
    targets = re.findall(r"^([a-z]+):.*##", text_of("Makefile"), re.MULTILINE)
    assert not missing([f"make {name}" for name in targets if name != "help"], "CONTRIBUTING.md")


def test_the_readme_names_every_directory_and_stays_short() -> None:
    text = text_of("README.md")
    assert len(text.splitlines()) <= 120
    for directory in ("template", "reference-models", "runtime", "docs", "tests", "tools", "scripts"):
        assert f"`{directory}/" in text, directory


@pytest.mark.parametrize("page", ["docs/python-api.md", "docs/tutorial.md"])
def test_every_program_of_a_page_is_run(page: str) -> None:
    """By a command after it; ``tests/docs/test_document_commands.py`` runs that."""
    found = blocks(ROOT / page)
    programs = [block for block in found if block.language in ("python", "diff")]
    assert programs and not [block.line for block in programs if block.kind != "file"], "give it a title"
    for program in programs:
        commands = "".join(block.text for block in found if block.kind == "run" and block.line > program.line)
        assert program.detail in commands, f"line {program.line}"


def test_the_python_page_names_every_parameter_and_key() -> None:
    parameters = [*inspect.signature(api.load).parameters, *inspect.signature(api.LoadedModel.generate).parameters]
    named = [name for name in parameters if name not in ("self", "overrides", "options")]
    attributes = [f"model.{name}" for name in ("cfg", "step", "model", "tokenizer")]
    keys = ["prompt", "text", "ids", "length", "truth", "steps", "seconds", "seed"]
    assert not missing([*named, *attributes, *keys], "docs/python-api.md")


@pytest.mark.parametrize("page", pages(), ids=page_name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    # Also for the pages that the site does not hold; anchors within the site are mkdocs' business.
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", pages(), ids=page_name)
def test_no_page_names_a_place_of_the_writers_machine(page: Path) -> None:
    found = re.findall(r"(?<![\w.~])/(?:root|tmp|Users|usr|opt|mnt|work)/\S*", page.read_text(encoding="utf-8"))
    assert not found


@pytest.mark.parametrize("page", pages(), ids=page_name)
def test_included_files_are_included(page: Path) -> None:
    # A formatter of Python takes the sign for arithmetic: such fences begin with {.python}, which it leaves alone.
    text = page.read_text(encoding="utf-8")
    included = re.findall(r'^--8<-- "(.+)"$', text, re.MULTILINE)
    assert len(included) == len(re.findall(r"8\s*<\s*--", text))
    assert [name for name in included if not (ROOT / name).is_file()] == []


def test_decisions_are_numbered_listed_and_complete() -> None:
    assert [file.name[:3] for file in DECISIONS] == [f"{number:03}" for number in range(1, len(DECISIONS) + 1)]
    overview, navigation = text_of("docs/decisions/index.md"), text_of("mkdocs.yml")
    for file in DECISIONS:
        assert f"({file.name})" in overview
        assert f"decisions/{file.name}" in navigation
        parts = re.findall(r"^\*\*(\w+)\.\*\*", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], file.name


def test_every_page_is_in_the_navigation() -> None:
    navigation = text_of("mkdocs.yml").partition("\nnav:")[2]
    written = [page for page in DOCS.rglob("*.md") if page.parent.name != "results"]
    assert [name for page in written if (name := page.relative_to(DOCS).as_posix()) not in navigation] == []
