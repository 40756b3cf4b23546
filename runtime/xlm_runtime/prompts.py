"""Prompts as people write them: a list on the command line, a file, and text with markers where something is missing.

    The <mask> sat on the <mask:3>.       one token is missing, then three

Nothing here knows a tokenizer or a model; ``prompt_examples`` makes examples of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlm_runtime.errors import ConfigError, DataError

#: A marker, and anything that begins like one.
_MARKER = re.compile(r"<mask(?::([1-9][0-9]{0,5}))?>")
_BEGUN = re.compile(r"<mask(?![a-z])[^>\n]{0,20}>?", re.IGNORECASE)
#: What a line of a .jsonl file may call its prompt.
KEYS = ("prompt", "text")


@dataclass(frozen=True)
class Prompt:
    """What is given of a text.

    Attributes:
        text: as it was written.
        parts: pieces of text, and between them how many tokens are missing there; empty where nothing is given.
    """

    text: str
    parts: tuple[str | int, ...]

    @property
    def marked(self) -> bool:
        """Whether it says where something is missing."""
        return any(isinstance(part, int) for part in self.parts)


#: Nothing is given: the text is written from nothing.
NOTHING = Prompt("", ())


@dataclass(frozen=True)
class Asked:
    """What generation was asked for, where it is no split.

    Attributes:
        name: "prompts" or "unconditional"; rows are kept under it.
        prompts: one a row, in their order.
    """

    name: str
    prompts: tuple[Prompt, ...]


def asked_for(
    prompts: Any = None, prompts_file: str | None = None, unconditional: bool = False, num_samples: int | None = None
) -> Asked | None:
    """What the four keys of ``job_type=generate`` ask for; None: the examples of a split.

    Args:
        prompts: a list of texts.
        prompts_file: .txt, a prompt a line, or .jsonl, an object a line.
        unconditional: texts from nothing, ``num_samples`` of them.
        num_samples: how many texts from nothing; at most so many prompts.

    Raises:
        ConfigError: more than one of them, no list of texts, no number of samples.
        DataError: a prompt that is empty or has a malformed marker, a file that cannot be read.
    """
    given = {"prompts": prompts is not None, "prompts_file": prompts_file is not None, "unconditional": unconditional}
    named = [key for key, is_given in given.items() if is_given]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} are given; expected one of them: leave the others out.")
    if unconditional:
        if num_samples is None:
            raise ConfigError("unconditional=true, but num_samples is null: say how many texts, num_samples=64 say.")
        return Asked("unconditional", (NOTHING,) * num_samples)
    if prompts is not None:
        texts, places = _listed(prompts), "prompts, number {}"
    elif prompts_file is not None:
        return Asked("prompts", read_prompts(Path(prompts_file))[:num_samples])
    else:
        return None
    return Asked("prompts", tuple(parse(text, places.format(n)) for n, text in enumerate(texts, 1))[:num_samples])


def parse(text: str, place: str) -> Prompt:
    """A prompt and its markers.

    Args:
        text: what is given.
        place: where it stands, for messages.

    Raises:
        DataError: it is empty, or no text, or a marker is malformed.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes that the shell gave, or half of a pair in JSON
        raise DataError(
            f"{place}: character {error.start + 1} of {_short(text)} is no text: no UTF-8 can say it. Write the prompt "
            "anew, or save it as UTF-8 and give the file: prompts_file=prompts.txt."
        ) from error
    if not text.strip():
        raise DataError(
            f"{place}: the prompt is empty. Write what is given; texts from nothing are made by "
            "unconditional=true num_samples=<how many>."
        )
    parts: list[str | int] = []
    end = 0
    for found in _BEGUN.finditer(text):
        marker = _MARKER.match(text, found.start())
        if marker is None:
            raise DataError(
                f"{place}: the marker {found.group()!r}, at character {found.start() + 1} of {_short(text)}, is "
                "malformed. Expected <mask> for one missing token, or <mask:3> for three."
            )
        parts += [text[end : marker.start()], int(marker[1] or 1)]
        end = marker.end()
    parts.append(text[end:])
    return Prompt(text, tuple(part for part in parts if part != ""))


def read_prompts(file: Path) -> tuple[Prompt, ...]:
    """The prompts of a file: a line each (.txt), or an object a line with "prompt" or "text" (.jsonl).

    Lines without a character are passed over.

    Raises:
        DataError: no such file, another kind of file, no UTF-8, no prompt in it, a line that cannot be used.
    """
    if file.suffix not in (".txt", ".jsonl"):
        raise DataError(
            f"prompts_file is {file}; expected a .txt file with a prompt a line, or a .jsonl file with an object "
            '{"prompt": "..."} a line.'
        )
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"prompts_file: {file} cannot be read: {error.strerror}. Correct the path.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(
            f"prompts_file: {file} is not UTF-8: byte {error.object[error.start]:#04x} in line {line}. "
            "Save it as UTF-8 (iconv -t UTF-8 converts it)."
        ) from error
    text = text.removeprefix("\ufeff")  # a mark that some editors put in front, and no prompt's
    lines = [(f"{file}, line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"prompts_file: {file} is empty; expected a prompt a line.")
    if file.suffix == ".jsonl":
        lines = [(place, _of_json(line, place)) for place, line in lines]
    return tuple(parse(line.removesuffix("\r"), place) for place, line in lines)


def _of_json(line: str, place: str) -> str:
    expected = 'expected an object with the text under "prompt" or "text", such as {"prompt": "Once upon"}.'
    try:
        content = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place}: no JSON ({error}); {expected}") from error
    values = [content[key] for key in KEYS if key in content] if isinstance(content, dict) else []
    if not values or not isinstance(values[0], str):
        raise DataError(f"{place}: {_short(line)}; {expected}")
    return str(values[0])


def _listed(prompts: Any) -> list[str]:
    if isinstance(prompts, str) or not isinstance(prompts, Sequence) or not prompts:
        raise ConfigError(f'prompts is {prompts!r}; expected a list of texts: \'prompts=["...","..."]\'.')
    for number, text in enumerate(prompts, 1):
        if not isinstance(text, str):
            raise ConfigError(
                f"prompts, number {number}, is {text!r}; expected text. Put it into quotes, and the whole into others: "
                "'prompts=[\"1 2 3\"]'."
            )
    return list(prompts)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
