"""A written file is the old one or the new one, whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from xlm_runtime.files import write_text


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_text_is_utf_8_and_directories_are_made(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file.txt"
    write_text(file, "größer →\nzwei\r\n")
    assert file.read_bytes() == "größer →\nzwei\r\n".encode()


def test_a_new_text_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    write_text(file, "a longer old text")
    write_text(file, "new")
    assert file.read_text(encoding="utf-8") == "new"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    write_text(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "half of the new one \ud800")
    assert file.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_failure_at_any_moment_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    def fail(*args: object) -> None:
        raise error

    file = tmp_path / "file.txt"
    write_text(file, "old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_text(file, "new")
    assert file.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # At the rename, the last moment before the new file stands, a reader still has the whole old one.
    file = tmp_path / "file.txt"
    write_text(file, "old")
    seen: list[str] = []
    rename = os.replace

    def look(source: str, target: str) -> None:
        seen.append(file.read_text(encoding="utf-8"))
        assert Path(source).read_text(encoding="utf-8") == "new"
        assert Path(source).parent == tmp_path  # the same file system
        rename(source, target)

    monkeypatch.setattr(os, "replace", look)
    write_text(file, "new")
    assert seen == ["old"]


def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    file = tmp_path / "file.txt"
    write_text(file, "text")
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    assert os.umask(umask) == umask  # and the umask is what it was
