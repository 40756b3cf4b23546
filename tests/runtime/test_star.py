"""Star graphs, each walked by its edges alone; their splits and examples."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from star_graphs import EASY, KINDS, MEDIUM, Make, chi_square, node, walk
from torch.utils.data import DataLoader

from xlm_runtime.datasets import star
from xlm_runtime.errors import DataError
from xlm_runtime.tokenizers import byte_tokenizer, number_tokenizer

# Graphs


@pytest.mark.parametrize("kind", KINDS)
def test_every_graph_is_a_star_and_every_answer_a_path(make_star: Make, kind: str) -> None:
    shape = KINDS[kind]
    for example in make_star(**shape)["train"]:
        g = walk(example)
        assert all(0 <= n < shape["num_nodes"] for edge in g.edges for n in edge)
        assert len(g.out) == shape["num_arms"]
        assert len(g.into) <= shape["num_arms"]
        fewest = shape["num_arms"] * (shape["min_nodes"] - 1)
        most = shape["num_arms"] * (shape["max_nodes"] - 1)
        assert fewest <= len(g.edges) <= most
        assert all(len(branch) >= shape["min_plan"] for branch in g.out)
        # The answer: consecutive edges of the prompt, from source to goal, through the junction.
        assert set(g.path) <= set(g.edges)
        assert (g.path[0][0], g.path[-1][1]) == (g.source, g.goal)
        assert all(a[1] == b[0] for a, b in zip(g.path, g.path[1:], strict=False))
        assert shape["min_nodes"] - 1 <= len(g.path) <= shape["max_nodes"] - 1
        (plan,) = [branch for branch in g.out if branch[-1][1] == g.goal]
        assert g.path[-len(plan) :] == plan
        lead = g.path[: -len(plan)]
        assert lead in g.into if lead else g.source == g.junction
        assert len(example["prompt_ids"]) <= shape["prompt_length"]
        assert len(example["token_ids"]) + 2 <= shape["answer_length"]


def test_easy_has_the_lengths_of_the_table(make_star: Make) -> None:
    for example in make_star(**EASY)["train"]:
        g = walk(example)
        assert (len(example["prompt_ids"]), len(example["token_ids"])) == (26, 8)
        assert g.source == g.junction
        assert g.into == []
        assert [len(branch) for branch in g.out] == [4, 4, 4]
        assert len({n for edge in g.edges for n in edge}) == 13


@pytest.mark.parametrize(("kind", "longest"), [("medium", (32, 10)), ("hard", (112, 22))])
def test_the_longest_lengths_are_reached(make_star: Make, kind: str, longest: tuple[int, int]) -> None:
    train = make_star(**KINDS[kind], sizes={"train": 50_000})["train"]
    examples = train.__getitems__(range(50_000))
    found = [max(len(e[key]) for e in examples) for key in ("prompt_ids", "token_ids")]
    assert tuple(found) == longest


def test_the_smallest_shapes(make_star: Make) -> None:
    ds = make_star(num_arms=1, min_nodes=2, max_nodes=2, num_nodes=2, prompt_length=4, answer_length=4)
    for example in ds["train"]:
        prompt = example["prompt_ids"]
        assert example["token_ids"] == prompt[:2] == prompt[2:]
        assert sorted(map(node, prompt[:2])) == [0, 1]


def test_large_vocabularies_are_drawn_in_blocks(make_star: Make) -> None:
    graphs = [walk(e) for e in make_star(num_nodes=40_000)["train"]]  # 52 graphs a block
    assert len({tuple(g.edges) for g in graphs}) == 300
    assert max(n for g in graphs for edge in g.edges for n in edge) > 39_000


# Distributions: seeds are fixed; each bound is the 99.9 % point of its χ² law


@pytest.mark.parametrize(("kind", "bound"), [("easy", 13.8), ("medium", 13.8), ("hard", 18.5)])
def test_the_prompts_order_does_not_betray_the_arm(make_star: Make, kind: str, bound: float) -> None:
    ranks: Counter[int] = Counter()
    for example in make_star(**KINDS[kind], sizes={"train": 5000})["train"]:
        g = walk(example)
        place = {edge: i for i, edge in enumerate(g.edges)}
        first = sorted(g.out, key=lambda branch: min(place[edge] for edge in branch))
        ranks[[branch[-1][1] for branch in first].index(g.goal)] += 1
    arms = KINDS[kind]["num_arms"]
    assert chi_square(ranks, dict.fromkeys(range(arms), 5000 / arms)) < bound


def test_each_edge_of_the_answer_stands_anywhere_in_the_prompt(make_star: Make) -> None:
    graphs = [walk(e) for e in make_star(sizes={"train": 5000})["train"]]
    for step in range(4):
        places = Counter(g.edges.index(g.path[step]) for g in graphs)
        assert chi_square(places, dict.fromkeys(range(12), 5000 / 12)) < 31.3


@pytest.mark.parametrize(("kind", "bound"), [("medium", 27.9), ("hard", 55.5)])
def test_arm_lengths_and_junction_offsets_are_uniform(make_star: Make, kind: str, bound: float) -> None:
    shape = KINDS[kind]
    graphs = [walk(e) for e in make_star(**shape, sizes={"train": 5000})["train"]]
    lengths = range(shape["min_nodes"], shape["max_nodes"] + 1)
    expected = {
        (length, offset): 5000 / len(lengths) / (length - shape["min_plan"])
        for length in lengths
        for offset in range(length - shape["min_plan"])
    }
    offsets = [[edge[0] for edge in g.path].index(g.junction) for g in graphs]
    found = zip([len(g.path) + 1 for g in graphs], offsets, strict=True)
    assert chi_square(Counter(found), expected) < bound
    # The other arms too: each has a part before the junction unless its offset is 0.
    others = np.array([len(g.into) - (g.source != g.junction) for g in graphs])
    before = 1 - np.mean([1 / (length - shape["min_plan"]) for length in lengths])
    trials = shape["num_arms"] - 1
    error = np.sqrt(trials * before * (1 - before) / 5000)
    assert abs(others.mean() - trials * before) < 4 * error


def test_node_numbers_are_uniform(make_star: Make) -> None:
    graphs = [walk(e) for e in make_star(sizes={"train": 5000})["train"]]
    for choose in (lambda g: g.junction, lambda g: g.goal):
        assert chi_square(Counter(map(choose, graphs)), dict.fromkeys(range(20), 250)) < 43.8


# Splits and examples


def test_splits_are_repeatable_and_differ(make_star: Make, tmp_path: Path) -> None:
    first, again = make_star(), make_star(cache_dir=tmp_path / "other")
    assert first.splits == ("train", "val", "test")
    for split in first.splits:
        assert list(first[split]) == list(again[split])
    prompts = {split: {tuple(e["prompt_ids"]) for e in first[split]} for split in first.splits}
    assert [len(prompts[split]) for split in first.splits] == [300, 40, 60]
    assert not prompts["train"] & prompts["val"]
    assert not prompts["train"] & prompts["test"]
    assert not prompts["val"] & prompts["test"]
    # Not for want of a like number of draws: splits of one size differ too.
    alike = make_star(sizes=dict.fromkeys(first.splits, 50))
    assert len({tuple(e["prompt_ids"]) for split in alike.splits for e in alike[split]}) == 150


def test_the_seed_matters_and_the_other_splits_do_not(make_star: Make) -> None:
    assert list(make_star(seed=1)["val"]) != list(make_star()["val"])
    assert list(make_star(sizes={"train": 7, "val": 40})["val"]) == list(make_star()["val"])


def test_default_sizes(make_star: Make) -> None:
    ds = make_star(sizes=star.SIZES)
    assert {split: len(ds[split]) for split in ds.splits} == {
        "train": 50_000,
        "val": 100,
        "test": 5_000,
    }


def test_examples_one_by_one_and_in_batches(make_star: Make) -> None:
    train = make_star(**MEDIUM)["train"]
    assert len(train) == 300
    example = train[7]
    assert set(example) == {"prompt_ids", "token_ids", "index"}
    assert example["index"] == train[0]["index"] + 7
    assert all(type(token) is int for key in ("prompt_ids", "token_ids") for token in example[key])
    assert type(example["index"]) is int
    assert train[-1] == train[299]
    assert train[np.int64(3)] == train[3]
    order = [5, 299, 5, -2]
    assert train.__getitems__(order) == [train[i] for i in order]
    assert train.__getitems__([]) == []
    for bad in (300, -301):
        with pytest.raises(IndexError):
            train[bad]
    loader = DataLoader(train, batch_size=64, collate_fn=list)  # type: ignore[arg-type, var-annotated]
    assert [example for batch in loader for example in batch] == list(train)


def test_unknown_split(make_star: Make) -> None:
    with pytest.raises(DataError, match=r"no split 'tset'; they have train, val, test.*'test'"):
        make_star()["tset"]
    with pytest.raises(DataError, match=r"no split 'everything'.*dataset\.sizes"):
        make_star()["everything"]


@pytest.mark.parametrize("kind", KINDS)
def test_reverse_answer_is_the_reverse(make_star: Make, kind: str) -> None:
    plain, back = make_star(**KINDS[kind]), make_star(**KINDS[kind], reverse_answer=True)
    for one, other in zip(plain["train"], back["train"], strict=True):
        assert other["token_ids"] == one["token_ids"][::-1]
        assert other["prompt_ids"] == one["prompt_ids"]


# Tokenizers


def test_nodes_become_the_tokenizers_ids(make_star: Make) -> None:
    tokenizer = number_tokenizer(30)
    for ours, theirs in zip(make_star()["val"], make_star(tokenizer=tokenizer)["val"], strict=True):
        for key in ("prompt_ids", "token_ids"):
            text = " ".join(str(node(token)) for token in ours[key])
            assert tokenizer.decode(theirs[key]) == text
            assert tokenizer(text)["input_ids"] == theirs[key]


def test_a_tokenizer_without_the_numbers(make_star: Make) -> None:
    with pytest.raises(DataError, match=r"no token for node 10, expected .* 0 to 19.*=number"):
        make_star(tokenizer=byte_tokenizer())
    with pytest.raises(DataError, match="no token for node 12"):
        make_star(tokenizer=number_tokenizer(12))
