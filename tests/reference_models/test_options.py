"""Every option of loss, predictor and collators: it reaches its part from the command line, and nonsense is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import MODELS
from omegaconf import OmegaConf

from xlm_runtime.build import Parts, build_parts
from xlm_runtime.config import compose
from xlm_runtime.errors import ConfigError, XlmError

SMALL = (
    *("model.d_model=32", "model.num_layers=1", "model.num_heads=1", "model.d_ff=64"),
    *("dataset.sizes={train: 4, val: 4, test: 4}", "batch_size=4"),
)
Xlm = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def words(model: str, cache: Path, *overrides: str) -> list[str]:
    return [f"experiment=star_easy_{model}", *SMALL, f"cache_dir={cache}", *overrides]


def built(model: str, cache: Path, *overrides: str) -> Parts:
    torch.manual_seed(0)
    parts = build_parts(compose(words(model, cache, *overrides)))
    parts.harness.eval()
    return parts


# -- options reach their parts -------------------------------------------------------------------------------

#: Key, value, and where the part keeps it.
SAMPLING = [
    ("predictor.temperature", 0.7, "predictor.sampling.temperature"),
    ("predictor.top_k", 5, "predictor.sampling.top_k"),
    ("predictor.top_p", 0.9, "predictor.sampling.top_p"),
]
FILLING = [
    *SAMPLING,
    ("predictor.method", "random", "predictor.rule.name"),
    ("predictor.steps", 32, "predictor.steps"),
    ("predictor.confidence", "margin", "predictor.rule.measure"),
    ("predictor.confidence_noise", 0.5, "predictor.rule.noise"),
    ("predictor.gamma", 2, "predictor.rule.gamma"),
    ("predictor.block_size", 4, "predictor.block_size"),
]
REACHED: dict[str, list[tuple[str, Any, str]]] = {
    "arlm": [
        *SAMPLING,
        ("predictor.max_new_tokens", 3, "predictor.max_new_tokens"),
        ("predictor.use_cache", False, "predictor.use_cache"),
        ("predictor.compile", True, "predictor.compile"),
        ("predictor.seed", 7, "predictor.seed"),
        ("datamodule.collators.lm.score_prompt", True, "datamodule.collators.lm.score_prompt"),
    ],
    "mlm": [
        *FILLING,
        ("loss.inverse_count", True, "loss.inverse_count"),
        ("loss.loss_on_visible", True, "loss.loss_on_visible"),
    ],
    "ilm": [
        *SAMPLING,
        ("predictor.method", "slot_first", "predictor.method"),
        ("predictor.max_new_tokens", 3, "predictor.max_new_tokens"),
        ("predictor.stop_threshold", 0.5, "predictor.stop_threshold"),
        ("predictor.gamma", 0.25, "predictor.gamma"),
        ("predictor.slot_temperature", 2.0, "predictor.slot_sampling.temperature"),
        ("predictor.slot_top_k", 2, "predictor.slot_sampling.top_k"),
        ("predictor.slot_top_p", 0.5, "predictor.slot_sampling.top_p"),
        ("loss.stop_loss_weight", 0.001, "loss.stop_loss_weight"),
        ("loss.stop_class_weight", 0.9, "loss.class_weights"),
        ("model.max_positions", 64, "model.position_embedding.num_embeddings"),
    ],
    "mdlm": [
        *FILLING,
        ("predictor.method", "ddpm_cache", "predictor.method"),
        ("loss.eval_times", 3, "loss.eval_times"),
        ("noise_schedule.eps", 0.01, "loss.noise_schedule.eps"),
        ("model.time_conditioning", True, "model.transformer.conditioning_dim"),
    ],
}
#: What a part makes of a value, where it does not keep the value itself.
KEPT_AS = {"loss.stop_class_weight": [pytest.approx(0.9), pytest.approx(0.1)], "model.time_conditioning": 32}


@pytest.mark.parametrize(("model", "key", "value", "place"), [(m, *case) for m in REACHED for case in REACHED[m]])
def test_an_option_reaches_its_part(cache: Path, model: str, key: str, value: Any, place: str) -> None:
    further = ["predictor.method=slot_first"] if key.startswith("predictor.slot") else []
    parts = built(model, cache, f"{key}={str(value).lower()}", *further)
    found: Any = parts if place.startswith("datamodule") else parts.harness
    for name in place.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert (found.tolist() if isinstance(found, torch.Tensor) else found) == KEPT_AS.get(key, value)


#: Of loss and predictor, those that the seeds' own tests look at.
SEEDS = {"loss.seed", "predictor.seed"}


@pytest.mark.parametrize("model", REACHED)
def test_no_option_is_forgotten(model: str) -> None:
    """Each key of the model's file of options is tried above, and below with nonsense."""
    file = OmegaConf.load(MODELS / model / "configs" / "model_type" / f"{model}.yaml")
    options = {f"{part}.{name}" for part in ("loss", "predictor") for name in file[part] if name != "_target_"}
    assert options <= {key for key, _, _ in REACHED[model]} | SEEDS
    assert options <= {word.partition("=")[0] for refused, _ in REFUSED[model] for word in refused.split(" ")}


