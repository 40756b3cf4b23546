"""Train the reference models on star graphs and write what they reach: `make results`.

    python tools/results.py                                      star_easy, on a CPU
    python tools/results.py --task star_medium --minutes 5
    python tools/results.py --only arlm,ilm --write              write the page again from what is there
    python tools/results.py --task star_medium --gpu --jobs 8    the same runs on one GPU, eight side by side
    python tools/results.py --task star_easy --published         the published sizes and steps, on one GPU

Each run is the command that the page names: `xlm job_type=train` in runs/results/, then `job_type=eval` on the 5,000
test graphs. A run that was stopped continues; a finished one is not made again. Nothing on the page is written by hand.
Rows that were made on another machine stay: docs/results/<task>.json keeps them, with their curves.
"""

import argparse
import csv
import functools
import json
import platform
import subprocess
import sys
import threading
import time
import timeit
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from results_page import write_page

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "results"
PAGES = ROOT / "docs" / "results"
#: A CPU's recipe: the sizes and rates at which small models of small vocabularies were seen to learn.
LAPTOP = (
    "model.num_layers=4",
    "trainer.accelerator={accelerator}",
    "trainer.precision={precision}",
    "compile=true",
    "optimizer.lr=1e-3",
    "lr_scheduler.num_warmup_steps=200",
    "trainer.val_check_interval=100",
    "trainer.log_every_n_steps=50",
    "checkpoint_every_n_steps=200",
)
XLM = (sys.executable, "-m", "xlm_runtime.cli")
TASKS = ("star_easy", "star_medium", "star_hard")


@dataclass(frozen=True)
class Run:
    """One row of the page."""

    name: str
    model: str
    steps: int
    overrides: tuple[str, ...] = ()
    gpu: bool = False

    @property
    def note(self) -> str:
        return ", ".join(self.overrides) or "as configured"


SHIFT = "model.neighbour_shift=true"
REVERSED = "dataset.reverse_answer=true"
BY_COUNT = "loss.inverse_count=true"
#: What makes insertion fast: what it costs in exact match; the benchmarks say what it brings in speed.
CACHED = "model.cached_prompt=true"
COUNTED = "model.count_up_to=16"
#: The recipe by which insertion was seen to learn star graphs has absolute positions beside the rotary ones.
ABSOLUTE = "model.max_positions=64"


def laptop_runs(task: str, gpu: bool = False) -> list[Run]:
    """The runs of a task, the quickest first; those on a GPU have names of their own."""
    longest = {"star_easy": "64", "star_medium": "72", "star_hard": "160"}[task]
    absolute = ABSOLUTE.replace("64", longest)
    runs = [
        Run("arlm", "arlm", 4000),
        Run("arlm-reversed-shift", "arlm", 2000, (REVERSED, SHIFT)),
        Run("ilm-shift", "ilm", 4000, (SHIFT, absolute)),
        Run("mlm-shift", "mlm", 6000, (SHIFT, BY_COUNT)),
        Run("mdlm-shift", "mdlm", 6000, (SHIFT,)),
        Run("arlm-reversed", "arlm", 8000, (REVERSED,)),
        Run("mlm", "mlm", 8000, (BY_COUNT,)),
        Run("ilm", "ilm", 8000, (absolute,)),
        Run("mdlm", "mdlm", 8000),
    ]
    if gpu:
        return [replace(run, name=f"{run.name}-gpu", gpu=True) for run in runs]
    if task == "star_easy":
        runs.append(Run("ilm-shift-cached", "ilm", 4000, (SHIFT, absolute, CACHED)))
        runs.append(Run("ilm-shift-cached-counted", "ilm", 4000, (SHIFT, absolute, CACHED, COUNTED)))
    return runs


def published_runs(task: str) -> list[Run]:
    """Sizes, rates and steps of the paper, for one GPU."""
    ar_steps = 50_000 if task == "star_easy" else 100_000
    return [
        Run("arlm-small", "arlm", ar_steps, ("optimizer.lr=1e-5",), gpu=True),
        Run("ilm-small", "ilm", 50_000, ("optimizer.lr=1e-4",), gpu=True),
        Run("mdlm-small", "mdlm", 100_000, ("optimizer.lr=1e-4",), gpu=True),
        Run("mlm-small", "mlm", 100_000, ("optimizer.lr=1e-4",), gpu=True),
    ]


