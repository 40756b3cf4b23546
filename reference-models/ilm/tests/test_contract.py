"""What every model promises; the tests themselves come with the runtime."""

from xlm_runtime.testing import ModelContract


class TestContract(ModelContract):
    model_name = "ilm"
