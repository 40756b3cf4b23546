"""Exported models: what the folder holds, what loads it, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_server import as_client, hub_server
from safetensors import safe_open
from safetensors.torch import save_file
from trained_runs import MODELS, STAR, TEXT, Xlm
from transformers import AutoModelForCausalLM, AutoTokenizer

from xlm_runtime import load
from xlm_runtime.cli import main
from xlm_runtime.errors import CheckpointError, XlmError
from xlm_runtime.tokenizers import auto_tokenizer, byte_tokenizer, exported_tokenizer, number_tokenizer, train_bpe

PROMPT = {"arlm": "The cat", "mlm": "The <mask:3>", "ilm": "The <mask:3>", "mdlm": "The <mask:3>"}


@pytest.fixture(scope="module")
def work(runs: Path) -> Path:
    """The directory of the runs, those of texts evaluated and in exports/text_<model>; and the run shifted_arlm."""
    directory = runs.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("XLM_CACHE_DIR", str(directory / "cache"))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        shifted = ("experiment=star_easy_arlm", "job_name=shifted_arlm", "model.neighbour_shift=true")
        main(["job_type=train", *shifted, *STAR])
        for model in MODELS:
            main(["job_type=eval", f"job_name=text_{model}"])
            main(
                ["job_type=export", f"job_name=text_{model}", f"export_dir=exports/text_{model}", "license=apache-2.0"]
            )
    return directory


@pytest.mark.parametrize("model", MODELS)
def test_an_export_is_the_run(xlm: Xlm, work: Path, model: str) -> None:
    folder = work / "exports" / f"text_{model}"
    names = {"README.md", "config.yaml", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {file.name for file in folder.iterdir()} == names
    run, exported = load(work / "runs" / f"text_{model}"), load(folder)
    assert run.step == exported.step == 1
    own, theirs = run.model.state_dict(), exported.model.state_dict()
    assert list(own) == list(theirs) and all(torch.equal(own[name], theirs[name]) for name in own)
    rows = [loaded.generate([PROMPT[model]], temperature=1.0, seed=2)[0]["ids"] for loaded in (run, exported)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("model", MODELS)
def test_an_export_stands_in_a_checkpoints_place(xlm: Xlm, work: Path, model: str) -> None:
    folder = work / "exports" / f"text_{model}"
    code, out, err = xlm("job_type=generate", f"ckpt_path={folder}", f"prompts=['{PROMPT[model]}']")
    assert code == 0, err
    assert f"runs/text_{model}/predictions/prompts/step=1.generated.jsonl" in out
    code, out, err = xlm("job_type=eval", f"ckpt_path={folder}")
    assert code == 0, err
    name = f"runs/text_{model}/metrics-test.json"
    found, known = (json.loads(file.read_text(encoding="utf-8")) for file in (Path(name), work / name))
    assert {**found, "checkpoint": ""} == {**known, "checkpoint": ""}


def test_a_model_from_elsewhere_does_not_write_into_another_run_of_its_name(xlm: Xlm, work: Path) -> None:
    run, folder = Path("runs/text_arlm"), f"ckpt_path={work}/exports/text_arlm"
    shutil.copytree(work / "runs" / "text_ilm", run)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    for words in (("eval",), ("eval", "job_name=text_arlm"), ("generate", "prompts=['The cat']")):
        code, _, err = xlm(f"job_type={words[0]}", folder, *words[1:])
        assert code == 2, words
        assert "runs/text_arlm holds a run of its own" in err and "job_name=<name>" in err
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    code, out, err = xlm("job_type=generate", folder, "prompts=['The cat']", "job_name=other")
    assert code == 0 and "runs/other/predictions" in out, err
    shutil.rmtree(run)
    shutil.copytree(work / "runs" / "text_arlm", run)  # the one that it was exported from
    code, out, err = xlm("job_type=generate", folder, "prompts=['The cat']")
    assert code == 0 and "runs/text_arlm/predictions" in out, err


def test_the_card_has_the_numbers_of_its_own_weights_alone(xlm: Xlm, work: Path) -> None:
    run = Path("runs/text_arlm")
    shutil.copytree(work / "runs" / "text_arlm", run)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["test"]["metrics"]["loss"]["means"] = "as the evaluation says"
    for name, weights in (("own", metrics["test"]["weights"]), ("others", "0" * 16)):
        metrics["test"]["weights"] = weights
        (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        code, _, err = xlm("job_type=export", "job_name=text_arlm", f"export_dir={name}")
        assert code == 0, err
    own, others = (Path(name, "README.md").read_text(encoding="utf-8") for name in ("own", "others"))
    assert "as the evaluation says" in own and "nats per token" not in own
    assert "None are recorded" in others and "perplexity" not in others


def test_the_card_is_made_from_the_run(work: Path) -> None:
    card = (work / "exports" / "text_mdlm" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "apache-2.0" and head["library_name"] == "xlm-runtime"
    metrics = json.loads((work / "runs" / "text_mdlm" / "metrics-test.json").read_text(encoding="utf-8"))
    row = re.search(rf"\| test \| loss \| {metrics['test/loss']:.6g} \|(.*)\|(.*)\|\n", card)
    assert row is not None and row[2].strip() == "nats per token, a bound from above: the NELBO"
    assert re.search(r"\| test \| exact_match \| \S+ \| \S+ – \S+ \| 8 \|  \|\n", card)
    assert "Measured by:\n\n```bash\nxlm job_type=eval job_name=text_mdlm\n```" in card
    trained = ["xlm", "job_type=train", "experiment=pydoc_mdlm", "job_name=text_mdlm", *TEXT]
    assert f"Trained by:\n\n```bash\n{shlex.join(trained)}\n```" in card
    for words in ("# text_mdlm", "`xlm_runtime.datasets.pydoc.PydocTopics`", "block_size: `48`", "for 1 steps"):
        assert words in card
    assert str(work) not in card


def test_nothing_of_this_machine_or_job_is_in_the_configuration(work: Path) -> None:
    text = (work / "exports" / "text_arlm" / "config.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert str(work) not in text and content["export_dir"] is None and content["callbacks"] == {}
    assert content["vocab"]["size"] == 263
    with safe_open(work / "exports" / "text_arlm" / "model.safetensors", framework="pt") as file:
        assert file.metadata()["step"] == "1"


@pytest.mark.parametrize("kind", ["byte", "number", "bpe", "auto"])
def test_a_tokenizer_is_the_same_after_export(tmp_path: Path, kind: str) -> None:
    texts = ["Some [PAD] text, some more", "1 2 15", " [MASK]  ü 🙂\n", ""]
    bpe = train_bpe(["some text, some more text " * 20], 280)
    bpe.save_pretrained(tmp_path / "bpe")
    made: Any = {
        "byte": byte_tokenizer,
        "number": lambda: number_tokenizer(20),
        "bpe": lambda: bpe,
        "auto": lambda: auto_tokenizer(tmp_path / "bpe"),
    }[kind]()
    made.save_pretrained(tmp_path / "exported")
    again = exported_tokenizer(tmp_path / "exported")
    assert again.all_special_ids == made.all_special_ids and len(again) == len(made)
    for text in texts:
        ids = made(text, add_special_tokens=False)["input_ids"]
        assert again(text, add_special_tokens=False)["input_ids"] == ids
        assert again.decode(ids, skip_special_tokens=True) == made.decode(ids, skip_special_tokens=True)


def test_transformers_computes_the_same_logits(xlm: Xlm, work: Path) -> None:
    code, out, err = xlm(
        "job_type=export", f"run_dir={work}/runs/text_arlm", "export_dir=exported", "format=transformers"
    )
    assert code == 0, err
    assert "shards" not in out + err
    theirs = AutoModelForCausalLM.from_pretrained("exported")
    tokenizer = AutoTokenizer.from_pretrained("exported")
    ours = load(work / "runs" / "text_arlm").model.eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(7, 263, (3, 40), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, :9] = 0  # padding on the left
    with torch.no_grad():
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        expected = ours(ids, mask.bool())[mask.bool()]
        found = theirs(input_ids=ids, attention_mask=mask, position_ids=positions).logits[mask.bool()]
    assert expected.abs().max() > 0.05
    assert torch.allclose(found, expected, atol=1e-5, rtol=0)
    assert tokenizer.bos_token_id == theirs.config.bos_token_id == 4
    card = Path("exported/README.md").read_text(encoding="utf-8")
    assert "library_name: transformers" in card and "A text begins with the tokenizer's BOS" in card
    assert not [file for file in Path("exported").iterdir() if file.suffix in (".bin", ".pt", ".py", ".ckpt")]


def test_the_card_of_a_model_of_prompts_and_answers_says_where_the_bos_stands(xlm: Xlm, work: Path) -> None:
    words = ("job_type=export", f"run_dir={work}/runs/star_arlm", "export_dir=new", "format=transformers")
    code, _, err = xlm(*words, "license='a: [b'")
    assert code == 0, err
    card = Path("new/README.md").read_text(encoding="utf-8")
    assert "A prompt is followed by BOS; the answer comes after it." in card and "A text begins" not in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "a: [b"
    assert str(work) not in card


def test_an_export_of_an_export_knows_how_it_was_trained(xlm: Xlm, work: Path) -> None:
    code, _, err = xlm("job_type=export", f"ckpt_path={work}/exports/text_mdlm", "export_dir=again")
    assert code == 0, err
    assert "Trained by:\n\n```bash\nxlm job_type=train experiment=pydoc_mdlm" in Path("again/README.md").read_text(
        encoding="utf-8"
    )


REFUSED = {
    "no folder": (["job_name=text_mlm"], ["export_dir is null"]),
    "a folder that exists": (["job_name=text_mlm", "export_dir=exports/text_mlm"], ["nothing is overwritten"]),
    "a file": (["job_name=text_mlm", "export_dir=file.txt"], ["nothing is overwritten"]),
    "a format": (["job_name=text_mlm", "export_dir=new", "format=onnx"], ["format is 'onnx'", "transformers"]),
    "no such form": (
        ["job_name=text_mlm", "export_dir=new", "format=transformers"],
        ["MlmModel has no method to_transformers"],
    ),
    "not quite": (
        ["job_name=shifted_arlm", "export_dir=new", "format=transformers"],
        ["model.neighbour_shift is true"],
    ),
    "no run": (["job_name=none", "export_dir=new"], ["There is no run in runs/none"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_export_that_cannot_be_leaves_nothing(
    xlm: Xlm, work: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(work)
    (work / "file.txt").write_text("mine", encoding="utf-8")
    before = sorted(work.rglob("*"))
    words, expected = REFUSED[case]
    code, _, err = xlm("job_type=export", *words)
    assert code == 2 and all(word in err for word in expected), err
    assert sorted(work.rglob("*")) == before


def copied(work: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    for file in (work / "exports" / "text_arlm").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_folder_that_is_not_whole_is_refused(work: Path, tmp_path: Path) -> None:
    folder = copied(work, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model.safetensors cannot be read: the file is damaged"):
        load(folder)
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(XlmError, match="the tokenizer in"):
        load(folder)
    (folder / "config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"has no config.yaml: it is no exported model"):
        load(folder)
    with pytest.raises(CheckpointError, match="There is nothing at"):
        load(tmp_path / "none")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_folder_without_its_tokenizer_names_the_file(work: Path, tmp_path: Path, name: str) -> None:
    folder = copied(work, tmp_path)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"folder has no {name}: .*Export the model again"):
        load(folder)


def test_a_folder_of_another_version_says_so(work: Path, tmp_path: Path) -> None:
    folder = copied(work, tmp_path)
    config = folder / "config.yaml"
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {**file.metadata(), "xlm_version": "99.1.0"}
    save_file(state, folder / "model.safetensors", metadata=metadata)
    assert load(folder).generate(["The cat"])  # what fits is taken
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    for change, words in (
        ({"loss": {"_target_": "xlm_runtime.foresight.Loss"}}, "foresight"),
        ({"model": {**content["model"], "foresight": 3}}, "takes no argument 'foresight'"),
        ({"model": {**content["model"], "d_model": 64}}, "do not fit"),
    ):
        config.write_text(yaml.safe_dump({**content, **change}), encoding="utf-8")
        with pytest.raises(XlmError, match=rf"(?s){words}.*folder was written by xlm-runtime 99\.1\.0, and this is"):
            load(folder)


def test_weights_of_another_model_are_refused(xlm: Xlm, work: Path, tmp_path: Path) -> None:
    folder = copied(work, tmp_path)
    other = work / "exports" / "text_ilm" / "model.safetensors"
    (folder / "model.safetensors").write_bytes(other.read_bytes())
    with pytest.raises(CheckpointError, match="do not fit the configured model"):
        load(folder)
    with pytest.raises(CheckpointError, match="holds the weights of another model: arlm"):
        load(work / "exports" / "text_arlm", model={**load(work / "exports" / "text_mlm").cfg.model})
    # Nor does it help to be told of each tensor that does not fit.
    for path in ("exports/text_arlm", "runs/text_arlm/checkpoints/last.ckpt"):
        code, _, err = xlm(
            "job_type=generate", f"ckpt_path={work}/{path}", "experiment=pydoc_ilm", "prompts=['<mask>']"
        )
        assert code == 2 and "holds the weights of another model: arlm." in err and "is for ilm." in err, err


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("tokenizer", {"_target_": "os.system", "command": "touch broken"}, "'tokenizer._target_' names os.system"),
        ("loss", {"_target_": "subprocess.run"}, "names subprocess.run"),
        ("metrics", {"lm": {"x": {"metric": {"_target_": "builtins.exec"}}}}, "names builtins.exec"),
        (
            "dataset",
            {"_target_": "xlm_runtime.datasets.text.TextDataset", "preprocess": "os.system"},
            "'dataset.preprocess' names os.system",
        ),
        ("loss", {"_target_": "xlm_runtime.exits.os.system"}, "'loss._target_' names xlm_runtime.exits.os.system"),
        ("loss", {"_target_": "xlm_runtime.files.write_text"}, "names xlm_runtime.files.write_text"),
        ("loss", "${oc.create:'{_target_: os.system}'}", "an interpolation by a function: .*oc.create"),
        ("loss", "${oc.${job_name}:'{_target_: os.system}'}", "an interpolation by a function"),
        ("loss", "${${job_name}:'{_target_: os.system}'}", "an interpolation by a function"),
        ("loss", "${oc.env:HOME}", "an interpolation by a function"),
        ("tags", ["${oc.decode:'1'}"], "an interpolation by a function"),
        ("${oc.create:'x'}", 1, "an interpolation by a function"),
        ("loss", {"_target_": "${seed}"}, "names .{seed}"),
        ("hydra", {"callbacks": {"x": {"_target_": "os.system"}}}, "has a key 'hydra'"),
        ("defaults", ["x"], "has a key 'defaults'"),
    ],
)
def test_a_configuration_that_would_run_anything_is_refused(
    work: Path, tmp_path: Path, key: str, value: Any, words: str
) -> None:
    folder = copied(work, tmp_path)
    content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    (folder / "config.yaml").write_text(yaml.safe_dump({**content, key: value}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        load(folder)
    assert not os.path.exists("broken")


def test_a_run_is_pushed_and_comes_back(xlm: Xlm, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server() as server:
        as_client(server, monkeypatch, tmp_path)
        code, out, err = xlm("job_type=push_to_hub", f"run_dir={work}/runs/text_arlm", "repo_id=me/writes")
        assert code == 0, err
        assert f"to {server.address}/me/writes (private)" in out and server.private == {"me/writes"}
        *_, files = server.repositories["me/writes"].values()
        card = files["README.md"].decode()
        assert 'load("hf://me/writes")' in card and "# writes" in card and "license: unknown" in card
        code, out, err = xlm("job_type=generate", "ckpt_path=hf://me/writes@main", "prompts=['The cat']")
        assert code == 0, err
        places = ("hf://me/writes", work / "runs" / "text_arlm")
        rows = [load(place).generate(["The cat"])[0]["ids"] for place in places]
    assert rows[0] == rows[1]


def test_a_push_without_a_name_is_refused(xlm: Xlm, work: Path) -> None:
    code, _, err = xlm("job_type=push_to_hub", f"run_dir={work}/runs/text_arlm")
    assert code == 2 and "repo_id is None; expected user/name, the name on the hub: repo_id=user/name." in err
