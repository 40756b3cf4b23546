"""One copy of every line: reference models are rendered repositories, and their components the template's source."""

import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pathspec import PathSpec
from rendering import COMPONENTS, QUESTIONS, REFERENCE_MODELS, STARTING_POINTS, files_of

Make = Callable[..., Path]
POINTS = QUESTIONS["points"]["default"]


def sources(point: str) -> dict[str, str]:
    """The files of a starting point that the template includes, by their path in it."""
    files = [
        *(f"{point}/{component}_{point}.py" for component in COMPONENTS),
        f"{point}/__init__.py",
        "tests/test_loss.py",
        *(f"configs/{file.replace('NAME', point)}.yaml" for file in POINTS[point]["configs"]),
    ]
    return {file: (REFERENCE_MODELS / point / file).read_text(encoding="utf-8") for file in files}


def answers_of(directory: Path) -> dict[str, object]:
    answers: dict[str, object] = yaml.safe_load((directory / ".copier-answers.yml").read_text(encoding="utf-8"))
    return {key: value for key, value in answers.items() if not key.startswith("_")}


def test_every_starting_point_says_what_it_is() -> None:
    assert set(POINTS) == set(STARTING_POINTS)


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_a_reference_model_is_what_the_template_renders(make: Make, point: str) -> None:
    model = REFERENCE_MODELS / point
    rendered = make(point, **{**answers_of(model), "model_name": point, "starting_point": point})
    wanted, found = files_of(rendered), files_of(model)
    assert found.keys() == wanted.keys(), "run `make sync`, or list the file in copier.yml"
    different = [file for file in wanted if wanted[file] != found[file]]
    assert not different, "run `make sync`"
    for file in wanted:
        assert is_executable(rendered / file) == is_executable(model / file), file


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_the_configs_of_a_starting_point_are_listed(point: str) -> None:
    configs = REFERENCE_MODELS / point / "configs"
    on_disk = {file.relative_to(configs).as_posix() for file in configs.rglob("*") if file.is_file()}
    listed = {f"{file.replace('NAME', point)}.yaml" for file in POINTS[point]["configs"]}
    assert on_disk == {*listed, "commands.yaml"}


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_the_sources_can_be_included(point: str) -> None:
    for file, text in sources(point).items():
        assert not re.search(r"{{|{%|{#", text), f"{file}: Jinja would read this"


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_a_name_is_only_ever_a_name(point: str) -> None:
    spelled = {point, point.upper(), point.capitalize()}
    for file, text in sources(point).items():
        for match in re.finditer(point, text, re.IGNORECASE):
            before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
            where = f"{file}, line {text.count(chr(10), 0, match.start()) + 1}: ...{before}{match[0]}{after}..."
            assert match[0] in spelled, where
            assert not before.isalnum(), where
            # A class name goes on with a capital, everything else with what is no letter.
            assert after.isupper() if match[0] == point.capitalize() and after.isalpha() else not after.isalnum(), where


@pytest.mark.parametrize("point", STARTING_POINTS)
@pytest.mark.parametrize("name", ["x{}", "{}s", "my_{}", "{}_2", "letter_by_letter", "other"])
def test_the_name_is_replaced_everywhere_and_once(make: Make, point: str, name: str) -> None:
    name = "_".join(point) if name == "letter_by_letter" else name.format(point)
    prefix = "".join(word.capitalize() for word in name.split("_"))
    replacements = {point: name, point.upper(): name.upper(), point.capitalize(): prefix}
    rendered = make(name, starting_point=point)
    for file, text in sources(point).items():
        expected = re.sub("|".join(replacements), lambda match: replacements[match[0]], text)
        path = file.replace(point, name)
        assert (rendered / path).read_text(encoding="utf-8") == expected, path


@pytest.mark.parametrize("point", STARTING_POINTS)
def test_no_trace_of_the_starting_point_is_left(make: Make, point: str) -> None:
    rendered = files_of(make("other", starting_point=point))
    told = {".copier-answers.yml", "README.md", "CHANGELOG.md"}  # these say what it began as
    assert not [file for file in rendered if point in file]
    assert not [file for file, content in rendered.items() if file not in told and point.encode() in content.lower()]


def test_rendering_depends_on_the_answers_alone(make: Make, tmp_path: Path) -> None:
    first = files_of(make("my_model"))
    (tmp_path / "my_model").rename(tmp_path / "elsewhere")
    assert files_of(make("my_model")) == first
    assert str(tmp_path).encode() not in b"".join(first.values())


def test_nothing_of_the_templates_own_is_rendered(make: Make) -> None:
    rendered = files_of(make("my_model"))
    assert not [file for file in rendered if "_shared" in file or file.endswith(".jinja")]
    for file, content in rendered.items():
        if not file.startswith(".github/"):
            assert b"{{" not in content and b"{%" not in content, file


def test_the_workflows_keep_their_own_expressions(make: Make) -> None:
    directory = make("my_model") / ".github/workflows"
    texts = {file.stem: file.read_text(encoding="utf-8") for file in directory.iterdir()}
    assert texts.keys() == {"ci", "template-update"}
    assert "${{ matrix.python }}" in texts["ci"]
    for text in texts.values():
        assert "jobs" in yaml.safe_load(text)
    (job,) = yaml.safe_load(texts["ci"])["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == "scripts/check"


def test_scripts_can_be_run(make: Make) -> None:
    assert is_executable(make("my_model") / "scripts/check")


def test_seeds_are_the_users_files_and_no_others(make: Make) -> None:
    """The same patterns are excluded on update and kept by a second copy."""
    directory = make("my_model", starting_point="arlm")
    patterns = [pattern.replace("{{ model_name }}", "my_model") for pattern in QUESTIONS["seeds"]["default"]]
    kept = QUESTIONS["_skip_if_exists"]
    entry = "{{ '' if follow_starting_point else (seeds | default([]))[NUMBER] | default('') }}"
    assert kept[: len(patterns)] == [entry.replace("NUMBER", str(number)) for number in range(len(patterns))]
    assert all("if adopted" in other for other in kept[len(patterns) :])
    seeds = set(PathSpec.from_lines("gitignore", patterns).match_files(files_of(directory)))
    assert seeds == {
        "README.md",
        "tests/test_loss.py",
        *(f"my_model/{component}_my_model.py" for component in COMPONENTS),
        *(file for file in files_of(directory) if file.startswith(("configs/model/", "configs/experiment/"))),
    }


def is_executable(file: Path) -> bool:
    return bool(file.stat().st_mode & stat.S_IXUSR)
