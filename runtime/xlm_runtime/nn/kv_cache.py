"""Keys and values of earlier tokens, in buffers allocated once.

The protocol of one step, prefill and single token alike::

    positions, mask = cache.extend(attention_mask)      # of the new tokens, (B, Lq)
    x = transformer(x, positions, mask, cache=cache)    # each layer calls cache.append
    cache.select(unfinished)                            # when rows are done: they cost nothing more
    cache.truncate(length)                              # what came later is to be computed anew

``FixedKVCache`` has the same protocol, and shapes that never change, for a compiled step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xlm_runtime.errors import DataError
from xlm_runtime.nn.masks import causal_mask, positions_from_mask


class KVCache:
    """A static cache for all layers, with ``length`` of ``max_length`` positions filled in each
    row.

    Rows of different lengths are padded on the left; ``attended`` remembers which positions are
    real. No gradient flows through a cache.

    Attributes:
        keys, values: (num_layers, B, H, max_length, head_dim).
        attended: (B, max_length) bool; False at padding and where nothing is yet.
    """

    def __init__(
        self,
        num_layers: int,
        batch_size: int,
        num_heads: int,
        max_length: int,
        head_dim: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (num_layers, batch_size, num_heads, max_length, head_dim)
        # Zeros, not empty: what is not filled yet is never read, but stays finite wherever it is
        # looked at.
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.attended = torch.zeros((batch_size, max_length), device=device, dtype=torch.bool)
        self._length = 0
        self._new = 0

    @property
    def length(self) -> int:
        """How many positions are filled."""
        return self._length

    @property
    def max_length(self) -> int:
        """How many positions fit."""
        return self.attended.shape[1]

    @property
    def batch_size(self) -> int:
        """How many rows are left."""
        return self.attended.shape[0]

    def extend(self, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Reserve the next Lq positions, for all layers; call it once before a forward pass.

        Args:
            attention_mask: (B, Lq), True (or 1) at the real ones of the new tokens.

        Returns:
            ``positions`` (B, Lq) int64 of the new tokens, going on where the row stood, and the
            causal ``mask`` (B, 1, Lq, length) bool over everything cached and new.

        Raises:
            DataError: the new tokens do not fit.
        """
        new = attention_mask.shape[1]
        end = self.length + new
        if end > self.max_length:
            raise DataError(
                f"The cache holds {self.max_length} positions, {self.length} are filled, and {new} "
                "more do not fit. Make it as long as the prompt and the longest answer together, "
                "or shorten the prompt."
            )
        self.attended[:, self.length : end] = attention_mask.to(torch.bool)
        self._length, self._new = end, new
        attended = self.attended[:, :end]
        return positions_from_mask(attended)[:, -new:], causal_mask(attended, num_queries=new)

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values into the positions that ``extend`` reserved.

        Args:
            layer: the layer's index.
            k: (B, H, Lq, head_dim).
            v: the same.

        Returns:
            Views of all keys and of all values to attend over, (B, H, length, head_dim) each.
        """
        assert k.shape[2] == self._new, "extend() the cache by these tokens before the forward pass"
        start, end = self.length - self._new, self.length
        self.keys[layer, :, :, start:end] = k.detach()
        self.values[layer, :, :, start:end] = v.detach()
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def truncate(self, length: int) -> None:
        """Forget all but the first ``length`` tokens: the next ones are written in the place of what came after.

        Raises:
            DataError: fewer are filled.
        """
        if not 0 <= length <= self.length:
            raise DataError(
                f"The cache cannot be cut to {length} positions: {self.length} are filled. Cut it to at most so many."
            )
        self.attended[:, length:] = False
        self._length, self._new = length, 0

    def select(self, rows: Tensor) -> None:
        """Keep only some rows of the batch, in the given order.

        Args:
            rows: (n,) int64 row numbers.
        """
        self.keys = self.keys.index_select(1, rows)
        self.values = self.values.index_select(1, rows)
        self.attended = self.attended.index_select(0, rows)


class FixedKVCache(KVCache):
    """A cache that is attended over whole: what is not filled is masked, so that no shape depends on
    how much is.

    A step on it can be compiled once, and recorded as a CUDA graph: where it writes is a tensor, and
    nothing asks the device. It costs the attention over ``max_length`` at every step. ``select`` makes
    new memory of another shape, for which a step is compiled anew: better let rows stay to the end.
    ``extend`` does not look whether the new tokens fit: allocate enough, nor ``truncate`` whether
    so many are filled.
    """

    def __init__(
        self, *sizes: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(*sizes, device=device, dtype=dtype)
        self._filled = torch.zeros((), device=device, dtype=torch.int64)
        self._where = self._filled[None]
        for tensor in (self.keys, self.values, self.attended, self._filled):
            # A CUDA graph writes into the same memory each time it is replayed.
            torch._dynamo.mark_static_address(tensor)

    @property
    def length(self) -> int:
        """How many positions are filled; asks the device."""
        return int(self._filled)

    def clear(self) -> None:
        """Forget all tokens, and keep the memory."""
        self.attended.zero_()
        self._filled.zero_()

    def truncate(self, length: int) -> None:
        """As ``KVCache.truncate``, without the error."""
        self.attended[:, length:] = False
        self._filled.fill_(length)

    def extend(self, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """As ``KVCache.extend``, with a mask (B, 1, Lq, max_length) and without the error."""
        new = attention_mask.shape[1]
        self._where = where = self._filled + torch.arange(new, device=attention_mask.device)
        self.attended.index_copy_(1, where, attention_mask.to(torch.bool))
        self._filled += new
        key = torch.arange(self.max_length, device=attention_mask.device)
        real, query = self.attended[:, None, None, :], where[:, None]
        mask = (real & (key < query)) | (key == query)
        return positions_from_mask(self.attended).index_select(1, where), mask

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """As ``KVCache.append``; returns (B, H, max_length, head_dim) each."""
        self.keys[layer].index_copy_(2, self._where, k.detach().to(self.keys.dtype))
        self.values[layer].index_copy_(2, self._where, v.detach().to(self.values.dtype))
        return self.keys[layer], self.values[layer]
