"""Star graphs, each walked by its edges alone; their splits, their cache, their configs."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
from torch.utils.data import DataLoader

import xlm_runtime
from xlm_runtime.datasets import star
from xlm_runtime.datasets.star import StarGraphs
from xlm_runtime.errors import DataError
from xlm_runtime.tokenizers import byte_tokenizer, number_tokenizer

CONFIGS = Path(xlm_runtime.__file__).parent / "configs"
TABLE = {
    "num_arms": (3, 3, 5),
    "min_nodes": (5, 3, 6),
    "max_nodes": (5, 6, 12),
    "num_nodes": (20, 20, 56),
    "source": ("centre", "first", "first"),
    "min_plan": (1, 2, 5),
    "prompt_length": (28, 36, 116),
    "answer_length": (14, 16, 28),
}
EASY, MEDIUM, HARD = ({key: row[column] for key, row in TABLE.items()} for column in range(3))
KINDS: dict[str, dict[str, Any]] = {"easy": EASY, "medium": MEDIUM, "hard": HARD}


class Numbers:
    """The least that the dataset asks of a tokenizer: node n is token 3 n + 100."""

    unk_token_id = 0

    def convert_tokens_to_ids(self, token: str) -> int:
        return 3 * int(token) + 100

    def __len__(self) -> int:
        return 1000


def node(token: int) -> int:
    number, rest = divmod(token - 100, 3)
    assert rest == 0
    return number


Make = Callable[..., StarGraphs]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """StarGraphs with defaults for tests: easy, seed 0, few graphs, a cache of its own."""

    def make(**changes: Any) -> StarGraphs:
        sizes = {"train": 300, "val": 40, "test": 60}
        fixed = {"tokenizer": Numbers(), "seed": 0, "sizes": sizes, "cache_dir": tmp_path / "cache"}
        return StarGraphs(**{**EASY, **fixed, **changes})

    return make


@dataclass
class Walked:
    """What an example's edges say, found without the generator."""

    edges: list[tuple[int, int]]
    junction: int
    into: list[list[tuple[int, int]]]  # the arms' parts before the junction, edges in order
    out: list[list[tuple[int, int]]]  # and after it
    source: int
    goal: int
    path: list[tuple[int, int]]  # the answer


def walk(example: dict[str, Any]) -> Walked:
    prompt, answer = ([node(t) for t in example[key]] for key in ("prompt_ids", "token_ids"))
    edges = list(zip(prompt[:-2:2], prompt[1:-2:2], strict=True))
    after, before = defaultdict(list), defaultdict(list)
    for u, v in edges:
        after[u].append(v)
        before[v].append(u)
    nodes = {n for edge in edges for n in edge}
    assert len(set(edges)) == len(edges) == len(nodes) - 1, "a tree, each edge once"
    (junction,) = [n for n in nodes if len(after[n]) + len(before[n]) > 2]
    out, into = [], []
    for v in after[junction]:
        branch = [(junction, v)]
        while after[branch[-1][1]]:
            (following,) = after[branch[-1][1]]
            branch.append((branch[-1][1], following))
        out.append(branch)
    for u in before[junction]:
        branch = [(u, junction)]
        while before[branch[0][0]]:
            (preceding,) = before[branch[0][0]]
            branch.insert(0, (preceding, branch[0][0]))
        into.append(branch)
    assert sum(map(len, out + into)) == len(edges), "every edge lies on an arm"
    path = list(zip(answer[::2], answer[1::2], strict=True))
    return Walked(edges, junction, into, out, prompt[-2], prompt[-1], path)


def chi_square(counts: Counter[Any], expected: dict[Any, float]) -> float:
    assert set(counts) <= set(expected)
    return sum((counts[key] - want) ** 2 / want for key, want in expected.items())


# Graphs


@pytest.mark.parametrize("kind", KINDS)
def test_every_graph_is_a_star_and_every_answer_a_path(make: Make, kind: str) -> None:
    shape = KINDS[kind]
    for example in make(**shape)["train"]:
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


def test_easy_has_the_lengths_of_the_table(make: Make) -> None:
    for example in make(**EASY)["train"]:
        g = walk(example)
        assert (len(example["prompt_ids"]), len(example["token_ids"])) == (26, 8)
        assert g.source == g.junction
        assert g.into == []
        assert [len(branch) for branch in g.out] == [4, 4, 4]
        assert len({n for edge in g.edges for n in edge}) == 13


@pytest.mark.parametrize(("kind", "longest"), [("medium", (32, 10)), ("hard", (112, 22))])
def test_the_longest_lengths_are_reached(make: Make, kind: str, longest: tuple[int, int]) -> None:
    train = make(**KINDS[kind], sizes={"train": 50_000})["train"]
    examples = train.__getitems__(range(50_000))
    found = [max(len(e[key]) for e in examples) for key in ("prompt_ids", "token_ids")]
    assert tuple(found) == longest


