"""Keeps what Lightning says of its own defaults out of a job's output; warnings about the user's run stay."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Called before a job, or by what calls one without the command line; never at import."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # num_workers is the user's choice
        ".*Checkpoint directory .* exists and is not empty.*",  # a continued run
        ".*is smaller than the logging interval.*",
        ".*srun.*",
        ".*AMP with fp16 is not supported on CPU.*",  # refused, or said in our words
        ".*sync_dist=True.*",  # metrics are over all processes already
        ".*`IterableDataset` has `__len__` defined.*",  # EndlessLoader says why
        ".*set_vital.*",  # torchdata calls what torch has deprecated
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message=message)
