"""The recorder, and the page that is made of what it keeps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError
from xlm_runtime.nn.filling import Canvas
from xlm_runtime.report.trajectory_page import trajectory_file, write_trajectories
from xlm_runtime.tokenizers import number_tokenizer
from xlm_runtime.tracing import Recorder, Traceable, Trajectory, probability, record

TOKENIZER = number_tokenizer(5)
PAD, MASK, EOS, BOS = 0, 2, 3, 4
A, B, C, D = 7, 8, 9, 10


def tensors(*values: list[int] | list[list[int]]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(value) for value in values)


def test_appending_goes_on_from_each_rows_end() -> None:
    recorder = Recorder(5)
    recorder.begin(torch.tensor([[PAD, A], [A, B]]), torch.tensor([[False, True], [True, True]]))
    recorder.append(torch.tensor([0, 1]), torch.tensor([C, D]), torch.tensor([0.5, 0.25]))
    recorder.append(torch.tensor([1]), torch.tensor([EOS]), torch.tensor([1.0]))
    first, second = recorder.trajectories
    assert (first.start, first.tokens()) == ([A], [A, C])
    assert second.tokens() == [A, B, D, EOS]
    assert [(step.number, step.changes) for step in second.steps] == [(1, [(1, D, 0.25)]), (2, [(2, EOS, 1.0)])]


def test_several_insertions_of_a_step_are_at_places_before_it() -> None:
    recorder = Recorder(1)
    recorder.begin(torch.tensor([[BOS, A]]), torch.ones(1, 2, dtype=torch.bool))
    rows, places, tokens = tensors([0], [[0, 1, 0]], [[B, C, D]])
    recorder.insert(rows, places, tokens, torch.ones(1, 3), torch.tensor([[True, True, False]]))
    recorder.insert(rows, torch.tensor([[-1]]), torch.tensor([[D]]), torch.ones(1, 1))
    assert recorder.trajectories[0].tokens() == [D, BOS, B, A, C]


def test_only_the_first_rows_are_kept_over_all_batches() -> None:
    recorder = Recorder(3)
    for batch in range(3):
        recorder.begin(torch.full((2, 1), A + batch), torch.ones(2, 1, dtype=torch.bool))
        recorder.append(torch.tensor([1, 0]), torch.tensor([B, C]), torch.ones(2))
        recorder.append(torch.tensor([1]), torch.tensor([D]), torch.ones(1))
    assert [each.tokens() for each in recorder.trajectories] == [[A, C], [A, B, D], [B, C]]


class Likely(nn.Module):
    """The logit of token v is v."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: Tensor) -> Tensor:
        return torch.arange(len(TOKENIZER)).float().expand(*logits_to_keep.shape, len(TOKENIZER)).clone()


def test_a_canvas_tells_what_is_filled() -> None:
    """Places count what is attended to: the padding on the left of the second row is none."""
    ids = torch.tensor([[BOS, A, MASK, MASK], [PAD, BOS, MASK, MASK]])
    recorder = Recorder(2)
    canvas = Canvas(TOKENIZER, ids, ids != PAD, torch.arange(2), 2, recorder)
    for position in (1, 0):
        positions = torch.full((2, 1), position)
        canvas.logits(Likely(), positions)
        canvas.fill(positions, torch.full((2, 1), B + position), torch.ones(2, 1, dtype=torch.bool))
    assert [each.tokens() for each in recorder.trajectories] == [[BOS, A, B, C], [BOS, B, C]]
    logits = torch.arange(len(TOKENIZER)).float()
    logits[[token for token in TOKENIZER.all_special_ids if token not in (EOS, PAD)]] = -torch.inf
    ((place, token, sure),) = recorder.trajectories[1].steps[0].changes
    assert (place, token) == (2, C) and sure == pytest.approx(float(logits.softmax(-1)[C]), rel=1e-5)


def test_the_probability_is_the_models_own() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(5, (2, 3), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(probability(logits, tokens), logits.softmax(-1).gather(-1, tokens[..., None])[..., 0])


def test_a_predictor_that_cannot_be_traced_is_refused() -> None:
    class Plain:
        pass

    with pytest.raises(ConfigError, match=r"trace=true, but Plain cannot be traced.*Traceable"):
        record(Plain(), 3)
    with pytest.raises(ConfigError, match="show is 0"):
        record(Traceable(), 0)
    assert Traceable().recorder is None
    predictor = Traceable()
    assert record(predictor, 3) is predictor.recorder


def test_the_page_holds_the_steps_and_no_markup_of_theirs(tmp_path: Path) -> None:
    recorder = Recorder(1)
    recorder.begin(torch.tensor([[BOS, A, MASK]]), torch.ones(1, 3, dtype=torch.bool))
    recorder.write(*tensors([0], [[2]], [[B]]), torch.tensor([[0.75]]))
    file = trajectory_file(tmp_path, "a/b")
    assert file.name == "trajectory.a_b.html" and trajectory_file(tmp_path).name == "trajectory.html"
    rows = [{"text": "</script><script>alert(1)</script>", "truth": None}, {"text": "not recorded"}]
    text = write_trajectories(file, recorder.trajectories, rows, TOKENIZER, "<title>").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text and "<h1>&lt;title&gt;</h1>" in text
    data = json.loads(re.findall(r'<script id="data" type="application/json">(.*?)</script>', text)[0])
    assert data["tokens"][str(MASK)][1] == "blank" and data["tokens"][str(BOS)][1] == "special"
    assert data["tokens"][str(A)] == [TOKENIZER.decode([A]), "text"]
    (sample,) = data["samples"]
    assert sample["start"] == [BOS, A, MASK]
    assert sample["steps"] == [{"number": 1, "kind": "write", "changes": [[2, B, 0.75]]}]


def test_no_rows_are_a_page_too(tmp_path: Path) -> None:
    trajectories: list[Trajectory] = []
    file = write_trajectories(tmp_path / "trajectory.html", trajectories, [], TOKENIZER, "none")
    assert "No row was recorded" in file.read_text(encoding="utf-8")