def command(run: Run, task: str, minutes: float | None, published: bool) -> list[str]:
    """The training command of a run, as the page prints it."""
    words = ["xlm", "job_type=train", f"job_name=results/{task}/{run.name}", f"experiment={task}_{run.model}"]
    if published:
        words += [
            f"model={run.model}_small", "trainer.accelerator=gpu", "trainer.precision=bf16-mixed", "compile=true",
            "lr_scheduler.num_warmup_steps=500", "trainer.val_check_interval=1000",
        ]  # fmt: skip
    else:
        place = (
            {"accelerator": "gpu", "precision": "bf16-mixed"}
            if run.gpu
            else {"accelerator": "cpu", "precision": faster_precision()}
        )
        words += [word.format(**place) for word in LAPTOP]
    if minutes is not None:
        seconds = round(minutes * 60)
        words.append(f"trainer.max_time=00:{seconds // 3600:02}:{seconds % 3600 // 60:02}:{seconds % 60:02}")
    return [*words, f"trainer.max_steps={run.steps}", *run.overrides]


@functools.cache
def faster_precision() -> str:
    """Of a processor: some multiply bfloat16 twice as fast as float32, others ten times as slowly."""
    import torch

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(1024, 128, dtype=dtype), torch.ones(128, 512, dtype=dtype)
        return min(timeit.repeat(lambda: a @ b, number=1, repeat=5))

    return "bf16-mixed" if seconds(torch.bfloat16) < seconds(torch.float32) else "32-true"


def carry_out(run: Run, task: str, minutes: float | None, published: bool) -> None:
    """Train unless the run is finished, then evaluate on the test graphs; keep what the page needs."""
    directory = RUNS / task / run.name
    file = directory / "result.json"
    if file.is_file():
        return
    words = command(run, task, minutes, published)
    print("+", " ".join(words), flush=True)
    clock = directory / "seconds.txt"
    spent = float(clock.read_text()) if clock.is_file() else 0.0
    start = time.monotonic()
    try:
        subprocess.run([*XLM, *words[1:]], cwd=ROOT, check=True)
    finally:
        spent += time.monotonic() - start
        directory.mkdir(parents=True, exist_ok=True)
        clock.write_text(f"{spent:.1f}\n")
    words_of_eval = ["job_type=eval", f"job_name=results/{task}/{run.name}", "split=test", "compile=false"]
    subprocess.run([*XLM, *words_of_eval, "eval_batch_size=250"], cwd=ROOT, check=True)
    metrics = json.loads((directory / "metrics-test.json").read_text(encoding="utf-8"))
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=True)
    import torch

    state = torch.load(directory / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
    processor = f"{platform.machine()}, {torch.get_num_threads()} threads"
    machine = torch.cuda.get_device_name() if run.gpu else processor
    result = {
        "run": run.name,
        "model": run.model,
        "note": run.note,
        "command": " ".join(words),
        "commit": commit.stdout.strip(),
        "seconds": spent,
        "steps": max(int(row["step"]) for row in history(directory)),
        "best_step": metrics["step"],
        "parameters": sum(t.numel() for t in state["state_dict"].values() if t.is_floating_point()),
        "exact_match": metrics["test/exact_match"],
        "token_accuracy": metrics["test/token_accuracy"],
        "loss": metrics["test/loss"],
        "machine": f"{machine}, torch {torch.__version__}",
        "date": time.strftime("%Y-%m-%d"),
        "curve": curve(directory),
    }
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def history(directory: Path) -> list[dict[str, str]]:
    with (directory / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def curve(directory: Path) -> list[tuple[int, float]]:
    """(step, exact match in validation), at most some eighty of them: what the picture shows."""
    rows = [row for row in history(directory) if row.get("val/exact_match")]
    points = [(int(row["step"]), round(float(row["val/exact_match"]), 4)) for row in rows]
    every = -(-len(points) // 80) or 1
    return points[::-1][::every][::-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="star_easy", choices=TASKS)
    parser.add_argument("--only", default="", help="runs or models, comma-separated")
    parser.add_argument(
        "--minutes", type=float, help="of training, at most, for each run (default: 10; published: no limit)"
    )
    parser.add_argument("--published", action="store_true", help="the published sizes and steps, on one GPU")
    parser.add_argument("--gpu", action="store_true", help="the runs for a processor, on one GPU")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--write", action="store_true", help="train nothing; write the page from what is there")
    options = parser.parse_args()
    chosen = set(filter(None, options.only.split(",")))
    runs = published_runs(options.task) if options.published else laptop_runs(options.task, options.gpu)
    minutes = 10.0 if options.minutes is None and not options.published else options.minutes
    all_runs = [*laptop_runs(options.task), *laptop_runs(options.task, gpu=True), *published_runs(options.task)]
    planned = {run.name: run.steps for run in all_runs}
    lock = threading.Lock()

    def write() -> None:
        write_page(options.task, RUNS / options.task, PAGES, planned)

    def make(run: Run) -> None:
        carry_out(run, options.task, minutes, options.published)
        with lock:
            write()

    if not options.write:
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(make, [run for run in runs if not chosen or chosen & {run.name, run.model}]))
    write()


if __name__ == "__main__":
    main()
