"""From training to a folder for others, one plain command each, for each model; and the numbers agree all the way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from trained_runs import MODELS, Xlm

from xlm_runtime.predictions import Row, exact_match, read_rows

#: Four graphs, so that some are answered after a few seconds.
SMALL = ("dataset.sizes={train: 4, val: 4, test: 4}", "batch_size=4", "optimizer.lr=0.002", "trainer.max_steps=250")


def texts(rows: list[Row]) -> list[tuple[str, str, str]]:
    return [(row["prompt"], row["text"], row["truth"]) for row in rows]


@pytest.mark.parametrize("model", MODELS)
def test_train_eval_generate_export_and_generate_from_the_export(xlm: Xlm, model: str) -> None:
    def done(*words: str) -> str:
        code, out, err = xlm(*words)
        assert code == 0, err
        return out

    printed = done("job_type=train", f"job_name={model}", f"experiment=star_easy_{model}", "debug=overfit", *SMALL)
    parameters = re.search(r"([\d,]+) parameters", printed)
    assert parameters is not None and int(parameters[1].replace(",", "")) <= 1_000_000
    done("job_type=eval", f"job_name={model}")
    run = Path("runs") / model
    metrics = json.loads((run / "metrics-test.json").read_text(encoding="utf-8"))
    (evaluated,) = (run / "predictions/test").glob("step=*.jsonl")
    rows = read_rows(evaluated)
    assert metrics["test/exact_match"] == exact_match(rows) > 0  # else nothing would be compared below

    printed = done("job_type=generate", f"job_name={model}", "trace=true")
    generated = evaluated.with_suffix(".generated.jsonl")
    assert texts(read_rows(generated)) == texts(rows)
    assert f"exact match {metrics['test/exact_match']:.3f}\n" in printed
    assert "<script>" in (run / "trajectory.html").read_text(encoding="utf-8")

    done("job_type=export", f"job_name={model}", f"export_dir=exports/{model}")
    card = (Path("exports") / model / "README.md").read_text(encoding="utf-8")
    assert f"| test | exact_match | {metrics['test/exact_match']:.6g} |" in card
    first = generated.read_bytes()
    generated.unlink()
    printed = done("job_type=generate", f"ckpt_path=exports/{model}")
    assert f"exact match {metrics['test/exact_match']:.3f}\n" in printed
    timeless = [re.sub(rb'"seconds": [\d.e-]+', b"", text) for text in (first, generated.read_bytes())]
    assert timeless[0] == timeless[1]