def test_the_smallest_shapes(make: Make) -> None:
    ds = make(num_arms=1, min_nodes=2, max_nodes=2, num_nodes=2, prompt_length=4, answer_length=4)
    for example in ds["train"]:
        prompt = example["prompt_ids"]
        assert example["token_ids"] == prompt[:2] == prompt[2:]
        assert sorted(map(node, prompt[:2])) == [0, 1]


def test_large_vocabularies_are_drawn_in_blocks(make: Make) -> None:
    graphs = [walk(e) for e in make(num_nodes=40_000)["train"]]  # 52 graphs a block
    assert len({tuple(g.edges) for g in graphs}) == 300
    assert max(n for g in graphs for edge in g.edges for n in edge) > 39_000


# Distributions: seeds are fixed; each bound is the 99.9 % point of its χ² law


@pytest.mark.parametrize(("kind", "bound"), [("easy", 13.8), ("medium", 13.8), ("hard", 18.5)])
def test_the_prompts_order_does_not_betray_the_arm(make: Make, kind: str, bound: float) -> None:
    ranks: Counter[int] = Counter()
    for example in make(**KINDS[kind], sizes={"train": 5000})["train"]:
        g = walk(example)
        place = {edge: i for i, edge in enumerate(g.edges)}
        first = sorted(g.out, key=lambda branch: min(place[edge] for edge in branch))
        ranks[[branch[-1][1] for branch in first].index(g.goal)] += 1
    arms = KINDS[kind]["num_arms"]
    assert chi_square(ranks, dict.fromkeys(range(arms), 5000 / arms)) < bound


def test_each_edge_of_the_answer_stands_anywhere_in_the_prompt(make: Make) -> None:
    graphs = [walk(e) for e in make(sizes={"train": 5000})["train"]]
    for step in range(4):
        places = Counter(g.edges.index(g.path[step]) for g in graphs)
        assert chi_square(places, dict.fromkeys(range(12), 5000 / 12)) < 31.3


@pytest.mark.parametrize(("kind", "bound"), [("medium", 27.9), ("hard", 55.5)])
def test_arm_lengths_and_junction_offsets_are_uniform(make: Make, kind: str, bound: float) -> None:
    shape = KINDS[kind]
    graphs = [walk(e) for e in make(**shape, sizes={"train": 5000})["train"]]
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


def test_node_numbers_are_uniform(make: Make) -> None:
    graphs = [walk(e) for e in make(sizes={"train": 5000})["train"]]
    for choose in (lambda g: g.junction, lambda g: g.goal):
        assert chi_square(Counter(map(choose, graphs)), dict.fromkeys(range(20), 250)) < 43.8


# Splits and examples


def test_splits_are_repeatable_and_differ(make: Make, tmp_path: Path) -> None:
    first, again = make(), make(cache_dir=tmp_path / "other")
    assert first.splits == ("train", "val", "test")
    for split in first.splits:
        assert list(first[split]) == list(again[split])
    prompts = {split: {tuple(e["prompt_ids"]) for e in first[split]} for split in first.splits}
    assert [len(prompts[split]) for split in first.splits] == [300, 40, 60]
    assert not prompts["train"] & prompts["val"]
    assert not prompts["train"] & prompts["test"]
    assert not prompts["val"] & prompts["test"]
    # Not for want of a like number of draws: splits of one size differ too.
    alike = make(sizes=dict.fromkeys(first.splits, 50))
    assert len({tuple(e["prompt_ids"]) for split in alike.splits for e in alike[split]}) == 150


def test_the_seed_matters_and_the_other_splits_do_not(make: Make) -> None:
    assert list(make(seed=1)["val"]) != list(make()["val"])
    assert list(make(sizes={"train": 7, "val": 40})["val"]) == list(make()["val"])


def test_default_sizes(make: Make) -> None:
    ds = make(sizes=star.SIZES)
    assert {split: len(ds[split]) for split in ds.splits} == {
        "train": 50_000,
        "val": 100,
        "test": 5_000,
    }


def test_examples_one_by_one_and_in_batches(make: Make) -> None:
    train = make(**MEDIUM)["train"]
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


def test_unknown_split(make: Make) -> None:
    with pytest.raises(DataError, match=r"no split 'tset'; they have train, val, test.*'test'"):
        make()["tset"]
    with pytest.raises(DataError, match=r"no split 'everything'.*dataset\.sizes"):
        make()["everything"]


@pytest.mark.parametrize("kind", KINDS)
def test_reverse_answer_is_the_reverse(make: Make, kind: str) -> None:
    plain, back = make(**KINDS[kind]), make(**KINDS[kind], reverse_answer=True)
    for one, other in zip(plain["train"], back["train"], strict=True):
        assert other["token_ids"] == one["token_ids"][::-1]
        assert other["prompt_ids"] == one["prompt_ids"]


