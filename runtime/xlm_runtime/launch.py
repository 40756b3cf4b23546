"""From the command line's words to one call of a job: discovery, composition by ``hydra.main``, dispatch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from xlm_runtime import companions, config, sweeps
from xlm_runtime.component_checks import check_command
from xlm_runtime.config_errors import asked_for, check_choices, check_override
from xlm_runtime.config_groups import PRIMARY, group_names
from xlm_runtime.config_source import RUNTIME_CONFIGS
from xlm_runtime.discovery import Discovery, activate, discover, known
from xlm_runtime.errors import DiscoveryError, UnknownKeyError, XlmError, did_you_mean
from xlm_runtime.exits import exit_without_reader, report
from xlm_runtime.files import plain_disk_faults
from xlm_runtime.jobs import JOBS, ON_FILES, ON_SAVED_RUNS
from xlm_runtime.jobs._quiet import quiet
from xlm_runtime.locate import locate
from xlm_runtime.saved_config import as_additions, last_value, saved_config
from xlm_runtime.signals import Stopped
from xlm_runtime.startup import libraries_are_loaded

T = TypeVar("T")

#: What the primary configuration tells Hydra; a saved configuration does not hold Hydra's own part.
_QUIET_HYDRA = (
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.output_subdir=null",
    "hydra.run.dir=.",
    "hydra.sweep.dir=${run_dir}",
    "hydra.sweep.subdir=.",
)


def launch(arguments: Sequence[str]) -> None:
    """Run what the command line asks for. Exits with status 2 if the job finds something to mend."""
    options = get_args_parser().parse_intermixed_args(arguments)
    overrides: list[str] = options.overrides
    arguments = [*(word for word in arguments if word not in overrides), *overrides]
    config.install_plugins()
    found = discover()
    with known(found):
        groups, job_types = group_names(), _job_types(found)
        for word in overrides:
            check_override(word, groups, job_types)
        activate(found.models)
        path, named = job_path(job_type := _job_type(overrides), found)
        sweep = bool({"-m", "--multirun"} & set(arguments))
        if _on_saved_run(job_type, overrides):
            _launch_on_saved(arguments, overrides, path, named, sweep)
            return
        if sweep:
            words = _swept(lambda: sweeps.deferred(overrides, groups), overrides)
            arguments = [*arguments[: len(arguments) - len(overrides)], *words]
        elif options.cfg:  # which Hydra prints without calling the job, and so without what is checked there
            composed = config.compose(overrides)
            if options.package and options.cfg == "job":
                config.check_package(composed, options.package)
        _hydra(arguments, overrides, path, named)


def _launch_on_saved(arguments: Sequence[str], overrides: Sequence[str], path: str, named: str, sweep: bool) -> None:
    apart = _swept(lambda: sweeps.runs_apart(arguments, overrides), overrides) if sweep else []
    if apart:
        _launch_apart(apart)
        return
    with saved_config(overrides) as directory:
        words = as_additions(arguments, overrides)
        _hydra([*words, *_QUIET_HYDRA], overrides, path, named, directory)


def _launch_apart(commands: Sequence[Sequence[str]]) -> None:
    """One command after the other; one that fails does not end those that follow."""
    failed: list[str] = []
    for words in commands:
        name = " ".join(word for word in words if word.partition("=")[0] in sweeps.NAMING)
        try:
            launch(words)
        except XlmError as error:
            report(error)
            failed.append(name)
        except SystemExit as end:  # after its own report
            if end.code != XlmError.exit_code:
                raise
            failed.append(name)
    if failed:
        _end_with(failed)


def _end_with(failed: Sequence[str]) -> NoReturn:
    if not companions.started():
        print(
            f"Error: {len(failed)} job(s) of this sweep failed, each for the reason that stands above: "
            f"{'; '.join(failed)}. Mend them, and give the same command again.",
            file=sys.stderr,
        )
    sys.exit(XlmError.exit_code)


def _on_saved_run(job_type: str, overrides: Sequence[str]) -> bool:
    """Whether the configuration is that of a saved run: nothing says what model it is, and the job wants one, or is a
    command of a model and is told which run.
    """
    if any(last_value(overrides, key) for key in ("experiment", "model", "model_type")):
        return False
    told = any(last_value(overrides, key) for key in ("job_name", "run_dir", "ckpt_path"))
    return job_type in ON_SAVED_RUNS or (job_type not in JOBS and told)


def _swept(ask: Callable[[], T], overrides: Sequence[str]) -> T:
    try:
        return ask()
    except config.COMPOSITION_ERRORS as error:
        raise config.explain(error, overrides) from error


def job_path(job_type: str, found: Discovery) -> tuple[str, str]:
    """The dotted path of the function that runs a job type, and what names it, for messages.

    Raises:
        UnknownKeyError: neither a job of the runtime nor a command of a discovered model.
        DiscoveryError: two models have a command of this name.
    """
    owners = [model for model in found.models.values() if job_type in model.commands]
    if job_type in JOBS and owners:
        raise DiscoveryError(
            f"The commands.yaml of {owners[0].root} has a command '{job_type}', which is a job type of xLM's own. "
            f"Rename the command; taken are: {', '.join(JOBS)}."
        )
    if job_type in JOBS:
        return JOBS[job_type][0], f"job type '{job_type}'"
    if len(owners) > 1:
        raise DiscoveryError(
            f"The command '{job_type}' belongs to several models: "
            + ", ".join(f"{model.name} ({model.root})" for model in owners)
            + ". Rename it in the commands.yaml of one of them."
        )
    if owners:
        return owners[0].commands[job_type], f"command '{job_type}' in the commands.yaml of {owners[0].root}"
    job_types = _job_types(found)
    raise UnknownKeyError(
        f"Unknown job type '{job_type}'. {did_you_mean(job_type, job_types)}\n"
        f"Job types: {', '.join(JOBS)}. Commands of models: {', '.join(job_types[len(JOBS) :]) or 'none'}."
    )


def _job_types(found: Discovery) -> list[str]:
    return [*JOBS, *(name for model in found.models.values() for name in model.commands)]


def _job_type(overrides: Sequence[str]) -> str:
    if any(word.partition("=")[::2] == ("job_type", "") for word in overrides):
        raise UnknownKeyError(f"job_type is empty. Give one of: {', '.join(JOBS)}.")
    return last_value(overrides, "job_type") or "train"


def _hydra(
    arguments: Sequence[str], overrides: Sequence[str], path: str, named: str, saved: Path | None = None
) -> None:
    """Let Hydra compose the primary configuration, or override a saved one, and call the job with it."""
    saved_file = saved / f"{PRIMARY}.yaml" if saved else None
    in_job, process = False, os.getpid()
    failed: list[str] = []

    def stop(error: XlmError) -> None:
        nonlocal in_job
        report(error)
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            sys.exit(error.exit_code)
        in_job = False
        failed.append(_job_name(overrides))
        # Whoever waits for this job's result has to know: another process, or a sweeper that makes the result better.
        # Hydra's own sweeper does not look at it, and would add a report of its own.
        if os.getpid() != process or not HydraConfig.get().sweeper._target_.endswith(".BasicSweeper"):
            raise error

    def task(cfg: DictConfig) -> Any:
        nonlocal in_job
        in_job, result = True, None
        if os.getpid() != process:  # a launcher of Hydra's (SLURM) runs this elsewhere
            activate(discover().models)
        try:
            if saved is None:
                check_choices(HydraConfig.get().runtime.choices)
                config.check_keys(cfg)
            _separate_sweep_jobs(cfg, overrides, saved is not None)
            config.check_values(cfg)
            job = locate(path, named)
            check_command(job, named)
            quiet()  # behind the import, in which Lightning sets its own level
            libraries_are_loaded()
            with plain_disk_faults(), known(None):
                result = job(cfg)
            if cfg.job_type not in JOBS:  # a model's command, which need not know of reports
                from xlm_runtime.report.run_report import report_of_run  # not for jobs that need no pages

                report_of_run(Path(cfg.run_dir))
        except Stopped as stopped:
            if os.getpid() == process:  # a launcher of Hydra's waits for the result of what it has started
                _exit_stopped(stopped)
        except XlmError as error:
            stop(error)
        except (HydraException, OmegaConfBaseException) as error:
            explained = config.explain(error, overrides, saved_file)
            stop(type(explained)("\n".join(filter(None, (str(explained), asked_for(error))))))
        except BrokenPipeError:
            exit_without_reader()
        in_job = False
        return result  # what a sweeper of Hydra's (Optuna) makes better

    with _hydra_environment(arguments):
        main = hydra.main(version_base="1.3", config_path=str(saved or RUNTIME_CONFIGS), config_name=PRIMARY)
        try:
            main(task)()
        except XlmError:  # what a sweeper has noted first; a job of another process has not been counted here
            if not failed:
                raise
        except config.COMPOSITION_ERRORS as error:
            if in_job:  # a fault of the job's own, not of its configuration
                raise
            raise config.explain(error, overrides, saved_file) from error
    if failed:
        _end_with(failed)


def _exit_stopped(stopped: Stopped) -> NoReturn:
    """Exit where a signal has ended a job, which is saved: with it ends the sweep that it may be one of."""
    if HydraConfig.get().mode is RunMode.MULTIRUN and not companions.started():
        print("With it ends the sweep: the same command goes on with all of its jobs.", file=sys.stderr)
    sys.exit(130 if str(stopped) == "SIGINT" else 0)


def _job_name(overrides: Sequence[str]) -> str:
    """What tells the present job of a sweep from the others, for a message."""
    keys = sweeps.swept(overrides)
    told = [word for word in HydraConfig.get().overrides.task if word.partition("=")[0].lstrip("+") in keys]
    return " ".join(told) or f"job {HydraConfig.get().job.num}"


@contextmanager
def _hydra_environment(arguments: Sequence[str]) -> Iterator[None]:
    # hydra.main reads sys.argv, and would print its own errors and exit unless this variable is set.
    argv, variable = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Hydra composes everything twice, the first time to see whether hydra.mode stands in it; -m says the same.
    get_mode = Hydra.get_mode
    if not any(word.lstrip("+").startswith("hydra.mode=") for word in arguments):
        Hydra.get_mode = lambda *args, **kwargs: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = get_mode  # type: ignore[method-assign]
        sys.argv = argv
        if variable is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = variable


def _separate_sweep_jobs(cfg: DictConfig, overrides: Sequence[str], on_saved_run: bool) -> None:
    """A directory for each job of a sweep; jobs on one saved run write files of other names."""
    if HydraConfig.get().mode is not RunMode.MULTIRUN or cfg.job_type in ON_FILES:
        return
    keys = [key for key in sweeps.swept(overrides) if not (on_saved_run and key == "split")]  # files bear its name
    name = sweeps.job_label(HydraConfig.get().overrides.task, keys)
    if name and on_saved_run:
        with open_dict(cfg):
            cfg.label = ",".join(filter(None, [cfg.get("label"), name]))
    elif name:
        cfg.run_dir = f"{cfg.run_dir}/{name}"
