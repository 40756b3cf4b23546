"""MAUVE: how far the distribution of the texts is from that of true ones (Pillutla et al., arXiv 2102.01454)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.evaluators.pretrained import Pretrained
from xlm_runtime.options import check_whole_number
from xlm_runtime.predictions import Row, read_rows


class Mauve:
    """The package ``mauve-text`` over features of a model of ``transformers``: the extra ``xlm-runtime[mauve]``.

    A text's feature is the last layer's vector at its last token, as in the paper, which takes GPT-2 large. The vectors
    of both sides are quantised together and the histograms compared: 1 where they are the same.

    Args:
        model: a directory, or ``user/name`` of a model of the hub; the number depends on it.
        reference: a file of rows with a ``text`` each, the true ones; None: the rows' own ``truth``.
        batch_size: texts that are read at once.
        max_length: tokens of a text; None: as many as the model has positions.
        buckets: of the histograms; None: a tenth of the texts.
        seed: of the clustering.
        device: torch's name of one; None: the first accelerator there is, else the processor.
        revision: of a model of the hub.

    Raises:
        ConfigError: the extra is not installed, no such model, no network, an option out of its range.
        DataError: the file of true texts cannot be read.
    """

    def __init__(
        self,
        model: str,
        reference: str | None = None,
        batch_size: int = 8,
        max_length: int | None = None,
        buckets: int | None = None,
        seed: int = 25,
        device: str | None = None,
        revision: str | None = None,
    ) -> None:
        check_whole_number("Mauve.buckets", buckets, least=2, or_null=True)
        check_whole_number("Mauve.seed", seed, least=0)
        try:
            self._mauve: Any = importlib.import_module("mauve")
        except ImportError as error:
            raise ConfigError(
                f"xlm_runtime.evaluators.Mauve needs the package mauve-text, which cannot be imported ({error}). "
                'Install the extra: pip install "xlm-runtime[mauve]".'
            ) from error
        self._reference = None if reference is None else _texts(read_rows(Path(reference)), "text")
        self._buckets, self._seed = buckets, seed
        self._pretrained = Pretrained(model, batch_size, max_length, device, revision, "Mauve.model")

    def __call__(self, rows: Sequence[Row]) -> dict[str, float]:
        """``mauve``, and ``star``, the same from smoothed histograms, which small samples want.

        Raises:
            DataError: fewer than two texts on a side that are not empty.
        """
        sides = {"true": self._reference or _texts(rows, "truth"), "generated": _texts(rows, "text")}
        for side, texts in sides.items():
            if len(texts) < 2:
                raise DataError(
                    f"Mauve found {len(texts)} {side} texts that are not empty; expected two at least, and some "
                    "thousands for a number that means something. True texts are the rows' 'truth', or those of a "
                    "file: reference=<rows.jsonl>."
                )
        features = [self._features(texts) for texts in sides.values()]
        buckets = self._buckets or max(2, round(min(map(len, sides.values())) / 10))
        found = self._mauve.compute_mauve(
            p_features=features[0], q_features=features[1], num_buckets=buckets, seed=self._seed, verbose=False
        )
        return {"mauve": float(found.mauve), "star": float(found.mauve_star)}

    def _features(self, texts: Sequence[str]) -> Any:
        import torch
        from transformers import AutoModel

        network = self._pretrained.weights(AutoModel)
        rows = [self._pretrained.encode(text)[: self._pretrained.max_length] for text in texts]
        rows = [ids for ids in rows if ids]
        found: list[Any] = [None] * len(rows)
        with torch.inference_mode():
            for places, ids, mask in self._pretrained.batches(rows, network.device):
                hidden = network(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, D)
                last = hidden[torch.arange(len(ids), device=ids.device), mask.sum(-1) - 1].float().cpu()
                for place, vector in zip(places, last, strict=True):
                    found[place] = vector
        return torch.stack(found).numpy()


def _texts(rows: Sequence[Row], key: str) -> list[str]:
    return [row[key] for row in rows if isinstance(row.get(key), str) and row[key].strip()]
