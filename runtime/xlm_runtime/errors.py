"""The exception tree: every error that a user can cause.

XlmError
├── DiscoveryError                 finding model repositories
│   ├── RegistryError              an xlm_models.json, or a variable, that cannot be read
│   ├── ModelLayoutError           a model root without its package or its configs
│   ├── ModelNotFoundError         a name that no registry knows
│   └── ExternalModelConflictError one name, two roots
├── ConfigError                    composing the configuration
│   ├── ConfigNotFoundError        a group option or a file that does not exist
│   ├── ConfigSyntaxError          YAML that cannot be parsed
│   └── UnknownKeyError            a key or a job type that nobody declared
├── ComponentError                 importing or making what a ``_target_`` names
│   └── ContractError              a component that lacks a method of its contract
├── DataError                      examples that cannot be made, read or fitted
├── CheckpointError                checkpoints and run directories
├── TrainingError                  a run that cannot go on
│   ├── NonFiniteError             a loss, a gradient or a weight that is not finite
│   ├── OutOfMemoryError           a batch that does not fit into memory
│   └── LostProcessError           one of several processes that has ended, and is missed by the others
└── ScaffoldError                  making a new model repository

Each message says what was found and where, what was expected, and what to do. The command line prints
``Error: <message>`` and exits with ``exit_code``; ``XLM_TRACEBACK=1`` shows the traceback too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class XlmError(Exception):
    """Something that the user can put right.

    Attributes:
        exit_code: the process's exit status.
        said: whether it was printed already.
    """

    exit_code = 2
    said = False


class DiscoveryError(XlmError):
    """Model repositories could not be found as asked."""


class RegistryError(DiscoveryError):
    """A registry (xlm_models.json, XLM_MODELS_PATH, XLM_MODELS_PACKAGES) cannot be used as it stands."""


class ModelLayoutError(DiscoveryError):
    """A registered root is not a model repository."""


class ModelNotFoundError(DiscoveryError):
    """No registry knows the model."""


class ExternalModelConflictError(DiscoveryError):
    """Two different roots claim one model name."""


class ConfigError(XlmError):
    """The configuration cannot be composed."""


class ConfigNotFoundError(ConfigError):
    """A config group's option does not exist."""


class ConfigSyntaxError(ConfigError):
    """A YAML file cannot be parsed."""


class UnknownKeyError(ConfigError):
    """A key that no config declares."""


class ComponentError(XlmError):
    """A ``_target_`` cannot be imported or made."""


class ContractError(ComponentError):
    """A component lacks a method of its contract."""


class DataError(XlmError):
    """Examples cannot be made, read, or fitted into their block."""


class CheckpointError(XlmError):
    """A checkpoint or a run directory cannot be used."""


class TrainingError(XlmError):
    """A run that cannot go on as it is configured."""


class NonFiniteError(TrainingError):
    """A loss, a gradient or a weight is not finite."""


class OutOfMemoryError(TrainingError):
    """A batch does not fit into memory."""


class LostProcessError(TrainingError):
    """One of several processes of a run has ended, and the others cannot go on without it."""


class DiskFullError(XlmError):
    """A file cannot be written, as there is no room for it."""


class ScaffoldError(XlmError):
    """A new model repository cannot be made."""


def did_you_mean(found: str, known: Iterable[str], limit: int = 3) -> str:
    """A sentence that names the known words nearest to ``found``; empty if none is near."""
    near = difflib.get_close_matches(found, list(dict.fromkeys(known)), n=limit, cutoff=0.6)
    return f"Did you mean {' or '.join(repr(word) for word in near)}?" if near else ""
