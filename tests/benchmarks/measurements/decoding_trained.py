"""Tokens a second at equal quality: several decoding methods of the models that `make results` trained.

A model that has learnt its task is sure of most tokens, so a rule that fills all that it is sure of needs fewer
network calls for the same text. Each method's exact match stands beside its speed, over the same test graphs, and
the method that fills one token a call is what the others are compared with. Empty where `make results` has not run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from measurements.common import REPOSITORY, Result, Seconds, Settings, alternate, fastest, in_fresh_process, seconds_of
from measurements.decoding import BATCH, PRIOR, PRIOR_AIM

RUNS = REPOSITORY / "runs" / "results" / "star_easy"
GRAPHS = 256
HALF = "trainer.precision=bf16-true"
#: γ by looking at the validation graphs: the largest of a few that left exact match as it was.
MLM_SURE = ["predictor.method=threshold", "predictor.confidence=entropy", "predictor.gamma=0.003"]
MDLM_SURE = ["predictor.method=threshold", "predictor.confidence=entropy", "predictor.gamma=0.001"]
ILM_SURE = ["predictor.method=threshold", "predictor.gamma=0.3"]
ILM_COUNTED = ["predictor.method=threshold", "predictor.gamma=0.6"]
#: run -> (model, method in words, its overrides); of each run, the first is what the others stand beside.
METHODS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "arlm-reversed-shift": ("arlm", {"cached": [], "not cached": ["predictor.use_cache=false"], "bf16": [HALF]}),
    "mlm-shift": ("mlm", {"one a call": [], "threshold": MLM_SURE, "threshold, bf16": [*MLM_SURE, HALF]}),
    "ilm-shift": ("ilm", {"one a call": [], "threshold": ILM_SURE, "threshold, bf16": [*ILM_SURE, HALF]}),
    "ilm-shift-cached": ("ilm", {"one a call": [], "threshold": ILM_SURE}),
    "ilm-shift-cached-counted": (
        "ilm",
        {"one a call": [], "threshold": ILM_COUNTED, "threshold, bf16": [*ILM_COUNTED, HALF]},
    ),
    "mdlm-shift": ("mdlm", {"one a call": [], "threshold": MDLM_SURE, "threshold, bf16": [*MDLM_SURE, HALF]}),
}


def measure(settings: Settings) -> list[Result]:
    """Rows for the runs that are there."""
    results = []
    for run, (model, methods) in METHODS.items():
        if not (RUNS / run / "result.json").is_file():
            continue
        answers = in_fresh_process(
            "decoding_trained",
            "decode",
            settings,
            run_dir=str(RUNS / run),
            methods=methods,
            repeats=settings.repeats(40, 1),
        )
        first = next(iter(methods))
        for method, answer in answers.items():
            speed = answer["tokens"] / fastest([Seconds(*t) for t in answer["seconds"]]).wall
            beside = answers[first]["tokens"] / fastest([Seconds(*t) for t in answers[first]["seconds"]]).wall
            results.append(
                Result(
                    name=f"trained {run}, {method}: exact match {answer['exact_match']:.3f}, "
                    f"{answer['calls']:.2f} calls a sequence",
                    ours=f"{speed:,.0f} tokens/s",
                    compared_with="" if method == first else f"{first}: {beside:,.0f} tokens/s",
                    ratio=None if method == first else speed / beside,
                    aim=f"≥ {PRIOR_AIM * PRIOR[model]:,.0f} tokens/s",
                    met=speed >= PRIOR_AIM * PRIOR[model],
                    prior=f"{PRIOR[model]:,} tokens/s",
                    details=answer,
                )
            )
    return results


def decode(run_dir: str, methods: dict[str, list[str]], repeats: int) -> dict[str, Any]:
    """For each method its seconds over all batches, exact match, network calls a sequence, and tokens."""
    import torch
    from omegaconf import OmegaConf

    from xlm_runtime import discovery
    from xlm_runtime.predictions import exact_match
    from xlm_runtime.saved import load_run

    discovery.activate(discovery.discover().models)
    directory = Path(run_dir)
    runs: dict[str, tuple[Any, list[Any], Any]] = {}
    for method, words in methods.items():
        fixed = [f"run_dir={directory}", "compile=false", f"eval_batch_size={BATCH}", f"datamodule.limit={GRAPHS}"]
        cfg = OmegaConf.merge(OmegaConf.load(directory / "config.yaml"), OmegaConf.from_dotlist([*fixed, *words]))
        saved = load_run(cfg)  # type: ignore[arg-type]
        precision = saved.trainer.precision_plugin
        harness = precision.convert_module(saved.parts.harness).eval()
        runs[method] = (harness, list(saved.parts.datamodule.predict_dataloader()[0]), precision.forward_context)

    def call(method: str) -> Seconds:
        harness, batches, context = runs[method]
        with context(), torch.inference_mode():  # as job_type=generate does
            return seconds_of(lambda: [harness.predictor.predict(batch) for batch in batches])

    first = next(iter(methods))
    answers: dict[str, Any] = {}
    for method, (harness, batches, context) in runs.items():
        rows_run = 0

        def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal rows_run
            rows_run += len(args[0])

        hook = harness.model.register_forward_pre_hook(count, with_kwargs=True)
        with context():
            preds = [harness.predictor.predict(batch) for batch in batches]
        rows = [
            row for batch, pred in zip(batches, preds, strict=True) for row in harness.predictor.to_dict(batch, pred)
        ]
        hook.remove()
        pairs = alternate(lambda: call(first), lambda method=method: call(method), repeats)  # type: ignore[misc]
        answers[method] = {
            "seconds": [*pairs.b, *(pairs.a if method == first else [])],
            "exact_match": exact_match(rows),
            "calls": rows_run / len(rows),
            # As long as the block that is filled: the prior system's figures count it so.
            "tokens": len(rows) * int(batches[0]["target_ids"].shape[1]),
        }
    return answers
