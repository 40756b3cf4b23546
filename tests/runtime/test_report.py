"""report.html: made of the files alone, whatever state they are in, and text in it is text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from written_runs import HOSTILE, ROWS, write_rows, write_run

from xlm_runtime.report.run_files import is_run, read_run
from xlm_runtime.report.run_report import estimates, report_after, samples, write_report


def page(directory: Path) -> str:
    return write_report(directory).read_text(encoding="utf-8")


def row_of(text: str, *cells: str) -> str:
    """The first line of a table that has these cells."""
    found = [row for row in re.findall(r"<tr>.*?</tr>", text, re.DOTALL) if all(f">{cell}<" in row for cell in cells)]
    assert found, cells
    return found[0]


def test_a_finished_run(run_dir: Path) -> None:
    text = page(write_run(run_dir))
    assert "finished at step 10" in text and "my_model.parts.Model" in text and "width: 4" in text
    assert text.count("<svg") == 3  # loss, lr, exact_match
    # One of three rows with a truth is right: Wilson's interval, which the value of the same file agrees with.
    assert "0.06149 – 0.7923" in row_of(text, "test", "exact_match", "0.3333")
    assert " – " not in row_of(text, "test", "loss", "0.3")
    assert "best.ckpt" in text
    for cell in ("3 4", "5 3", "nobody knows"):
        assert f'<td class="text">{cell}</td>' in text


def test_a_number_says_what_it_is_and_has_one_interval(run_dir: Path) -> None:
    write_run(run_dir)
    with (run_dir / "config.yaml").open("a", encoding="utf-8") as file:
        file.write("metrics: {lm: {loss: {means: a bound from above}}}\n")
    before = page(run_dir)
    assert '>loss <span class="soft">(a bound from above)</span></td>' in row_of(before, "test", "0.3")
    assert '<td class="line">exact match</td>' in before  # of the rows, and in the table above by Wilson too
    # What an evaluation has found of these rows is not counted a second time, in another way.
    numbers: dict[str, dict[str, object]] = {
        "exact_match": {"value": 1 / 3, "low": 0.06, "high": 0.79, "count": 3, "method": "wilson", "unit": "rows"},
        "length/mean": {"value": 1.5, "low": 1.0, "high": 2.0, "count": 4, "method": "bootstrap", "unit": "rows"},
    }
    numbers["loss"] = {"value": 0.3, "means": None}
    entry = {"test": {"split": "test", "step": 10, "metrics": numbers}}
    (run_dir / "metrics.json").write_text(json.dumps(entry), encoding="utf-8")
    flat = {"step": 10, "test/exact_match": 1 / 3, "test/length/mean": 1.5, "test/loss": 0.3}
    (run_dir / "metrics-test.json").write_text(json.dumps(flat), encoding="utf-8")
    after = page(run_dir)
    assert "(a bound from above)" not in row_of(after, "test", "0.3")  # of another model than the configuration's
    assert "1 – 2" in row_of(after, "length/mean", "4 rows, bootstrap")
    assert ">exact match</td>" not in after and ">length</td>" not in after
    assert row_of(after, "network_calls", "4 rows, mean ± 1.96 s / √n")


def test_there_is_no_interval_of_one_row_and_none_of_seconds(run_dir: Path) -> None:
    write_rows(run_dir / "predictions/prompts/step=1.generated.jsonl", [{"text": "a", "ids": [1, 2], "well": True}])
    write_rows(run_dir / "predictions/test/step=1.jsonl", [{"text": "a", "seconds": n / 9} for n in range(4)])
    write_rows(run_dir / "predictions/val/step=1.jsonl", [{"text": "a"}])
    text = page(run_dir)
    one, share, shared = row_of(text, "length", "2"), row_of(text, "well"), row_of(text, "seconds")
    assert " – " not in one + shared and ">1 row<" in one and ">4 rows<" in shared
    assert "0.2065 – 1" in share and ">1 row, Wilson<" in share  # a share of one row says a little
    assert "1 row, nothing else to count" in text
    for line in ("length", "mean", "1 row, Wilson"):  # words that are not broken
        assert f'<td class="line">{line}</td>' in text


def test_a_model_from_elsewhere_has_a_configuration_too(run_dir: Path) -> None:
    write_rows(run_dir / "predictions/test/step=10.jsonl", ROWS)
    loaded = OmegaConf.create({"seed": 71})
    report_after(run_dir, loaded=loaded)
    assert "<td>71</td>" in (run_dir / "report.html").read_text(encoding="utf-8")
    write_run(run_dir)  # of a run, its own counts
    (run_dir / "loaded.yaml").unlink()
    report_after(run_dir, loaded=loaded)
    assert "<td>71</td>" not in (run_dir / "report.html").read_text(encoding="utf-8")
    assert not (run_dir / "loaded.yaml").exists()


def test_text_is_no_markup(run_dir: Path) -> None:
    write_run(run_dir)
    (run_dir / "config.yaml").write_text(f"model: {{a: 1}}\nseed: {HOSTILE!r}\n", encoding="utf-8")
    write_rows(run_dir / "predictions/<i>/step=1.jsonl", [{"text": HOSTILE, "truth": HOSTILE, "<u>": 1}])
    text = page(run_dir)
    for markup in ("<script>document", '<b class="hostile"', "<i>", "<u>"):
        assert markup not in text
    assert "&lt;script&gt;document" in text and "{{ 7 * 7 }}" in text


def test_the_page_needs_nothing_else(run_dir: Path) -> None:
    text = page(write_run(run_dir))
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href)=["'](?!#)[^"']*["']|@import|url\(""", text)
    assert "prefers-color-scheme: dark" in text


