"""From the command line's words to one call of a job: discovery, composition by ``hydra.main``, dispatch."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from xlm_runtime import config
from xlm_runtime.cli import report
from xlm_runtime.discovery import Discovery, activate, discover
from xlm_runtime.errors import CheckpointError, DiscoveryError, UnknownKeyError, XlmError, did_you_mean
from xlm_runtime.files import write_text
from xlm_runtime.jobs import JOBS, ON_SAVED_RUNS

#: What the primary configuration tells Hydra; a saved configuration does not hold Hydra's own part.
_QUIET_HYDRA = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.output_subdir=null",
    "hydra.run.dir=.",
)


def launch(arguments: Sequence[str]) -> None:
    """Run what the command line asks for. Exits with status 2 if the job finds something to mend."""
    config.install_plugins()
    found = discover()
    activate(found.models)
    overrides = [word for word in arguments if not word.startswith("-")]
    job_type = _value(overrides, "job_type") or "train"
    path = job_path(job_type, found)
    if job_type in ON_SAVED_RUNS and not any(_value(overrides, k) for k in ("experiment", "model", "model_type")):
        with _saved_config(overrides) as directory:
            words = [_append_group(word) if word in overrides else word for word in arguments]
            _hydra([*words, *_QUIET_HYDRA], overrides, str(directory), path, strict=False)
    else:
        _hydra(arguments, overrides, config.RUNTIME_CONFIGS, path, strict=True)


def job_path(job_type: str, found: Discovery) -> str:
    """The dotted path of the function that runs a job type.

    Raises:
        UnknownKeyError: neither a job of the runtime nor a command of a discovered model.
        DiscoveryError: two models have a command of this name.
    """
    if job_type in JOBS:
        return JOBS[job_type][0]
    owners = [model for model in found.models.values() if job_type in model.commands]
    if len(owners) > 1:
        raise DiscoveryError(
            f"The command '{job_type}' belongs to several models: "
            + ", ".join(f"{model.name} ({model.root})" for model in owners)
            + ". Rename it in the commands.yaml of one of them."
        )
    if owners:
        return owners[0].commands[job_type]
    commands = [name for model in found.models.values() for name in model.commands]
    raise UnknownKeyError(
        f"Unknown job type '{job_type}'. {did_you_mean(job_type, [*JOBS, *commands])}\n"
        f"Job types: {', '.join(JOBS)}. Commands of models: {', '.join(commands) or 'none'}."
    )


def _hydra(arguments: Sequence[str], overrides: list[str], configs: str, path: str, *, strict: bool) -> None:
    def task(cfg: DictConfig) -> None:
        try:
            if strict:
                config.check_keys(cfg)
            _separate_sweep_jobs(cfg)
            _job(path)(cfg)
        except XlmError as error:
            report(error)
            sys.exit(error.exit_code)

    with _hydra_environment(arguments):
        try:
            hydra.main(version_base="1.3", config_path=configs, config_name=config.PRIMARY)(task)()
        except (HydraException, OmegaConfBaseException) as error:
            raise config.explain(error, overrides) from error


@contextmanager
def _hydra_environment(arguments: Sequence[str]) -> Iterator[None]:
    # hydra.main reads sys.argv, and would print its own errors and exit unless this variable is set.
    argv, variable = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if variable is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = variable


def _job(path: str) -> Callable[[DictConfig], Any]:
    from xlm_runtime.build import locate  # imports torch: not before a job runs

    job: Callable[[DictConfig], Any] = locate(path, "job_type")
    return job


def _separate_sweep_jobs(cfg: DictConfig) -> None:
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        cfg.run_dir = f"{cfg.run_dir}/{HydraConfig.get().job.override_dirname.replace('/', '_')}"


@contextmanager
def _saved_config(overrides: list[str]) -> Iterator[Path]:
    """A directory whose config.yaml is the configuration of the run, or the checkpoint, that is asked for."""
    ckpt_path = _value(overrides, "ckpt_path")
    if ckpt_path:
        from xlm_runtime.checkpoint import config_of

        with tempfile.TemporaryDirectory(prefix="xlm-") as directory:
            write_text(Path(directory) / f"{config.PRIMARY}.yaml", config_of(Path(ckpt_path)))
            yield Path(directory)
        return
    job_name = _value(overrides, "job_name")
    run_dir = Path(_value(overrides, "run_dir") or f"runs/{job_name or 'default'}")
    if not (run_dir / f"{config.PRIMARY}.yaml").is_file():
        runs = sorted(file.parent.name for file in Path("runs").glob(f"*/{config.PRIMARY}.yaml"))
        raise CheckpointError(
            f"There is no run in {run_dir} (no {config.PRIMARY}.yaml). {did_you_mean(job_name or '', runs)}\n"
            f"Runs here: {', '.join(runs) or 'none'}. Give job_name=<one of these>, ckpt_path=<file>, or train first."
        )
    yield run_dir.resolve()


def _append_group(word: str) -> str:
    # A saved configuration has no defaults list, so choosing a group's option is an addition to it.
    key = word.partition("=")[0]
    return f"+{word}" if key in config.group_names() and not word.partition("=")[2].startswith("{") else word


def _value(overrides: list[str], key: str) -> str | None:
    values = [word.partition("=")[2] for word in overrides if word.lstrip("+").partition("=")[0] == key]
    return values[-1].strip("'\"") or None if values else None