# -- nonsense is refused -------------------------------------------------------------------------------------

WHOLE = "expected a whole number of at least"
SWITCH = "expected true or false"
SAMPLING_NONSENSE = [
    ("predictor.temperature=-1", "predictor.temperature is -1; expected a number in [0, inf)"),
    ("predictor.temperature=nan", "predictor.temperature is nan; expected a number"),
    ("predictor.temperature=inf", "predictor.temperature is inf; expected a number"),
    ("predictor.temperature=hot", "predictor.temperature is 'hot'; expected a number"),
    ("predictor.temperature=null", "predictor.temperature is None; expected a number"),
    ("predictor.top_k=0", f"predictor.top_k is 0; {WHOLE} 1, or null"),
    ("predictor.top_k=1.5", f"predictor.top_k is 1.5; {WHOLE} 1, or null"),
    ("predictor.top_p=0", "predictor.top_p is 0; expected a number in (0, 1], or null"),
    ("predictor.top_p=1.1", "predictor.top_p is 1.1; expected a number in (0, 1], or null"),
    ("predictor.seed=-1", f"predictor.seed is -1; {WHOLE} 0"),
]
FILLING_NONSENSE = [
    *SAMPLING_NONSENSE,
    ("predictor.method=confidnce", "predictor.method is 'confidnce'; expected one of: "),
    ("predictor.method=confidnce", "random, confidence, threshold. Did you mean 'confidence'?"),
    ("predictor.steps=0", f"predictor.steps is 0; {WHOLE} 1, or null"),
    ("predictor.steps=2.5", f"predictor.steps is 2.5; {WHOLE} 1, or null"),
    ("predictor.steps=few", f"predictor.steps is 'few'; {WHOLE} 1, or null"),
    ("predictor.steps=true", f"predictor.steps is True; {WHOLE} 1, or null"),
    ("predictor.confidence=top", "predictor.confidence is 'top'; expected one of: top_prob, margin, entropy."),
    ("predictor.confidence_noise=-0.1", "predictor.confidence_noise is -0.1; expected a number in [0, inf)"),
    ("predictor.gamma=-1", "predictor.gamma is -1; expected a number in [0, inf)"),
    ("predictor.gamma=inf", "predictor.gamma is inf; expected a number in [0, inf)"),
    ("predictor.block_size=0", f"predictor.block_size is 0; {WHOLE} 1, or null"),
    ("loss.seed=now", f"loss.seed is 'now'; {WHOLE} 0"),
    ("model.neighbour_shift=maybe", f"model.neighbour_shift is 'maybe'; {SWITCH}"),
]
LENGTH_NONSENSE = [
    ("predictor.max_new_tokens=0", f"predictor.max_new_tokens is 0; {WHOLE} 1"),
    ("predictor.max_new_tokens=2.5", f"predictor.max_new_tokens is 2.5; {WHOLE} 1"),
    ("predictor.max_new_tokens=null", f"predictor.max_new_tokens is None; {WHOLE} 1"),
]
REFUSED: dict[str, list[tuple[str, str]]] = {
    "arlm": [
        *SAMPLING_NONSENSE,
        *LENGTH_NONSENSE,
        ("predictor.use_cache=maybe", f"predictor.use_cache is 'maybe'; {SWITCH}"),
        ("predictor.compile=1", f"predictor.compile is 1; {SWITCH}"),
        ("predictor.temprature=1", "Unknown key 'predictor.temprature'"),
        ("predictor.temprature=1", "Did you mean 'predictor.temperature'"),
        ("datamodule.collators.lm.score_prompt=2", f"score_prompt is 2; {SWITCH}"),
        ("model.neighbour_shift=maybe", f"model.neighbour_shift is 'maybe'; {SWITCH}"),
    ],
    "mlm": [
        *FILLING_NONSENSE,
        ("loss.inverse_count=maybe", f"loss.inverse_count is 'maybe'; {SWITCH}"),
        ("loss.loss_on_visible=1", f"loss.loss_on_visible is 1; {SWITCH}"),
    ],
    "ilm": [
        *SAMPLING_NONSENSE,
        *LENGTH_NONSENSE,
        (
            "predictor.method=jont",
            "predictor.method is 'jont'; expected one of: joint, slot_first, threshold. Did you mean 'joint'?",
        ),
        ("predictor.gamma=1", "predictor.gamma is 1; expected a number in [0, 1)"),
        ("predictor.gamma=-0.1", "predictor.gamma is -0.1; expected a number in [0, 1)"),
        (
            "predictor.method=threshold predictor.temperature=0.7",
            "predictor.temperature is 0.7, but predictor.method is 'threshold', which draws nothing",
        ),
        (
            "predictor.method=threshold predictor.top_k=2 predictor.top_p=0.5",
            "predictor.top_k is 2, predictor.top_p is 0.5, but predictor.method is 'threshold', which draws nothing",
        ),
        ("predictor.stop_threshold=0", "predictor.stop_threshold is 0; expected a number in (0, 1]"),
        ("predictor.stop_threshold=1.1", "predictor.stop_threshold is 1.1; expected a number in (0, 1]"),
        ("predictor.slot_top_k=2", "predictor.slot_top_k is set, but predictor.method is 'joint'"),
        (
            "predictor.slot_temperature=-1 predictor.method=slot_first",
            "predictor.slot_temperature is -1; expected a num",
        ),
        ("predictor.slot_top_k=0 predictor.method=slot_first", f"predictor.slot_top_k is 0; {WHOLE} 1, or null"),
        (
            "predictor.slot_top_p=2 predictor.method=slot_first",
            "predictor.slot_top_p is 2; expected a number in (0, 1]",
        ),
        ("loss.stop_loss_weight=-1", "loss.stop_loss_weight is -1; expected a number in [0, inf)"),
        ("loss.stop_loss_weight=much", "loss.stop_loss_weight is 'much'; expected a number in [0, inf)"),
        ("loss.stop_class_weight=0", "loss.stop_class_weight is 0; expected a number in (0, 1), or null"),
        ("loss.stop_class_weight=1", "loss.stop_class_weight is 1; expected a number in (0, 1), or null"),
        ("loss.seed=-1", f"loss.seed is -1; {WHOLE} 0"),
        ("model.max_positions=0", f"model.max_positions is 0; {WHOLE} 1, or null"),
        ("model.neighbour_shift=maybe", f"model.neighbour_shift is 'maybe'; {SWITCH}"),
    ],
    "mdlm": [
        *FILLING_NONSENSE,
        ("predictor.method=dpm", "expected one of: ddpm, ddpm_cache, first_hitting, random, confidence, threshold."),
        ("predictor.method=first_hitting predictor.steps=4", "first_hitting has one a position: set it to null"),
        ("loss.eval_times=0", f"loss.eval_times is 0; {WHOLE} 1"),
        ("loss.eval_times=1.5", f"loss.eval_times is 1.5; {WHOLE} 1"),
        ("noise_schedule.eps=0", "noise_schedule.eps is 0; expected a number in (0, 1)"),
        ("noise_schedule.eps=1", "noise_schedule.eps is 1; expected a number in (0, 1)"),
        ("~noise_schedule", "needs a noise schedule: set noise_schedule=log_linear"),
        ("model.time_conditioning=maybe", f"model.time_conditioning is 'maybe'; {SWITCH}"),
    ],
}


