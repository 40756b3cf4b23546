"""Text files on disk: which there are, and their rows.

A row is read in two steps, so that a row that another process takes need not be parsed: ``raw_rows`` finds rows,
``parse_row`` makes one a dict by column. Rows are counted from 1; of .csv, the header is none.
"""

from __future__ import annotations

import codecs
import csv
import glob
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from xlm_runtime.errors import DataError, did_you_mean

#: How a .txt file is cut into documents.
SAMPLE_BY = ("line", "paragraph", "document")
_PARQUET_ROWS = 1024  # read at once
_LONGEST_FIELD = 2**31 - 1  # of .csv; Python's own limit is 128 KiB


class Place(NamedTuple):
    """Where a row stands; ``str(place)`` is for messages."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}"


class Reading(NamedTuple):
    """How files are read: ``column`` holds the text; with ``all_columns`` the others are read, too."""

    column: str
    all_columns: bool
    sample_by: str


def find_files(path: str | Sequence[str], key: str) -> list[Path]:
    """The files that ``path`` names, absolute and sorted: a file, a glob, a directory, or a list of these.

    Args:
        path: "~" is the user's home.
        key: of the configuration, for messages.

    Raises:
        DataError: nothing matches, a file of an unknown kind, files of several kinds.
    """
    found: list[Path] = []
    for one in [path] if isinstance(path, str) else path:
        place = Path(str(one)).expanduser()
        if place.is_dir():
            files = [file for file in place.rglob("*") if file.suffix in FORMATS and _visible(file, place)]
            missing = f"the directory holds no file of these kinds: {', '.join(FORMATS)}"
        elif place.is_file():
            files, missing = [place], ""
        else:
            files = [Path(name) for name in glob.glob(str(place), recursive=True) if Path(name).is_file()]
            missing = "no file matches; relative paths begin at the current directory"
        if not files:
            raise DataError(f"{key} is {str(one)!r}, but {missing} ({Path.cwd()}). Correct {key}.")
        found += [file.resolve() for file in files]
    kinds = {file.suffix: file for file in found}
    for suffix, file in kinds.items():
        if suffix not in FORMATS:
            near = did_you_mean(suffix, FORMATS)
            raise DataError(f"{file} is of an unknown kind; expected one of: {', '.join(FORMATS)}. {near}".rstrip())
    if len(kinds) > 1:
        examples = " and ".join(str(file) for file in list(kinds.values())[:2])
        raise DataError(f"{key} names files of several kinds, such as {examples}; expected one kind. Use a glob: *.txt")
    return sorted(dict.fromkeys(found))


def raw_rows(file: Path, how: Reading, start: int = 0) -> Iterator[tuple[int, Any]]:
    """``(row, raw)`` of each row after the first ``start`` ones.

    Raises:
        DataError: the file cannot be read, or has no such column.
    """
    try:
        yield from FORMATS[file.suffix].rows(file, how, start)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}. Make it readable, or leave it out.") from error


def parse_row(file: Path, row: int, raw: Any, how: Reading) -> dict[str, Any]:
    """The row by column.

    Raises:
        DataError: it is malformed; names file and row.
    """
    return FORMATS[file.suffix].parse(Place(str(file), row), raw, how)


def _visible(file: Path, directory: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(directory).parts)


def _decoded(place: Place, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        encoding = "utf-16" if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin1"
        raise DataError(
            f"{place}: not UTF-8: byte 0x{raw[error.start]:02x} at place {error.start} of the row. Convert the file: "
            f"iconv -f {encoding} -t utf-8 FILE"
        ) from error


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream):
            yield line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line


def _text_rows(file: Path, how: Reading, start: int) -> Iterator[tuple[int, bytes]]:
    if how.sample_by == "document":
        rows: Iterator[bytes] = iter([b"".join(_lines(file))])
    else:
        rows = _paragraphs(file) if how.sample_by == "paragraph" else _lines(file)
    for number, raw in islice(enumerate(rows, 1), start, None):
        text = raw if how.sample_by == "document" else raw.strip(b"\r\n")
        if text.strip():
            yield number, text


def _paragraphs(file: Path) -> Iterator[bytes]:
    lines: list[bytes] = []
    for line in _lines(file):
        if line.strip():
            lines.append(line)
        elif lines:
            yield b"".join(lines)
            lines = []
    if lines:
        yield b"".join(lines)


def _parse_text(place: Place, raw: bytes, how: Reading) -> dict[str, Any]:
    return {how.column: _decoded(place, raw)}


def _json_rows(file: Path, how: Reading, start: int) -> Iterator[tuple[int, bytes]]:
    for number, raw in islice(enumerate(_lines(file), 1), start, None):
        if raw.strip():
            yield number, raw.rstrip()


def _parse_json(place: Place, raw: bytes, how: Reading) -> dict[str, Any]:
    text = _decoded(place, raw)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(
            f"{place}: not a line of JSON: {error}: {_shown(text)}. Expected one object a line, such as "
            f'{{"{how.column}": "..."}}'
        ) from error
    if not isinstance(value, dict):
        raise DataError(f'{place}: {_shown(text)} is no JSON object. Expected {{"{how.column}": "..."}}.')
    return value


def _csv_rows(file: Path, how: Reading, start: int) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(_LONGEST_FIELD)
    lines = (_decoded(Place(str(file), number), raw) for number, raw in enumerate(_lines(file)))
    reader = csv.reader(lines, strict=True)
    number = 0
    try:
        header = next(reader, [])
        check_column(str(file), header, how)
        for number, fields in islice(enumerate(reader, 1), start, None):
            if len(fields) == len(header):
                yield number, dict(zip(header, fields, strict=True))
            elif fields:
                raise DataError(
                    f"{Place(str(file), number)} (line {reader.line_num}): {len(fields)} fields, but the header has "
                    f"{len(header)}: {', '.join(header)}. Put a field that holds a comma in quotation marks."
                )
    except csv.Error as error:
        raise DataError(f"{Place(str(file), number + 1)} (line {reader.line_num}): not CSV: {error}.") from error


def _parquet_rows(file: Path, how: Reading, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file, memory_map=True) as table:
            check_column(str(file), table.schema_arrow.names, how)
            passed = 0
            groups: list[int] = []
            for group in range(table.num_row_groups):
                count = table.metadata.row_group(group).num_rows
                if not groups and passed + count <= start:
                    passed += count
                else:
                    groups.append(group)
            columns = None if how.all_columns else [how.column]
            batches = table.iter_batches(_PARQUET_ROWS, row_groups=groups, columns=columns)
            rows = (row for batch in batches for row in batch.to_pylist())
            yield from islice(enumerate(rows, passed + 1), start - passed, None)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{file} cannot be read as parquet: {str(error).rstrip(' .')}. Make it again, or leave it out."
        ) from error


def _as_it_is(place: Place, raw: dict[str, Any], how: Reading) -> dict[str, Any]:
    return raw


def check_column(file: str, columns: Sequence[str], how: Reading) -> None:
    """Raise a DataError if a table lacks the column of the text; a preprocess function sees to its own columns."""
    if how.column not in columns and not how.all_columns:
        if not columns:
            raise DataError(f"{file} is empty: expected a table with a column {how.column!r}. Leave it out.")
        near = did_you_mean(how.column, columns)
        raise DataError(
            f"{file} has no column {how.column!r}; it has {', '.join(map(repr, columns))}. "
            f"{near}{' ' if near else ''}Set dataset.column."
        )


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 60 else text[:60] + "…")


class Format(NamedTuple):
    """How files of one kind are read."""

    rows: Callable[[Path, Reading, int], Iterator[tuple[int, Any]]]
    parse: Callable[[Place, Any, Reading], dict[str, Any]]


FORMATS: dict[str, Format] = {
    ".txt": Format(_text_rows, _parse_text),
    ".jsonl": Format(_json_rows, _parse_json),
    ".csv": Format(_csv_rows, _as_it_is),
    ".parquet": Format(_parquet_rows, _as_it_is),
}
