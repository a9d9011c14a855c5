"""What a run's identity covers of a model: weights, tokenizer, template, config; and what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harmviz.claims.mapping.measure import map_run_id
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.parent import check_same_model
from harmviz.cli import main
from harmviz.data.prompts import load_prompts
from harmviz.errors import RunIncompatible
from harmviz.models.load import LoadedModel, load_model
from harmviz.runs import open_run
from harmviz.runs.making import Plan, identity_of, model_facts
from tests.conftest import QUICK_RUN
from tests.worlds.model_files import change_json, llama

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


def map_id(loaded: LoadedModel) -> str:
    return map_run_id(loaded, load_prompts("builtin"), RunSpec())


def plan_id(loaded: LoadedModel) -> str:
    return Plan("example", 1, model_facts(loaded), {"hash": "x"}, {}, units=1.0).run_id


def changed_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text() + " ")


def changed_vocabulary(folder: Path) -> None:
    path = folder / "tokenizer.json"
    text = json.loads(path.read_text())
    vocab = text["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    path.write_text(json.dumps(text))


CHANGES = {
    "template": changed_template,
    "vocabulary": changed_vocabulary,
    "end of an answer": lambda folder: change_json(folder / "generation_config.json", eos_token_id=[2, 7]),
    "special token": lambda folder: change_json(folder / "tokenizer_config.json", eos_token="~"),
    "rotation": lambda folder: change_json(
        folder / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 5e5}
    ),
    "norm": lambda folder: change_json(folder / "config.json", rms_norm_eps=1e-3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_model_reads_with_is_part_of_every_runs_identity(change: str, tmp_path: Path) -> None:
    folder = llama(tmp_path / "m", TEMPLATE)
    first, again = load_model(str(folder)), load_model(str(folder))
    assert identity_of(model_facts(first)) == identity_of(model_facts(again))
    assert map_id(first) == map_id(again)
    CHANGES[change](folder)
    other = load_model(str(folder))
    assert other.weight_hash == first.weight_hash
    assert (map_id(other), plan_id(other)) != (map_id(first), plan_id(first))
    assert map_id(other) != map_id(first)
    assert plan_id(other) != plan_id(first)


def test_where_it_lies_and_what_wrote_it_are_no_part(tmp_path: Path) -> None:
    folder = llama(tmp_path / "m", TEMPLATE)
    first = load_model(str(folder))
    change_json(folder / "config.json", transformers_version="1.0", architectures=["LlamaForCausalLM"])
    folder.rename(tmp_path / "there")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "there").rename(tmp_path / "elsewhere" / "m")
    second = load_model(str(tmp_path / "elsewhere" / "m"))
    assert map_id(second) == map_id(first)


def test_a_padded_tokenizer_is_the_same_one(tmp_path: Path) -> None:
    loaded = load_model(str(llama(tmp_path / "m", TEMPLATE)))
    loaded.tokenizer(["a", "bcd"], padding=True, truncation=True, max_length=2)
    assert load_model(str(tmp_path / "m")).tokenizer_hash == loaded.tokenizer_hash
    from harmviz.models.identity import tokenizer_hash

    assert tokenizer_hash(loaded.tokenizer) == loaded.tokenizer_hash


def test_plans_of_manifests_without_these_hashes_keep_their_ids() -> None:
    """Whatever was stored before is found under its id."""
    old = {"name": "m", "weight_hash": "ab", "dtype": "float32"}
    assert Plan("example", 1, old, {"hash": "x"}, {}, units=1.0).run_id == "m-example-0094415fe1"
    assert identity_of(old) == {"weight_hash": "ab"}


def test_the_same_weights_with_another_template_are_another_run(tmp_path: Path) -> None:
    folder, root = llama(tmp_path / "m"), tmp_path / "runs"
    argv = ["run", "--model", str(folder), *QUICK_RUN, "--out", str(root)]
    assert main(argv) == 0
    changed_template(folder)
    assert main(argv) == 0
    ids = sorted(p.name for p in root.iterdir() if not p.name.startswith("."))
    assert len(ids) == 2
    first, second = (open_run(str(root / i)) for i in ids)
    assert first.manifest["model"]["weight_hash"] == second.manifest["model"]["weight_hash"]
    assert first.manifest["model"]["tokenizer_hash"] != second.manifest["model"]["tokenizer_hash"]
    # An experiment over either takes the model as it was then.
    loaded = load_model(str(folder))
    same, other = (
        (first, second) if first.manifest["model"]["tokenizer_hash"] == loaded.tokenizer_hash else (second, first)
    )
    check_same_model(same, loaded)
    with pytest.raises(RunIncompatible, match="was made with another tokenizer or chat template"):
        check_same_model(other, loaded)
    del other.manifest["model"]["tokenizer_hash"]  # as in older runs
    check_same_model(other, loaded)
