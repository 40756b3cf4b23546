"""The collators of MDLM: examples to batches. Special tokens are added here, and nowhere else; masks are the loss's.

For the loss: clean text, and what of it diffuses. For the predictor: text with blanks, and the truth if known.
How a row is laid out stands in ``types_mdlm``; ``xlm_runtime.canvas`` does it.
"""

from typing import Any

from transformers import PreTrainedTokenizerBase
from xlm_runtime import Collator, InfillingCollatorPrediction, Seq2SeqCollator, Seq2SeqCollatorPrediction
from xlm_runtime.canvas import check_fraction, infill_blanks, seq2seq_canvas, text_canvas, with_blanks
from xlm_runtime.collate import first_documents
from xlm_runtime.options import check_switch

from .types_mdlm import Batch, PredictionBatch

Examples = list[dict[str, Any]]


class MdlmCollator(Collator):
    """Plain text: ``BOS | text EOS PAD...``; a text that is too long loses its end, and then has no EOS.

    Packed examples become ``BOS | text EOS BOS text EOS ... PAD...``; all but each BOS is eligible.

    Args:
        tokenizer: for the special ids.
        block_size: L, BOS and EOS included.
        score_padding: attend, mask and score the padding too, so that the model learns how long a text is.

    Raises:
        ConfigError: ``score_padding`` is neither true nor false, or true with packed examples.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, block_size: int, score_padding: bool = False) -> None:
        check_switch("score_padding", score_padding)
        self.tokenizer = tokenizer
        self.block_size = block_size
        self.score_padding = score_padding

    def __call__(self, examples: Examples) -> Batch:
        return text_canvas(self.tokenizer, examples, self.block_size, whole=self.score_padding)


class MdlmSeq2SeqCollator(Seq2SeqCollator):
    """Prompts and answers: ``PAD... prompt BOS | answer EOS PAD...``; the answer, EOS and its padding are eligible.

    Args:
        tokenizer: for the special ids.
        prompt_length: the most tokens of a prompt.
        answer_length: tokens of the answer block, BOS and EOS included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int, answer_length: int) -> None:
        self.tokenizer = tokenizer
        self.prompt_length, self.answer_length = prompt_length, answer_length

    def __call__(self, examples: Examples) -> Batch:
        return seq2seq_canvas(self.tokenizer, examples, self.prompt_length, self.answer_length)


class MdlmSeq2SeqCollatorPrediction(Seq2SeqCollatorPrediction):
    """Prompts to be answered: ``PAD... prompt BOS | MASK...``; the answers, where they are known, to compare with.

    Args:
        tokenizer: for the special ids.
        prompt_length: the most tokens of a prompt.
        answer_length: tokens of the answer block, BOS and EOS included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_length: int, answer_length: int) -> None:
        self.tokenizer = tokenizer
        self.prompt_length, self.answer_length = prompt_length, answer_length

    def __call__(self, examples: Examples) -> PredictionBatch:
        canvas = seq2seq_canvas(self.tokenizer, examples, self.prompt_length, self.answer_length)
        return with_blanks(self.tokenizer, canvas, canvas["eligible"])


class MdlmInfillingCollatorPrediction(InfillingCollatorPrediction):
    """Plain text with blanks: ``BOS | text EOS PAD...``, some tokens of the text to be filled in, all others kept.

    Args:
        tokenizer: for the special ids.
        block_size: L, BOS and EOS included.
        score_padding: as in training.
        infill_fraction: an example without an ``infill_mask`` of its own gets one blank span, this share of its text.
        seed: of the spans' places; an example's depends on the seed and its index.

    Raises:
        ConfigError: ``infill_fraction`` outside (0, 1], ``score_padding`` neither true nor false.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        block_size: int,
        score_padding: bool = False,
        infill_fraction: float = 0.25,
        seed: int = 0,
    ) -> None:
        check_fraction(infill_fraction)
        check_switch("score_padding", score_padding)
        self.tokenizer = tokenizer
        self.block_size = block_size
        self.score_padding = score_padding
        self.infill_fraction = infill_fraction
        self.seed = seed

    def __call__(self, examples: Examples) -> PredictionBatch:
        examples = first_documents(examples)
        canvas = text_canvas(self.tokenizer, examples, self.block_size, whole=self.score_padding)
        blanks = infill_blanks(examples, self.block_size, self.infill_fraction, self.seed)
        return with_blanks(self.tokenizer, canvas, blanks)


class MdlmCollatorPrediction(Collator):
    """Nothing given but BOS: ``BOS | MASK...``. Of an example only its index counts, which seeds what is drawn.

    Args:
        tokenizer: for the special ids.
        block_size: L, BOS included.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, block_size: int) -> None:
        self.tokenizer = tokenizer
        self.block_size = block_size

    def __call__(self, examples: Examples) -> PredictionBatch:
        unknown = [{"index": e["index"]} for e in examples]
        canvas = text_canvas(self.tokenizer, unknown, self.block_size, whole=True)
        return with_blanks(self.tokenizer, canvas, canvas["eligible"])
