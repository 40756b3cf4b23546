"""What flows between the parts of MDLM.

Shapes: B rows of a batch, L positions, T positions of the canvas (the last T of L), K positions of a row whose logits
are asked for, V vocabulary. Time t runs from 0, the clean text, to 1, where all that is eligible is masked.

A row is what is given, then the canvas. For a prompt and its answer it is ``PAD... prompt BOS | answer EOS PAD...``:
the prompt is padded on the left and that padding is not attended; the canvas's padding is attended, masked and scored
like any word, so that the model learns where an answer ends. Plain text is ``BOS | text EOS PAD...``, and its padding
is left out, unless the collator is told otherwise. A packed row is several texts, ``BOS | text EOS BOS text EOS ...``,
none of which sees another.
"""

from typing import NotRequired, TypedDict

from torch import Tensor

#: A target that is not scored; the default of ``torch.nn.functional.cross_entropy``.
IGNORED = -100


class Batch(TypedDict):
    """For the loss: clean text. The loss masks it."""

    input_ids: Tensor  # (B, L) int64
    attention_mask: Tensor  # (B, L) bool, False at padding that is not to be written
    eligible: Tensor  # (B, T) bool: the positions of the canvas that diffuse
    index: Tensor  # (B,) int64: what names a row for good; it seeds the row's draws in evaluation
    document_ids: NotRequired[Tensor]  # (B, L) int64, of packed rows: the number of each token's text, 0 at padding


class LossOutput(TypedDict):
    """What ``loss_fn`` returns."""

    loss: Tensor  # () nats per token: the NELBO of the batch over num_tokens, differentiable
    num_tokens: Tensor  # () int64, eligible tokens of the batch, masked or not


class PredictionBatch(TypedDict):
    """For the predictor."""

    input_ids: Tensor  # (B, L) int64, MASK where a token is to be written
    attention_mask: Tensor  # (B, L) bool
    target_ids: Tensor  # (B, T) int64: the whole canvas, text EOS PAD...; all PAD where no truth is known
    target_mask: Tensor  # (B, T) bool: the tokens of the truth that were to be written, EOS included, PAD not
    index: Tensor  # (B,) int64


class Prediction(TypedDict):
    """What ``predict`` returns."""

    ids: Tensor  # (B, T) int64: the text, given tokens and EOS included, then PAD
    network_calls: Tensor  # (B,) int64: how often the network ran on each row
