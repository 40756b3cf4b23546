"""Weights, gradients and optimizer states spread over processes: FSDP2, torch's ``fully_shard``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard


class ShardedStrategy(ModelParallelStrategy):
    """All processes share the data, none the tensors; a checkpoint is one file, as that of a single process."""

    def __init__(self, process_group_backend: str | None = None) -> None:
        super().__init__(save_distributed_checkpoint=False, process_group_backend=process_group_backend)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        self._tensor_parallel_size = 1
        super().setup_environment()


def shard(parts: Mapping[str, nn.Module], mesh: DeviceMesh) -> None:
    """Shard every block (a module of a ``ModuleList`` or ``Sequential`` with weights), then what is left of each part.

    The block is what is gathered and freed at a time.
    """
    for part in parts.values():
        for module in part.modules():
            if isinstance(module, nn.ModuleList | nn.Sequential):
                for block in module:
                    if _has_weights(block) and not isinstance(block, FSDPModule | nn.ModuleList | nn.Sequential):
                        fully_shard(block, mesh=mesh)
        if _has_weights(part):
            fully_shard(part, mesh=mesh)


@contextmanager
def gathered(parts: Mapping[str, nn.Module]) -> Iterator[None]:
    """Keep whole weights on every process meanwhile: each may then run the model as often as its own rows want."""
    sharded = [m for part in parts.values() for m in part.modules() if isinstance(m, FSDPModule)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.reshard()
            module.set_reshard_after_forward(True, recurse=False)


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
