"""Kill a run again and again, continue it each time, and compare its end with that of a run that was left alone.

    python tools/killed.py                                  20 kills, no loader workers
    python tools/killed.py --kills 5 --workers 2 --data stream

Both train ARLM, on star graphs, on texts or on a stream of texts, in a directory that is removed afterwards. Most kills
come at a random moment of training, some while the program still starts. Exits with status 1 unless weights, optimizer,
generators, metrics.csv and predictions are equal, bit for bit.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "xlm_runtime.cli", "job_type=train")
#: A small model with dropout, so that generators matter; a checkpoint, a log and a validation at different steps.
WORDS = (
    "model.d_model=32",
    "model.num_layers=1",
    "model.num_heads=1",
    "model.d_ff=64",
    "model.dropout=0.1",
    "batch_size=8",
    "lr_scheduler.num_warmup_steps=20",
    "trainer.accelerator=cpu",
    "trainer.val_check_interval=40",
    "trainer.log_every_n_steps=10",
    "checkpoint_every_n_steps=7",
    "callbacks.progress.seconds=0",
)
TEXT = (
    "experiment=text_arlm",
    "dataset.path=corpus.jsonl",
    "dataset.block_size=64",
    "predictor.max_new_tokens=4",
)
#: Star graphs, which stand in memory; texts, whose tokens stand in files; or texts, read as a stream.
DATA = {
    "star": ("experiment=star_easy_arlm", "dataset.sizes={train: 400, val: 16, test: 8}"),
    "text": (*TEXT, "dataset.shares={val: 0.1, test: 0.1}", "datamodule.limit=400"),
    "stream": (*TEXT, "dataset.streaming=true", "dataset.stream_window=16", "dataset.eval_documents=8"),
}


def train(directory: Path, name: str, words: Sequence[str]) -> subprocess.Popen[str]:
    """Start the run ``name`` in ``directory``, or let it continue."""
    command = [*COMMAND, *WORDS, *words, f"job_name={name}", f"cache_dir={directory / 'cache'}"]
    return subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def register(directory: Path, *models: str) -> None:
    """Let commands in ``directory`` find these reference models; without names, ARLM."""
    registry = {name: str(ROOT / "reference-models" / name) for name in models or ("arlm",)}
    (directory / "xlm_models.json").write_text(json.dumps(registry), encoding="utf-8")


def prepare(directory: Path) -> None:
    """Let commands in ``directory`` find ARLM, and a corpus."""
    register(directory)
    rows = (json.dumps({"text": text[:2000]}) + "\n" for text in topics.values())
    (directory / "corpus.jsonl").write_text("".join(rows), encoding="utf-8")


def to_the_end(directory: Path, name: str, words: Sequence[str]) -> str:
    """Train until the run ends by itself; what it printed."""
    with train(directory, name, words) as process:
        printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the run {name} failed with status {process.returncode}:\n{printed}")
    return printed


def kill_once(directory: Path, name: str, words: Sequence[str], seconds: float, starting: bool) -> str:
    """Start or continue the run and kill it so many seconds after its first step, or after it was started."""
    with train(directory, name, words) as process:
        assert process.stdout is not None
        printed = ""
        if not starting:
            for line in process.stdout:
                printed += line
                if line.startswith("step "):
                    break
        time.sleep(seconds)
        process.kill()
        printed += process.stdout.read()
    return printed


def state(run_dir: Path) -> dict[str, Any]:
    """All of the last checkpoint that a continued run depends on, but for paths and times."""
    contents = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    course = contents["xlm_course"]
    return {
        "step": contents["global_step"],
        "weights": contents["state_dict"],
        "optimizer": contents["optimizer_states"],
        "schedule": contents["lr_schedulers"],
        "average": contents.get("xlm_ema"),
        "generators": [each["random"] for each in course["processes"]],
    }


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two nested states differ."""
    if isinstance(first, torch.Tensor):
        return [] if isinstance(second, torch.Tensor) and torch.equal(first, second) else [path]
    if isinstance(first, dict):
        if not isinstance(second, dict) or first.keys() != second.keys():
            return [path]
        return [found for key in first for found in differences(first[key], second[key], f"{path}/{key}")]
    if isinstance(first, list | tuple):
        if not isinstance(second, list | tuple) or len(first) != len(second):
            return [path]
        return [f for i, (a, b) in enumerate(zip(first, second, strict=True)) for f in differences(a, b, f"{path}/{i}")]
    return [] if first == second else [path]


def compare(one: Path, other: Path) -> list[str]:
    """What differs between the ends of two runs: tensors, generators, and the logged metrics."""
    found = differences(state(one), state(other))
    if (one / "metrics.csv").read_bytes() != (other / "metrics.csv").read_bytes():
        found.append("metrics.csv")
    rows = [
        sorted(p.relative_to(run / "predictions") for p in run.glob("predictions/**/*.jsonl")) for run in (one, other)
    ]
    if rows[0] != rows[1] or any(
        (one / "predictions" / p).read_bytes() != (other / "predictions" / p).read_bytes() for p in rows[0]
    ):
        found.append("predictions")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--data", choices=DATA, default="star")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    words = [
        *DATA[arguments.data],
        f"num_workers={arguments.workers}",
        f"trainer.max_steps={arguments.steps}",
        *arguments.words,
    ]
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="xlm-killed-") as name:
        directory = Path(name)
        prepare(directory)
        to_the_end(directory, "whole", words)
        for kill in range(arguments.kills):
            starting = draw.random() < 0.2
            seconds = draw.uniform(0, 4) if starting else draw.uniform(0, 0.6)
            printed = kill_once(directory, "killed", words, seconds, starting)
            steps = [line.split()[1] for line in printed.splitlines() if line.startswith("step ")]
            if not starting and not steps:
                sys.exit(f"The run had ended before {arguments.kills} kills: give more --steps than {arguments.steps}.")
            print(f"kill {kill + 1}: {'while starting' if starting else f'behind step {steps[-1]}'}", flush=True)
        to_the_end(directory, "killed", words)
        found = compare(directory / "runs" / "whole", directory / "runs" / "killed")
    print(f"{arguments.kills} kills, {arguments.steps} steps, {arguments.workers} workers, {arguments.data}: ", end="")
    print("equal, bit for bit" if not found else f"different: {', '.join(found[:10])}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
