"""The Hugging Face hub: fetching a model from it, and putting one there.

huggingface_hub takes a while to import, so each function imports what it needs. Its many exceptions become one
``CheckpointError`` that says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xlm_runtime.errors import CheckpointError, ConfigError

SCHEME = "hf://"
#: What is fetched: no code, nothing that would have to be unpickled.
FETCHED = ("model.safetensors", "config.yaml", "*.json", "README.md")

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def fetch(uri: str) -> Path:
    """The folder, in the hub's cache, with a model of the hub.

    Args:
        uri: ``hf://user/name`` or ``hf://user/name@revision``; a revision is a branch, a tag or a commit.

    Raises:
        ConfigError: it is no such address.
        CheckpointError: no such model or revision, no access, no network.
    """
    repo_id, _, revision = uri.removeprefix(SCHEME).partition("@")
    check_repo_id(repo_id, f"ckpt_path is {uri!r}", "hf://user/name, or hf://user/name@revision")
    from huggingface_hub import snapshot_download

    with _plain_faults(uri):
        return Path(snapshot_download(repo_id, revision=revision or None, allow_patterns=list(FETCHED)))


def push(folder: Path, repo_id: str, private: bool) -> str:
    """Make a repository on the hub and put a folder there, in one commit.

    Args:
        folder: whose files are uploaded.
        repo_id: ``user/name``.
        private: whether others do not see it.

    Returns:
        The repository's address.

    Raises:
        ConfigError: ``repo_id`` is no such name.
        CheckpointError: no token, a name that is taken, no network. If the upload fails, the repository is removed.
    """
    check_repo_id(repo_id, f"repo_id is {repo_id!r}", "user/name")
    from huggingface_hub import HfApi

    api = HfApi()
    with _plain_faults(repo_id):
        api.whoami()  # without a token, nothing is to be made
        url = str(api.create_repo(repo_id, private=private, exist_ok=False))
        try:
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Export of xlm-runtime")
        except BaseException:
            with suppress(Exception):
                api.delete_repo(repo_id)
            raise
    return url


def check_repo_id(repo_id: str | None, found: str, expected: str) -> None:
    """Raise a ConfigError unless ``repo_id`` is ``user/name``."""
    if repo_id is None or not _REPO_ID.fullmatch(repo_id):
        raise ConfigError(f"{found}; expected {expected}.")


@contextmanager
def _plain_faults(what: str) -> Iterator[None]:
    from huggingface_hub import errors

    network_error: Any = errors.HfHubHTTPError.__mro__[1]  # of the library that the hub's client speaks HTTP with
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise CheckpointError(
            "There is no token for the hub: set HF_TOKEN to one that may write, or run `hf auth login`."
        ) from error
    except errors.GatedRepoError as error:
        raise CheckpointError(f"{what}: its owner lets in only whom they have accepted. Ask on its page.") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{what}: the hub has no such repository, or does not show it to you. Correct the name; for a private one, "
            "set HF_TOKEN or run `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{what}: the repository has no such revision. Give a branch, a tag or a commit."
        ) from error
    except errors.HfHubHTTPError as error:
        raise CheckpointError(_refused(what, error.response.status_code, str(error))) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, network_error, ConnectionError) as error:
        raise CheckpointError(
            f"{what}: the hub cannot be reached ({_first_line(error)}). Check the network, and the variables "
            "HF_ENDPOINT and HF_HUB_OFFLINE."
        ) from error


def _refused(what: str, status: int, text: str) -> str:
    if status == 409:
        return f"{what}: the name is taken on the hub, and nothing is overwritten. Choose another repo_id."
    if status in (401, 403):
        return (
            f"{what}: the hub refuses the token ({status}). Use one that may write there: HF_TOKEN, or `hf auth login`."
        )
    return f"{what}: the hub answers with {status}: {text.splitlines()[0]}. Try again later."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
