"""What the package offers, what importing it costs, and what no file of the repository may hold."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xlm_runtime

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "runtime" / "xlm_runtime"

#: Hosts of package registries; each pattern is written so that it does not match itself.
REGISTRIES = (
    r"pypi[.](org|python)|python[h]osted|registry[.]npmjs|conda[.]anaconda|crates[.]io|proxy[.]golang|rubygems[.]org"
)
#: A path of somebody's machine; the documents show those of one who is called "me".
MACHINE = r"(?<![\w.>}/-])/(home/(?!me\b)|root/)\w"


def test_the_public_names_are_these() -> None:
    assert xlm_runtime.__all__ == [
        "Collator",
        "CollatorPrediction",
        "Harness",
        "InfillingCollatorPrediction",
        "Likelihood",
        "LossFunction",
        "NoiseSchedule",
        "Predictor",
        "Seq2SeqCollator",
        "Seq2SeqCollatorPrediction",
        "ToTransformers",
        "XlmError",
        "__version__",
        "load",
    ]


def test_every_public_name_is_there_and_is_what_it_is_called() -> None:
    for name in xlm_runtime.__all__:
        value = getattr(xlm_runtime, name)
        assert name == "__version__" or value.__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        _ = xlm_runtime.Trainer


def test_the_version_is_that_of_the_version_file() -> None:
    assert xlm_runtime.__version__ == (PACKAGE / "VERSION").read_text(encoding="utf-8").strip()
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", xlm_runtime.__version__)


@pytest.mark.parametrize(
    "module", ["", ".errors", ".discovery", ".cli", ".jobs", ".jobs.list", ".registry", ".model_package", ".files"]
)
def test_what_the_listing_needs_imports_neither_torch_nor_hydra_nor_lightning(module: str) -> None:
    code = f"import sys, xlm_runtime{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "hydra", "lightning", "transformers", "omegaconf", "numpy", "rich", "datasets", "copier"}
    assert "xlm_runtime" in run.stdout.split()
    assert not heavy & set(run.stdout.split())


def test_no_file_of_the_runtime_has_more_than_300_lines() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in PACKAGE.rglob("*.py")}
    assert len(lengths) > 30
    assert not {str(file.relative_to(PACKAGE)): length for file, length in lengths.items() if length > 300}


def test_the_runtime_has_at_most_30_configuration_files() -> None:
    assert 10 < len(list((PACKAGE / "configs").rglob("*.yaml"))) <= 30


# -- what no file may hold ---------------------------------------------------------------------------------


def texts() -> Iterator[tuple[Path, str]]:
    """Every file that git tracks, or would, if it holds text."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        file = REPOSITORY / name
        if file.is_file() and b"\0" not in (content := file.read_bytes()):
            yield file.relative_to(REPOSITORY), content.decode("utf-8", errors="replace")


def matches(pattern: str) -> list[str]:
    return [
        f"{file}:{number}: {line.strip()[:100]}"
        for file, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line, re.IGNORECASE)
    ]


def test_git_tells_which_files_there_are() -> None:
    found = {str(file) for file, _ in texts()}
    assert {"pyproject.toml", "runtime/xlm_runtime/__init__.py", "reference-models/arlm/arlm/__init__.py"} <= found


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert matches(REGISTRIES) == []


def test_no_file_names_a_path_of_a_machine() -> None:
    assert matches(MACHINE) == []


@pytest.mark.parametrize("line", ["see https://py" + "pi.org/simple", "files.python" + "hosted.org/packages"])
def test_a_host_of_a_registry_would_be_found(line: str) -> None:
    assert re.search(REGISTRIES, line)


@pytest.mark.parametrize("line", ["/ho" + "me/ada/model", "path: /ro" + "ot/x", '"/ho' + 'me/a"', "cd /ro" + "ot/x"])
def test_a_path_of_a_machine_would_be_found(line: str) -> None:
    assert re.search(MACHINE, line)


@pytest.mark.parametrize(
    "line", ["docs/home/index.md", "<root>/root/x", "{root}/home/x", "root/configs", "/ho" + "me/me/x"]
)
def test_a_relative_path_is_none_of_a_machine(line: str) -> None:
    assert not re.search(MACHINE, line)
