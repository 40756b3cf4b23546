"""What every model promises; the tests themselves come with the runtime."""

from xlm_runtime.testing import ModelContract


class TestContract(ModelContract):
    model_name = "mlm"
    # Not dataset.answer_length: the padding of the answer's block is part of what the model writes.
    lengths = ("dataset.prompt_length", "dataset.block_size")
