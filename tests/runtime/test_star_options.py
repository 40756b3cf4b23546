"""Star graphs: parameters that cannot be, and the three kinds as the configs have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import pytest
from star_graphs import KINDS, Make

import xlm_runtime
from xlm_runtime.datasets.star import StarGraphs
from xlm_runtime.errors import DataError

CONFIGS = Path(xlm_runtime.__file__).parent / "configs"


# Bad parameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "center"}, r"source is 'center', expected 'centre' or 'first'.*Did you mean"),
        ({"num_arms": 0}, "num_arms is 0, expected at least 1"),
        ({"min_nodes": 6}, "min_nodes is 6 and max_nodes 5"),
        ({"min_nodes": 1}, "min_nodes is 1 and max_nodes 5"),
        ({"num_nodes": 12}, "num_nodes is 12, expected at least 13: 3 arms of up to 5 nodes"),
        ({"source": "first", "min_plan": 0}, "min_plan is 0, expected 1 to 4"),
        ({"source": "first", "min_plan": 5}, "min_plan is 5, expected 1 to 4"),
        ({"min_plan": -1}, "min_plan is -1, expected 0 to 4"),
        ({"min_plan": 5}, "min_plan is 5, expected 0 to 4"),
        ({"prompt_length": 25}, "prompt_length is 25, but the longest prompt has 26"),
        ({"answer_length": 9}, "answer_length is 9, but the longest answer has 8.*with BOS.* 10"),
        ({"sizes": {"train": 0}}, "sizes is {'train': 0}, expected"),
        ({"sizes": {}}, "sizes is {}, expected"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
    ],
)
def test_nonsense_is_refused(make_star: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_star(**changes)


def test_the_tightest_parameters_are_taken(make_star: Make) -> None:
    tight = make_star(num_nodes=13, prompt_length=26, answer_length=10, min_plan=4)
    assert len(tight["train"]) == 300


# The configs


def compose(tmp_path: Path, *overrides: str) -> Any:
    (tmp_path / "primary.yaml").write_text(
        "defaults:\n  - _self_\n  - dataset: ???\n"
        f"hydra: {{searchpath: ['file://{CONFIGS}']}}\n"
        f"cache_dir: {tmp_path}/cache\n"
    )
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        return hydra.compose("primary", list(overrides))


@pytest.mark.parametrize("kind", KINDS)
def test_the_configs_say_what_the_table_says(tmp_path: Path, kind: str) -> None:
    cfg = compose(tmp_path, f"dataset=star_{kind}", "dataset.sizes.train=50")
    tokenizer = hydra.utils.instantiate(cfg.tokenizer)
    assert len(tokenizer) == KINDS[kind]["num_nodes"] + 7
    ds = hydra.utils.instantiate(cfg.dataset, tokenizer=tokenizer)
    assert isinstance(ds, StarGraphs)
    for name, value in KINDS[kind].items():
        assert cfg.dataset[name] == value
    assert ds.sizes == {"train": 50, "val": 100, "test": 5_000}
    assert len(ds["train"]) == 50
    assert ds.cache_directory.is_relative_to(tmp_path / "cache")


def test_another_tokenizer_can_be_chosen(tmp_path: Path) -> None:
    cfg = compose(tmp_path, "dataset=star_easy", "tokenizer=byte")
    assert len(hydra.utils.instantiate(cfg.tokenizer)) == 263