@pytest.mark.parametrize(("model", "nonsense", "message"), [(m, *case) for m in REFUSED for case in REFUSED[m]])
def test_nonsense_is_refused(cache: Path, model: str, nonsense: str, message: str) -> None:
    """When parts are made: before the first step, and whatever the job."""
    with pytest.raises(XlmError) as refused:
        built(model, cache, *nonsense.split(" "))
    assert isinstance(refused.value, ConfigError)  # said by the part that has the option, not by Python
    assert message in str(refused.value)


INFILLING = [
    ("infill_fraction=0", "infill_fraction is 0; expected a number in (0, 1]"),
    ("infill_fraction=1.5", "infill_fraction is 1.5; expected a number in (0, 1]"),
    ("infill_fraction=half", "infill_fraction is 'half'; expected a number in (0, 1]"),
]
TEXT_NONSENSE = [
    *(("mlm", *case) for case in INFILLING),
    *(("ilm", *case) for case in INFILLING),
    *(("mdlm", *case) for case in INFILLING),
    ("mlm", "score_padding=maybe", f"score_padding is 'maybe'; {SWITCH}"),
    ("mdlm", "score_padding=maybe", f"score_padding is 'maybe'; {SWITCH}"),
    ("arlm", "prompt_tokens=-1", f"prompt_tokens is -1; {WHOLE} 0"),
    ("arlm", "prompt_tokens=255", "prompt_tokens is 255; expected at most 254"),
]


