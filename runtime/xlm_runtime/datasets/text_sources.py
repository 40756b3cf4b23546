"""Where documents come from: local files, or a dataset of the hub; and which of them are in which split.

A source can be read from any of its positions, so that a stream that was stopped goes on where it stood.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from xlm_runtime.datasets.text_files import Place, Reading, check_column, find_files, parse_row, raw_rows
from xlm_runtime.errors import ConfigError, DataError, did_you_mean

Position = dict[str, Any]  # plain values: it is saved in checkpoints
START: Position = {}
_HUB_ROWS = 1000  # read at once


@dataclass(slots=True)
class Record:
    """A document that is not parsed yet.

    Attributes:
        place: for messages.
        after: the source's position behind it.
        read: the source's bytes up to here, roughly; 0 where nobody knows.
    """

    place: Place
    after: Position
    read: int
    raw: Any
    file: Path | None
    how: Reading

    def content(self) -> dict[str, Any]:
        """By column. Raises ``DataError`` for a malformed row."""
        if self.file is None:
            return dict(self.raw)
        return parse_row(self.file, self.place.row, self.raw, self.how)

    def text(self, content: Mapping[str, Any]) -> str:
        """The text of ``content()``. Raises ``DataError`` if it has none."""
        text = content.get(self.how.column)
        if isinstance(text, str):
            return text
        if self.how.column in content:
            found = f"column {self.how.column!r} holds {_kind(text)}, expected text"
        else:
            found = f"there is no column {self.how.column!r}, only {', '.join(map(repr, content)) or 'none'}"
        raise DataError(f"{self.place}: {found}. Correct the row, set dataset.column, or give dataset.preprocess.")


class Source(Protocol):
    """Documents in an order of their own."""

    def records(self, start: Position = START, shuffle: int | None = None) -> Iterator[Record]:
        """The documents behind ``start``. With ``shuffle``, a seed, files come in another order."""
        ...

    def size(self) -> int:
        """In bytes, for the progress bar; 0 where nobody knows."""
        ...

    def key(self) -> Any:
        """What identifies its content, as JSON values."""
        ...


class FileSource:
    """Local files, all of one kind."""

    def __init__(self, path: str | Sequence[str], how: Reading, key: str = "dataset.path") -> None:
        self.files = find_files(path, key)
        self.how = how

    def records(self, start: Position = START, shuffle: int | None = None) -> Iterator[Record]:
        files = list(self.files)
        if shuffle is not None:
            random.Random(f"files {shuffle}").shuffle(files)
        first, row = start.get("file", 0), start.get("row", 0)
        read = sum(file.stat().st_size for file in files[:first])
        for place, file in enumerate(files[first:], first):
            number = 0
            for number, raw in raw_rows(file, self.how, row if place == first else 0):
                if isinstance(raw, bytes):
                    read += len(raw) + 1  # the end of its line
                yield Record(Place(str(file), number), {"file": place, "row": number}, read, raw, file, self.how)
            read = sum(done.stat().st_size for done in files[: place + 1])

    def size(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    def key(self) -> Any:
        stats = [(file, file.stat()) for file in self.files]
        return {"files": [[str(file), stat.st_size, stat.st_mtime_ns] for file, stat in stats]}


class HubSource:
    """One split of a dataset of the hub, read with the library ``datasets``.

    It is loaded when it is first read: a cache that is there needs no hub.
    """

    def __init__(
        self, name: str, config_name: str | None, revision: str | None, split: str, streaming: bool, how: Reading
    ) -> None:
        if Path(name).expanduser().exists():
            raise ConfigError(f"dataset.name is {name!r}, which is on this machine: set dataset.path instead.")
        self.name, self.config_name, self.revision, self.split = name, config_name, revision, split
        self.streaming = streaming
        self.how = how

    def records(self, start: Position = START, shuffle: int | None = None) -> Iterator[Record]:
        data = self._load()
        row = start.get("row", 0)
        named = f"{self.name} (split {self.split})"
        if not self.streaming:
            for first in range(row, len(data), _HUB_ROWS):
                columns = data[first : first + _HUB_ROWS]  # one row at a time takes several times as long
                for number, values in enumerate(zip(*columns.values(), strict=True), first + 1):
                    content = dict(zip(columns, values, strict=True))
                    yield Record(Place(named, number), {"row": number}, 0, content, None, self.how)
            return
        if "hub" in start:
            data.load_state_dict(start["hub"])
        # iter(), since __iter__ in a loader's process would leave out what it takes for another process's part.
        for number, batch in enumerate(data.iter(batch_size=1), row + 1):
            content = {column: values[0] for column, values in batch.items()}
            after = {"row": number, "hub": data.state_dict()}
            yield Record(Place(named, number), after, 0, content, None, self.how)

    def size(self) -> int:
        return 0

    def key(self) -> Any:
        return {"hub": [self.name, self.config_name, self.revision, self.split]}

    def _load(self) -> Any:
        import datasets

        try:
            data = datasets.load_dataset(
                self.name, self.config_name, split=self.split, revision=self.revision, streaming=self.streaming
            )
        except Exception as error:  # of the hub, the network, pyarrow: each has its own
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(
                f"The dataset {self.name!r} (config_name {self.config_name}, split {self.split}, revision "
                f"{self.revision}) cannot be loaded: {words}\nCorrect dataset.name, config_name, splits and revision; "
                "without a network, give dataset.path with files of your own."
            ) from error
        if data.column_names is not None:
            check_column(f"The dataset {self.name!r}", data.column_names, self.how)
            if not self.how.all_columns:
                data = data.select_columns([self.how.column])
        return data


class Splits:
    """Which documents are in which split.

    A split has a source of its own, or is a share of the training source: a document is put into it by a hash of what
    it holds, so that copies of a document are in one split only.

    Args:
        own: sources by split; ``train`` among them.
        shares: of the training source, for splits without a source of their own.
        seed: of the hash.

    Raises:
        ConfigError: shares that are no shares; no training source.
    """

    def __init__(self, own: Mapping[str, Source], shares: Mapping[str, float | None], seed: int) -> None:
        self.own = dict(own)
        given = {split: share for split, share in shares.items() if share}
        numbers = all(isinstance(share, int | float) and 0 < share < 1 for share in given.values())
        self.shares = {split: share for split, share in given.items() if split not in own}
        if not numbers or "train" in given or sum(self.shares.values()) >= 1:
            raise ConfigError(
                f"dataset.shares is {dict(shares)}; expected shares between 0 and 1, less than 1 together, for splits "
                "other than 'train', which takes the rest."
            )
        if "train" not in own:
            raise ConfigError(f"The dataset's splits are {', '.join(own) or 'none'}; expected 'train' among them.")
        _check_names(own, self.shares)
        self.seed = seed

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.own, *self.shares]))

    def source(self, split: str) -> Source:
        """Where the documents of a split stand."""
        return self.own[split if split in self.own else "train"]

    def split_of(self, origin: str, record: Record, content: Mapping[str, Any], only_text: bool) -> str:
        """The split of a document that was read from ``own[origin]``."""
        if origin != "train" or not self.shares:
            return origin
        text = record.text(content) if only_text else json.dumps(content, sort_keys=True, default=str)
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8, salt=str(self.seed).encode()[:16])
        at = int.from_bytes(digest.digest(), "big") / 2**64
        for split, share in self.shares.items():
            at -= share
            if at < 0:
                return split
        return "train"

    def key(self) -> Any:
        return {"own": {split: source.key() for split, source in self.own.items()}, "shares": self.shares}


def _check_names(own: Mapping[str, Source], shares: Mapping[str, float]) -> None:
    """Refuse a source whose split's name is nearly that of a share: it would be prepared, and never read."""
    for split in own:
        near = [share for share in shares if split.startswith(share) or did_you_mean(split, [share])]
        if near:
            raise ConfigError(
                f"The dataset's split {split!r} has a source of its own, and {near[0]!r} would be a share of the "
                f"training documents (dataset.shares). Did you mean {near[0]!r}? If both are meant, set "
                f"dataset.shares.{near[0]}=null, and name the split that is to be read in datamodule.splits."
            )


def make_splits(
    path: Any,
    name: str | None,
    config_name: str | None,
    revision: str | None,
    splits: Mapping[str, str],
    shares: Mapping[str, float | None],
    streaming: bool,
    seed: int,
    how: Reading,
) -> Splits:
    """The splits of a configuration (``TextDataset`` explains the arguments).

    Raises:
        ConfigError, DataError: nothing is named, or what is named is not there.
    """
    own: dict[str, Source]
    if isinstance(path, Mapping):
        own = {str(split): FileSource(files, how, f"dataset.path.{split}") for split, files in path.items() if files}
    elif path:
        own = {"train": FileSource(path, how)}
    elif name:
        own = {
            split: HubSource(name, config_name, revision, theirs, streaming and split == "train", how)
            for split, theirs in splits.items()
            if theirs
        }
    else:
        raise ConfigError(
            "dataset.path and dataset.name are both empty. Give your text: dataset.path=<a file, a glob, a directory> "
            "(.txt, .jsonl, .csv, .parquet), or dataset.name=<a dataset of the hub>."
        )
    return Splits(own, shares, seed)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{value!r:.40} ({type(value).__name__})"
