"""What the extras for evaluation bring: MAUVE, and lm-evaluation-harness on tasks of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from outcomes import REFERENCE_MODELS, Run
from tiny_causal_lm import make_causal_lm

EXTRAS = Path(sys.prefix) / "extras"

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: words.jsonl}}}}
test_split: test
output_type: {output_type}
{rest}
"""
CHOICE = """\
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
WRITES = """\
doc_to_text: "{{question}}"
doc_to_target: "{{text}}"
generation_kwargs: {until: ["."], max_gen_toks: 8}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
ROLLS = """\
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte, higher_is_better: false}]
"""
DOCUMENTS = [
    {"question": "The import", "choices": [" statement", " banana"], "answer": 0, "text": "The import statement"},
    {"question": "A class", "choices": [" fish", " definition"], "answer": 1, "text": "A class definition" * 3},
]


@pytest.fixture(autouse=True)
def extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of the test find them."""
    assert (EXTRAS / "lm_eval").is_dir() and (EXTRAS / "mauve").is_dir(), (
        "make has not installed requirements-extras.txt"
    )
    monkeypatch.setenv("PYTHONPATH", str(EXTRAS))
    monkeypatch.setenv("XLM_MODELS_PATH", str(REFERENCE_MODELS))


def test_mauve_tells_texts_of_the_same_kind_from_others(home: Path, xlm_process: Run) -> None:
    make_causal_lm(home / "lm", positions=64)
    words = ["to", "be", "or", "not", "that", "is", "the", "question"]
    near = [{"text": " ".join(words[n % 8 :]), "truth": " ".join(words[n * 3 % 8 :])} for n in range(40)]
    far = [{"text": "0123456789" * (1 + n % 3), "truth": row["truth"]} for n, row in enumerate(near)]
    found = {}
    for name, rows in (("near", near), ("far", far)):
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name in ("near", "far"):
        node = "evaluators=[{_target_: xlm_runtime.evaluators.Mauve, model: lm, buckets: 4}]"
        xlm_process("job_type=evaluate_rows", f"rows={name}.jsonl", node).done()
        content = json.loads((home / "metrics.json").read_text(encoding="utf-8"))
        found[name] = {key: number["value"] for key, number in content[name]["metrics"].items()}
    assert 0 < found["far"]["Mauve/mauve"] < 0.5 < found["near"]["Mauve/mauve"] <= 1
    assert found["far"]["Mauve/star"] < found["near"]["Mauve/star"]


def test_lm_evaluation_harness_on_tasks_of_ones_own(home: Path, xlm_process: Run, programs: Path) -> None:
    small = ["model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64", "dataset.block_size=32"]
    small += ["batch_size=8", "datamodule.limit=16", "trainer.max_steps=1", "trainer.limit_val_batches=0"]
    xlm_process("job_name=writes", "experiment=pydoc_arlm", *small).done()
    (home / "words.jsonl").write_text("".join(json.dumps(each) + "\n" for each in DOCUMENTS), encoding="utf-8")
    tasks = {"choice": ("multiple_choice", CHOICE), "writes": ("generate_until", WRITES)}
    tasks["rolls"] = ("loglikelihood_rolling", ROLLS)
    for name, (output_type, rest) in tasks.items():
        text = TASK.format(name=name, output_type=output_type, rest=rest)
        (home / "tasks" / f"{name}.yaml").parent.mkdir(exist_ok=True)
        (home / "tasks" / f"{name}.yaml").write_text(text, encoding="utf-8")
    words = ["--model", "xlm", "--model_args", "path=runs/writes", "--tasks", *tasks, "--include_path", "tasks"]
    variables = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(programs / "python"), "-m", "xlm_runtime.lm_eval", "run", *words, "--output_path", "out", "--log_samples"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (file,) = (home / "out").rglob("results_*.json")
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert results["choice"]["acc,none"] in (0.0, 0.5, 1.0)
    # Bytes that are hardly learnt: some 8 bits each.
    assert 7 < results["rolls"]["bits_per_byte,none"] < 9
    (samples,) = (home / "out").rglob("samples_writes_*.jsonl")
    answers = [json.loads(line)["resps"][0][0] for line in samples.read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 2 and all(len(text) <= 8 and "." not in text for text in answers)
