"""Star graphs for tests: the table of the three kinds, a maker with few graphs, and a walk along the edges alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlm_runtime.datasets.star import StarGraphs

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


def maker(cache: Path) -> Make:
    """StarGraphs with defaults for tests: easy, seed 0, few graphs, a cache of its own."""

    def make(**changes: Any) -> StarGraphs:
        sizes = {"train": 300, "val": 40, "test": 60}
        fixed = {"tokenizer": Numbers(), "seed": 0, "sizes": sizes, "cache_dir": cache}
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
