"""What flows between the parts of ARLM.

Shapes: B rows of a batch, L positions, T scored positions (the last T of L), V vocabulary.
A seq2seq row is ``PAD... prompt | BOS answer EOS PAD...``: the prompt block is padded on the left, the answer
block on the right, so that every answer begins at the same position. A row of plain text is ``BOS text EOS PAD...``, or of
several texts ``BOS text EOS BOS text EOS ... PAD...`` (packed).
"""

from typing import NotRequired, TypedDict

from torch import Tensor

#: A target that is not scored; the default of ``torch.nn.functional.cross_entropy``.
IGNORED = -100


class Batch(TypedDict):
    """For the loss."""

    input_ids: Tensor  # (B, L) int64
    attention_mask: Tensor  # (B, L) bool, False at padding
    target_ids: Tensor  # (B, T) int64: the token after each of the last T positions, or IGNORED
    document_ids: NotRequired[Tensor]  # (B, L) int64, of packed rows: the number of each token's text, 0 at padding


class LossOutput(TypedDict):
    """What ``loss_fn`` returns."""

    loss: Tensor  # () nats per scored token, differentiable
    num_tokens: Tensor  # () int64, scored tokens of the batch


class PredictionBatch(TypedDict):
    """For the predictor."""

    input_ids: Tensor  # (B, P) int64: PAD... prompt BOS; of plain text PAD... BOS and what is given of it
    attention_mask: Tensor  # (B, P) bool
    target_ids: Tensor  # (B, T) int64: what should follow, EOS, PAD...; all PAD where that is not known
    target_mask: Tensor  # (B, T) bool, False at padding
    index: Tensor  # (B,) int64: the row's place in its split, which seeds its draws


class Prediction(TypedDict):
    """What ``predict`` returns."""

    ids: Tensor  # (B, T) int64: what was written, EOS included where it came, then PAD
