"""``xlm-scaffold my_model``: a new model repository, from the same template as ``copier copy``, without a network.

The wheel carries the template at ``xlm_runtime/_template``; in a checkout the working tree is taken. What is
made says that it came from the template's repository at this version, so that ``copier update`` works on it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from xlm_runtime import __version__
from xlm_runtime.discovery import CORE_MODELS, current_directory, discover, register
from xlm_runtime.errors import ScaffoldError, XlmError, did_you_mean
from xlm_runtime.exits import report
from xlm_runtime.files import write_text
from xlm_runtime.registry import REGISTRY_FILE

TEMPLATE_ADDRESS = "gh:org/xlm-template"
ANSWERS_FILE = ".copier-answers.yml"

_PACKAGE = Path(__file__).resolve().parent
_PARTS = ("copier.yml", "template", "reference-models", "runtime/xlm_runtime/VERSION")
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", "runs", ".*_cache", ".git", ".venv")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; exits with 2 after one line on what is wrong."""
    try:
        _run(_parser().parse_args(argv))
    except XlmError as error:
        report(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)


def scaffold(name: str, directory: Path, cwd: Path, **answers: str | None) -> None:
    """Make the repository of model ``name`` at ``directory`` and register it in ``cwd``.

    Either all of it is done or nothing: it is made beside its place, and moved there when it is complete.

    Args:
        name: snake_case.
        directory: does not exist yet, or is empty; its parent exists.
        cwd: gets the model's entry in its xlm_models.json.
        answers: to the template's questions; None leaves a question to its default.

    Raises:
        ScaffoldError: a bad name or answer, a directory in use, a name that is taken.
        DiscoveryError: a registry or an installed model is at fault already.
    """
    directory = Path(os.path.abspath(cwd / directory))
    given = {"model_name": name, **{key: value for key, value in answers.items() if value is not None}}
    with template_source() as source:
        check_answers(source, given)
        _check_free(name, directory, cwd)
        try:
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as beside:
                made = Path(beside) / directory.name
                render(source, made, given)
                if directory.is_dir():
                    directory.rmdir()  # an empty one is in nobody's way, but not every system renames onto it
                made.rename(directory)
        except OSError as error:
            raise ScaffoldError(f"Cannot make {directory}: {error.strerror or error}.") from error
    try:
        register(cwd, name, Path(os.path.relpath(directory, cwd)).as_posix())
    except BaseException:
        shutil.rmtree(directory)
        raise


@contextmanager
def template_source() -> Iterator[Path]:
    """A directory that holds the template of this very version and is no git repository.

    From a git repository, Copier would take the latest tag instead of the files as they stand.

    Raises:
        ScaffoldError: this installation carries no template.
    """
    carried, checkout = _PACKAGE / "_template", _PACKAGE.parents[1]
    if (carried / "copier.yml").is_file():
        yield carried
        return
    if not (checkout / "copier.yml").is_file():
        raise ScaffoldError(
            f"This installation of xlm-runtime ({_PACKAGE}) carries no template: there is neither {carried} nor "
            f"{checkout / 'copier.yml'}. Install xlm-runtime {__version__} again."
        )
    with tempfile.TemporaryDirectory(prefix="xlm-template-") as copy:
        for part in _PARTS:
            source, target = checkout / part, Path(copy) / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=_NOT_COPIED)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        yield Path(copy)


def render(source: Path, directory: Path, answers: Mapping[str, Any]) -> None:
    """Render the template at ``source`` into ``directory`` and record where an update finds it.

    Raises:
        ScaffoldError: an answer that the template refuses.
    """
    from copier import run_copy
    from copier.errors import CopierError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on Copier's side: the user sees the outcome
            run_copy(str(source), directory, data=dict(answers), defaults=True, quiet=True)
    except (CopierError, ValueError) as error:
        # "Validation error for question 'x': ..." says what is wrong after its colon.
        text = re.sub(r"^Validation error for question '(\w+)': ", "", str(error))
        raise ScaffoldError(" ".join(text.split())) from error
    file = directory / ANSWERS_FILE
    text = file.read_text(encoding="utf-8")
    recorded = {**yaml.safe_load(text), "_commit": f"v{__version__}", "_src_path": TEMPLATE_ADDRESS}
    comment = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    # The same form as Copier's own, so that the first update changes nothing but the version.
    write_text(file, comment + yaml.safe_dump(recorded, indent=4, allow_unicode=True))


