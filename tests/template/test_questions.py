"""Each question of copier.yml: its default, its answers, and the answers that it refuses."""

import re
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from pytest_copie.plugin import Copie, Result
from rendering import COMPONENTS, QUESTIONS, ROOT, STARTING_POINTS

from xlm_runtime.discovery import CORE_MODELS

VERSION = (ROOT / "runtime/xlm_runtime/VERSION").read_text(encoding="utf-8").strip()
RESERVED = set(" ".join(QUESTIONS["reserved_names"]["default"]).split())
Answer = Callable[..., Result]
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@pytest.fixture
def answer(copie: Copie, template: Path) -> Answer:
    def answer(**answers: Any) -> Result:
        result: Result = copie.copy(extra_answers={"model_name": "my_model", **answers}, template_dir=template)
        return result

    return answer


def project(result: Result) -> Path:
    assert result.exception is None, result.exception  # pytest-copie keeps it to itself
    assert result.project_dir is not None
    return result.project_dir


def metadata(directory: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return loaded


# -- answers that are taken ------------------------------------------------------------------------------------


def test_only_the_name_has_to_be_given(answer: Answer) -> None:
    result = answer()
    assert project(result)
    assert result.answers == {
        "model_name": "my_model",
        "starting_point": "skeleton",
        "description": QUESTIONS["points"]["default"]["skeleton"]["summary"],
        "author": "The my_model authors",
        "license": "Apache-2.0",
        "copyright_year": "2026",
        "runtime_source": "git",
        "follow_starting_point": False,
        "adopted": False,
    }


@pytest.mark.parametrize("name", ["x", "gpt2", "my_2nd_model", "x" * 40, "arlmish", "skeleton_key"])
def test_a_name(answer: Answer, name: str) -> None:
    directory = project(answer(model_name=name))
    assert metadata(directory)["name"] == name
    assert {file.name for file in (directory / name).iterdir()} == {
        "__init__.py",
        *(f"{component}_{name}.py" for component in (*COMPONENTS, "commands")),  # the skeleton's example of one
    }


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_a_starting_point(answer: Answer, point: str) -> None:
    directory = project(answer(starting_point=point))
    assert QUESTIONS["points"]["default"][point]["summary"] in (directory / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", ["description", "author"])
@pytest.mark.parametrize(
    "text",
    [
        "It says \"yes\": and 'no', with a \\ and a #",
        "Modèle de langue – 言語モデル 🦙, à la carte",
        "{{ not_a_template }} {% nor this %}",
        "- yaml: [looks, like, this]",
        "null",
    ],
)
def test_a_line_of_text_survives(answer: Answer, key: str, text: str) -> None:
    directory = project(answer(**{key: text}))
    found = metadata(directory)
    assert (found["description"] if key == "description" else found["authors"][0]["name"]) == text
    assert yaml.safe_load((directory / ".copier-answers.yml").read_text(encoding="utf-8"))[key] == text
    told = "README.md" if key == "description" else "LICENSE"
    assert text in (directory / told).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("license", "expression", "words"),
    [
        ("Apache-2.0", "Apache-2.0", "Apache License"),
        ("MIT", "MIT", "MIT License"),
        ("BSD-3-Clause", "BSD-3-Clause", "BSD 3-Clause License"),
        ("Proprietary", "LicenseRef-Proprietary", "All rights reserved"),
    ],
)
def test_a_license(answer: Answer, license: str, expression: str, words: str) -> None:
    directory = project(answer(license=license, copyright_year="1987", author="Ada"))
    text = (directory / "LICENSE").read_text(encoding="utf-8")
    assert words in text
    assert re.search(r"Copyright (\(c\) )?1987,? Ada", text)
    assert metadata(directory)["license"] == expression


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("git", f"xlm-runtime @ git+https://github.com/org/xlm-template@v{VERSION}#subdirectory=runtime\n"),
        ("index", f"xlm-runtime=={VERSION}\n"),
    ],
)
def test_a_source_of_the_runtime(answer: Answer, source: str, line: str) -> None:
    directory = project(answer(runtime_source=source))
    assert (directory / "requirements/xlm.txt").read_text(encoding="utf-8") == line