def test_a_run_that_died_has_a_report(run_dir: Path) -> None:
    write_run(run_dir, finished=False)
    (run_dir / "metrics-test.json").unlink()
    with (run_dir / "metrics.csv").open("a", encoding="utf-8") as file:
        file.write("11,0.1,0.0")  # killed in the middle of a line
    with (run_dir / "predictions/test/step=10.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "ha')
    text = page(run_dir)
    assert "not finished" in text and "last step logged is 10" in text
    assert "1 of its lines could not be read" in text
    assert "metrics.csv" in row_of(text, "val", "exact_match", "1", "10")


BROKEN = {
    "config.yaml": ["", "a: [", "\x00", "- a list\n"],
    "metrics.csv": ["", "step", "step,train/loss\nx,1\n2,nonsense\n3,nan\n", "step,a/b\n1,2,3,4\n", "\x00\n"],
    "finished.json": ["", "{", "[]", '{"metrics": [1]}', '{"step": "x", "metrics": {"val/loss": "y"}}'],
    "metrics-test.json": ["", "{", "null", '{"test/loss": null, "test/a": NaN, "step": []}'],
    "predictions/test/step=10.jsonl": ["", "\n", "null\n1\n", "{\n", '{"text": 1, "truth": [], "n": 1e400}\n'],
}


@pytest.mark.parametrize(("name", "content"), [(name, each) for name, list_ in BROKEN.items() for each in list_])
def test_no_broken_file_keeps_the_report_from_being_written(run_dir: Path, name: str, content: str) -> None:
    write_run(run_dir)
    (run_dir / name).write_text(content, encoding="utf-8")
    assert "<h2" in page(run_dir)


def test_an_empty_directory_has_a_report_too(run_dir: Path) -> None:
    run_dir.mkdir()
    assert not is_run(run_dir)
    text = page(run_dir)
    for words in ("no config.yaml", "Nothing was logged", "No split was evaluated", "No predictions"):
        assert words in text


def test_the_newest_rows_of_each_split_and_label_count(run_dir: Path) -> None:
    write_run(run_dir)
    for step, label in ((2, ""), (12, ""), (3, ".generated,top_k=1.5")):
        write_rows(run_dir / f"predictions/val/step={step}{label}.jsonl", ROWS[:1])
    found = [(each.split, each.step, each.label) for each in read_run(run_dir).predictions]
    assert found == [("test", 10, None), ("val", 12, None), ("val", 3, "generated,top_k=1.5")]


def test_what_is_counted_in_rows() -> None:
    found = estimates([*ROWS, {"text": "x", "well": True, "index": 3}, {"text": "y", "well": False}])
    assert {name: (kind, round(each.value, 3), each.count) for name, (kind, each) in found.items()} == {
        "exact match": ("share", 0.333, 3),
        "length": ("mean", 1.5, 4),
        "network_calls": ("mean", 2.0, 4),
        "well": ("share", 0.5, 2),
    }


def test_samples_are_right_wrong_and_unknown() -> None:
    found = {group.title.partition(":")[0]: (group.count, len(group.rows)) for group in samples(ROWS * 3)}
    assert found == {"right": (3, 3), "wrong": (6, 5), "not judged": (3, 3)}


def test_trajectories_are_linked(run_dir: Path) -> None:
    write_run(run_dir)
    (run_dir / "trajectory.a b.html").write_text("", encoding="utf-8")
    assert 'href="trajectory.a%20b.html"' in page(run_dir)


def test_the_same_files_make_the_same_report(run_dir: Path) -> None:
    assert page(write_run(run_dir)) == page(run_dir)


def test_a_report_that_cannot_be_written_is_one_line(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(run_dir)
    (run_dir / "report.html").mkdir()
    report_after(run_dir)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and str(run_dir) in err and "could not be written" in err
    assert [path.name for path in run_dir.glob(".*")] == []  # nothing half-written stays


def test_a_report_imports_no_torch() -> None:
    code = (
        "import sys, xlm_runtime.jobs.report, xlm_runtime.jobs.compare\n"
        "print({'torch', 'lightning', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
