"""Tokens a second of each reference model's own decoding: 14 new tokens for 64 prompts of 28, d128 x 4 layers.

Beside it stands what decoding cannot do without if nothing is saved: as many bare forward passes over the whole
batch at its full length, with all logits. EOS and PAD are never drawn, so that every row makes every token.
"""

from __future__ import annotations

import statistics
from typing import Any

from measurements.common import Pairs, Result, Seconds, Settings, alternate, fastest, in_fresh_process, seconds_of

BATCH, NEW_TOKENS = 64, 14
#: Tokens a second of the prior system at this shape, on two cores of another machine.
PRIOR = {"arlm": 2140, "ilm": 1986, "mlm": 1247, "mdlm": 998}
PRIOR_AIM = 3.0
ILM = [f"predictor.max_new_tokens={NEW_TOKENS}", "predictor.stop_threshold=1"]
#: row -> (model, its overrides)
ROWS = {
    "arlm": ("arlm", [f"predictor.max_new_tokens={NEW_TOKENS}"]),
    "mlm": ("mlm", [f"dataset.answer_length={NEW_TOKENS + 1}"]),  # BOS, and so many blanks
    "ilm": ("ilm", ILM),
    "ilm, cached prompt": ("ilm", [*ILM, "model.cached_prompt=true"]),
    "mdlm": ("mdlm", [f"dataset.answer_length={NEW_TOKENS + 1}"]),
}


def measure(settings: Settings) -> list[Result]:
    results = []
    for row, (model, words) in ROWS.items():
        answer = in_fresh_process(
            "decoding",
            "decode",
            settings,
            model=model,
            words=words,
            repeats=settings.repeats(15, 3),
            device=settings.device,
        )
        pairs = Pairs([Seconds(*t) for t in answer["bare"]], [Seconds(*t) for t in answer["ours"]])
        tokens = BATCH * NEW_TOKENS
        speed = tokens / fastest(pairs.b).wall
        median = tokens / statistics.median(t.wall for t in pairs.b)
        calls, threads = answer["calls"], answer["threads"]
        results.append(
            Result(
                name=f"decoding, {row}, {calls:g} calls a sequence, {settings.on(threads)}",
                ours=f"{speed:,.0f} tokens/s",
                compared_with=f"{calls:g} bare forward passes: {tokens / fastest(pairs.a).wall:,.0f} tokens/s",
                ratio=pairs.ratio,
                processor_ratio=pairs.processor_ratio,
                aim=f"≥ {PRIOR_AIM * PRIOR[model]:,.0f} tokens/s",
                met=speed >= PRIOR_AIM * PRIOR[model],
                prior=f"{PRIOR[model]:,} tokens/s",
                details={"calls": calls, "median_tokens_per_second": median} | pairs.details("bare", "ours"),
            )
        )
    return results


def decode(model: str, words: list[str], repeats: int, device: str) -> dict[str, Any]:
    """Seconds of decoding and of the bare passes, and the network calls of a sequence."""
    import torch
    from lightning.pytorch.utilities import move_data_to_device

    from xlm_runtime import config, discovery
    from xlm_runtime.build import build_parts

    discovery.activate(discovery.discover().models)
    cfg = config.compose(
        [
            f"experiment=star_easy_{model}",
            "model.d_model=128",
            "model.num_layers=4",
            f"eval_batch_size={BATCH}",
            *words,
        ]
    )
    torch.manual_seed(0)
    parts = build_parts(cfg)
    parts.harness.eval().to(device)
    network, predictor = parts.harness.model, parts.harness.predictor
    batch = move_data_to_device(next(iter(parts.datamodule.predict_dataloader()[0])), torch.device(device))
    never = [parts.tokenizer.eos_token_id, parts.tokenizer.pad_token_id]
    rows_run = 0
    widest: dict[str, Any] = {}

    def watch(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal rows_run, widest
        rows_run += len(args[0])
        kept = {k: v for k, v in kwargs.items() if k not in ("logits_to_keep", "cache", "previous_ids")}
        if not widest or args[0].shape[1] >= widest["args"][0].shape[1]:
            widest = {"args": args, "kwargs": kept}

    def suppress(module: Any, args: Any, output: Any) -> None:
        logits = output if isinstance(output, torch.Tensor) else output[0]
        logits[..., never] = -torch.inf

    watching = network.register_forward_pre_hook(watch, with_kwargs=True)
    suppressing = network.register_forward_hook(suppress)
    ids = predictor.predict(batch)["ids"]
    watching.remove()
    made = ids[:, -NEW_TOKENS:]
    assert made.shape == (BATCH, NEW_TOKENS) and not torch.isin(made, torch.tensor(never, device=device)).any(), ids
    calls = rows_run / BATCH
    if model == "arlm":  # with its cache, no single call has seen it all
        whole = torch.cat([batch["input_ids"], ids], 1)
        widest = {"args": (whole, torch.ones_like(whole, dtype=torch.bool)), "kwargs": {}}

    def bare() -> Seconds:
        def passes() -> None:
            for _ in range(round(calls)):
                network(*widest["args"], **widest["kwargs"])

        return seconds_of(passes)

    with torch.inference_mode():  # as job_type=generate does
        bare()
        pairs = alternate(bare, lambda: seconds_of(lambda: predictor.predict(batch)), repeats)
    suppressing.remove()
    return {"bare": pairs.a, "ours": pairs.b, "calls": calls, "threads": torch.get_num_threads()}
