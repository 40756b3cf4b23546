"""A machine of a new user, as far as a directory can be one: a home, an environment of its own, the template's address.

The environment sees what the tests' environment has installed, so that nothing is downloaded; what a document
installs lands in it alone. The address of the template's repository leads to a copy of the working tree.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import warm
from documents import ROOT, Block
from snapshot import clone, release, version

ADDRESS = "https://github.com/org/xlm-template"
#: What pages show instead of the machine's own home.
SHOWN_HOME = "/home/me"


def publish_template(repository: Path) -> Path:
    """The working tree as a git repository with the release's tag."""
    clone(ROOT, repository)
    release(repository, f"v{version(ROOT)}")
    return repository


def without_models(directory: Path) -> Path:
    """Links to all that is installed for the tests, except for models: a new user has none."""
    directory.mkdir(parents=True)
    owned = _files_of_models()
    for library in filter(os.path.isdir, site.getsitepackages()):
        for path in Path(library).iterdir():
            if path.name not in owned and not (directory / path.name).exists():
                (directory / path.name).symlink_to(path)
    return directory


def _files_of_models() -> set[str]:
    """Of installed models, what stands in site-packages; asked of a new interpreter, whose path no test has changed."""
    script = (
        "from importlib.metadata import entry_points\n"
        "for point in entry_points(group='xlm.models'):\n"
        "    print(*{file.parts[0] for file in point.dist.files}, sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@dataclass(frozen=True)
class Printed:
    """What a block printed, both streams, and its exit status."""

    output: str
    status: int


class Machine:
    """One page's machine. Blocks run one after the other, as in one shell: directory and variables carry over."""

    def __init__(
        self, place: Path, template: Path, installed: Path, cache: Path, server: str, copier: str, hub: str
    ) -> None:
        self.home = place / "home"
        self.work = self.home / "projects"
        self.work.mkdir(parents=True)
        self._state = place / "state.sh"
        self._environment = {
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(_made(place / "tmp")),
            "EXTRAS": str(Path(sys.prefix) / "extras"),  # where a page "installs" an extra of the runtime from
            "HF_ENDPOINT": hub,
            "OMP_NUM_THREADS": "1",
            "XLM_CACHE_DIR": str(cache),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INDEX": "1",  # all that is needed is there
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say --no-build-isolation
            "PIP_QUIET": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(_git_config(place / "gitconfig", template)),
        }
        scripts = _make_environment(self.home / "venv", installed)
        self._xlm, self._python, self._server = scripts / "xlm", scripts / "python", server
        first = _made(place / "programs")  # as those of the environment, but that they import no library anew
        self._quick_python = first / "python"
        warm.install_python(self._quick_python, scripts / "python", server, files=True)
        warm.install(first / "copier", scripts / "python", copier, "copier")
        warm.install(first / "torchrun", scripts / "python", server, "torch.distributed.run", self._quick_python)
        path = [str(first), str(scripts), os.environ.get("PATH", os.defpath)]
        self._environment["PATH"] = os.pathsep.join(path)

    def run(self, block: Block) -> Printed:
        """Run a block of commands where the last one ended."""
        if self._xlm.exists():  # what pip has put there would import torch anew
            warm.install(self._xlm, self._python, self._server, executable=self._quick_python)
        script = (
            f'state="{self._state}"\n'
            'trap \'status=$?; { declare -f; export -p; printf "cd %q\\n" "$PWD"; } > "$state"; exit $status\' EXIT\n'
            '[ ! -f "$state" ] || . "$state"\n'
            f"set -euo pipefail\n{block.text}"
        )
        extra = [block.settings["env"].split("=", 1)] if "env" in block.settings else []
        environment = {**self._environment, **dict(extra)}
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return Printed(self.shown(done.stdout.decode("utf-8", "replace")), done.returncode)

    def write(self, block: Block) -> None:
        """Write a fence to the file that it names."""
        file = self._directory() / block.detail
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")

    def shown(self, text: str) -> str:
        """With the paths that the pages show."""
        return text.replace(str(self.home), SHOWN_HOME)

    def _directory(self) -> Path:
        if not self._state.exists():
            return self.work
        done = subprocess.run(["bash", "-c", f'. "{self._state}"; pwd'], capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())


def _git_config(file: Path, template: Path) -> Path:
    lines = [
        f'[url "file://{template}"]',
        f"\tinsteadOf = {ADDRESS}.git",
        f"\tinsteadOf = {ADDRESS}",
        "[user]",
        "\tname = Me",
        "\temail = me@example.org",
        "[init]",
        "\tdefaultBranch = main",
        "[advice]",
        "\tdetachedHead = false",
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _make_environment(directory: Path, installed: Path) -> Path:
    """A virtual environment that sees what is in ``installed`` too; returns where its programs are."""
    venv.create(directory, symlinks=True, with_pip=False)
    python = directory / "bin" / "python"
    library = directory / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    # addsitedir reads the .pth files there too: editable installs are seen.
    (library / "installed.pth").write_text(f"import site; site.addsitedir({str(installed)!r})\n", encoding="utf-8")
    for program in Path(sys.executable).parent.iterdir():
        target = directory / "bin" / program.name
        if target.exists() or not program.is_file():
            continue
        with program.open("rb") as file:
            first, rest = file.readline(), file.read()
        if first.startswith(b"#!") and b"python" in first:
            target.write_bytes(f"#!{python}\n".encode() + rest)
            target.chmod(0o755)
    return directory / "bin"


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
