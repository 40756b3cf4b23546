"""An exported model: a folder with all that is needed to run it, in formats that hold no code.

    model.safetensors    the weights; its metadata says the step and the version of the runtime
    config.yaml          the configuration, with the tokenizer's facts
    tokenizer.json …     the tokenizer
    README.md            the model card

``source`` leads from a ``ckpt_path`` to a file or such a folder; ``config_of`` and ``load_weights`` read either.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from xlm_runtime import __version__, checkpoint, hub
from xlm_runtime.config_file import check_file
from xlm_runtime.discovery import discover
from xlm_runtime.errors import CheckpointError, XlmError, did_you_mean
from xlm_runtime.locate import locate

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
TOKENIZER = "xlm_runtime.tokenizers.exported_tokenizer"

#: Where what a configuration from elsewhere may make is defined, besides the packages of models that are found here.
TRUSTED = (
    *(
        f"xlm_runtime.{name}"
        for name in ("callbacks", "datamodule", "datasets", "harness", "metrics", "noise", "tokenizers")
    ),
    *("torch.optim", "torch.nn", "torchmetrics", "lightning.pytorch.trainer", "lightning.pytorch.strategies"),
    "transformers.optimization",
)

#: The interpolations that a configuration from elsewhere may hold: of a key, and of where the cache is.
_INTERPOLATION = re.compile(r"\$\{(?:\.*[A-Za-z_][\w.\[\]-]*|oc\.env:XLM_CACHE_DIR(?:,[^${}]*)?)\}")


def source(ckpt_path: str) -> Path:
    """The file or folder that ``ckpt_path`` names; ``hf://user/name@revision`` is fetched.

    Raises:
        ConfigError, CheckpointError: it cannot be fetched.
    """
    return hub.fetch(ckpt_path) if ckpt_path.startswith(hub.SCHEME) else Path(ckpt_path)


def is_exported(path: Path) -> bool:
    """Whether it is a folder that is, or was to be, an exported model."""
    return path.is_dir() and ((path / WEIGHTS).is_file() or (path / CONFIG).is_file())


def config_of(path: Path) -> str:
    """The configuration, as YAML text, of a checkpoint or an exported folder.

    Raises:
        CheckpointError: there is none, or it names parts of neither the runtime nor a discovered model.
        ConfigSyntaxError: it is no YAML.
    """
    if not is_exported(path):
        return checkpoint.config_of(path)
    _check_files(path)
    check_file(path / CONFIG)
    content = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "model" not in content:
        raise CheckpointError(
            f"{path / CONFIG} has no model in it: it is not the configuration of a run. Export again."
        )
    with version_named(path):
        _check_targets(content, path / CONFIG)
    content["run_dir"] = "runs/${job_name}"  # no file says where here something is written
    content["evaluators"] = []  # nor which function is called with what was
    if isinstance(content.get("tokenizer"), dict) and content["tokenizer"].get("_target_") == TOKENIZER:
        content["tokenizer"]["path"] = str(path)
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


@contextmanager
def version_named(path: Path) -> Iterator[None]:
    """Errors meanwhile also say so if the checkpoint or folder was written by another version of the runtime: what it
    asks for may not be there, or not be there any more.
    """
    try:
        yield
    except XlmError as error:
        version = _version(path)
        if version in (None, __version__):
            raise
        raise type(error)(
            f"{error}\n{path} was written by xlm-runtime {version}, and this is {__version__}: install that version "
            "(and its models) if this is the cause."
        ) from error


def _version(path: Path) -> str | None:
    """Of the runtime that wrote it; None where it does not say, or cannot be read."""
    try:
        if not is_exported(path):
            return str(checkpoint.read(path)[checkpoint.KEY]["version"])
        return metadata(path).get("xlm_version")
    except (CheckpointError, KeyError, TypeError, SafetensorError, OSError):
        return None


def metadata(path: Path) -> dict[str, str]:
    """What stands in an exported folder's file of weights beside them."""
    with safe_open(path / WEIGHTS, framework="pt") as file:
        return file.metadata() or {}


