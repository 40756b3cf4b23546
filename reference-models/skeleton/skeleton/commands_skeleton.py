"""Job types of SKELETON's own; ``configs/commands.yaml`` names them. Each gets a run's configuration.

For example ``xlm job_type=position_loss_skeleton job_name=first split=val``.
"""

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from xlm_runtime.saved import load_run

from .types_skeleton import IGNORED, Batch


@torch.no_grad()
def position_loss(cfg: DictConfig) -> list[float]:
    """Print the loss of a saved run at each scored position, over a split: where in an answer does it go wrong?

    Returns:
        Nats per token, one number a position; nan where no row has a token.
    """
    run = load_run(cfg)  # the best checkpoint of job_name=..., or what ckpt_path=... names
    model = run.parts.harness.model
    rows, masks = [], []
    batch: Batch
    for batch in run.batches():
        # TODO: what is worth knowing of your model?
        target_ids = batch["target_ids"]  # (B, T)
        logits = model(batch["input_ids"], batch["attention_mask"])[:, -target_ids.shape[1] :]
        nll = F.cross_entropy(logits.transpose(1, 2).float(), target_ids, ignore_index=IGNORED, reduction="none")
        rows.append(nll.double())  # (B, T), 0 where nothing is scored
        masks.append(target_ids != IGNORED)
    counts = torch.cat(masks).sum(0)
    losses: list[float] = (torch.cat(rows).sum(0) / counts).tolist()
    print(f"{run.path}, step {run.step}, on {cfg.split}\nposition  tokens  nats per token")
    for position, (count, loss) in enumerate(zip(counts.tolist(), losses, strict=True), start=1):
        if count:
            print(f"{position:8}  {count:6}  {loss:14.4f}")
    return losses
