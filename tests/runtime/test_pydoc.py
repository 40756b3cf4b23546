"""dataset=pydoc: splits by topic, nothing lost, the same every time."""

from pydoc_data.topics import topics as reference

import pytest

from xlm_runtime.datasets.pydoc import PydocTopics, bpe, topics
from xlm_runtime.errors import DataError
from xlm_runtime.tokenizers import byte_tokenizer


def test_every_topic_is_in_one_split_and_shares_are_kept() -> None:
    splits = topics(seed=0)
    assert sorted(text for texts in splits.values() for text in texts) == sorted(reference.values())
    total = sum(map(len, reference.values()))
    for split in ("val", "test"):
        assert 0.02 * total < sum(map(len, splits[split])) <= 0.05 * total


def test_the_seed_decides_the_split() -> None:
    assert topics(seed=0) == topics(seed=0)
    assert topics(seed=0)["val"] != topics(seed=1)["val"]


def test_blocks_hold_every_byte_in_order() -> None:
    tokenizer = byte_tokenizer()
    blocks = PydocTopics(tokenizer, block_size=100, special_tokens=2)["val"]
    assert max(len(block["token_ids"]) for block in blocks) == 98
    text = "".join(tokenizer.decode(block["token_ids"]) for block in blocks)
    joined = "".join(topics(seed=0)["val"])
    # A block may end within a character, which then decodes by halves: compare bytes.
    ids = [i for block in blocks for i in block["token_ids"]]
    assert tokenizer.decode(ids) == joined
    assert len(text) >= len(joined)


def test_an_index_is_unique_over_all_splits() -> None:
    data = PydocTopics(byte_tokenizer(), block_size=256)
    indices = [block["index"] for split in data.splits for block in data[split]]
    assert len(set(indices)) == len(indices)
    assert all(0 <= index < 2**63 for index in indices)


def test_the_bpe_is_trained_on_the_training_topics() -> None:
    tokenizer = bpe(vocab_size=600, seed=0)
    assert len(tokenizer) == 600
    text = topics(seed=0)["val"][0]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(ids) < len(text) / 2


@pytest.mark.parametrize("shares", [{"val": 0.0}, {"val": 0.6, "test": 0.4}, {"train": 0.5}, {"val": -0.1}])
def test_shares_that_cannot_be(shares: dict[str, float]) -> None:
    with pytest.raises(DataError, match="shares"):
        topics(seed=0, shares=shares)


def test_bad_blocks_and_splits() -> None:
    with pytest.raises(DataError, match="block_size is 2"):
        PydocTopics(byte_tokenizer(), block_size=2)
    with pytest.raises(DataError, match=r"no split 'vall'.*'val'"):
        PydocTopics(byte_tokenizer(), block_size=64)["vall"]
