"""Star graphs: find the one path through a shuffled list of edges.

Several arms, each a directed path, share one node, the junction. The prompt is every edge (u v) in
random order, then the source and the goal; the answer is the edges from the source to the goal:

    prompt  7 3  9 1  3 5  3 9 … | 7 1          answer  7 3  3 9  9 1

``source="centre"``: every arm begins at the junction, which is the source.
``source="first"``: the junction stands anywhere on an arm that leaves ``min_plan`` edges after it;
the source is the first node of the goal's arm.
At the junction, only looking ahead to the goal tells which edge comes next.

Task: Bachmann & Nagarajan 2024 (arXiv 2403.06963); these variants: arXiv 2505.05755.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xlm_runtime.datasets import Array, cache_directory, cached_array, example_index
from xlm_runtime.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Part of the cache's key: raise it with every change of what ``generate`` returns.
FORMAT_VERSION = 1
SIZES: Mapping[str, int] = MappingProxyType({"train": 50_000, "val": 100, "test": 5_000})
Source = Literal["centre", "first"]


@dataclass(frozen=True)
class StarShape:
    """What the graphs of a dataset have in common. Raises ``DataError`` if there are none such."""

    num_arms: int
    min_nodes: int  # nodes an arm, the junction included: uniform over min_nodes .. max_nodes
    max_nodes: int
    num_nodes: int  # nodes are numbers below this one
    source: Source
    min_plan: int  # edges from the junction to the goal, at least

    def __post_init__(self) -> None:
        if self.source not in ("centre", "first"):
            raise DataError(
                f"Star graphs: source is {self.source!r}, expected 'centre' or 'first'. "
                f"{did_you_mean(str(self.source), ('centre', 'first'))}".rstrip()
            )
        if self.num_arms < 1:
            raise DataError(f"Star graphs: num_arms is {self.num_arms}, expected at least 1.")
        if not 2 <= self.min_nodes <= self.max_nodes:
            raise DataError(
                f"Star graphs: min_nodes is {self.min_nodes} and max_nodes {self.max_nodes}, "
                "expected 2 <= min_nodes <= max_nodes."
            )
        least_plan = 0 if self.source == "centre" else 1
        if not least_plan <= self.min_plan < self.min_nodes:
            raise DataError(
                f"Star graphs: min_plan is {self.min_plan}, expected {least_plan} to "
                f"{self.min_nodes - 1} with source={self.source!r} and min_nodes={self.min_nodes}: "
                "the shortest arm has no more edges than that."
            )
        if self.num_nodes < self.max_edges + 1:
            raise DataError(
                f"Star graphs: num_nodes is {self.num_nodes}, expected at least "
                f"{self.max_edges + 1}: {self.num_arms} arms of up to {self.max_nodes} nodes, one "
                "shared by all."
            )

    @property
    def max_edges(self) -> int:
        return self.num_arms * (self.max_nodes - 1)

    @property
    def max_prompt(self) -> int:
        """Tokens of the longest prompt: two an edge, source and goal."""
        return 2 * self.max_edges + 2

    @property
    def max_answer(self) -> int:
        return 2 * (self.max_nodes - 1)


def generate(shape: StarShape, size: int, rng: np.random.Generator) -> Array:
    """``size`` graphs as int32 rows (size, 2 + max_prompt + max_answer).

    A row: the prompt's length, the answer's length, the prompt, the answer, the last two filled up
    with zeros.
    """
    block = max(1, 2**21 // shape.num_nodes)  # bounds the memory that drawing node numbers takes
    counts = [min(block, size - start) for start in range(0, size, block)]
    return np.concatenate([_graphs(shape, count, rng) for count in counts])


class StarGraphs:
    """Star graphs in splits: ``ds["train"][i]`` is ``{"prompt_ids", "token_ids", "index"}``.

    Args:
        tokenizer: must have one token for each number below ``num_nodes``.
        num_arms, min_nodes, max_nodes, num_nodes, source, min_plan: see ``StarShape``.
        sizes: examples a split.
        seed: with the split's name, seeds the draws; splits are independent of one another.
        reverse_answer: the answer's token list back to front.
        prompt_length: tokens of the block for prompts.
        answer_length: tokens of the block for answers, BOS and EOS included.
        cache_dir: graphs are made when first asked for and kept here, under a key of all that they
            depend on.

    Raises ``DataError`` if no such graphs exist, if the longest does not fit its block, if the
    tokenizer lacks a number, for an unknown split, and if the cache cannot be written.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        num_arms: int,
        min_nodes: int,
        max_nodes: int,
        num_nodes: int,
        source: Source,
        min_plan: int,
        *,
        seed: int,
        prompt_length: int,
        answer_length: int,
        cache_dir: str | Path,
        sizes: Mapping[str, int] = SIZES,
        reverse_answer: bool = False,
    ) -> None:
        self.shape = StarShape(num_arms, min_nodes, max_nodes, num_nodes, source, min_plan)
        self.sizes = {str(split): int(size) for split, size in sizes.items()}
        self.seed = seed
        self.prompt_length = prompt_length
        self.answer_length = answer_length
        self.reverse_answer = reverse_answer
        self._check()
        self._token_of_node = _token_of_node(tokenizer, num_nodes)
        parameters = {
            **asdict(self.shape),
            "sizes": self.sizes,
            "seed": seed,
            "format_version": FORMAT_VERSION,
        }
        self.cache_directory = cache_directory(cache_dir, "star", parameters)
        self._splits: dict[str, StarSplit] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def __getitem__(self, split: str) -> StarSplit:
        """The split, map-style; made or read from the cache at the first call."""
        if split not in self.sizes:
            raise DataError(
                f"Star graphs have no split {split!r}; they have {', '.join(self.sizes)}. "
                f"{did_you_mean(str(split), self.sizes) or 'Choose one or change dataset.sizes.'}"
            )
        if split not in self._splits:
            self._splits[split] = self._load(split)
        return self._splits[split]

    def _load(self, split: str) -> StarSplit:
        size = self.sizes[split]
        # As spawn key the split cannot run into the seed's own words: each pair has its own stream.
        source = np.random.SeedSequence(self.seed, spawn_key=tuple(split.encode()))
        rows = cached_array(
            self.cache_directory / f"{split}.npy",
            (size, 2 + self.shape.max_prompt + self.shape.max_answer),
            lambda: generate(self.shape, size, np.random.default_rng(source)),
        )
        answer_at = 2 + self.shape.max_prompt
        prompts = self._token_of_node[rows[:, 2:answer_at]]
        answers = self._token_of_node[rows[:, answer_at:]]
        lengths = rows[:, :2]
        if self.reverse_answer:
            place = lengths[:, 1:] - 1 - np.arange(answers.shape[1])
            answers = np.take_along_axis(answers, np.maximum(place, 0), axis=1)
        return StarSplit(prompts, answers, lengths, example_index(split, 0))

    def _check(self) -> None:
        if not self.sizes or min(self.sizes.values()) < 1:
            raise DataError(
                f"Star graphs: sizes is {self.sizes}, expected one split or more, each of one "
                "example or more. Correct dataset.sizes."
            )
        if self.seed < 0:
            raise DataError(f"Star graphs: seed is {self.seed}, expected 0 or more.")
        if self.prompt_length < self.shape.max_prompt:
            raise DataError(
                f"Star graphs: prompt_length is {self.prompt_length}, but the longest prompt has "
                f"{self.shape.max_prompt} tokens. "
                f"Set prompt_length to {self.shape.max_prompt} or more."
            )
        need = self.shape.max_answer + 2
        if self.answer_length < need:
            raise DataError(
                f"Star graphs: answer_length is {self.answer_length}, but the longest answer has "
                f"{self.shape.max_answer} tokens, with BOS and EOS {need}. "
                f"Set answer_length to {need} or more."
            )