# Tokenizers


def test_nodes_become_the_tokenizers_ids(make: Make) -> None:
    tokenizer = number_tokenizer(30)
    for ours, theirs in zip(make()["val"], make(tokenizer=tokenizer)["val"], strict=True):
        for key in ("prompt_ids", "token_ids"):
            text = " ".join(str(node(token)) for token in ours[key])
            assert tokenizer.decode(theirs[key]) == text
            assert tokenizer(text)["input_ids"] == theirs[key]


def test_a_tokenizer_without_the_numbers(make: Make) -> None:
    with pytest.raises(DataError, match=r"no token for node 10, expected .* 0 to 19.*=number"):
        make(tokenizer=byte_tokenizer())
    with pytest.raises(DataError, match="no token for node 12"):
        make(tokenizer=number_tokenizer(12))


# The cache


@pytest.fixture
def no_generation(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(*arguments: object) -> None:
        raise AssertionError("generated again")

    return lambda: monkeypatch.setattr(star, "generate", refuse)


def files(directory: Path) -> list[str]:
    return sorted(p.relative_to(directory).name for p in directory.rglob("*") if p.is_file())


def test_what_is_cached_is_not_made_again(make: Make, no_generation: Callable[[], None]) -> None:
    first = make()
    train = list(first["train"])
    assert files(first.cache_directory) == ["train.npy"]
    no_generation()
    assert list(make()["train"]) == train
    same_graphs: Iterable[dict[str, Any]] = (
        {"reverse_answer": True},
        {"prompt_length": 40},
        {"answer_length": 40},
        {"tokenizer": number_tokenizer(20)},
    )
    for changes in same_graphs:
        ds = make(**changes)
        assert ds.cache_directory == first.cache_directory
        assert len(ds["train"]) == 300
    with pytest.raises(AssertionError, match="generated again"):
        make()["val"]


def test_a_split_is_loaded_once(make: Make) -> None:
    ds = make()
    assert ds["val"] is ds["val"]


def test_every_parameter_changes_the_key(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    room = {"num_nodes": 40, "min_plan": 1, "prompt_length": 200, "answer_length": 100}
    base: dict[str, Any] = {**MEDIUM, **room}
    changes: list[dict[str, Any]] = [
        {},
        {"num_arms": 4},
        {"min_nodes": 4},
        {"max_nodes": 7},
        {"num_nodes": 41},
        {"source": "centre"},
        {"min_plan": 2},
        {"seed": 1},
        {"sizes": {"train": 301, "val": 40, "test": 60}},
        {"sizes": {"train": 300, "val": 41, "test": 60}},
        {"sizes": {"train": 300, "val": 40}},
    ]
    keys = [make(**{**base, **change}).cache_directory for change in changes]
    monkeypatch.setattr(star, "FORMAT_VERSION", star.FORMAT_VERSION + 1)
    keys.append(make(**base).cache_directory)
    assert len(set(keys)) == len(changes) + 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:40],
        lambda content: b"",
        lambda content: b"something else altogether",
        lambda content: content.replace(b"<i4", b"<f4"),
        lambda content: content.replace(b"(300, ", b"(150, "),
    ],
    ids=["half", "a byte less", "header only", "empty", "foreign", "other type", "other shape"],
)
def test_a_damaged_file_is_made_again(make: Make, damage: Callable[[bytes], bytes]) -> None:
    ds = make()
    train = list(ds["train"])
    file = ds.cache_directory / "train.npy"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    assert list(make()["train"]) == train
    assert file.read_bytes() == whole


def test_two_may_make_it_at_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    generate = star.generate

    def together(*arguments: Any) -> Any:
        both.wait(timeout=60)  # neither has found a file
        return generate(*arguments)

    monkeypatch.setattr(star, "generate", together)
    datasets = [make(), make()]
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda ds: list(ds["train"]), datasets)
    assert one == other
    assert files(datasets[0].cache_directory) == ["train.npy"]


def test_home_is_expanded(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make(cache_dir="~/graphs").cache_directory.is_relative_to(tmp_path / "graphs" / "star")


def test_a_cache_that_cannot_be_used(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot read the dataset's cache .*cache_dir"):
        make(cache_dir=tmp_path / "file")["val"]
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "star").symlink_to(tmp_path / "absent" / "absent")
    with pytest.raises(DataError, match=r"Cannot write the dataset's cache .*cache_dir"):
        make(cache_dir=tmp_path / "dangling")["val"]


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
def test_nonsense_is_refused(make: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_the_tightest_parameters_are_taken(make: Make) -> None:
    tight = make(num_nodes=13, prompt_length=26, answer_length=10, min_plan=4)
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
