"""eval and evaluate_rows on the command line: numbers, intervals, where they come from, evaluators, bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from outcomes import Run
from tiny_causal_lm import make_causal_lm
from tiny_models import make_model, register

from xlm_runtime.predictions import read_rows
from xlm_runtime.report.intervals import wilson

EXPERIMENT = "experiment=star_easy_my_model"
ROWS = "rows='runs/demo/predictions/test/step=2.jsonl'"
EVALS = """\
def share(rows, letter="1"):
    return {"share": sum(letter in row["text"] for row in rows) / len(rows)}


def words(rows):
    return {"first": rows[0]["text"]}


def fails(rows):
    raise RuntimeError("no such luck")
"""


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, program: str) -> Path:
    """A project with ``runs/demo``: two steps, evaluated on test. Its model has evaluators of its own."""
    directory = tmp_path_factory.mktemp("once")
    make_model(directory / "my_model")
    register(directory, {"my_model": "my_model"})
    (directory / "my_model/my_model/evals.py").write_text(EVALS, encoding="utf-8")
    variables = {**os.environ, "XLM_CACHE_DIR": str(directory / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    for words in ([EXPERIMENT], ["job_type=eval", "eval_batch_size=2"]):
        subprocess.run([program, *words, "job_name=demo"], cwd=directory, env=variables, check=True)
    return directory


@pytest.fixture
def trained(once: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, as the current directory."""
    shutil.copytree(once, home, dirs_exist_ok=True)
    monkeypatch.setenv("XLM_CACHE_DIR", str(home / "cache"))
    return home


def entries(project: Path) -> dict[str, Any]:
    return dict(json.loads((project / "runs/demo/metrics.json").read_text(encoding="utf-8")))


def everything(project: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (project / "runs").rglob("*") if path.is_file()}


def test_numbers_stand_with_intervals_and_where_they_come_from(trained: Path) -> None:
    entry = entries(trained)["test"]
    rows = read_rows(trained / "runs/demo" / entry["predictions"])
    right = sum(row["text"] == row["truth"] for row in rows)
    expected = wilson(right, len(rows))
    found = entry["metrics"]["exact_match"]
    assert (found["value"], found["count"]) == (pytest.approx(expected.value), 4)
    assert (found["low"], found["high"], found["method"]) == (expected.low, expected.high, "wilson")
    length = entry["metrics"]["length/mean"]
    assert length["low"] <= length["value"] <= length["high"] and (length["unit"], length["count"]) == ("rows", 4)
    assert "low" not in entry["metrics"]["loss"]  # a mean over two batches
    assert entry["metrics"]["length/mean"]["value"] == sum(len(row["text"].split()) for row in rows) / 4
    assert (entry["step"], entry["seed"], entry["rows"]) == (2, 42, 4)
    assert entry["checkpoint"].endswith(".ckpt") and entry["commit"] is None  # git knows nothing of this directory
    assert entry["overrides"] == ["job_type=eval", "eval_batch_size=2", "job_name=demo"]
    assert {"python", "torch", "xlm-runtime"} <= set(entry["versions"]) and entry["date"].endswith("+00:00")


def test_splits_and_labels_are_merged_and_the_report_has_their_intervals(trained: Path, xlm: Run) -> None:
    out = xlm("job_type=eval", "job_name=demo", "split=train").done()
    assert "train/exact_match           " in out and "train/diversity/unique" in out
    xlm("job_type=eval", "job_name=demo", "label=again").done()
    assert list(entries(trained)) == ["test", "train", "test.again"]
    assert entries(trained)["train"]["rows"] == 8
    report = (trained / "runs/demo/report.html").read_text(encoding="utf-8")
    assert "metrics-train.json" in report and "diversity/entropy" in report


def test_evaluators_of_ones_own_and_with_settings(trained: Path, xlm: Run) -> None:
    nodes = "evaluators=[my_model.evals.share,{_target_: my_model.evals.share, letter: ' ', name: blanks}]"
    out = xlm("job_type=eval", "job_name=demo", nodes).done()
    entry = entries(trained)["test"]
    assert entry["metrics"]["blanks/share"]["value"] == 1.0 and "test/share/share" in out
    assert entry["evaluators"]["blanks"]["letter"] == " "
    flat = json.loads((trained / "runs/demo/metrics-test.json").read_text(encoding="utf-8"))
    assert flat["test/blanks/share"] == 1.0 and flat["test/loss"] == entry["metrics"]["loss"]["value"]


def test_an_evaluator_that_fails_costs_nothing_else(trained: Path, xlm: Run) -> None:
    outcome = xlm("job_type=eval", "job_name=demo", "evaluators=[my_model.evals.fails]")
    outcome.refused(
        "my_model.evals.fails", "raised RuntimeError: no such luck", "job_type=evaluate_rows", "step=2.jsonl"
    )
    assert "test/loss" in outcome.out
    assert {"loss", "exact_match", "length/mean"} <= set(entries(trained)["test"]["metrics"])


def test_rows_are_evaluated_later_without_checkpoint_and_data(trained: Path, xlm: Run) -> None:
    before = entries(trained)["test"]
    shutil.rmtree(trained / "runs/demo/checkpoints")
    shutil.rmtree(trained / "my_model/configs")
    (trained / "my_model/configs").mkdir()
    xlm("job_type=evaluate_rows", "job_name=demo", "evaluators=[my_model.evals.share]").done()
    xlm("job_type=evaluate_rows", ROWS, "evaluators=[{_target_: my_model.evals.share, name: two}]").done()
    after = entries(trained)["test"]
    added = {name: after["metrics"].pop(name)["value"] for name in ("share/share", "two/share")}
    assert len(set(added.values())) == 1 and after.pop("evaluators").keys() == {"share", "two"}
    assert after == {name: value for name, value in before.items() if name != "evaluators"}
    # Of other rows, nothing of the old ones is left.
    (trained / "runs/demo/predictions/test/step=2.jsonl").write_text('{"text": "1"}\n', encoding="utf-8")
    xlm("job_type=evaluate_rows", ROWS).done()
    assert set(entries(trained)["test"]["metrics"]) & {"loss", "two/share", "exact_match"} == set()


