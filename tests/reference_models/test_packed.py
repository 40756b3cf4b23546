"""Packed rows: documents of one row know nothing of one another, and their loss is that of rows of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xlm_runtime.build import Parts, build_parts
from xlm_runtime.config import compose
from xlm_runtime.errors import ConfigError

BLOCK = 48
SMALL = ("model.d_model=32", "model.num_layers=2", "model.num_heads=2", "model.d_ff=64", "trainer.accelerator=cpu")
#: Three rows: of three documents, of one that fills it, of two that leave room.
DOCUMENTS = [[[20 + k + j for j in range(n)] for k, n in enumerate(row)] for row in ((9, 17, 12), (46,), (5, 30))]
Xlm = Callable[..., tuple[int, str, str]]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.txt"
    lines = (f"line {n} says {'so ' * (n % 29)}and ends" for n in range(400))
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def built(model: str, corpus: Path, *words: str) -> Parts:
    torch.manual_seed(0)
    text = (f"dataset.path={corpus}", f"cache_dir={corpus.parent / 'cache'}", f"dataset.block_size={BLOCK}")
    parts = build_parts(compose([f"experiment=text_{model}", *SMALL, *text, *words]))
    parts.harness.eval()
    return parts


def both(parts: Parts) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The documents packed, and in rows of their own."""
    collate = parts.datamodule.collators["lm"]
    documents = [document for row in DOCUMENTS for document in row]
    packed = collate([{"documents": row, "index": place} for place, row in enumerate(DOCUMENTS)])
    return packed, collate([{"token_ids": document, "index": place} for place, document in enumerate(documents)])


def spread(values: Tensor, packed: dict[str, Tensor], rows: int) -> Tensor:
    """What stands at the tokens of packed rows (B, L), put where the same tokens stand in rows of their own."""
    result = torch.zeros(rows, values.shape[1], dtype=values.dtype)
    row = 0
    for number, ids in enumerate(packed["document_ids"]):
        for document in range(1, int(ids.max()) + 1):
            own = values[number][ids == document]
            result[row, : len(own)] = own
            row += 1
    assert row == rows
    return result


@pytest.mark.parametrize("shift", ["false", "true"])
@pytest.mark.parametrize("model", ["arlm", "mlm", "mdlm"])
def test_logits_do_not_depend_on_what_else_is_in_the_row(model: str, shift: str, corpus: Path) -> None:
    parts = built(model, corpus, f"model.neighbour_shift={shift}")
    packed, alone = both(parts)
    assert torch.equal(spread(packed["input_ids"], packed, 6), alone["input_ids"] * alone["attention_mask"])
    run = parts.harness.model
    together = run(packed["input_ids"], packed["attention_mask"], document_ids=packed["document_ids"])
    apart = run(alone["input_ids"], alone["attention_mask"])
    for v in range(0, together.shape[-1], 40):
        torch.testing.assert_close(
            spread(together[..., v], packed, 6), apart[..., v] * alone["attention_mask"], atol=1e-5, rtol=1e-5
        )


