"""Tokens a second of ARLM's predictor: 256 new tokens for 16 prompts, with its KV cache and without.

No row stops at EOS. Greedy, so both must write the same tokens. The model is as large as the one that the prior
system's figure was taken with, the machine is another: that comparison is rough, and the table says so.
"""

from __future__ import annotations

from typing import Any

from measurements.common import Pairs, Result, Seconds, Settings, alternate, fastest, in_fresh_process, seconds_of

BATCH = 16
PRIOR = 258.0  # tokens a second, no cache
PRIOR_AIM = 10.0


def measure(settings: Settings) -> list[Result]:
    answer = in_fresh_process(
        "generation",
        "generate_both_ways",
        settings,
        new_tokens=settings.repeats(256, 64),
        repeats=settings.repeats(3, 1),
        device=settings.device,
    )
    pairs = Pairs([Seconds(*t) for t in answer["uncached"]], [Seconds(*t) for t in answer["cached"]])
    tokens = answer["tokens"]
    speed = tokens / fastest(pairs.b).wall
    name = f"generation, {tokens // BATCH} tokens x batch {BATCH}, d128 x 4 layers"
    compiled = []
    if settings.device == "cuda":
        name += ", GPU"
        steps = Pairs([Seconds(*t) for t in answer["plain"]], [Seconds(*t) for t in answer["compiled"]])
        compiled = [
            Result(
                name=f"{name}, predictor.compile=true",
                ours=f"{tokens / fastest(steps.b).wall:,.0f} tokens/s",
                compared_with=f"not compiled: {tokens / fastest(steps.a).wall:,.0f} tokens/s",
                ratio=steps.ratio,
                processor_ratio=steps.processor_ratio,
                details={"tokens": tokens} | steps.details("not compiled", "compiled"),
            )
        ]
    return [
        *compiled,
        Result(
            name=name,
            ours=f"{speed:,.0f} tokens/s",
            compared_with=f"the same without a cache: {tokens / fastest(pairs.a).wall:,.0f} tokens/s",
            ratio=pairs.ratio,
            processor_ratio=pairs.processor_ratio,
            details={"tokens": tokens} | pairs.details("without cache", "with cache"),
        ),
        Result(
            name=f"{name} (across machines)",
            ours=f"{speed:,.0f} tokens/s",
            compared_with="the prior system, on another machine",
            ratio=speed / PRIOR,
            aim=f"≥ {PRIOR_AIM:.0f}",
            met=speed / PRIOR >= PRIOR_AIM,
            prior=f"{PRIOR:.0f} tokens/s",
        ),
    ]


def generate_both_ways(new_tokens: int, repeats: int, device: str) -> dict[str, Any]:
    """Seconds with a cache and without, and how many tokens each call makes."""
    import torch
    from lightning.pytorch.utilities import move_data_to_device

    from xlm_runtime import config, discovery
    from xlm_runtime.build import build_parts

    discovery.activate(discovery.discover().models)
    cfg = config.compose(
        [
            "experiment=star_easy_arlm",
            "model.d_model=128",
            "model.num_layers=4",
            f"eval_batch_size={BATCH}",
            f"predictor.max_new_tokens={new_tokens}",
        ]
    )
    torch.manual_seed(0)
    parts = build_parts(cfg)
    parts.harness.eval().to(device)
    predictor: Any = parts.harness.predictor
    predictor.eos = -1  # no token has this id: no row stops
    batch = move_data_to_device(next(iter(parts.datamodule.predict_dataloader()[0])), torch.device(device))
    ids: dict[bool, torch.Tensor] = {}

    def generate(use_cache: bool, compile: bool = False) -> Seconds:
        predictor.use_cache, predictor.compile = use_cache, compile

        def predict() -> None:
            ids[use_cache] = predictor.predict(batch)["ids"]

        return seconds_of(predict)

    generate(True)  # the first call also sets up threads and memory
    pairs = alternate(lambda: generate(False), lambda: generate(True), repeats)
    assert ids[True].shape == (BATCH, new_tokens)
    assert torch.equal(ids[True], ids[False]), "cached and uncached generation differ"
    answer = {"uncached": pairs.a, "cached": pairs.b, "tokens": BATCH * new_tokens}
    if device == "cuda":
        expected = ids[True]
        for _ in range(3):  # compiles, and records its graphs
            generate(True, compile=True)
        steps = alternate(lambda: generate(True), lambda: generate(True, compile=True), 3 * repeats)
        generate(True, compile=True)
        assert torch.equal(ids[True], expected), "compiled and plain generation differ"
        answer |= {"plain": steps.a, "compiled": steps.b}
    return answer