def test_numbers_of_other_rows_do_not_stay_beside_these(trained: Path, xlm: Run) -> None:
    """As after another generate, which writes as many rows under the same name."""
    xlm("job_type=evaluate_rows", ROWS, "evaluators=[my_model.evals.share]").done()
    assert "val/loss" not in entries(trained)["test"]["metrics"] and len(entries(trained)["test"]["metrics"]) > 1
    file = trained / "runs/demo/predictions/test/step=2.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace('"text": "', '"text": "9'), encoding="utf-8")
    xlm("job_type=evaluate_rows", ROWS, "evaluators=[my_model.evals.share]").done()
    assert list(entries(trained)["test"]["metrics"]) == ["share/share"]


def test_what_was_generated_and_what_is_no_run(trained: Path, xlm: Run) -> None:
    xlm("job_type=generate", "job_name=demo", "num_samples=3").done()
    out = xlm("job_type=evaluate_rows", "job_name=demo", "label=generated").done()
    assert "the 3 rows of runs/demo/predictions/test/step=2.generated.jsonl" in out
    assert entries(trained)["test.generated"]["rows"] == 3
    other = trained / "elsewhere" / "texts.jsonl"
    other.parent.mkdir()
    other.write_text('{"text": "to be"}\n{"text": "or not"}\n', encoding="utf-8")
    xlm("job_type=evaluate_rows", "rows=elsewhere/texts.jsonl").done()
    found = json.loads((other.parent / "metrics.json").read_text(encoding="utf-8"))
    assert found["texts"]["metrics"]["diversity/unique"]["value"] == 1.0
    assert sorted(path.name for path in other.parent.iterdir()) == ["metrics.json", "texts.jsonl"]


def test_another_models_perplexity_is_kept_with_its_name(trained: Path, xlm: Run) -> None:
    make_causal_lm(trained / "lm", positions=64)
    node = "evaluators=[{_target_: xlm_runtime.evaluators.GenerativePerplexity, model: lm, batch_size: 2}]"
    xlm("job_type=evaluate_rows", "job_name=demo", node).done()
    entry = entries(trained)["test"]
    found = entry["metrics"]["GenerativePerplexity/perplexity"]
    assert 1 < found["low"] <= found["value"] <= found["high"] and found["count"] == 4
    assert entry["evaluators"]["GenerativePerplexity"]["model"] == "lm"


BAD = {
    "a path that leads nowhere": (["evaluators=[my_model.evals.shore]"], ["has no 'shore'", "Did you mean 'share'"]),
    "a package that is not there": (["evaluators=[no_such.evals.f]"], ["Cannot import 'no_such.evals.f'"]),
    "a text for a number": (["evaluators=[my_model.evals.words]"], ["a str, for 'first'", "Expected numbers by name"]),
    "one that raises": (["evaluators=[my_model.evals.fails]"], ["raised RuntimeError: no such luck"]),
    "no list": (["evaluators=share"], ["evaluators is 'share'", "package.module.function"]),
    "no file": (["rows=none.jsonl"], ["none.jsonl does not exist", "job_type=eval or generate"]),
    "an empty file": (["rows=empty.jsonl"], ["empty.jsonl is empty", "job_type=generate"]),
    "a malformed line": (["rows=broken.jsonl"], ["broken.jsonl, line 2: not valid JSON"]),
    "no objects": (["rows=list.jsonl"], ["list.jsonl, line 1: found a list"]),
    "no such split": (["split=train"], ["no rows of split=train", "predictions/test/step=2.jsonl"]),
    "no such run": (["job_name=dmeo"], ["runs/dmeo has no rows", "rows=<file>"]),
    "no model": (
        ["evaluators=[{_target_: xlm_runtime.evaluators.GenerativePerplexity, model: .}]"],
        ["GenerativePerplexity.model is '.'", "Expected a directory"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_changes_nothing(trained: Path, xlm: Run, case: str) -> None:
    for name, text in (("empty", "\n"), ("broken", '{"text": "a"}\n{"text"\n'), ("list", "[1]\n")):
        (trained / f"{name}.jsonl").write_text(text, encoding="utf-8")
    before = everything(trained)
    words, expected = BAD[case]
    job_name = [] if any(word.startswith("job_name") for word in words) else ["job_name=demo"]
    xlm("job_type=evaluate_rows", *job_name, *words).refused(*expected)
    assert everything(trained) == before and not (trained / "metrics.json").exists()


@pytest.mark.parametrize("words", [["evaluators=[my_model.evals.shore]"], []], ids=["evaluator", "metrics.json"])
def test_what_would_fail_at_the_end_is_told_before_the_model_runs(trained: Path, xlm: Run, words: list[str]) -> None:
    if not words:
        (trained / "runs/demo/metrics.json").write_text("{", encoding="utf-8")
    before = everything(trained)
    outcome = xlm("job_type=eval", "job_name=demo", *words)
    outcome.refused("shore" if words else "runs/demo/metrics.json cannot be read")
    assert outcome.out == "" and everything(trained) == before


def test_the_harness_of_lm_eval_names_its_extra(home: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "xlm_runtime.lm_eval"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and 'pip install "xlm-runtime[lm-eval]"' in done.stderr
