"""A model of ``transformers`` and its tokenizer, from a directory or the hub, for evaluators that read with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlm_runtime.errors import ConfigError
from xlm_runtime.options import check_whole_number
from xlm_runtime.progress_line import without_bars

if TYPE_CHECKING:
    from torch import Tensor

#: Of models that do not say how many positions they have.
LONGEST = 1024

#: A name on the hub; whatever else is no directory can only be meant as one.
_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

_EXPECTED = (
    "Expected a directory with a model that transformers has saved (config.json, model.safetensors, tokenizer.json), "
    "or the name of one on the hub, user/name, and a network that reaches it (HF_ENDPOINT, HF_HUB_OFFLINE)."
)


class Pretrained:
    """A tokenizer at once, so that a wrong name is told before there is work to lose; the weights when asked for.

    Args:
        model: a directory, or ``user/name`` of a model of the hub.
        batch_size: texts that are read at once.
        max_length: tokens of a text, the first so many; None: as many as the model has positions.
        device: torch's name of one; None: the first accelerator there is, else the processor.
        revision: of a model of the hub.
        key: what messages call it.

    Raises:
        ConfigError: no such model, no network, an option out of its range.
    """

    def __init__(
        self,
        model: str,
        batch_size: int = 8,
        max_length: int | None = None,
        device: str | None = None,
        revision: str | None = None,
        key: str = "model",
    ) -> None:
        check_whole_number(f"{key}.batch_size", batch_size, least=1)
        check_whole_number(f"{key}.max_length", max_length, least=2, or_null=True)
        self.model, self.batch_size, self.device, self.revision, self.key = model, batch_size, device, revision, key
        if not Path(model).is_dir() and not _ON_THE_HUB.fullmatch(model):
            raise ConfigError(f"{key} is {model!r}: there is no such directory. {_EXPECTED}")
        from transformers import AutoConfig, AutoTokenizer

        config = self._loaded(AutoConfig)
        self.tokenizer: Any = self._loaded(AutoTokenizer)
        positions = getattr(config, "max_position_embeddings", None) or LONGEST
        self.max_length = min(max_length or positions, positions)
        self.vocab_size: int | None = getattr(config, "vocab_size", None)

    def weights(self, auto_class: Any) -> Any:
        """The model, made by a class of ``transformers`` such as ``AutoModelForCausalLM``, on its device.

        Only safetensors are read: nothing of a download is unpickled, and no code of it is run.
        """
        import torch

        device = self.device or (torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
        return self._loaded(auto_class, use_safetensors=True).eval().to(device)

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens.

        Raises:
            ConfigError: the tokenizer has tokens that the model does not know.
        """
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if self.vocab_size is not None and max(ids, default=0) >= self.vocab_size:
            raise ConfigError(
                f"{self.key} is {self.model!r}: its tokenizer gives the id {max(ids)}, and the model knows "
                f"{self.vocab_size} tokens. Expected a model with the tokenizer that it was trained with."
            )
        return ids

    def batches(self, rows: Sequence[Sequence[int]], device: Any) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Rows of like length together, padded on the right.

        Returns:
            Places in ``rows``, ids (B, L) int64, mask (B, L) int64: 0 at padding.
        """
        import torch

        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            longest = max(len(rows[place]) for place in places)
            ids = [[*rows[place], *[0] * (longest - len(rows[place]))] for place in places]  # masked: any id will do
            mask = [[1] * len(rows[place]) + [0] * (longest - len(rows[place])) for place in places]
            yield places, torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _loaded(self, auto_class: Any, **options: Any) -> Any:
        try:
            with without_bars():
                return auto_class.from_pretrained(self.model, revision=self.revision, **options)
        except (OSError, ValueError, KeyError, ImportError) as error:  # as many ways as from_pretrained has to fail
            place = f"the directory {self.model}" if Path(self.model).is_dir() else "the hub"
            raise ConfigError(
                f"{self.key} is {self.model!r}, and {auto_class.__name__} cannot be loaded from {place}: "
                f"{_first_line(error)}\n{_EXPECTED}"
            ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
