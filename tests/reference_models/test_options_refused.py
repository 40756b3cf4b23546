"""Nonsense as an option of loss, predictor or collators is refused, with a message and status 2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_models import built, options_of, predict, words

from xlm_runtime.build import build_parts
from xlm_runtime.config import compose
from xlm_runtime.errors import ConfigError, XlmError

Xlm = Callable[..., tuple[int, str, str]]

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
        ("model.count_up_to=0", f"model.count_up_to is 0; {WHOLE} 1"),
        ("model.cached_prompt=maybe", f"model.cached_prompt is 'maybe'; {SWITCH}"),
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


@pytest.mark.parametrize("model", REFUSED)
def test_no_option_is_forgotten(model: str) -> None:
    """Each key of loss and predictor in the model's file of options is tried above."""
    assert options_of(model) <= {word.partition("=")[0] for refused, _ in REFUSED[model] for word in refused.split(" ")}


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
