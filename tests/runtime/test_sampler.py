"""The order of training examples."""

from __future__ import annotations

import pytest

from xlm_runtime.sampler import EpochOrder


def test_each_epoch_holds_every_example_once_in_another_order() -> None:
    order = EpochOrder(range(50), seed=1)
    first, second = list(order), list(order)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != list(range(50))
    assert list(EpochOrder(range(50), seed=1)) == first
    assert list(EpochOrder(range(50), seed=2)) != first


def test_without_shuffling_every_epoch_goes_from_first_to_last() -> None:
    order = EpochOrder(range(5), seed=1, shuffle=False)
    assert [list(order), list(order)] == [list(range(5))] * 2


@pytest.mark.parametrize(("size", "group", "expected"), [(50, 8, 48), (48, 8, 48), (7, 8, 7), (5, 1, 5)])
def test_an_epoch_is_whole_steps(size: int, group: int, expected: int) -> None:
    """Catches a last step of fewer batches, whose gradient is divided by as many as the others have."""
    order = EpochOrder(range(size), seed=3, group=group)
    assert len(order) == len(list(order)) == expected


def test_it_starts_where_it_is_told_to() -> None:
    whole = EpochOrder(range(20), seed=4)
    epochs = [list(whole), list(whole), list(whole)]
    later = EpochOrder(range(20), seed=4)
    later.start_at(1, 15)
    assert [list(later), list(later)] == [epochs[1][15:], epochs[2]]


def test_an_iterator_that_is_restored_goes_on() -> None:
    order = EpochOrder(range(20), seed=5)
    iterator = iter(order)
    seen = [next(iterator) for _ in range(6)]
    state = iterator.state_dict()
    rest = list(iterator)
    fresh = iter(EpochOrder(range(20), seed=5))
    fresh.load_state_dict(state)
    assert list(fresh) == rest
    assert sorted(seen + rest) == list(range(20))
