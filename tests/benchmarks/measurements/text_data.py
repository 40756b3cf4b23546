"""Text of one's own: how fast it is prepared, how little is padding, and whether loading keeps up with training.

The corpus is the Python language reference, which every CPython carries, in paragraphs, over and over with a number in
front, so that no two are alike.
"""

from __future__ import annotations

from itertools import chain, repeat
from pathlib import Path
from typing import Any

from measurements.common import Result, Seconds, Settings, in_fresh_process, seconds_of

TRAINING = ["model.d_model=128", "model.num_layers=4", "model.d_ff=512"]
BATCH, BLOCK = 16, 256
#: In each turn: two windows of a stream (512 blocks each) in batches, and so many training steps.
BATCHES, STEPS = 64, 4


def measure(settings: Settings) -> list[Result]:
    corpus = settings.work / "corpus.jsonl"
    megabytes = _write(corpus, settings.repeats(12, 2))
    results = []
    for words, tokenizer in (("bytes", "byte"), ("BPE of 4,096", "bpe")):
        found = in_fresh_process("text_data", "prepare", settings, corpus=str(corpus), tokenizer=tokenizer)
        seconds, counts = Seconds(*found["seconds"]), found["counts"]
        padded = found["padded_waste"]
        results.append(
            Result(
                name=f"preparing {megabytes:.0f} MB of text, {words}: tokenised, packed, on the disk",
                ours=f"{counts['tokens'] / seconds.wall / 1e6:.2f} M tokens/s",
                compared_with=f"{megabytes / seconds.wall:.1f} MB/s",
                details=found,
            )
        )
        results.append(
            Result(
                name=f"padding in packed blocks of {BLOCK}, {words}",
                ours=f"{counts['waste']:.2%}",
                compared_with=f"one document a row: {padded:.1%}",
                ratio=counts["waste"] / padded,
                aim="≤ 1 %",
                met=counts["waste"] <= 0.01,
            )
        )
        results.append(
            Result(
                name=f"packing alone, {words}",
                ours=f"{counts['tokens'] / found['pack_seconds'] / 1e6:.1f} M tokens/s",
                compared_with=f"{counts['documents'] / found['pack_seconds'] / 1e3:,.0f} k documents/s",
            )
        )
    repeats = settings.repeats(8, 3)
    for words, options in (("prepared", []), ("streamed", ["dataset.streaming=true"])):
        found = in_fresh_process(
            "text_data", "load_and_train", settings, corpus=str(corpus), options=options, repeats=repeats
        )
        # Sums, not the fastest: a stream tokenises a window at once, and then gives many batches for nothing.
        loading, training = found["loading"], found["training"]
        ratio = loading["tokens"] / loading["wall"] / (training["tokens"] / training["wall"])
        by_processor = loading["tokens"] / loading["processor"] / (training["tokens"] / training["processor"])
        results.append(
            Result(
                name=f"loading {words} text over training, batch {BATCH} x {BLOCK}, d128 x 4 layers",
                ours=f"{loading['tokens'] / loading['wall'] / 1e3:,.0f} k tokens/s",
                compared_with=f"training alone: {training['tokens'] / training['wall'] / 1e3:,.1f} k tokens/s",
                ratio=ratio,
                processor_ratio=by_processor,
                aim="≥ 10",
                met=ratio >= 10,
                details=found,
            )
        )
    return results


def _write(file: Path, copies: int) -> float:
    import json
    from pydoc_data.topics import topics

    paragraphs = [text for topic in topics.values() for text in topic.split("\n\n")]
    with file.open("w", encoding="utf-8") as stream:
        for copy in range(copies):
            for text in paragraphs:
                stream.write(json.dumps({"text": f"{copy}. {text}"}) + "\n")
    return file.stat().st_size / 1e6


def prepare(corpus: str, tokenizer: str) -> dict[str, Any]:
    """Seconds of the whole preparation and of packing, and what was counted; a cache that is empty before."""
    import tempfile

    from xlm_runtime.datasets.text import TextDataset
    from xlm_runtime.datasets.text_bpe import text_bpe
    from xlm_runtime.tokenizers import byte_tokenizer

    with tempfile.TemporaryDirectory(dir=Path(corpus).parent) as cache:
        words: Any = byte_tokenizer() if tokenizer == "byte" else text_bpe(4096, cache, path=corpus, documents=5000)

        def dataset(**options: Any) -> TextDataset:
            return TextDataset(words, path=corpus, cache_dir=cache, block_size=BLOCK, shares={}, **options)

        counts: dict[str, Any] = {}
        seconds = seconds_of(lambda: counts.update(dataset().prepared["train"]))
        padded = dataset(layout="padded").prepared["train"]["waste"]
        # The same tokens in blocks of another name: a special token more, a block a place longer.
        pack = seconds_of(lambda: dataset(special_tokens=1).prepared["train"])
    return {"seconds": seconds, "pack_seconds": pack.wall, "counts": counts, "padded_waste": padded}


def load_and_train(corpus: str, options: list[str], repeats: int) -> dict[str, Any]:
    """Seconds and tokens of loading, collating included, and of training steps on loaded batches; in turn."""
    from torch.nn.utils import clip_grad_norm_

    from xlm_runtime import config, discovery
    from xlm_runtime.build import build_parts

    discovery.activate(discovery.discover().models)
    sizes = [f"batch_size={BATCH}", f"dataset.block_size={BLOCK}", "trainer.accelerator=cpu", *TRAINING]
    parts = build_parts(config.compose(["experiment=text_arlm", f"dataset.path={corpus}", *sizes, *options]))
    batches = chain.from_iterable(repeat(parts.datamodule.train_dataloader()))  # epoch after epoch
    optimizer = parts.harness.configure_optimizers()["optimizer"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    batch: Any = None

    def load() -> None:
        nonlocal batch
        for _ in range(BATCHES):
            batch = next(batches)

    def train() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            parts.harness.loss.loss_fn(batch)["loss"].backward()
            clip_grad_norm_(parameters, 1.0)
            optimizer.step()

    load()
    train()
    times = [(seconds_of(load), seconds_of(train)) for _ in range(repeats)]
    sides = zip(("loading", "training"), (BATCHES, STEPS), zip(*times, strict=True), strict=True)
    return {
        name: {
            "tokens": repeats * count * BATCH * BLOCK,
            "wall": sum(t.wall for t in side),
            "processor": sum(t.processor for t in side),
        }
        for name, count, side in sides
    }
