"""The cache of star graphs: what is made once, what is made again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from star_graphs import MEDIUM, Make

from xlm_runtime.datasets import star
from xlm_runtime.errors import DataError
from xlm_runtime.tokenizers import number_tokenizer


@pytest.fixture
def no_generation(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(*arguments: object) -> None:
        raise AssertionError("generated again")

    return lambda: monkeypatch.setattr(star, "generate", refuse)


def files(directory: Path) -> list[str]:
    return sorted(p.relative_to(directory).name for p in directory.rglob("*") if p.is_file())


def test_what_is_cached_is_not_made_again(make_star: Make, no_generation: Callable[[], None]) -> None:
    first = make_star()
    train = list(first["train"])
    assert files(first.cache_directory) == ["train.npy"]
    no_generation()
    assert list(make_star()["train"]) == train
    same_graphs: Iterable[dict[str, Any]] = (
        {"reverse_answer": True},
        {"prompt_length": 40},
        {"answer_length": 40},
        {"tokenizer": number_tokenizer(20)},
    )
    for changes in same_graphs:
        ds = make_star(**changes)
        assert ds.cache_directory == first.cache_directory
        assert len(ds["train"]) == 300
    with pytest.raises(AssertionError, match="generated again"):
        make_star()["val"]


def test_a_split_is_loaded_once(make_star: Make) -> None:
    ds = make_star()
    assert ds["val"] is ds["val"]


def test_every_parameter_changes_the_key(make_star: Make, monkeypatch: pytest.MonkeyPatch) -> None:
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
    keys = [make_star(**{**base, **change}).cache_directory for change in changes]
    monkeypatch.setattr(star, "FORMAT_VERSION", star.FORMAT_VERSION + 1)
    keys.append(make_star(**base).cache_directory)
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
def test_a_damaged_file_is_made_again(make_star: Make, damage: Callable[[bytes], bytes]) -> None:
    ds = make_star()
    train = list(ds["train"])
    file = ds.cache_directory / "train.npy"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    assert list(make_star()["train"]) == train
    assert file.read_bytes() == whole


def test_two_may_make_it_at_once(make_star: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    generate = star.generate

    def together(*arguments: Any) -> Any:
        both.wait(timeout=60)  # neither has found a file
        return generate(*arguments)

    monkeypatch.setattr(star, "generate", together)
    datasets = [make_star(), make_star()]
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda ds: list(ds["train"]), datasets)
    assert one == other
    assert files(datasets[0].cache_directory) == ["train.npy"]


def test_home_is_expanded(make_star: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make_star(cache_dir="~/graphs").cache_directory.is_relative_to(tmp_path / "graphs" / "star")


def test_a_cache_that_cannot_be_used(make_star: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot read the dataset's cache .*cache_dir"):
        make_star(cache_dir=tmp_path / "file")["val"]
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "star").symlink_to(tmp_path / "absent" / "absent")
    with pytest.raises(DataError, match=r"Cannot write the dataset's cache .*cache_dir"):
        make_star(cache_dir=tmp_path / "dangling")["val"]