class StarSplit:
    """One split, map-style: ``{"prompt_ids": list[int], "token_ids": list[int], "index": int}``."""

    def __init__(self, prompts: Array, answers: Array, lengths: Array, first_index: int) -> None:
        """Token ids (N, P) and (N, A), how many of each count (N, 2), and the index of the first example."""
        self._prompts, self._answers, self._lengths = prompts, answers, lengths
        self._first_index = first_index

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([operator.index(index)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several at once, as DataLoader asks for them. Raises ``IndexError`` out of range."""
        places = np.asarray(indices, dtype=np.int64)
        lengths = self._lengths[places].tolist()
        prompts, answers = self._prompts[places].tolist(), self._answers[places].tolist()
        return [
            {"prompt_ids": prompt[:prompt_size], "token_ids": answer[:answer_size], "index": index}
            for prompt, answer, (prompt_size, answer_size), index in zip(
                prompts, answers, lengths, (places % len(self) + self._first_index).tolist(), strict=True
            )
        ]


def _graphs(shape: StarShape, size: int, rng: np.random.Generator) -> Array:
    """N graphs of A arms of up to M nodes.

    Arms are drawn alike and edges are shuffled, so arm 0 may hold every answer.
    """
    arms, longest = shape.num_arms, shape.max_nodes
    count = rng.integers(shape.min_nodes, longest, size=(size, arms), endpoint=True)  # (N, A) nodes
    offsets = np.ones_like(count) if shape.source == "centre" else count - shape.min_plan
    junction = rng.integers(0, offsets)  # where it stands on each arm: 0 .. offsets - 1 (N, A)

    numbers = np.broadcast_to(np.arange(shape.num_nodes, dtype=np.int32), (size, shape.num_nodes))
    numbers = rng.permuted(numbers, axis=1)
    # Column 0 is the junction; arm a has M - 1 columns from 1 + a (M - 1) on for its other nodes.
    place = np.arange(longest)
    strip = 1 + np.arange(arms)[:, None] * (longest - 1)
    beyond = place > junction[..., None]  # (N, A, M)
    column = np.where(place == junction[..., None], 0, strip + place - beyond)  # (N, A, M)
    nodes = np.take_along_axis(numbers, column.reshape(size, -1), axis=1)
    nodes = nodes.reshape(size, arms, longest)

    edges = np.stack([nodes[..., :-1], nodes[..., 1:]], axis=-1)  # (N, A, M - 1, 2)
    present = np.arange(longest - 1) < count[..., None] - 1  # (N, A, M - 1)
    edges *= present[..., None]  # what a shorter arm lacks is filled up with zeros

    # Edges in random order; the absent ones get the greatest key, hence the end.
    key = np.where(present, rng.random(present.shape), 2.0).reshape(size, -1)
    order = np.argsort(key, axis=1, kind="stable")
    edges_of_graph = edges.reshape(size, -1, 2)
    shuffled = np.take_along_axis(edges_of_graph, order[..., None], axis=1).reshape(size, -1)

    rows = np.zeros((size, 2 + shape.max_prompt + shape.max_answer), dtype=np.int32)
    row, tokens = np.arange(size), 2 * present.sum(axis=(1, 2))
    rows[:, 0] = tokens + 2
    rows[:, 1] = 2 * (count[:, 0] - 1)
    rows[:, 2 : shape.max_prompt] = shuffled
    rows[row, 2 + tokens] = nodes[:, 0, 0]  # source
    rows[row, 3 + tokens] = nodes[row, 0, count[:, 0] - 1]  # goal
    rows[:, 2 + shape.max_prompt :] = edges[:, 0].reshape(size, -1)
    return rows


def _token_of_node(tokenizer: PreTrainedTokenizerBase, num_nodes: int) -> Array:
    """Token id of each node number (num_nodes,)."""
    tokens = [tokenizer.convert_tokens_to_ids(str(node)) for node in range(num_nodes)]
    for node, token in enumerate(tokens):
        if token is None or token == tokenizer.unk_token_id:
            raise DataError(
                f"Star graphs: the tokenizer ({type(tokenizer).__name__}, {len(tokenizer)} tokens) "
                f"has no token for node {node}, expected one for each of 0 to {num_nodes - 1}. "
                f"Use tokenizer=number with size {num_nodes} or more."
            )
    return np.asarray(tokens, dtype=np.int32)