def test_the_loss_of_arlm_is_that_of_rows_of_their_own(corpus: Path) -> None:
    parts = built("arlm", corpus)
    packed, alone = (parts.harness.loss.loss_fn(batch) for batch in both(parts))
    assert packed["num_tokens"] == alone["num_tokens"] == sum(len(d) + 1 for row in DOCUMENTS for d in row)
    torch.testing.assert_close(packed["loss"], alone["loss"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("words", [(), ("loss.loss_on_visible=true",)])
def test_the_loss_of_mlm_is_that_of_rows_of_their_own(
    words: tuple[str, ...], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = built("mlm", corpus, *words)
    packed, alone = both(parts)
    loss = parts.harness.loss
    masked = loss.draw_mask(packed["eligible"], packed["index"])
    assert masked.any() and not masked.all()
    together = loss.loss_fn(packed)
    own = spread(torch.nn.functional.pad(masked, (1, 0)), packed, 6)[:, 1:]  # the same tokens are masked
    monkeypatch.setattr(loss, "draw_mask", lambda eligible, index: own)
    apart = loss.loss_fn(alone)
    assert together["weight"] == apart["weight"]
    torch.testing.assert_close(together["loss"], apart["loss"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("conditioned", ["false", "true"])
def test_the_loss_of_mdlm_is_that_of_rows_of_their_own(conditioned: str, corpus: Path) -> None:
    parts = built("mdlm", corpus, f"model.time_conditioning={conditioned}")
    packed, alone = both(parts)
    place = torch.tensor([0.2, 0.9, 0.6])  # the time of each packed row, and so of its documents
    uniforms = torch.rand(3, BLOCK - 1)
    together = parts.harness.loss.nelbo(packed, place, uniforms)
    own = spread(torch.nn.functional.pad(uniforms, (1, 0)), packed, 6)[:, 1:]
    apart = parts.harness.loss.nelbo(alone, place[[0, 0, 0, 1, 2, 2]], own)
    assert packed["eligible"].sum() == alone["eligible"].sum()
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-5)


def test_no_target_of_arlm_crosses_a_border(corpus: Path) -> None:
    parts = built("arlm", corpus)
    packed, _ = both(parts)
    bos, eos = parts.tokenizer.bos_token_id, parts.tokenizer.eos_token_id
    assert not (packed["target_ids"] == bos).any()
    assert (packed["target_ids"][packed["input_ids"] == eos] == -100).all()
    assert (packed["target_ids"] == eos).sum() == 6


@pytest.mark.parametrize("model", ["mlm", "mdlm"])
def test_no_border_is_masked(model: str, corpus: Path) -> None:
    parts = built(model, corpus)
    packed, _ = both(parts)
    bos = parts.tokenizer.bos_token_id
    assert not packed["eligible"][packed["input_ids"][:, 1:] == bos].any()
    assert not packed["eligible"][packed["document_ids"][:, 1:] == 0].any()
    assert packed["eligible"].sum() == sum(len(d) + 1 for row in DOCUMENTS for d in row)


def test_ilm_refuses_packed_examples(corpus: Path) -> None:
    with pytest.raises(ConfigError, match=r"packed.*dataset\.layout=padded"):
        both(built("ilm", corpus))


@pytest.mark.parametrize("model", ["mlm", "mdlm"])
def test_padding_of_packed_rows_is_not_scored(model: str, corpus: Path) -> None:
    parts = built(model, corpus, "datamodule.collators.lm.score_padding=true")
    with pytest.raises(ConfigError, match=r"score_padding.*packed.*layout=padded"):
        both(parts)


@pytest.mark.parametrize("words", [(), ("dataset.layout=padded",), ("dataset.streaming=true",)])
@pytest.mark.parametrize("model", ["arlm", "mlm", "ilm", "mdlm"])
def test_text_of_ones_own_is_trained_on_evaluated_and_generated(
    xlm: Xlm, tmp_path: Path, corpus: Path, model: str, words: tuple[str, ...]
) -> None:
    if words == ("dataset.layout=padded",) and model == "ilm":
        words = ("tokenizer=text_bpe", "tokenizer.vocab_size=280")  # it is always padded
    run_dir = tmp_path / "run"
    few = ("batch_size=4", "datamodule.limit=6", "trainer.max_steps=2", "trainer.val_check_interval=2")
    common = [f"dataset.path={corpus}", f"dataset.block_size={BLOCK}", "predictor.max_new_tokens=4", *few, *SMALL]
    if model in ("mlm", "mdlm"):
        common.remove("predictor.max_new_tokens=4")
    code, out, err = xlm("job_type=train", f"experiment=text_{model}", f"run_dir={run_dir}", *common, *words)
    assert code == 0, err
    assert "finished at step 2: " in out and "nan" not in out
    code, out, err = xlm("job_type=eval", f"run_dir={run_dir}")
    assert code == 0, err
    code, out, err = xlm("job_type=generate", f"run_dir={run_dir}", "num_samples=3")
    assert code == 0, err
    assert "3 rows: " in out


def test_a_batch_is_learnt_by_heart(xlm: Xlm, tmp_path: Path, corpus: Path) -> None:
    """debug=overfit evaluates on the training examples, here packed ones, or the first ones of a stream."""
    for stream in ("false", "true"):
        words = ("debug=overfit", "trainer.max_steps=2", "trainer.val_check_interval=2", "batch_size=4")
        data = (f"dataset.path={corpus}", f"dataset.streaming={stream}", f"dataset.block_size={BLOCK}")
        code, out, err = xlm("experiment=text_mlm", f"run_dir={tmp_path / stream}", *words, *data, *SMALL[3:])
        assert code == 0, err
        assert "4 training examples" in out