def load_weights(module: nn.Module, path: Path, model: Mapping[str, Any] | None = None) -> int:
    """Load a checkpoint's or an exported folder's weights into a Harness of the same shape.

    Args:
        module: the Harness.
        path: of the file or folder.
        model: the configured network's node: weights of another package's are refused, and changed settings told.

    Returns:
        The optimizer step at which they were saved.

    Raises:
        CheckpointError: no such file, a damaged one, or weights that do not fit.
    """
    if not is_exported(path):
        return checkpoint.load_weights(module, path, model)
    _check_files(path)
    try:
        with safe_open(path / WEIGHTS, framework="pt") as file:
            step: str = (file.metadata() or {}).get("step", "0")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path / WEIGHTS} cannot be read: the file is damaged or cut short. ({error})\nExport the model again."
        ) from error
    remark = ""
    if model is not None:
        remark = checkpoint.check_model((path / CONFIG).read_text(encoding="utf-8"), model, path)
    checkpoint.load_state(module, state, path / WEIGHTS)
    print(remark, end="", file=sys.stderr, flush=True)
    return int(step) if step.isdecimal() else 0


def write_weights(module: nn.Module, file: Path, step: int, further: Mapping[str, str]) -> None:
    """A Harness's weights as safetensors, with ``further`` metadata. What has two names is written twice."""
    state: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in module.state_dict().items():
        whole = value.detach().cpu().contiguous()
        memory = whole.untyped_storage().data_ptr()
        state[name] = whole.clone() if memory in seen else whole
        seen.add(memory)
    save_file(state, file, metadata={"format": "pt", "step": str(step), "xlm_version": __version__, **further})


def _check_files(path: Path) -> None:
    for name in (WEIGHTS, CONFIG):
        if not (path / name).is_file():
            raise CheckpointError(
                f"{path} has no {name}: it is no exported model. Give a folder that job_type=export wrote, a .ckpt "
                "file, or of a run its name: job_name=<name>."
            )
    for name in TOKENIZER_FILES:
        if not (path / name).is_file():
            raise CheckpointError(
                f"{path} has no {name}: without its tokenizer the model cannot be used. Expected "
                f"{' and '.join(TOKENIZER_FILES)}, as job_type=export writes them. Export the model again, or fetch "
                "the whole folder."
            )


def _check_targets(content: dict[str, Any], file: Path) -> None:
    """Refuse a configuration that would import, or have Hydra make, what nobody here has installed as a model."""
    models = discover().models
    for key in ("hydra", "defaults"):
        if key in content:
            raise CheckpointError(f"{file} has a key '{key}', which no exported model has. Export the model again.")
    for text in _strings(content):
        # A function makes configuration of text, behind the back of what follows; its name may be put together.
        if "${" in _INTERPOLATION.sub("", text):
            raise CheckpointError(
                f"{file} has an interpolation by a function: {text!r}. Expected names of keys alone, such as "
                "${vocab.size}. Nothing is loaded from there."
            )
    packages = {path.partition(".")[0] for path in TRUSTED} | set(models)
    for key, path in _dotted_paths(content):
        # What is named, and what that is: modules hold others.
        known = path.partition(".")[0] in packages
        module = str(getattr(locate(path, f"'{key}' in {file}"), "__module__", "")) if known else ""
        if not any(module == name or module.startswith(f"{name}.") for name in (*TRUSTED, *models)):
            raise CheckpointError(
                f"{file}: '{key}' names {path}, which is a part of neither the runtime nor a model that is found here. "
                f"{did_you_mean(path.partition('.')[0], models)}\nModels: {', '.join(models) or 'none'}. Install or "
                "register the model's package; nothing else is made because a file says so."
            )


def _strings(node: Any) -> Iterator[str]:
    """Every text of a parsed configuration, keys too."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from (*_strings(name), *_strings(value))
    elif isinstance(node, list | tuple | set):
        for value in node:
            yield from _strings(value)
    elif isinstance(node, str):
        yield node


def _dotted_paths(node: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(node, list):
        return [found for n, value in enumerate(node) for found in _dotted_paths(value, f"{key}[{n}]")]
    if not isinstance(node, dict):
        return []
    found = []
    for name, value in node.items():
        place = f"{key}.{name}" if key else str(name)
        if name in ("_target_", "update", "preprocess") and isinstance(value, str):
            found.append((place, value))
        else:
            found += _dotted_paths(value, place)
    return found