@pytest.mark.parametrize("follow", [True, False])
def test_following_the_starting_point_is_recorded(answer: Answer, follow: bool) -> None:
    directory = project(answer(follow_starting_point=follow))
    recorded = yaml.safe_load((directory / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert recorded["follow_starting_point"] is follow


# -- answers that are refused ----------------------------------------------------------------------------------


NO_SNAKES = [
    "", "MyModel", "my-model", "my model", "2nd", "_hidden", "trailing_", "two__bars", "naïve", "a/b", "..", "my.model",
    "my_model\n", "{{ x }}", '"',
]  # fmt: skip
TAKEN = [
    "class", "lambda", "json", "random", "torch", "hydra", "xlm_runtime", "configs", "tests", "setup", "null", "true",
]  # fmt: skip
BAD_ANSWERS: list[tuple[dict[str, str], str]] = [
    *(({"model_name": name}, "expected snake_case") for name in NO_SNAKES),
    ({"model_name": "x" * 41}, "expected at most 40"),
    *(({"model_name": name}, "is taken") for name in TAKEN),
    *(({"model_name": name}, "a model of xLM's own") for name in (*CORE_MODELS, "skeleton")),
    ({"model_name": "mlm", "starting_point": "arlm"}, "a model of xLM's own"),
    ({"starting_point": "gpt"}, "'gpt' is not in"),
    ({"description": ""}, "Expected"),
    ({"description": " "}, "Expected"),
    ({"description": "two\nlines"}, "Expected one line"),
    ({"description": "a\ttab"}, "Expected one line"),
    ({"description": "a separator\u2028of lines"}, "Expected one line"),
    ({"author": ""}, "Expected"),
    ({"author": "two\r\nlines"}, "Expected one line"),
    ({"license": "GPL"}, "'GPL' is not in"),
    ({"copyright_year": "26"}, "expected four digits"),
    ({"copyright_year": "2026\n"}, "expected four digits"),
    ({"runtime_source": "conda"}, "'conda' is not in"),
    ({"follow_starting_point": "maybe"}, "'maybe' is not in"),
    ({"adopted": "perhaps"}, "'perhaps' is not in"),
]


@pytest.mark.parametrize(("answers", "message"), BAD_ANSWERS)
def test_a_bad_answer(answer: Answer, copie: Copie, answers: dict[str, str], message: str) -> None:
    result = answer(**answers)
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)
    assert not any(file for directory in copie.test_dir.iterdir() for file in directory.iterdir())


def test_the_name_has_no_default(copie: Copie, template: Path) -> None:
    result = copie.copy(template_dir=template)
    assert isinstance(result.exception, ValueError)
    assert "model_name" in str(result.exception)


# -- the list of reserved names --------------------------------------------------------------------------------


def test_no_model_can_hide_the_standard_library() -> None:
    assert {name for name in sys.stdlib_module_names if SNAKE_CASE.fullmatch(name)} <= RESERVED


def test_no_model_can_hide_what_the_runtime_depends_on() -> None:
    needed = dependencies("xlm-runtime")
    imports = {
        name
        for name, owners in packages_distributions().items()
        if SNAKE_CASE.fullmatch(name) and any(normal(owner) in needed for owner in owners)
    }
    assert {"xlm_runtime", "torch", "yaml"} <= imports
    assert imports <= RESERVED


def test_every_reserved_name_could_be_a_model_name() -> None:
    assert all(SNAKE_CASE.fullmatch(name) for name in RESERVED)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies(root: str) -> set[str]:
    """The distribution and all that it needs, directly or not, as far as it is installed here."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        try:
            requirements = map(Requirement, distribution(name).requires or [])
        except PackageNotFoundError:  # for another platform, or another version of Python
            continue
        found.add(name)
        waiting += [need.name for need in requirements if not need.marker or need.marker.evaluate({"extra": ""})]
    return found
