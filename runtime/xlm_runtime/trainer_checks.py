"""What a Trainer makes of a configuration, held against the configuration: before any process is started.

Lightning settles on devices, processes and precision while it makes the Trainer; only there do they stand as numbers.
"""

from __future__ import annotations

import os
import sys

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy
from omegaconf import DictConfig

from xlm_runtime.callbacks.ema import Ema
from xlm_runtime.errors import ConfigError


def settle(trainer: pl.Trainer, cfg: DictConfig) -> None:
    """See that the processes of a training are those of its launcher, and accumulate gradients to the global batch.

    Raises:
        ConfigError: they are not; or no number of batches makes the global batch, or another one is configured; or
            weights are to be averaged that no process has whole.
    """
    _check_launcher(trainer.num_devices, trainer.num_nodes)
    if isinstance(trainer.strategy, ModelParallelStrategy) and any(
        isinstance(callback, Ema) and callback.decay is not None for callback in vars(trainer)["callbacks"]
    ):
        raise ConfigError("ema_decay is set, but the weights are spread over processes: leave it null with fsdp.")
    if cfg.global_batch_size is None:
        return
    batches, wanted = _accumulation(cfg, trainer.world_size), cfg.trainer.accumulate_grad_batches
    if wanted not in (1, batches):
        raise ConfigError(
            f"global_batch_size is {cfg.global_batch_size}, which is {batches} batch(es) of batch_size "
            f"{cfg.batch_size} in each of {trainer.world_size} process(es), but trainer.accumulate_grad_batches is "
            f"{wanted}. Give one of the two: trainer.accumulate_grad_batches follows from global_batch_size."
        )
    trainer.accumulate_grad_batches = batches
    _check_whole_steps(cfg, batches)


def _check_whole_steps(cfg: DictConfig, batches: int) -> None:
    """Refuse epochs that end within a step: what it has by then would be taken for all of it."""
    key = "overfit_batches" if cfg.trainer.get("overfit_batches") else "limit_train_batches"
    limit = cfg.trainer.get(key)
    if not limit or cfg.trainer.get("fast_dev_run") or (limit == 1.0 and isinstance(limit, float)):
        return
    if batches > 1 and (isinstance(limit, float) or limit % batches):
        raise ConfigError(
            f"global_batch_size is {cfg.global_batch_size}, which is {batches} batch(es) in each process, but "
            f"trainer.{key} is {limit}: a step would be cut short. Give a multiple of {batches}."
        )


def check_precision(trainer: pl.Trainer, cfg: DictConfig, trains: bool) -> None:
    """No silent change of precision: Lightning exchanges half precision on a CPU for another.

    A training is refused. A model that was trained with it elsewhere may be used, and the change is said.
    """
    if not str(trainer.precision).startswith("bf16") or str(cfg.trainer.precision).startswith("bf16"):
        return
    what = f"trainer.precision is {cfg.trainer.precision}, which there is not on a CPU"
    if trains:
        raise ConfigError(
            f"{what}. Choose trainer.precision=bf16-mixed or 32-true, or a GPU (trainer.accelerator=gpu)."
        )
    print(f"{what}; {trainer.precision} is taken for it.", file=sys.stderr, flush=True)


def _check_launcher(devices: int, nodes: int) -> None:
    # Whoever starts the processes tells each how many there are; Lightning would not always look.
    if TorchElasticEnvironment.detect():
        launcher, variable, option = "torchrun", "WORLD_SIZE", "--nproc-per-node"
    elif SLURMEnvironment.detect():
        launcher, variable, option = "srun", "SLURM_STEP_NUM_TASKS", "--ntasks-per-node"
    else:
        return
    started = int(os.environ.get(variable, devices * nodes))  # a batch script without srun has not the variable
    if started != devices * nodes:
        raise ConfigError(
            f"{launcher} started {started} process(es), but trainer.devices x trainer.num_nodes is {devices} x {nodes} "
            f"= {devices * nodes}: they would train apart, or wait for ever. Give trainer=ddp and as many "
            f"trainer.devices as processes a node, and trainer.num_nodes, or start {devices} a node ({option})."
        )


def _accumulation(cfg: DictConfig, processes: int) -> int:
    per_step = cfg.batch_size * processes
    if cfg.global_batch_size % per_step:
        raise ConfigError(
            f"global_batch_size is {cfg.global_batch_size}, but one step takes batch_size {cfg.batch_size} x "
            f"{processes} process(es) = {per_step} examples, which does not divide it. Choose a multiple of {per_step}."
        )
    return int(cfg.global_batch_size // per_step)
