"""Text: ``experiment=pydoc_<model>`` trains, evaluates and generates, by bytes and by BPE, from nothing and with gaps.

The contract of a model repository is held on it as well, besides on star graphs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from arlm.datamodule_arlm import ArlmCollatorPrediction

from xlm_runtime.build import Parts, build_parts
from xlm_runtime.config import compose
from xlm_runtime.errors import ConfigError
from xlm_runtime.predictions import read_rows
from xlm_runtime.testing import ModelContract
from xlm_runtime.tokenizers import byte_tokenizer

MODELS = ("arlm", "mlm", "ilm", "mdlm")
#: How a model writes text from nothing, and how it completes what is given.
FROM_NOTHING = {
    "arlm": (),
    "mlm": ("collator@datamodule.collators.prediction=prediction_mlm",),
    "ilm": ("collator@datamodule.collators.prediction=prediction_ilm",),
    "mdlm": ("collator@datamodule.collators.prediction=prediction_mdlm",),
}
FROM_SOME = {"arlm": ("datamodule.collators.prediction.prompt_tokens=16",), "mlm": (), "ilm": (), "mdlm": ()}
SMALL = (
    *("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64"),
    *("dataset.block_size=48", "batch_size=8", "datamodule.limit=12"),
)


class TextContract(ModelContract):
    """The prediction has a truth, so that every metric has a value."""

    overrides = ("dataset.block_size=48", "batch_size=8", "datamodule.limit=16")
    lengths = ("dataset.block_size",)


class TestArlm(TextContract):
    model_name, experiment = "arlm", "pydoc_arlm"
    overrides = (*TextContract.overrides, *FROM_SOME["arlm"])


class TestMlm(TextContract):
    model_name, experiment = "mlm", "pydoc_mlm"


class TestIlm(TextContract):
    model_name, experiment = "ilm", "pydoc_ilm"


class TestMdlm(TextContract):
    model_name, experiment = "mdlm", "pydoc_mdlm"


Xlm = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("form", ["from nothing", "from some"])
@pytest.mark.parametrize("tokenizer", [(), ("tokenizer=pydoc_bpe", "tokenizer.vocab_size=300")], ids=["byte", "bpe"])
@pytest.mark.parametrize("model", MODELS)
def test_text_is_trained_on_evaluated_and_generated(
    xlm: Xlm, tmp_path: Path, model: str, tokenizer: tuple[str, ...], form: str
) -> None:
    """The saved run carries tokenizer and collators: eval and generate say nothing about them."""
    run_dir = tmp_path / "run"
    forms = FROM_NOTHING if form == "from nothing" else FROM_SOME
    words = [*tokenizer, *SMALL, *forms[model], "trainer.max_steps=2", "trainer.val_check_interval=2"]
    code, out, err = xlm("job_type=train", f"experiment=pydoc_{model}", f"run_dir={run_dir}", *words)
    assert code == 0, err
    assert "finished at step 2: " in out and "nan" not in out
    code, out, err = xlm("job_type=eval", f"run_dir={run_dir}")
    assert code == 0, err
    metrics = json.loads((run_dir / "metrics-test.json").read_text(encoding="utf-8"))
    assert ("test/exact_match" in metrics) == ("test/token_accuracy" in metrics) == (form == "from some")
    code, out, err = xlm("job_type=generate", f"run_dir={run_dir}", "num_samples=3")
    assert code == 0, err
    assert all(character.isprintable() or character == "\n" for character in out)  # whatever bytes were drawn
    rows = read_rows(run_dir / "predictions" / "test" / "step=2.generated.jsonl")
    assert len(rows) == 3 and all(row["ids"] for row in rows)
    assert all((row["truth"] is not None) == (form == "from some") for row in rows)
    assert all((row["prompt"] == "") == (form == "from nothing") for row in rows)
    assert all(max(row["ids"]) < (300 if tokenizer else 263) for row in rows)


def built(model: str, *words: str) -> Parts:
    torch.manual_seed(0)
    parts = build_parts(compose([f"experiment=pydoc_{model}", *SMALL, *words]))
    parts.harness.eval()
    return parts


@pytest.mark.parametrize("model", ["mlm", "ilm", "mdlm"])
def test_what_is_given_is_kept(model: str) -> None:
    """Infilling half of each text: the other half stands where it stood, or, after insertions, in its order."""
    parts = built(model, "datamodule.collators.prediction.infill_fraction=0.5", "predictor.temperature=1.0")
    examples = [parts.datamodule.examples("val")[i] for i in range(8)]
    batch = parts.datamodule.collators["prediction"](examples)
    preds = parts.harness.predictor.predict(batch)
    for example, ids, missing in zip(examples, preds["ids"], batch["target_mask"], strict=True):
        truth = example["token_ids"]
        gone = missing[: len(truth)].tolist()
        assert 0.4 < sum(gone) / len(truth) < 0.6
        given = [token for token, out in zip(truth, gone, strict=True) if not out]
        written = ids.tolist()
        if model == "ilm":
            begin, end = gone.index(True), len(truth) - 1 - gone[::-1].index(True)
            assert written[:begin] == truth[:begin]
            text = [i for i in written if i != parts.tokenizer.pad_token_id]
            assert text[len(text) - (len(truth) - 1 - end) :] == truth[end + 1 :]
            assert len(text) >= len(given)
        else:
            assert [token for token, out in zip(written, gone, strict=False) if not out] == given


# -- arlm: what is to be continued --------------------------------------------------------------------------

TOKENIZER = byte_tokenizer()
BOS, EOS, PAD = TOKENIZER.bos_token_id, TOKENIZER.eos_token_id, TOKENIZER.pad_token_id


def text(length: int, index: int = 0) -> dict[str, Any]:
    return {"token_ids": [100 + place for place in range(length)], "index": index}


def test_arlm_writes_from_nothing() -> None:
    batch = ArlmCollatorPrediction(TOKENIZER, block_size=6)([text(4, 7), {"index": 8}])
    assert batch["input_ids"].tolist() == [[BOS]] * 2
    assert batch["attention_mask"].all()
    assert batch["target_ids"].eq(PAD).all() and not batch["target_mask"].any()
    assert batch["index"].tolist() == [7, 8]


def test_arlm_continues_what_is_given() -> None:
    """A text of its own length, one that is cut off as in training, one that is shorter than what is given of it."""
    collate = ArlmCollatorPrediction(TOKENIZER, block_size=6, prompt_tokens=2)
    batch = collate([text(4), text(9), text(1)])
    assert batch["input_ids"].tolist() == [[BOS, 100, 101], [BOS, 100, 101], [PAD, BOS, 100]]
    assert batch["attention_mask"].tolist() == [[True] * 3, [True] * 3, [False, True, True]]
    assert batch["target_ids"].tolist() == [[102, 103, EOS], [102, 103, 104], [EOS, PAD, PAD]]
    assert batch["target_mask"].tolist() == [[True] * 3, [True] * 3, [True, False, False]]


@pytest.mark.parametrize("prompt_tokens", [-1, 5])
def test_arlm_refuses_to_be_given_more_than_a_block_holds(prompt_tokens: int) -> None:
    with pytest.raises(ConfigError, match=r"prompt_tokens.*expected .*at (least 0|most 4)"):
        ArlmCollatorPrediction(TOKENIZER, block_size=6, prompt_tokens=prompt_tokens)
