"""The pages in a real browser: scripts run, keys work, light and dark are readable, nothing is fetched.

What a page shows is read from the DOM that headless Chromium dumps after a script of the test, put at its end, has run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from written_runs import HOSTILE, write_run

from xlm_runtime.report.comparison import compare, write_comparison
from xlm_runtime.report.run_report import write_report
from xlm_runtime.report.trajectory_page import write_trajectories
from xlm_runtime.tokenizers import number_tokenizer
from xlm_runtime.tracing import Recorder

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="no program chromium: install Debian's package `chromium`"),
]

TOKENIZER = number_tokenizer(9)
MASK, EOS, BOS = 2, 3, 4

#: Contrast by WCAG 2 of all text against what is behind it; the smallest is left in the DOM.
CONTRAST = """
const channel = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (color) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const color = rgba(getComputedStyle(node).backgroundColor);
    if (color[3] > 250) return color;
  }
  return [255, 255, 255];
};
let least = 21, where = "";
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || node.matches("title, script, style, noscript, option, .unused, .blank, :disabled")) continue;
  const style = getComputedStyle(node), svg = node instanceof SVGElement;
  const [a, b] = [luminance(rgba(svg ? style.fill : style.color)), luminance(behind(node))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < least) { least = ratio; where = node.tagName + "." + node.className + ": " + node.textContent; }
}
document.documentElement.dataset.contrast = least.toFixed(2);
document.documentElement.dataset.where = where.slice(0, 80);
document.documentElement.dataset.paper = getComputedStyle(document.body).backgroundColor;
"""


def browse(page: Path, script: str, *flags: str) -> str:
    """The DOM of the page after ``script``."""
    copy = page.with_name(f"tested-{page.name}")
    copy.write_text(
        page.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8"
    )
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", *flags, copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def attribute(dom: str, name: str) -> str:
    found = re.search(rf'<html[^>]* data-{name}="([^"]*)"', dom)
    assert found, dom[:500]
    return found[1]


@pytest.fixture
def trajectory(tmp_path: Path) -> Path:
    """Two samples: a canvas that is filled, and a text that tokens are inserted into."""
    recorder = Recorder(2)
    recorder.begin(
        torch.tensor([[BOS, 7, MASK, MASK, MASK], [BOS, 8, 9, 0, 0]]), torch.tensor([[1] * 5, [1, 1, 1, 0, 0]])
    )
    recorder.write(torch.tensor([0]), torch.tensor([[3]]), torch.tensor([[EOS]]), torch.tensor([[0.9]]))
    recorder.write(torch.tensor([0]), torch.tensor([[2]]), torch.tensor([[10]]), torch.tensor([[0.1]]))
    recorder.insert(torch.tensor([1]), torch.tensor([[0, 2]]), torch.tensor([[11, 12]]), torch.tensor([[0.2, 0.8]]))
    rows = [{"text": "right", "truth": "right"}, {"text": HOSTILE, "truth": "other"}]
    return write_trajectories(
        tmp_path / "trajectory.html", recorder.trajectories, rows, TOKENIZER, "demo, test, step 9"
    )


PRESS = """
const press = (...keys) => keys.forEach((key) =>
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })));
const state = () => [...document.querySelectorAll("#tokens span")]
  .map((s) => s.textContent + (s.classList.contains("new") ? "!" : "")).join(" ");
const states = [state()];
for (const key of %s) { press(key); states.push(state()); }
document.documentElement.dataset.states = states.join("|");
document.documentElement.dataset.said = document.getElementById("said").textContent;
document.documentElement.dataset.result = document.getElementById("result").textContent;
"""


def word(token: int) -> str:
    return str(TOKENIZER.decode([token]))


def test_the_trajectory_is_played_by_keys(trajectory: Path) -> None:
    dom = browse(trajectory, PRESS % '["ArrowRight", "ArrowRight", "Home", "End"]')
    bos, seven, eos, ten = (word(token) for token in (BOS, 7, EOS, 10))
    start, one = f"{bos} {seven} ▁ ▁ ▁", f"{bos} {seven} ▁ {eos}! ▁"
    two = f"{bos} {seven} {ten}! {eos} ▁"
    expected = "|".join([start, one, two, start, two]).replace("<", "&lt;").replace(">", "&gt;")
    assert attribute(dom, "states").replace("<", "&lt;").replace(">", "&gt;") == expected
    assert "written" in attribute(dom, "said") and "0.10" in attribute(dom, "said")
    assert attribute(dom, "result") == "right"


def test_tokens_are_inserted_where_they_belong_and_samples_are_chosen(trajectory: Path) -> None:
    dom = browse(trajectory, PRESS % '["n", "ArrowRight", "p"]')
    states = attribute(dom, "states").replace("&lt;", "<").replace("&gt;", ">").split("|")
    words = [word(token) for token in (BOS, 11, 8, 9, 12)]
    assert states[1] == " ".join(words[i] for i in (0, 2, 3))
    assert states[2] == f"{words[0]} {words[1]}! {words[2]} {words[3]} {words[4]}!"
    assert states[3] == states[0]
    assert "broken" not in dom.partition("</title>")[0]  # the text of the second sample is no markup


def test_the_slider_and_the_buttons_work(trajectory: Path) -> None:
    script = """
    const slider = document.getElementById("step");
    slider.value = 2; slider.dispatchEvent(new Event("input"));
    const first = document.documentElement.dataset.step;
    document.getElementById("back").click();
    const second = document.documentElement.dataset.step;
    document.getElementById("play").click();
    document.documentElement.dataset.seen = [first, second, document.getElementById("play").textContent].join(" ");
    document.documentElement.dataset.reached = [...document.querySelectorAll("button, select, input")]
      .filter((node) => { node.disabled = false; node.focus(); return document.activeElement === node; }).length;
    """
    dom = browse(trajectory, script)
    assert attribute(dom, "seen") == "2 1 Pause" and attribute(dom, "reached") == "5"


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 26)")])
@pytest.mark.parametrize("name", ["report", "compare", "trajectory"])
def test_every_page_is_readable_in_light_and_dark(
    name: str, scheme: str, paper: str, trajectory: Path, tmp_path: Path
) -> None:
    runs = [write_run(tmp_path / "one"), write_run(tmp_path / "two", width=8, scale=0.7)]
    pages = {
        "report": lambda: write_report(runs[0]),
        "compare": lambda: write_comparison(tmp_path / "compare.html", compare(runs)),
        "trajectory": lambda: trajectory,
    }
    end = PRESS % '["End"]' if name == "trajectory" else ""
    dom = browse(pages[name](), end + CONTRAST, f"--blink-settings=preferredColorScheme={int(scheme == 'light')}")
    assert attribute(dom, "paper") == paper
    assert float(attribute(dom, "contrast")) >= 4.5, attribute(dom, "where")


def test_text_in_a_report_is_no_markup(tmp_path: Path) -> None:
    dom = browse(write_report(write_run(tmp_path / "one")), "document.documentElement.dataset.title = document.title;")
    assert attribute(dom, "title") == "one · report"
    assert '<b class="hostile"' not in dom and "&lt;script&gt;document.title" in dom
