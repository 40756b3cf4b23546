"""What flows between the parts of SKELETON. Read this first, and write it first.

The parts of a model are made for one another: a batch, an output and a prediction may hold whatever yours need.
Say the shape and the dtype of each tensor here, once; the other files rely on it.

Shapes: B rows of a batch, L positions, T scored positions (the last T of L), V vocabulary.
"""

from typing import TypedDict

from torch import Tensor

#: A target that is not scored; the default of ``torch.nn.functional.cross_entropy``.
IGNORED = -100


class Batch(TypedDict):
    """What the collator makes for the loss."""

    # TODO: what does your loss need? A corrupted copy of the ids, the time of the corruption, segment ids?
    input_ids: Tensor  # (B, L) int64: PAD... prompt | BOS answer EOS PAD...
    attention_mask: Tensor  # (B, L) bool, False at padding
    target_ids: Tensor  # (B, T) int64: the token after each of the last T positions, or IGNORED


class LossOutput(TypedDict):
    """What the loss returns: ``loss``, and whatever metrics and the log want."""

    loss: Tensor  # () nats per scored token, differentiable
    num_tokens: Tensor  # () int64, scored tokens of the batch


class PredictionBatch(TypedDict):
    """What the collator makes for the predictor."""

    input_ids: Tensor  # (B, P) int64: PAD... prompt BOS
    attention_mask: Tensor  # (B, P) bool
    target_ids: Tensor  # (B, T) int64: answer EOS PAD...; all PAD where no answer is known
    target_mask: Tensor  # (B, T) bool, False at padding


class Prediction(TypedDict):
    """What the predictor returns."""

    ids: Tensor  # (B, T) int64: the answer, EOS included where it came, then PAD
