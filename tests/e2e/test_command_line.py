"""What the command line promises where nothing is wrong, and how it ends when it is stopped."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig
from outcomes import Run
from tiny_models import make_model, register, write

EXPERIMENT = "experiment=star_easy_my_model"
#: The default dataset is 50,000 graphs; these words keep a run without an experiment short.
SHORT = (
    "dataset.sizes={train: 8, val: 4, test: 4}",
    "batch_size=4",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
)

COMMAND = """\
import json

from omegaconf import DictConfig


def show(cfg: DictConfig) -> None:
    assert isinstance(cfg, DictConfig)
    print(json.dumps({"run_dir": cfg.run_dir, "batch": cfg.eval_batch_size, "width": cfg.model.width}))
"""


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["job_type=list"], ["job_type=list", "seed=1"]])
def test_the_listing(project: Path, xlm: Run, words: list[str]) -> None:
    write(project / "my_model/configs/commands.yaml", "show: my_model.show.show\n")
    out = xlm(*words).done()
    for expected in ("train", "eval", "generate", "my_model", str(project / "my_model"), "star_easy_my_model", "show"):
        assert expected in out


def test_the_listing_where_nothing_is_registered(home: Path, xlm: Run) -> None:
    out = xlm().done()
    assert "job types" in out and "xlm-scaffold" in out and "my_model" not in out.partition("job types")[2]


@pytest.mark.parametrize("words", ["", "'--help'", "'job_type=list'", "'--version'"])
def test_the_listing_imports_neither_torch_nor_hydra(project: Path, words: str) -> None:
    script = (
        "import sys; from xlm_runtime.cli import main; main([%s]); "
        "print(sorted({'torch', 'hydra', 'lightning', 'omegaconf', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script % words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_fails_before_the_job_imports_no_torch(project: Path) -> None:
    script = (
        "import sys; from xlm_runtime.cli import main\n"
        "for word in ('experiment=nothing', 'job_type=eval', 'job_type=trian', 'sede=1', 'seed=['):\n"
        "    try: main([word])\n"
        "    except SystemExit as end: assert end.code == 2\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_configuration_without_a_run(project: Path, xlm_process: Run) -> None:
    out = xlm_process("--cfg", "job", EXPERIMENT, "seed=7").done()
    assert "seed: 7" in out and "_target_: my_model.parts.Model" in out
    assert not (project / "runs").exists()


def test_a_run_begins_evaluates_and_generates(project: Path, xlm_process: Run) -> None:
    assert "finished at step 2" in xlm_process("job_type=train", "job_name=demo", EXPERIMENT).done()
    assert "test/exact_match" in xlm_process("job_type=eval", "job_name=demo").done()
    assert "exact match" in xlm_process("job_type=generate", "job_name=demo").done()
    assert sorted(path.name for path in project.iterdir()) == ["my_model", "runs", "xlm_models.json"]


def test_an_experiment_as_the_specification_writes_it(project: Path, xlm: Run) -> None:
    write(
        project / "my_model/configs/experiment/my_experiment.yaml",
        "# configs/experiment/my_experiment.yaml\n"
        "defaults:\n"
        "  - override /model: my_model\n"
        "  - override /model_type: my_model\n"
        "  - override /datamodule: star_easy_my_model\n",
    )
    assert "finished at step 2" in xlm("job_type=train", "experiment=my_experiment", *SHORT).done()


def test_a_model_type_without_its_header(project: Path, xlm: Run) -> None:
    file = project / "my_model/configs/model_type/my_model.yaml"
    write(file, file.read_text(encoding="utf-8").replace("# @package _global_\n", ""))
    assert "finished at step 1" in xlm(EXPERIMENT, "debug=fast_dev_run").done()


def test_no_experiment_at_all(project: Path, xlm: Run) -> None:
    assert "finished at step 2" in xlm("job_type=train", "model=my_model", "model_type=my_model", *SHORT).done()
    assert (project / "runs/default/config.yaml").is_file()


@pytest.mark.parametrize("place", [".", "xlm-models", "elsewhere"])
@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
def test_both_layouts_in_every_directory_that_is_searched(home: Path, xlm: Run, place: str, flat: bool) -> None:
    make_model(home / place / "my_model", flat=flat)
    register(home / place, {"my_model": "my_model"})
    variables = {"XLM_MODELS_PATH": "elsewhere"} if place == "elsewhere" else {}
    assert "finished at step 1" in xlm(EXPERIMENT, "debug=fast_dev_run", **variables).done()


def test_the_configs_where_the_specification_has_them(project: Path, xlm: Run) -> None:
    configs = project / "my_model/configs"
    configs.rename(project / "my_model/inner")
    configs.mkdir()
    (project / "my_model/inner").rename(configs / "lightning_train")
    assert "finished at step 1" in xlm(EXPERIMENT, "debug=fast_dev_run").done()


def test_a_command_of_the_model_gets_the_configuration(project: Path, xlm_process: Run) -> None:
    write(project / "my_model/configs/commands.yaml", "show: my_model.show.show\n")
    write(project / "my_model/my_model/show.py", COMMAND)
    out = xlm_process("job_type=show", "job_name=a", EXPERIMENT, "model.width=6").done()
    assert json.loads(out) == {"run_dir": "runs/a", "batch": 4, "width": 6}


def test_jobs_collect_garbage_and_only_the_start_does_not(project: Path, xlm: Run) -> None:
    write(project / "my_model/configs/commands.yaml", "show: my_model.show.show\n")
    file = write(
        project / "my_model/my_model/show.py",
        "import gc\n\nWHILE_IMPORTED = gc.isenabled()\n\n\n"
        "def show(cfg):\n    print(WHILE_IMPORTED, gc.isenabled(), gc.get_freeze_count() > 0)\n",
    )
    assert xlm("job_type=show", EXPERIMENT).done() == "False True True\n"
    file.write_text("import absent\n", encoding="utf-8")
    xlm("job_type=show", EXPERIMENT).refused("absent")
    assert gc.isenabled()


def test_a_command_of_two_models(project: Path, xlm: Run) -> None:
    make_model(project / "other", "other")
    register(project, {"my_model": "my_model", "other": "other"})
    for name in ("my_model", "other"):
        write(project / f"{name}/configs/commands.yaml", f"show: {name}.show.show\n")
    xlm("job_type=show").refused("'show'", "several models", str(project / "my_model"), str(project / "other"))
    listed = xlm().done()
    assert "'show' cannot be run: it is a command of other too" in listed
    assert "'show' cannot be run: it is a command of my_model too" in listed


@pytest.mark.parametrize("words", [["-m", "seed=1,2", EXPERIMENT], [EXPERIMENT, "-m", "seed=1,2"]])
def test_a_sweep_makes_one_directory_a_job(project: Path, xlm: Run, words: list[str]) -> None:
    xlm(*words, "job_name=sweep").done()
    for seed in (1, 2):
        config = (project / f"runs/sweep/seed={seed}/config.yaml").read_text(encoding="utf-8")
        assert f"\nseed: {seed}\n" in config
    assert len(list((project / "runs").rglob("config.yaml"))) == 2
    assert (project / "runs/sweep/multirun.yaml").is_file()
    assert sorted(path.name for path in project.iterdir()) == ["my_model", "runs", "xlm_models.json"]


def test_a_configuration_is_composed_once(project: Path, xlm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[str] = []
    compose = Hydra.compose_config

    def count(self: Hydra, config_name: str | None, *args: Any, **kwargs: Any) -> DictConfig:
        composed.append(str(config_name))
        return compose(self, config_name, *args, **kwargs)

    monkeypatch.setattr(Hydra, "compose_config", count)
    xlm("job_name=once", EXPERIMENT).done()
    assert composed == ["config"]


def test_a_sweep_over_the_files_of_a_group(project: Path, xlm: Run) -> None:
    xlm("-m", "job_name=sweep", "experiment=glob(star_*_my_model)").done()
    assert len(list((project / "runs/sweep").glob("*/config.yaml"))) == 1


def test_a_directory_that_is_a_number(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "run_dir=2024").done()
    assert (project / "2024/config.yaml").is_file()


def test_hydra_may_be_told_its_mode_as_a_key(project: Path, xlm: Run) -> None:
    xlm("job_name=sweep", EXPERIMENT, "seed=1,2", "hydra.mode=MULTIRUN").done()
    assert len(list((project / "runs/sweep").glob("seed=*/config.yaml"))) == 2


def test_a_sweep_goes_on_behind_a_job_that_is_refused(project: Path, xlm: Run) -> None:
    xlm("-m", "batch_size=0,4", EXPERIMENT).refused("batch_size is 0", "1 job(s) of this sweep failed", "batch_size=0")
    assert sorted(path.name for path in (project / "runs/default").iterdir()) == ["batch_size=4", "multirun.yaml"]


def test_a_sweep_over_a_saved_run(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=demo").done()
    xlm("-m", "job_type=eval", "job_name=demo", "split=val,test").done()
    for split in ("val", "test"):
        assert (project / f"runs/demo/metrics-{split}.json").is_file()
    assert sorted(path.name for path in project.iterdir()) == ["my_model", "runs", "xlm_models.json"]


def test_a_reader_that_has_gone(project: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    write(project / "my_model/configs/commands.yaml", "show: my_model.show.show\n")
    write(project / "my_model/my_model/show.py", "def show(cfg):\n    print('shown', flush=True)\n")
    for words in ([], ["--cfg", "job", EXPERIMENT], ["job_type=show"]):
        command = [sys.executable, "-m", "xlm_runtime.cli", *words]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (141, "")
    os.close(writing)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a disk that is always full")
def test_an_output_that_finds_no_room(project: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "xlm_runtime.cli"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: The output cannot be written: No space left") and done.stderr.count("\n") == 1


def test_ctrl_c_before_training(project: Path) -> None:
    slow = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    write(project / "my_model/my_model/__init__.py", slow)
    command = [sys.executable, "-m", "xlm_runtime.cli", EXPERIMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")
    assert not (project / "runs").exists()