@pytest.mark.parametrize(("model", "nonsense", "message"), TEXT_NONSENSE)
def test_nonsense_about_text_is_refused(model: str, nonsense: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build_parts(compose([f"experiment=pydoc_{model}", f"datamodule.collators.prediction.{nonsense}"]))
    assert message in str(refused.value)


#: What depends on how many positions there are to fill is found where they are known.
MISFITS = [
    ("predictor.block_size=14", "predictor.block_size is 14, but there are 13 positions to fill"),
    ("predictor.block_size=4 predictor.steps=3", "are 4 blocks, and each needs a step. Take at least 4 steps"),
]


@pytest.mark.parametrize("model", ["mlm", "mdlm"])
@pytest.mark.parametrize(("misfit", "message"), MISFITS)
def test_blocks_and_steps_that_do_not_fit_are_refused(cache: Path, model: str, misfit: str, message: str) -> None:
    parts = built(model, cache, *misfit.split(" "))
    with pytest.raises(ConfigError) as refused:
        predict(parts)
    assert message in str(refused.value)


# -- every way to decode -------------------------------------------------------------------------------------

BY_RULE = [
    "method=random",
    *(
        f"method={rule} confidence={measure}"
        for rule in ("confidence", "threshold")
        for measure in ("margin", "entropy")
    ),
    "method=confidence confidence=top_prob confidence_noise=1.0",
    "method=threshold gamma=2.0 steps=3",
    "method=confidence temperature=0.7 steps=32",
    "method=random steps=4 block_size=4 temperature=1.0 top_k=3",
    "method=confidence block_size=5 top_p=0.5 temperature=1.0",
]
DECODED: dict[str, Sequence[str]] = {
    "arlm": ["temperature=0.0", "temperature=0.7 top_k=5", "top_p=0.9 temperature=1.5", "use_cache=false"],
    "mlm": BY_RULE,
    "ilm": [
        "method=joint",
        "method=joint temperature=0.7 top_k=40 top_p=0.9",
        "method=slot_first temperature=1.0 slot_temperature=0.0",
        "method=slot_first slot_temperature=1.0 slot_top_k=2 slot_top_p=0.9 top_k=3",
        "method=threshold gamma=0.3",
        "stop_threshold=1.0 max_new_tokens=4",
    ],
    "mdlm": [
        *BY_RULE,
        "method=ddpm",
        "method=ddpm steps=5 temperature=0.5 top_p=0.9",
        "method=ddpm_cache steps=40 block_size=4",
        "method=first_hitting",
        "method=first_hitting block_size=4",
    ],
}


def predict(parts: Parts) -> list[dict[str, Any]]:
    examples = [parts.datamodule.examples("val")[i] for i in range(4)]
    batch = parts.datamodule.collators["prediction"](examples)
    preds = parts.harness.predictor.predict(batch)
    rows: list[dict[str, Any]] = parts.harness.predictor.to_dict(batch, preds)
    return rows


@pytest.mark.parametrize(("model", "options"), [(m, options) for m in DECODED for options in DECODED[m]])
def test_every_way_to_decode_writes_words(cache: Path, model: str, options: str) -> None:
    """An untrained network, whatever it writes; twice the same; and no mask is left, no special token but the last."""
    parts = built(model, cache, *(f"predictor.{word}" for word in options.split(" ")))
    rows = predict(parts)
    assert rows == predict(parts)
    allowed = {parts.tokenizer.eos_token_id, parts.tokenizer.pad_token_id}
    for row in rows:
        assert row["ids"]
        assert not set(row["ids"]) & (set(parts.tokenizer.all_special_ids) - allowed)


# -- the command line ----------------------------------------------------------------------------------------

AT_THE_COMMAND_LINE = [
    ("arlm", "predictor.temperature=-1"),
    ("arlm", "predictor.temprature=1"),
    ("mlm", "predictor.method=confidnce"),
    ("mlm", "predictor.steps=few"),
    ("ilm", "predictor.stop_threshold=1.1"),
    ("mdlm", "predictor.method=first_hitting predictor.steps=4"),
    ("mdlm", "~noise_schedule"),
]


@pytest.mark.parametrize(("model", "nonsense"), AT_THE_COMMAND_LINE)
def test_the_command_line_ends_with_2_and_a_message(
    xlm: Xlm, cache: Path, tmp_path: Path, model: str, nonsense: str
) -> None:
    """And leaves no run directory behind that a corrected command would have to continue."""
    code, out, err = xlm("job_type=train", *words(model, cache, *nonsense.split(" ")), "trainer.max_steps=1")
    assert code == 2 and out == ""
    assert err.startswith("Error: ") and "Traceback" not in err
    messages = [message for refused, message in REFUSED[model] if refused == nonsense]
    assert messages and all(message in err for message in messages)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("model", ["mlm", "mdlm"])
def test_what_only_the_data_tells_is_refused_at_the_command_line(xlm: Xlm, cache: Path, model: str) -> None:
    for misfit, message in MISFITS:
        code, _, err = xlm("job_type=train", *words(model, cache, *misfit.split(" ")), "trainer.max_steps=1")
        assert code == 2
        assert err.startswith("Error: ") and "Traceback" not in err and message in err
    assert not Path("runs").exists()  # refused before the first step, and not at the first validation
    code, _, err = xlm("job_type=train", *words(model, cache), "trainer.max_steps=1")
    assert code == 0, err
    for misfit, message in MISFITS:
        code, _, err = xlm("job_type=generate", *misfit.split(" "))
        assert code == 2
        assert err.startswith("Error: ") and "Traceback" not in err and message in err


def test_a_saved_run_decodes_otherwise_and_a_process_of_its_own_refuses(xlm: Xlm, cache: Path, tmp_path: Path) -> None:
    code, _, err = xlm("job_type=train", *words("mlm", cache), "trainer.max_steps=1")
    assert code == 0, err
    options = ["predictor.method=confidence", "predictor.temperature=0.7", "predictor.steps=32"]
    code, out, err = xlm("job_type=generate", *options)
    assert code == 0 and "exact match" in out, err
    command = [sys.executable, "-m", "xlm_runtime.cli", "job_type=generate", *options[:2], "predictor.steps=0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"Error: predictor.steps is 0; {WHOLE} 1, or null."
    assert "Traceback" not in done.stderr
