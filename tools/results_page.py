"""The pages of `make results`: docs/results/<task>.md, its picture, and the rows as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from xlm_runtime.report.intervals import wilson

TEST_GRAPHS = 5000
#: Exact match in percent (arXiv 2505.05755, star graphs).
PUBLISHED = {
    "star_easy": {"arlm": 32.3, "ilm": 100.0, "mdlm": 100.0},
    "star_medium": {"arlm": 75.0, "ilm": 100.0, "mdlm": 36.5},
    "star_hard": {"arlm": 23.0, "ilm": 99.1, "mdlm": 21.0},
}


def known(task: str, runs: Path, pages: Path) -> list[dict[str, Any]]:
    """The rows of the page as it is, each replaced where it was made again here."""
    file = pages / f"{task}.json"
    rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    rows += [json.loads(file.read_text(encoding="utf-8")) for file in sorted(runs.glob("*/result.json"))]
    return [row for _, row in sorted({row["run"]: row for row in rows}.items())]


def write_page(task: str, runs: Path, pages: Path, planned: Mapping[str, int]) -> None:
    """<task>.md, .json and .svg, from the results that are there.

    Args:
        task: its name.
        runs: where each run left its ``result.json``.
        pages: where the page is, and the rows that it had.
        planned: the steps of each run that there could be, by name.
    """
    results = known(task, runs, pages)
    if not results:
        print(f"nothing has been trained for {task} yet")
        return
    pages.mkdir(parents=True, exist_ok=True)
    text = ",\n  ".join(json.dumps(result) for result in results)
    (pages / f"{task}.json").write_text(f"[\n  {text}\n]\n", encoding="utf-8")
    picture(task, results, pages / f"{task}.svg")
    lines = [
        f"# Results: {task}",
        "",
        "Written by `make results` (`tools/results.py`); nothing here is typed by hand. Each row is one run with one "
        f"seed, evaluated on the {TEST_GRAPHS:,} test graphs by `xlm job_type=eval`, with the model's own decoding. "
        "Intervals are 95 % (Wilson), over test graphs only: another seed may land elsewhere. "
        f'`make results ARGS="--task {task}"` makes the runs that are missing here, and goes on with those that were '
        "stopped; `ARGS=--published` takes the published sizes and steps, on a GPU.",
        "",
    ]
    for place, rows in (("On a processor", False), ("On one GPU", True)):
        lines += table(task, place, [result for result in results if on_a_gpu(result) is rows])
    lines += [
        "",
        f"![Exact match on the 100 validation graphs against training steps]({task}.svg)",
        "",
        "Published: arXiv 2505.05755, models of some 85 M parameters; `mdlm` stands beside its masked diffusion model. "
        "Wall time includes start-up, compilation and validation, on a machine shared with other work; the limit of a "
        "run's training stands in its command (`trainer.max_time`), and begins anew where a stopped run is continued.",
        "",
        *falling_short(results, planned),
        "## The commands",
        "",
        *(f"```\n{result['command']}\n```\n" for result in results),
        "| run | commit | date | machine |",
        "|---|---|---|---|",
        *(f"| {r['run']} | {r['commit']} | {r['date']} | {r['machine']} |" for r in results),
    ]
    (pages / f"{task}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written: docs/results/{task}.md")


def table(task: str, place: str, results: list[dict[str, Any]]) -> list[str]:
    """A section of the page."""
    if not results:
        return []
    lines = [
        f"## {place}",
        "",
        "| run | options | exact match | token accuracy | parameters | steps (best) | wall time | published |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        share = wilson(round(result["exact_match"] * TEST_GRAPHS), TEST_GRAPHS)
        published = PUBLISHED.get(task, {}).get(result["model"]) if "reverse" not in result["note"] else None
        lines.append(
            f"| {result['run']} | {result['note']} "
            f"| **{result['exact_match']:.3f}** ({share.low:.3f}–{share.high:.3f}) "
            f"| {result['token_accuracy']:.3f} | {result['parameters']:,} "
            f"| {result['steps']:,} ({result['best_step']:,}) "
            f"| {result['seconds'] / 60:.1f} min | {'–' if published is None else f'{published / 100:.3f}'} |"
        )
    return [*lines, ""]


def falling_short(results: list[dict[str, Any]], planned: Mapping[str, int]) -> list[str]:
    """Which runs are not what the published ones are, and what is known of why."""
    stopped = [r for r in results if r["steps"] < planned.get(r["run"], 0) and r["exact_match"] < 0.95]
    lines = ["## Where these fall short", ""]
    if stopped:
        names = ", ".join(f"{r['run']} ({r['steps']:,} of {planned[r['run']]:,} steps)" for r in stopped)
        lines += [f"Below .95, and ended by the time limit or by hand before their planned steps: {names}. What they "
                  "would reach is not known; the picture shows whether they were still rising.", ""]  # fmt: skip
    if missing := [name for name in planned if name not in {r["run"] for r in results}]:
        lines += [f"Not run yet: {', '.join(missing)}.", ""]
    return [
        *lines,
        "Those on a processor are models of under a million parameters, trained for minutes; the published ones have "
        "a hundred times as many. Limits, threads and precisions differ between rows, as the commands and machines "
        "below say: a few thousandths apart is no ranking. On star_easy, without the neighbour shift, exact match was "
        "seen to stay near zero for thousands of steps before it rose: a model has to find out first which tokens make "
        "an edge. "
        "`arlm` forward cannot know the arm before it has seen the goal's, and stays near chance there, one in three.",
        "",
    ]


def on_a_gpu(result: dict[str, Any]) -> bool:
    return " trainer.accelerator=gpu " in result["command"]


def picture(task: str, results: list[dict[str, Any]], file: Path) -> None:
    """Exact match in validation against steps, a line a run."""
    plt.rcParams.update({"svg.hashsalt": task, "font.size": 9})
    places = sorted({on_a_gpu(result) for result in results})
    figure, rows = plt.subplots(len(places), figsize=(7.5, 4 * len(places)), layout="constrained", squeeze=False)
    plots = dict(zip(places, rows[:, 0], strict=True))
    for result in results:
        axes = plots[on_a_gpu(result)]
        style = "-" if "shift" in result["run"] else "--"
        axes.plot(*zip(*result["curve"], strict=True), style, label=result["run"], linewidth=1.4)
    for gpu, axes in plots.items():
        axes.set(xlabel="training steps", title=f"{task}, on {'one GPU' if gpu else 'a processor'}")
        axes.set(ylabel="exact match (validation)", ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
