"""A compiled step on a cache of fixed shape gives the tokens of the plain one, and is compiled once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch._dynamo.config
from arlm.model_arlm import ArlmModel
from arlm.predictor_arlm import LOOK_EVERY, ArlmPredictor
from arlm_untrained import EXAMPLES, PAD, PROMPT, SAMPLED, TOKENIZER, V, prompts, watched

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn import FixedKVCache

NEW = 2 * LOOK_EVERY + 8


@pytest.fixture(autouse=True)
def no_second_program(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whole steps in one graph each, and an error where a step would be compiled anew."""
    compile_with = torch.compile

    def compile(function: Any, *, mode: str, dynamic: bool) -> Any:
        assert (mode, dynamic) == ("reduce-overhead", False)
        return compile_with(function, backend="eager", fullgraph=True, dynamic=dynamic)

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", compile)
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield


class Plain(ArlmModel):
    """``Watched`` without its list of calls, which would change the program at every call."""


def model_of(eos: float, **options: Any) -> ArlmModel:
    source = watched(**options)
    model = Plain(V, PAD, d_model=32, num_layers=2, num_heads=2, d_ff=64, embedding_std=1.0, **options).eval()
    model.load_state_dict(source.state_dict())
    bias = torch.zeros(V)
    bias[TOKENIZER.eos_token_id] = eos
    model.head.register_forward_hook(lambda head, inputs, logits: logits + bias)
    return model


def generate(predictor: ArlmPredictor, rows: list[dict[str, Any]] = EXAMPLES) -> torch.Tensor:
    return predictor.predict(prompts(rows))["ids"]


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("neighbour_shift", [False, True], ids=["plain", "neighbour_shift"])
def test_the_tokens_are_those_of_the_plain_step(sampling: dict[str, Any], neighbour_shift: bool) -> None:
    model = model_of(eos=0.5, neighbour_shift=neighbour_shift)
    plain = ArlmPredictor(model, TOKENIZER, max_new_tokens=NEW, **sampling)
    compiled = ArlmPredictor(model, TOKENIZER, max_new_tokens=NEW, compile=True, **sampling)
    expected = generate(plain)
    assert len({row.tolist().count(PAD) for row in expected}) > 3  # rows end at different steps
    assert generate(compiled).equal(expected)
    assert generate(compiled).equal(expected)  # in the same memory again
    backwards = EXAMPLES[::-1]
    assert generate(compiled, backwards).equal(generate(plain, backwards))


def test_the_loop_ends_soon_after_the_last_row() -> None:
    calls = []
    model = model_of(eos=50.0)
    predictor = ArlmPredictor(model, TOKENIZER, max_new_tokens=NEW, compile=True)
    draw = predictor._draw
    predictor._draw = lambda *arguments: calls.append(1) or draw(*arguments)  # type: ignore[method-assign,func-returns-value]
    ids = generate(predictor)
    assert (ids[:, 0] == TOKENIZER.eos_token_id).all() and (ids[:, 1:] == PAD).all()
    assert len(calls) == LOOK_EVERY


def test_a_trace_is_made_of_plain_steps() -> None:
    from xlm_runtime.tracing import Recorder

    predictor = ArlmPredictor(model_of(0.5), TOKENIZER, max_new_tokens=4, compile=True)
    predictor.recorder = Recorder(limit=4)
    generate(predictor)
    assert predictor._compiled_step is None


def test_without_a_cache_there_is_nothing_to_compile() -> None:
    with pytest.raises(ConfigError, match=r"predictor\.compile is true, and predictor\.use_cache false"):
        ArlmPredictor(model_of(0.0), TOKENIZER, use_cache=False, compile=True)


def test_a_cleared_cache_knows_nothing_and_keeps_its_memory() -> None:
    cache = model_of(0.0).transformer.make_cache(2, PROMPT, fixed=True)
    assert isinstance(cache, FixedKVCache)
    memory = cache.keys.data_ptr()
    mask = torch.tensor([[False, True, True], [True, True, True]])
    positions, attended = cache.extend(mask)
    assert positions.tolist() == [[0, 0, 1], [0, 1, 2]] and cache.length == 3
    assert attended[0, 0, 2].nonzero().squeeze(1).tolist() == [1, 2]
    cache.clear()
    positions, attended = cache.extend(torch.ones(2, 1, dtype=torch.bool))
    assert positions.tolist() == [[0], [0]] and cache.length == 1 and attended.sum().item() == 2
    assert cache.keys.data_ptr() == memory
    cache.select(torch.tensor([1]))
    positions, attended = cache.extend(mask[1:, :2])
    assert positions.tolist() == [[1, 2]] and cache.length == 3 and cache.batch_size == 1
    assert attended[0, 0, 1].nonzero().squeeze(1).tolist() == [0, 1, 2]
