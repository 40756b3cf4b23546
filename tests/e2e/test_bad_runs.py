"""Saved runs and checkpoints that are missing, damaged, of another model, or in the way."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from outcomes import Run
from tiny_models import make_model, register, write

from xlm_runtime import __version__

EXPERIMENT = "experiment=star_easy_my_model"
LAST = "runs/demo/checkpoints/last.ckpt"
BEST = "runs/demo/checkpoints/best.ckpt"

_TRAINED: dict[str, Path] = {}


@pytest.fixture
def trained(project: Path, xlm: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run ``demo`` has two steps and both checkpoints; trained once, then copied."""
    if "demo" not in _TRAINED:
        xlm(EXPERIMENT, "job_name=demo", "checkpoint_every_n_steps=1").done()
        kept = tmp_path_factory.mktemp("trained") / "runs"
        _TRAINED["demo"] = shutil.copytree(project / "runs", kept)
    else:
        shutil.copytree(_TRAINED["demo"], project / "runs")
    return project


class Trap:
    """Unpickling it makes a directory."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("sprung",)


def with_a_turned_bit(file: Path) -> bytes:
    """Its bytes, with another value in the first of its tensors."""
    whole = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        data = archive.read(next(name for name in archive.namelist() if name.endswith("/data/0")))
    whole[whole.index(data)] ^= 1
    return bytes(whole)


@pytest.mark.parametrize("job", ["eval", "generate"])
def test_no_run_of_that_name(home: Path, xlm_process: Run, job: str) -> None:
    for name in ("demo", "other"):
        (home / "runs" / name).mkdir(parents=True)
        (home / "runs" / name / "config.yaml").touch()
    result = xlm_process(f"job_type={job}", "job_name=dmo")
    result.refused("no run in runs/dmo", "Did you mean 'demo'?", "Runs in runs: demo, other", "job_name=", "ckpt_path=")
    assert not (home / "runs" / "dmo").exists()


def test_no_run_at_all(home: Path, xlm: Run) -> None:
    xlm("job_type=eval").refused("no run in runs/default", "Runs in runs: none", "train first")
    assert not (home / "runs").exists()


def test_no_run_for_an_experiment(project: Path, xlm: Run) -> None:
    xlm("job_type=eval", EXPERIMENT, "job_name=dmo").refused("no run in runs/dmo", "train first")
    assert not (project / "runs").exists()


def test_a_run_without_a_checkpoint(trained: Path, xlm: Run) -> None:
    shutil.rmtree(trained / "runs/demo/checkpoints")
    xlm("job_type=eval", "job_name=demo").refused("runs/demo", "no checkpoint", "best.ckpt", "Train")


@pytest.mark.parametrize("job", ["eval", "generate"])
@pytest.mark.parametrize("damage", ["cut short", "garbage", "junk", "empty", "a turned bit"])
def test_a_damaged_checkpoint(trained: Path, xlm: Run, job: str, damage: str) -> None:
    file = trained / BEST
    whole = file.read_bytes()
    contents = {"cut short": whole[: len(whole) // 2], "garbage": b"no checkpoint", "junk": b"junk\n", "empty": b""}
    file.write_bytes(contents[damage] if damage in contents else with_a_turned_bit(file))
    before = sorted((trained / "runs").rglob("*"))
    xlm(f"job_type={job}", "job_name=demo").refused(BEST, "damaged")
    xlm(f"job_type={job}", f"ckpt_path={BEST}").refused(BEST, "damaged")
    assert sorted((trained / "runs").rglob("*")) == before


def test_a_damaged_checkpoint_to_continue_from(trained: Path, xlm: Run) -> None:
    (trained / LAST).write_bytes((trained / LAST).read_bytes()[:1000])
    (trained / LAST).with_name("previous.ckpt").unlink()
    result = xlm(EXPERIMENT, "job_name=demo", "checkpoint_every_n_steps=1", "trainer.max_steps=4")
    result.refused(LAST, "damaged", "Remove it")
    assert (trained / LAST).stat().st_size == 1000


def test_a_checkpoint_that_does_not_exist(trained: Path, xlm: Run) -> None:
    xlm("job_type=eval", "ckpt_path=runs/demo/checkpoints/bst.ckpt").refused("no checkpoint at", "bst.ckpt", BEST)
    xlm("job_type=eval", EXPERIMENT, "ckpt_path=nowhere/best.ckpt").refused("no checkpoint at nowhere/best.ckpt")


@pytest.mark.parametrize("content", ["a trap", "a trap among the weights"])
def test_pickled_objects_are_never_loaded(trained: Path, xlm: Run, content: str) -> None:
    torch.save(Trap() if content == "a trap" else {"state_dict": {}, "xlm": Trap()}, trained / BEST)
    for words in (["job_name=demo"], [f"ckpt_path={BEST}"]):
        xlm("job_type=eval", *words).refused(BEST, "more than tensors and plain types", "not loaded")
    for name in (LAST, (trained / LAST).with_name("previous.ckpt")):
        shutil.copy(trained / BEST, trained / name)
    xlm(EXPERIMENT, "job_name=demo", "trainer.max_steps=4").refused(LAST, "not loaded")
    assert not (trained / "sprung").exists()


def test_a_file_that_is_no_checkpoint_of_a_run(trained: Path, xlm: Run) -> None:
    torch.save({"weights": torch.zeros(2)}, trained / BEST)
    xlm("job_type=eval", "job_name=demo").refused(BEST, "no 'state_dict'")
    torch.save({"state_dict": {}}, trained / BEST)
    xlm("job_type=eval", f"ckpt_path={BEST}").refused(BEST, "carries no configuration", "experiment=")


def test_a_checkpoint_of_another_model(trained: Path, xlm: Run) -> None:
    wider = {"configs/model/NAME.yaml": "_target_: NAME.parts.Model\nvocab_size: ${vocab.size}\nwidth: 6\n"}
    make_model(trained / "wide", "wide", changes=wider)
    register(trained, {"my_model": "my_model", "wide": "wide"})
    result = xlm("job_type=eval", "experiment=star_easy_wide", f"ckpt_path={BEST}")
    result.refused(BEST, "the weights of another model: my_model.parts.Model", "is for wide.parts.Model")
    result = xlm("job_type=eval", "job_name=demo", "model.width=6")
    result.refused(BEST, "do not fit", "model.embedding.weight is (27, 4) in the file, (27, 6) in the model")


def test_a_checkpoint_of_another_version(trained: Path, xlm: Run) -> None:
    contents = torch.load(trained / BEST, weights_only=True)
    config = contents["xlm"]["config"].replace("harness:\n", "harness:\n  foresight: 3\n")
    torch.save({**contents, "xlm": {"config": config, "version": "99.1.0"}}, trained / BEST)
    result = xlm("job_type=generate", f"ckpt_path={BEST}")
    result.refused(
        "takes no argument 'foresight'", f"{BEST} was written by xlm-runtime 99.1.0, and this is {__version__}"
    )
    torch.save({**contents, "xlm": {"config": config, "version": __version__}}, trained / BEST)
    assert "was written by" not in xlm("job_type=generate", f"ckpt_path={BEST}").err
    torch.save({**contents, "xlm": {**contents["xlm"], "version": "99.1.0"}}, trained / BEST)
    xlm("job_type=generate", f"ckpt_path={BEST}").done()  # what fits is taken


@pytest.mark.parametrize("kept", [LAST, BEST])
def test_the_name_of_a_run_of_another_model(trained: Path, xlm: Run, kept: str) -> None:
    (trained / (BEST if kept == LAST else LAST)).unlink()
    saved = (trained / "runs/demo/config.yaml").read_bytes()
    result = xlm(EXPERIMENT, "job_name=demo", "model.width=6")
    result.refused("runs/demo", "another model", "model.width: 4 -> 6", "another job_name")
    assert (trained / "runs/demo/config.yaml").read_bytes() == saved


def test_resume_refused_where_a_run_is(trained: Path, xlm: Run) -> None:
    before = sorted((trained / "runs").rglob("*"))
    result = xlm(EXPERIMENT, "job_name=demo", "resume=false")
    result.refused("resume=false", "runs/demo is not empty", "another job_name")
    assert sorted((trained / "runs").rglob("*")) == before


def test_resume_false_where_nothing_is(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=demo", "resume=false").done()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["job_type=eval", "split=nope"], ["split is 'nope'", "train, val, test"]),
        (["job_type=generate", "num_samples=0"], ["num_samples is 0", "at least 1"]),
        (["job_type=eval", "eval_batch_size=0"], ["eval_batch_size is 0", "at least 1"]),
        (["job_type=eval", "predictr.seed=1"], ["'predictr.seed'", "Did you mean"]),
        (["job_type=eval", "loss.scal=2"], ["'loss.scal'", "'loss.scale'"]),
        (["job_type=eval", "logger=nope"], ["Could not find 'logger/nope'", "default"]),
        (["job_type=eval", "loss.scale=[1"], ["loss.scale=[1", "bracket"]),
    ],
)
def test_bad_settings_for_a_saved_run(trained: Path, xlm: Run, words: list[str], expected: list[str]) -> None:
    xlm(*words, "job_name=demo").refused(*expected)


def test_a_saved_configuration_that_is_damaged(trained: Path, xlm_process: Run) -> None:
    file = trained / "runs/demo/config.yaml"
    file.write_text("model: {width: 4\nseed: 1\n", encoding="utf-8")
    xlm_process("job_type=eval", "job_name=demo").refused("runs/demo/config.yaml, line 2", "not valid YAML")
    file.write_text("", encoding="utf-8")
    xlm_process("job_type=eval", "job_name=demo").refused("runs/demo/config.yaml", "empty")


def test_a_saved_run_whose_model_is_no_longer_found(trained: Path, xlm: Run) -> None:
    (trained / "xlm_models.json").unlink()
    (trained / "my_model").rename(trained / "moved")
    xlm("job_type=eval", "job_name=demo").refused(
        "No module named 'my_model'", "xlm_models.json", "collators.lm._target_"
    )


@pytest.mark.parametrize(
    "word", ["optimizer.lr=abc", "loss._target_=my_model.parts.Absent", "monitor.metric=val/absent"]
)
def test_a_command_that_fails_leaves_the_run_as_it_was(trained: Path, xlm: Run, word: str) -> None:
    before = (trained / "runs/demo/config.yaml").read_bytes()
    assert xlm(EXPERIMENT, "job_name=demo", "trainer.max_steps=4", word).code == 2
    assert (trained / "runs/demo/config.yaml").read_bytes() == before
    xlm(EXPERIMENT, "job_name=demo", "trainer.max_steps=4").done()
    assert "max_steps: 4" in (trained / "runs/demo/config.yaml").read_text(encoding="utf-8")


def test_a_rate_that_was_zero_may_be_raised(project: Path, xlm: Run) -> None:
    xlm(EXPERIMENT, "job_name=demo", "optimizer.lr=0.0").done()
    xlm(EXPERIMENT, "job_name=demo", "optimizer.lr=0.01", "trainer.max_steps=4").done()


@pytest.mark.parametrize("job", ["eval", "generate"])
@pytest.mark.parametrize("group", ["callbacks", "logger"])
def test_what_only_training_uses_need_not_exist_afterwards(trained: Path, xlm: Run, job: str, group: str) -> None:
    file = trained / "runs/demo/config.yaml"
    cfg = OmegaConf.load(file)
    cfg[group] = {"gone": {"_target_": "package_that_is_not_installed.Thing"}}
    OmegaConf.save(cfg, file)
    xlm(f"job_type={job}", "job_name=demo").done()


@pytest.mark.parametrize("job", ["eval", "generate"])
def test_a_group_chosen_for_a_saved_run_replaces_what_was_saved(trained: Path, xlm: Run, job: str) -> None:
    cut = "_target_: my_model.parts.Collator\nlength: ${missing_setting}\n"
    write(trained / "my_model/configs/collator/cut.yaml", cut)
    write(trained / "my_model/configs/collator/short.yaml", cut.replace("${missing_setting}", "3"))
    chosen = "collator@datamodule.collators.prediction="
    xlm(f"job_type={job}", "job_name=demo", f"{chosen}cut").refused("missing_setting")
    xlm(f"job_type={job}", "job_name=demo", f"{chosen}short").done()
    rows = max((trained / "runs/demo/predictions").rglob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    widths = {len(json.loads(row)["truth"].split()) for row in rows.read_text(encoding="utf-8").splitlines()}
    assert widths == {3}
    assert "length: 8" in (trained / "runs/demo/config.yaml").read_text(encoding="utf-8")
