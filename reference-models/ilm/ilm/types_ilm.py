"""What flows between the parts of ILM.

Shapes: B rows of a batch, L columns, S columns of the answer block (the last S of L), V vocabulary, T longest text.
A row is ``CLS | PAD... prompt | BOS text PAD...``, of type ids ``0 | 1 | 2``; plain text has no prompt block. Every
column is at a position of its own, which counts real tokens only: the order of the columns does not matter.

A slot is a column as a place to insert at: slot i means "right after the token of column i". BOS is the slot before
the text's first token. CLS, the prompt and padding are no slots.

Special tokens are context, never content: none is ever deleted by the loss, hence none is ever to be inserted, and
both loss and predictor leave them out of the distribution over (slot, token).
"""

from typing import NamedTuple, TypedDict

from torch import Tensor

#: The type ids of the three blocks, in their order.
TYPES = CLS_TYPE, PROMPT_TYPE, TEXT_TYPE = 0, 1, 2


class ModelOutput(NamedTuple):
    """What the network returns."""

    logits: Tensor  # (B, S, V): insert token v right after the token of column i of the last S
    stop_logits: Tensor  # (B, 1 + N): nothing is missing, one token, ... N or more; the paper's N is 1


class Inputs(TypedDict):
    """The columns of every batch."""

    input_ids: Tensor  # (B, L) int64
    attention_mask: Tensor  # (B, L) bool, False at padding
    type_ids: Tensor  # (B, L) int64


class Batch(Inputs):
    """For the loss: whole texts, nothing deleted yet."""

    deletable: Tensor  # (B, S) bool: the text's tokens, special ones aside
    index: Tensor  # (B,) int64: the row's place in its split, which seeds its deletions in evaluation


class LossOutput(TypedDict):
    """What ``loss_fn`` returns."""

    loss: Tensor  # () differentiable: token_loss + weight * stop_loss
    token_loss: Tensor  # () nats an example
    stop_loss: Tensor  # () nats an example, weighted by class


class PredictionBatch(Inputs):
    """For the predictor: what is given."""

    slots: Tensor  # (B, L) bool: where tokens may be inserted
    target_ids: Tensor  # (B, T) int64: the whole text, then PAD; all PAD where none is known
    target_mask: Tensor  # (B, T) bool: its tokens that are missing in what is given
    known: Tensor  # (B,) bool: whether the row's text is known
    index: Tensor  # (B,) int64: the row's place in its split, which seeds its draws


class Prediction(TypedDict):
    """What ``predict`` returns."""

    ids: Tensor  # (B, T) int64: the text in its order, given tokens included, then PAD
    network_calls: Tensor  # (B,) int64: how often the network ran on each row
