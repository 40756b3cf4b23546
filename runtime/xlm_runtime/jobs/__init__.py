"""Job types: one file each, with a function ``run(cfg)`` that takes the composed configuration."""

from __future__ import annotations

#: What ``job_type`` may be, besides the commands of discovered models: name -> (dotted path, one line of help).
JOBS: dict[str, tuple[str, str]] = {
    "train": ("xlm_runtime.jobs.train.run", "train a model, or continue the run in its directory"),
    "eval": ("xlm_runtime.jobs.eval.run", "every metric of a saved run on a split"),
    "evaluate_rows": ("xlm_runtime.jobs.evaluate_rows.run", "evaluators over saved predictions, without the model"),
    "generate": ("xlm_runtime.jobs.generate.run", "predictions of a saved run: a table and JSON lines"),
    "export": ("xlm_runtime.jobs.export.run", "a saved model as a folder that others can load"),
    "push_to_hub": ("xlm_runtime.jobs.push_to_hub.run", "a saved model to the Hugging Face hub, private by default"),
    "prepare_data": ("xlm_runtime.jobs.prepare_data.run", "make what training reads: tokenizer, tokens, blocks"),
    "report": ("xlm_runtime.jobs.report.run", "make the report of a run's directory again"),
    "compare": ("xlm_runtime.jobs.compare.run", "several runs side by side: a table and a page"),
    "list": ("xlm_runtime.jobs.list.run", "job types, models, experiments and commands"),
}

#: Jobs that run on a saved model, and need no experiment: the run's own configuration is taken.
ON_SAVED_RUNS = ("eval", "generate", "export", "push_to_hub")

#: Jobs that read the files of runs where they are: a sweep gives them no directories of their own.
ON_FILES = ("evaluate_rows", "report", "compare", "list")
