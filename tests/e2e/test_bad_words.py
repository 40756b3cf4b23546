"""Words of the command line that cannot be: each is one clear message, and nothing begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from outcomes import Run
from tiny_models import write


@pytest.mark.parametrize(
    ("word", "found", "near"),
    [
        ("sede=1", "'sede'", "'seed'"),
        ("max_steps=3", "'max_steps'", "'trainer.max_steps'"),
        ("trainer.max_step=3", "'trainer.max_step'", "'trainer.max_steps'"),
        ("trainr.max_steps=3", "'trainr.max_steps'", "'trainer.max_steps'"),
        ("optimizer.learning_rate=1", "'optimizer.learning_rate'", "'+optimizer.learning_rate=...'"),
        ("predictor._targe_=a.b", "'predictor._targe_'", "'+predictor._targe_=...'"),
        ("experimnt=star_easy_my_model", "'experimnt'", "'experiment'"),
        ("modl=my_model", "'modl'", "'model'"),
        ("optimizer=adam", "'optimizer/adam'", "'adamw'"),
        ("debug=overfitt", "'debug/overfitt'", "'overfit'"),
        ("model=my_modle", "'model/my_modle'", "'my_model'"),
        ("+trainr.max_steps=3", "'trainr'", "'trainer'"),
        ("+sede=1", "'sede'", "'seed'"),
        ("~bacth_size", "'bacth_size'", "'batch_size'"),
        ("optimizer.groups={modle: {lr: 1}}", "optimizer.groups names 'modle'", "are: model"),
    ],
)
def test_a_mistyped_key_on_the_command_line(project: Path, xlm: Run, word: str, found: str, near: str) -> None:
    xlm("experiment=star_easy_my_model", word).refused(found, near)
    assert not (project / "runs").exists()


def test_two_mistyped_keys_among_flags(project: Path, xlm_process: Run) -> None:
    result = xlm_process("--cfg", "job", "experiment=star_easy_my_model", "sede=1", "modl=a")
    result.refused("Unknown key", "Did you mean")


def test_a_part_of_the_configuration_that_there_is_not(project: Path, xlm: Run) -> None:
    result = xlm("--cfg", "job", "--package", "trainer.max_step", "experiment=star_easy_my_model")
    result.refused("no 'trainer.max_step' to be printed", "Did you mean 'trainer.max_steps'")


@pytest.mark.parametrize("word", ["+debug=overfit", "+experiment=star_easy_my_model"])
def test_a_plus_before_a_group(project: Path, xlm: Run, word: str) -> None:
    words = [] if "experiment" in word else ["experiment=star_easy_my_model"]
    xlm(word, *words).refused("is there already", f"write {word[1:]}, without the '+'")


def test_a_job_type_without_its_key(project: Path, xlm: Run) -> None:
    write(project / "my_model/configs/commands.yaml", "show: my_model.show.show\n")
    xlm("train", "experiment=star_easy_my_model").refused("Cannot read 'train'", "Did you mean job_type=train?")
    xlm("show").refused("Cannot read 'show'", "Did you mean job_type=show?")


def test_a_value_of_the_command_line_is_sought_in_no_file(project: Path, xlm: Run) -> None:
    result = xlm("experiment=star_easy_my_model", "monitor=val/loss")
    result.refused("monitor is 'val/loss'; expected a mapping")
    assert "Written in" not in result.err


@pytest.mark.parametrize(
    ("word", "says"),
    [("trainer=[1]", "In trainer=[1]: a group takes the name"), ("job_name=[a]", "job_name is ['a']; expected a name")],
)
def test_a_list_that_is_no_name(project: Path, xlm: Run, word: str, says: str) -> None:
    xlm("experiment=star_easy_my_model", word).refused(says)
    assert not (project / "runs").exists()


def test_what_is_added_to_a_component_reaches_it(project: Path, xlm: Run) -> None:
    write(
        project / "my_model/configs/model/my_model.yaml", "_target_: my_model.parts.Model\nvocab_size: ${vocab.size}\n"
    )
    xlm("experiment=star_easy_my_model", "+model.width=7", "debug=fast_dev_run").done()


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("experiment", ["'experiment'", "key=value", "experiment=..."]),
        ("experimnt", ["'experimnt'", "key=value", "Did you mean 'experiment'"]),
        ("=x", ["'=x'", "key=value"]),
        ("trainer={max_steps: 2", ["'trainer={max_steps: 2'", "bracket"]),
        ("trainer.max_steps=[1", ["'trainer.max_steps=[1'", "bracket"]),
        ("job_name='a", ["job_name='a", "quotation mark"]),
        ("job_type=", ["job_type is empty", "train, eval, evaluate_rows, generate"]),
        (
            "job_type=trian",
            ["Unknown job type 'trian'", "Did you mean 'train'?", "Job types: train, eval, evaluate_rows, generate"],
        ),
    ],
)
def test_a_word_that_cannot_be_read(project: Path, xlm: Run, word: str, words: list[str]) -> None:
    xlm("experiment=star_easy_my_model", word).refused(*words)
    assert not (project / "runs").exists()


def test_an_unknown_job_type_before_anything_else(home: Path, xlm_process: Run) -> None:
    xlm_process("job_type=trian").refused("Unknown job type 'trian'", "Did you mean 'train'?")


@pytest.mark.parametrize("words", [["--foo"], ["--cfg", "banana"], ["--cfg"]])
def test_an_unknown_flag(project: Path, xlm_process: Run, words: list[str]) -> None:
    result = xlm_process("experiment=star_easy_my_model", *words)
    assert result.code == 2 and "Traceback" not in result.err
    assert f"error: {'unrecognized arguments: --foo' if words == ['--foo'] else 'argument --cfg'}" in result.err


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("batch_size=0", ["batch_size is 0", "at least 1"]),
        ("batch_size=many", ["batch_size is 'many'", "whole number"]),
        ("eval_batch_size=0", ["eval_batch_size is 0", "at least 1"]),
        ("num_workers=-1", ["num_workers is -1", "at least 0"]),
        ("num_samples=0", ["num_samples is 0", "at least 1"]),
        ("seed=-1", ["seed is -1", "at least 0"]),
        ("seed=null", ["seed is None", "whole number"]),
        ("checkpoint_every_n_steps=0", ["checkpoint_every_n_steps is 0", "at least 1"]),
        ("global_batch_size=0", ["global_batch_size is 0", "at least 1"]),
        ("global_batch_size=6", ["global_batch_size is 6", "batch_size 4", "multiple of 4"]),
        ("compile=perhaps", ["compile is 'perhaps'", "true or false"]),
        ("resume=1", ["resume is 1", "true or false"]),
        ("job_name=", ["job_name is empty"]),
        ("job_name=../x", ["job_name is '../x'", "below runs/", "run_dir=<path>"]),
        ("job_name=/x", ["job_name is '/x'", "run_dir=<path>"]),
        ("run_dir=", ["run_dir is empty"]),
        ("experiment=", ["Could not find 'experiment/'", "star_easy_my_model"]),
        ("optimizer.lr=abc", ["torch.optim.AdamW", "'optimizer'", "str"]),
        ("optimizer.lr=-1", ["torch.optim.AdamW", "'optimizer'", "-1"]),
        ("optimizer.weight_decay=much", ["optimizer.weight_decay is 'much'", "number"]),
        ("lr_scheduler.num_warmup_steps=few", ["'lr_scheduler'", "few"]),
        ("monitor.mode=big", ["callbacks.best", "min, max"]),
        ("split=nope", ["split is 'nope'", "train, val, test"]),
        ("datamodule.limit=0", ["datamodule.limit is 0", "at least 1"]),
        ("trainer.val_check_interval=0", ["trainer.val_check_interval is 0", "at least 1"]),
        ("trainer.accelerator=gpuu", ["trainer", "gpuu"]),
        ("trainer.devices=0", ["trainer.devices is 0", "trainer.accelerator=auto"]),
        ("trainer.precision=12", ["trainer", "12"]),
        ("model=null", ["model=null", "not null"]),
    ],
)
def test_a_value_that_cannot_be(project: Path, xlm: Run, word: str, words: list[str]) -> None:
    xlm("experiment=star_easy_my_model", word).refused(*words)
    assert not (project / "runs").exists()


def test_a_word_that_is_no_utf8(project: Path, xlm_process: Run) -> None:
    xlm_process("job_type=\udcff").refused("Unknown job type")
