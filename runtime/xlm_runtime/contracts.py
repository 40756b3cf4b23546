"""What a model repository implements: four parts made for one another, and optionally a noise schedule.

The parts of one model need only fit one another, never those of another model: what a batch holds, what the
loss returns and what a prediction is are the model's own types. The runtime moves them; it never looks inside
beyond the few names that stand here. Of each part the runtime calls:

- ``Collator``: ``collator(examples) -> batch``.
- ``Model``: nothing; loss and predictor call it (an ``nn.Module``: ids -> logits).
- ``LossFunction``: ``configure(pl_module)`` once, if it has it, then ``loss_fn(batch) -> {"loss": ...}``.
- ``Predictor``: ``check_batch(batch)`` once, if it has it; ``predict(batch) -> preds``, then
  ``to_dict(batch, preds) -> rows``.
- ``NoiseSchedule``: nothing; loss and predictor call it.

Everything a part needs arrives in its ``__init__``: a loss and a predictor are made with the keywords
``model``, ``tokenizer`` and ``noise_schedule`` besides their own configuration, a collator with ``tokenizer``.
A part may be an ``nn.Module``; its parameters are then registered, moved, saved and optimised, once each.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from xlm_runtime.harness import Harness

T_in = TypeVar("T_in", contravariant=True)
T_out = TypeVar("T_out", covariant=True)
T_batch = TypeVar("T_batch", contravariant=True)
T_preds = TypeVar("T_preds")


class LossFunction(Protocol, Generic[T_in, T_out]):
    """The training objective.

    Attributes:
        model: the network that the loss runs.
        tokenizer: its vocabulary.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase

    def loss_fn(self, batch: T_in) -> T_out:
        """The loss of one batch, as a dict with ``"loss"`` (a scalar tensor, differentiable in training)
        and whatever else metrics or the log want. Must not write into ``batch``.
        """
        ...

    def configure(self, pl_module: Harness) -> None:
        """Called once on the device, before the first step. Override it to turn Python numbers into
        tensors of that device, so that ``loss_fn`` compiles without a graph break. Does nothing by default.
        """


class Predictor(Protocol, Generic[T_batch, T_preds]):
    """Inference: a loop over the model that makes sequences.

    Attributes:
        model: the network that the predictor runs.
        tokenizer: turns ids into text.
        noise_schedule: for models that have one, else ``None``.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    noise_schedule: Any

    def predict(self, batch: T_batch) -> T_preds:
        """Sequences for every row of the batch, as a dict of tensors and lists. Runs without gradients."""
        ...

    def check_batch(self, batch: T_batch) -> None:
        """Called with one example's batch before training begins: raise a ConfigError if options do not fit such a
        batch, so that a run does not end at its first validation. Does nothing by default.
        """

    def to_dict(self, batch: T_batch, preds: T_preds) -> list[dict[str, Any]]:
        """One JSON-serialisable dict a row. The runtime knows the keys ``prompt``, ``text`` (what was
        generated) and ``truth`` (what was expected, where that is known); all others are the model's own.
        """
        ...


@runtime_checkable
class Collator(Protocol):
    """Examples to one batch, for training on plain text.

    An example is ``{"token_ids": list[int], "index": int}``: raw ids without special tokens, and the
    example's place in its split.
    """

    def __call__(self, examples: list[dict[str, Any]]) -> Any: ...


@runtime_checkable
class Seq2SeqCollator(Collator, Protocol):
    """Examples to one batch, for training on prompts and answers: examples also hold ``prompt_ids``,
    and ``token_ids`` is the answer.
    """

    def __call__(self, examples: list[dict[str, Any]]) -> Any: ...


@runtime_checkable
class Seq2SeqCollatorPrediction(Collator, Protocol):
    """Examples to one batch, for answering prompts. The answer is known in evaluation only: ``token_ids``
    may be missing.
    """

    def __call__(self, examples: list[dict[str, Any]]) -> Any: ...


@runtime_checkable
class CollatorPrediction(Collator, Protocol):
    """Examples to one batch, for continuing text, or writing it from nothing: ``prompt_ids`` is what is given. Examples
    of a dataset of texts have none, but ``token_ids``.
    """

    def __call__(self, examples: list[dict[str, Any]]) -> Any: ...


@runtime_checkable
class InfillingCollatorPrediction(Collator, Protocol):
    """Examples to one batch, for filling in what is missing in a text: where there is an ``infill_mask``, a list with a
    truth value a token, those tokens of ``token_ids`` that it says True of are missing, and MASK stands in their place.
    A text that is too long loses its end.
    """

    def __call__(self, examples: list[dict[str, Any]]) -> Any: ...


class NoiseSchedule(Protocol):
    """How much is corrupted at time t in [0, 1]."""

    def sigma(self, t: Tensor) -> Tensor:
        """Total noise σ(t), of t's shape and dtype."""
        ...

    def rate(self, t: Tensor) -> Tensor:
        """Its derivative σ′(t), of t's shape and dtype."""
        ...