def check_answers(source: Path, answers: Mapping[str, str]) -> None:
    """Refuse what the template would refuse too, with a way out that it does not know.

    Raises:
        ScaffoldError: a name that is no model's name, or an answer that is not among a question's choices.
    """
    questions = yaml.safe_load((source / "copier.yml").read_text(encoding="utf-8"))
    for key, answer in answers.items():
        choices = questions[key].get("choices")
        known = list(choices.values()) if isinstance(choices, dict) else choices
        if known and answer not in known:
            raise ScaffoldError(
                f"The {key.replace('_', ' ')} '{answer}' does not exist. {did_you_mean(answer, known)} "
                f"Expected one of: {', '.join(known)}."
            )
    name = answers["model_name"]
    points = questions["starting_point"]["choices"].values()
    reserved = {*" ".join(questions["reserved_names"]["default"]).split(), *CORE_MODELS, *points}
    better = _snake_case(name, reserved)
    if better != name:
        why = "it is taken" if name in reserved else "expected snake_case, of at most 40 characters"
        raise ScaffoldError(f"'{name}' cannot be a model's name: {why}. Did you mean '{better}'?")


def _snake_case(name: str, reserved: set[str]) -> str:
    """The model name nearest to ``name``."""
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", name)
    snake = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    if not snake or not snake[0].isalpha():
        snake = f"my_model_{snake}".rstrip("_")
    snake = snake[:40].rstrip("_")
    return f"{snake[:37].rstrip('_')}_lm" if snake in reserved else snake


def _check_free(name: str, directory: Path, cwd: Path) -> None:
    found = discover(cwd)
    if name in found.models:
        model = found.models[name]
        raise ScaffoldError(
            f"'{name}' is a model already: {model.root} ({model.source}). Choose another name, or remove that one."
        )
    if directory == Path(os.path.abspath(cwd)):
        raise ScaffoldError(f"{directory} is the current directory: run xlm-scaffold in the directory above it.")
    if not directory.parent.is_dir():
        raise ScaffoldError(f"{directory.parent}, in which '{directory.name}' is to be made, is not a directory.")
    if os.path.lexists(directory) and (not directory.is_dir() or any(directory.iterdir())):
        state = "is not empty" if directory.is_dir() else "is no directory"
        raise ScaffoldError(
            f"{directory} exists already, and {state}. Nothing is overwritten: choose another name, or another "
            "place with --directory."
        )


def _run(arguments: argparse.Namespace) -> None:
    name = arguments.model_name
    directory = arguments.directory or Path(name)
    scaffold(
        name,
        directory,
        current_directory(),
        starting_point=arguments.starting_point,
        description=arguments.description,
        author=arguments.author,
        license=arguments.license,
        runtime_source=arguments.runtime_source,
    )
    print(
        f"{directory} is a complete model repository, and {name} is registered in ./{REGISTRY_FILE}. Next:\n\n"
        f"    xlm job_type=train job_name=first experiment=star_easy_{name} debug=overfit\n"
        "    xlm job_type=eval job_name=first\n"
        "    xlm job_type=generate job_name=first\n\n"
        f"Then read {directory / 'README.md'}."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xlm-scaffold",
        description="Make a complete model repository, which trains before the first edit, and register it in "
        f"./{REGISTRY_FILE}. Needs no network.",
        epilog="`copier copy gh:org/xlm-template my_model` asks the same questions one by one.",
    )
    parser.add_argument("model_name", help="the model's name, in snake_case: my_awesome_model")
    parser.add_argument("--starting-point", metavar="MODEL", help="what the code begins as (default: skeleton)")
    parser.add_argument("--description", metavar="TEXT", help="one line that says what the model is")
    parser.add_argument("--author", metavar="NAME", help="author or authors, as in the licence")
    parser.add_argument("--license", metavar="ID", help="licence of the code (default: Apache-2.0)")
    parser.add_argument(
        "--runtime-source",
        metavar="SOURCE",
        help="where pip finds xlm-runtime: git (default) or index",
    )
    parser.add_argument("--directory", type=Path, metavar="DIR", help="the directory to make (default: ./MODEL_NAME)")
    parser.add_argument("--version", action="version", version=f"xlm-runtime {__version__}")
    return parser


if __name__ == "__main__":
    main()
