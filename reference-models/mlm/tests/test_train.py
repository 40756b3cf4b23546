"""The commands of the README on a CPU; the tests themselves come with the runtime."""

from xlm_runtime.testing import JobsContract


class TestJobs(JobsContract):
    model_name = "mlm"