@runtime_checkable
class ToTransformers(Protocol):
    """A model that a class of transformers computes, too: ``job_type=export format=transformers`` asks for it."""

    def to_transformers(self, special_ids: dict[str, int], max_length: int) -> Any:
        """A ``transformers.PreTrainedModel`` with the same logits.

        Args:
            special_ids: ``bos_token_id``, ``eos_token_id`` and ``pad_token_id``.
            max_length: positions that the model was trained with.

        Raises:
            ConfigError: this very configuration has something that transformers has no class for.
        """
        ...


@runtime_checkable
class Likelihood(Protocol):
    """A loss that can say how likely its model finds given tokens: lm-evaluation-harness asks for it.

    Attributes:
        exact: True of log p itself; False of a bound from below.
    """

    exact: bool

    def log_likelihood(self, context_ids: list[list[int]], token_ids: list[list[int]]) -> tuple[Tensor, Tensor]:
        """log p(tokens | context) of each row, without gradients.

        Args:
            context_ids: what stands before, special tokens included: one token at least.
            token_ids: what is scored; no EOS is added.

        Returns:
            (B,) float, in nats; and (B,) bool: whether each token is the likeliest one where it stands. All False of a
            model that does not write from left to right.
        """
        ...


#: The methods that a built part must have, by the config key that names it, and what the runtime calls them with, by
#: position; None: it calls them not itself.
REQUIRED_METHODS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "loss": {"loss_fn": ("batch",)},
    "predictor": {"predict": ("batch",), "to_dict": ("batch", "preds")},
    "collator": {"__call__": ("examples",)},
    "model": {"forward": None},
    "noise_schedule": {},
}

#: Methods that a part may have.
OPTIONAL_METHODS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "loss": {"configure": ("pl_module",)},
    "predictor": {"check_batch": ("batch",)},
}


def inherits(collator: object, protocol: type) -> bool:
    """Whether a collator's class says that it takes the examples of ``protocol``. Any callable has its method."""
    return protocol in type(collator).__mro__


def missing_methods(made: object, kind: str) -> list[str]:
    """The methods of ``REQUIRED_METHODS[kind]`` that an object lacks.

    One that is only inherited from a protocol above, or from ``nn.Module``, is declared there and not written yet.
    """
    return [name for name in REQUIRED_METHODS.get(kind, {}) if not _has_method(made, name)]


def call_problems(made: object, kind: str) -> list[str]:
    """What keeps the runtime from calling the methods that an object has, a line for each of them."""
    problems = []
    for name, arguments in {**REQUIRED_METHODS.get(kind, {}), **OPTIONAL_METHODS.get(kind, {})}.items():
        if isinstance(inspect.getattr_static(made, name, None), property) and not _gives_a_function(made, name):
            problems.append(f"{name} is a property; expected a method")
        elif arguments is not None and _has_method(made, name):
            # Of any callable, __call__ says no more than (*args, **kwargs).
            problem = call_problem(made if name == "__call__" else getattr(made, name), arguments)  # type: ignore[arg-type]
            problems += [f"{name}{problem}"] if problem else []
    return problems


def _gives_a_function(made: object, name: str) -> bool:
    try:
        return callable(getattr(made, name))
    except Exception:  # what it computes needs more than there is before training
        return False


def call_problem(function: Callable[..., Any], arguments: tuple[str, ...]) -> str:
    """What keeps a function from being called with so many arguments by position; empty if nothing does."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some C functions have no signature
        return ""
    try:
        signature.bind(*arguments)
    except TypeError as error:
        return f"{signature} cannot be called as ({', '.join(arguments)}): {error}"
    return ""


def _has_method(made: object, name: str) -> bool:
    if name in getattr(made, "__dict__", {}):  # self.loss_fn = torch.compile(self.plain_loss)
        return callable(getattr(made, name))
    owner = next((each for each in type(made).__mro__ if name in vars(each)), None)
    unwritten = owner is not None and (
        (owner.__module__ == __name__ and name != "configure")  # whose default does nothing
        or (owner.__module__ == "torch.nn.modules.module" and name == "forward")
    )
    if owner is not None and isinstance(vars(owner)[name], property):
        return True  # `call_problems` looks at it
    return callable(getattr(made, name, None)) and not unwritten
