"""The grid of a tiny model, end to end: what it stores, that no interruption changes it, what every setting changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmviz.claims.jailbreak import requests as jailbreak_requests
from harmviz.claims.jailbreak.arms import make_arms, mask_points
from harmviz.claims.jailbreak.attacks import Attack, choose_attacks, encode_attack
from harmviz.claims.jailbreak.command import chosen_judges
from harmviz.claims.jailbreak.finding import grid_of
from harmviz.claims.jailbreak.measure import TRANSCRIPTS, run_jailbreak
from harmviz.claims.jailbreak.requests import choose_requests
from harmviz.claims.jailbreak.settings import GridSettings
from harmviz.claims.parent import Parent, open_parent
from harmviz.cli import main
from harmviz.data.prompts import load_prompts, read_builtin
from harmviz.data.refusal_words import refusal_rate
from harmviz.data.splits import split_prompts
from harmviz.errors import DataInvalid, ModelUnavailable, RunIncompatible
from harmviz.generation.batch import generate_batch
from harmviz.judges.endpoint import MODEL, URL
from harmviz.masks.apply import hash_weights, pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import load_model
from harmviz.runs import Point, Run, begin, list_partials, open_run, result_digest, verify_run
from tests.claims.jailbreak.test_jailbreak_rows import FakeJudge
from tests.worlds.fabricated import REFERENCE, make_run
from tests.worlds.tiny import tiny_model

ATTACKS = choose_attacks("direct,prefill")
SETTINGS = GridSettings(harmful=6, benign=4, max_new_tokens=8)


class Stop(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def parent(tiny_run: Path, tiny_dir: Path) -> Parent:
    return open_parent(open_run(tiny_run), load_model(str(tiny_dir)))


@pytest.fixture(scope="module")
def made(parent: Parent, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_jailbreak(parent, ATTACKS, SETTINGS, chosen_judges(None), root=tmp_path_factory.mktemp("runs"))


# -- what is stored ---------------------------------------------------------------------------------------------------
def test_it_is_a_complete_run_with_all_states_and_controls(made: Run, parent: Parent) -> None:
    assert verify_run(made) == []
    assert made.manifest["parents"] == [parent.run.id]
    assert made.manifest["data"]["counts"]["benign"] == {"asked": 4}
    method = made.manifest["method"]
    assert [a["name"] for a in method["arms"]] == [
        "intact",
        "plain",
        "contrastive",
        "random-0",
        "random-1",
        "benign_signed",
    ]
    assert [a["id"] for a in method["attacks"]] == ["direct", "prefill"]
    assert [j["name"] for j in method["judges"]] == ["keyword", "offline-refusal", "offline-harm"]
    headline = parent.run.manifest["method"]["headline"]
    for contrast, arm in (("none", method["arms"][1]), ("both", method["arms"][2])):
        assert (arm["q"], arm["p"], arm["n_weights"]) == tuple(headline[contrast][k] for k in ("q", "p", "n_weights"))
        assert arm["digest"] == parent.run.manifest["digests"][f"mask.{headline[contrast]['mask']}"]
    assert method["arms"][3]["digest"] != method["arms"][4]["digest"]
    assert {p.name for p in made.path.rglob("*") if p.is_file()} == {
        "manifest.json",
        "grid.parquet",
        "transcripts.jsonl",
    }
    frame = made.results()
    assert set(frame.condition.dropna()) == {"direct", "prefill"}
    assert (frame[frame.metric == "empty_rate"].n.isin([6, 4])).all()
    assert method["unscored"]["offline-harm"], "mild requests are not put before a judge that cannot tell"
    assert frame[frame.metric == "attack_success:offline-harm"].value.isna().all()


def test_the_rates_are_those_of_the_models_own_answers(made: Run, parent: Parent) -> None:
    """Answers under the contrastive mask, generated anew from the stored mask by hand."""
    loaded, tokenizer = parent.loaded, parent.loaded.tokenizer
    chosen = choose_requests(parent.run, ("builtin",), harmful=6, benign=4, seed=0).requests
    mask = PruneMask.load(parent.run.masks()["headline-contrastive"])
    frame = made.results()
    shown = [json.loads(line) for line in (made.path / TRANSCRIPTS).read_text().splitlines()]
    for attack in ATTACKS:
        with pruned(loaded, mask):
            ids = generate_batch(loaded, [encode_attack(tokenizer, attack, r.prompt) for r in chosen], 8)
        texts = [str(tokenizer.decode(i, skip_special_tokens=True)) for i in ids]
        here = frame[(frame.condition == attack.id) & (frame.contrast == "both") & (frame.control == "none")]
        for category, part in (("harm", texts[:6]), ("benign", texts[6:])):
            rates = here[here.category == category].set_index("metric").value
            wanted = refusal_rate(part)
            assert rates["empty_rate"] == np.mean([not t.strip() for t in part])
            assert rates["refusal_rate"] == wanted.value or (wanted.n == 0 and np.isnan(rates["refusal_rate"]))
        kept = [r for r in shown if r["attack"] == attack.id and r["mask"] == "contrastive"]
        assert [r["answer"].strip() for r in kept] == [texts[i].strip() for i in (0, 1, 2, 6)]
        assert {r["opening"] for r in kept} == {attack.opening}


def test_only_answers_to_mild_requests_are_kept(
    parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mild = {r["prompt"] for name in ("harmful", "benign") for r in read_builtin(name)}
    real = choose_requests(parent.run, ("builtin",), harmful=6, benign=4, seed=0)
    fetched = tuple(replace(r, mild=False) if r.harmful else r for r in real.requests)
    monkeypatch.setattr(
        "harmviz.claims.jailbreak.measure.choose_requests", lambda *_, **__: replace(real, requests=fetched)
    )
    run = run_jailbreak(parent, ATTACKS, SETTINGS, [], root=tmp_path)
    shown = [json.loads(line) for line in (run.path / TRANSCRIPTS).read_text().splitlines()]
    assert {r["category"] for r in shown} == {"benign"}
    assert all(r["request"] in mild for r in shown)
    written = b"".join(p.read_bytes() for p in run.path.rglob("*") if p.is_file())
    assert not any(r.prompt.encode() in written for r in fetched if r.harmful)
    assert not list(tmp_path.glob(".partial*/*")), "answers in scratch are gone"


def test_weights_are_as_before(made: Run, parent: Parent, tiny_dir: Path) -> None:
    assert hash_weights(parent.loaded) == hash_weights(load_model(str(tiny_dir)))


# -- requests ---------------------------------------------------------------------------------------------------------
def test_no_request_was_scored_protected_or_chosen_with(parent: Parent) -> None:
    chosen = choose_requests(parent.run, ("builtin",), harmful=1000, benign=1000, seed=0)
    roles = split_prompts(load_prompts("builtin"), 0)
    assert {roles[r.id] for r in chosen.requests} == {"report"}
    assert len({r.id for r in chosen.requests}) == len(chosen.requests)
    assert not {r.id for r in chosen.requests} & set(parent.run.manifest["data"]["scoring_prompts"])
    harmful = [r for r in chosen.requests if r.harmful]
    assert chosen.requests[: len(harmful)] == tuple(harmful)
    assert any("were asked for" in note for note in chosen.notes)
    few = choose_requests(parent.run, ("builtin",), harmful=7, benign=3, seed=0).requests
    assert len({r.category for r in few if r.harmful}) == 7, "harm types take turns"
    assert choose_requests(parent.run, ("builtin",), harmful=7, benign=3, seed=1).requests != few
    assert few[0].prompt not in repr(few[0])


def test_the_runs_own_report_prompts(parent: Parent) -> None:
    own = choose_requests(parent.run, ("report",), harmful=20, benign=3, seed=0)
    roles = split_prompts(load_prompts("builtin"), 0)
    assert {roles[r.id] for r in own.requests if r.harmful} == {"report"}
    assert all(r.mild for r in own.requests), "this run's data are the mild texts"
    assert len(choose_requests(parent.run, ("builtin", "report"), harmful=1000, benign=3, seed=0).requests) == len(
        choose_requests(parent.run, ("builtin",), harmful=1000, benign=3, seed=0).requests
    ), "no request is asked twice"


def test_data_that_is_not_at_hand(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = {**parent.run.manifest, "data": {**parent.run.manifest["data"], "id": "mine"}}
    own = Run(parent.run.path, manifest)
    chosen = choose_requests(own, ("builtin",), harmful=8, benign=8, seed=0)
    assert "validation prompts of the map run are not known" in chosen.notes[0]
    assert not {r.id for r in chosen.requests} & set(manifest["data"]["scoring_prompts"])
    with pytest.raises(DataInvalid, match=r"its data \(mine\) is not at hand"):
        choose_requests(own, ("report",), harmful=8, benign=8, seed=0)
    named = choose_requests(own, ("report",), harmful=8, benign=8, seed=0, data="builtin")
    assert named == choose_requests(parent.run, ("report",), harmful=8, benign=8, seed=0)
    monkeypatch.setattr(jailbreak_requests, "_builtin", lambda name: [])
    with pytest.raises(DataInvalid, match="no harmful request from builtin is left"):
        choose_requests(own, ("builtin",), harmful=8, benign=8, seed=0)


def test_another_file_than_the_runs_is_refused(parent: Parent, tmp_path: Path) -> None:
    rows = [{"category": "hate", "prompt": f"p {i}", "response": f"r {i}"} for i in range(24)]
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    with pytest.raises(DataInvalid, match=r"is not what run .* was made on"):
        choose_requests(parent.run, ("report",), harmful=8, benign=8, seed=0, data=str(tmp_path / "mine.jsonl"))


@pytest.mark.slow
def test_on_the_fetched_data_all_mild_requests_are_free() -> None:
    run = open_run(REFERENCE)
    chosen = choose_requests(run, ("builtin", "report"), harmful=40, benign=32, seed=0).requests
    roles = split_prompts(load_prompts("pyrit"), 0)
    assert {roles.get(r.id, "report") for r in chosen} == {"report"}
    assert {r.mild for r in chosen if r.harmful} == {True, False}


# -- resuming ---------------------------------------------------------------------------------------------------------
def test_interrupted_at_any_stage_and_resumed_it_is_the_same(made: Run, parent: Parent, tmp_path: Path) -> None:
    before = ("answers.intact.prefill", "verdicts.plain.direct", "answers.random-1.direct", "rows.grid", "transcripts")
    stopped: list[str] = []

    def listener(state: dict[str, Any]) -> None:
        if state["stage"] in before and state["stage"] not in stopped:
            stopped.append(state["stage"])
            raise Stop

    for _ in range(len(before) + 1):
        try:
            run = run_jailbreak(
                parent, ATTACKS, SETTINGS, chosen_judges(None), root=tmp_path, resume=True, listener=listener
            )
            break
        except Stop:
            assert len(list_partials(tmp_path)) == 1
    assert stopped == list(before)
    assert run.id == made.id
    assert result_digest(run) == result_digest(made)
    assert run_jailbreak(parent, ATTACKS, SETTINGS, [*chosen_judges(None)], root=tmp_path) == run, (
        "a complete one is returned"
    )


# -- settings ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes",
    [
        {"attacks": choose_attacks("direct")},
        {"attacks": (ATTACKS[0], Attack("prefill", "P", "d", "Please: {request}"))},
        {"harmful": 5},
        {"benign": 3},
        {"max_new_tokens": 10},
        {"draws": 3},
        {"seed": 1},
        {"q": 0.02, "p": 0.01},
        {"q": 0.02, "p": 0.05},
    ],
    ids=str,
)
def test_every_setting_changes_what_is_found(
    changes: dict[str, Any], parent: Parent, made: Run, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, **{name: value for name, value in changes.items() if name != "attacks"})
    run = run_jailbreak(parent, changes.get("attacks", ATTACKS), settings, chosen_judges(None), root=tmp_path)
    assert run.id != made.id
    assert result_digest(run) != result_digest(made)


def test_sources_and_judges_change_the_experiment(parent: Parent, made: Run, tmp_path: Path) -> None:
    assert run_jailbreak(parent, ATTACKS, replace(SETTINGS, requests=("report",)), [], root=tmp_path).id != made.id
    run = run_jailbreak(parent, ATTACKS, SETTINGS, [FakeJudge("refusal")], root=tmp_path)
    assert "refusal_rate:fake-refusal" in set(run.results().metric)
    assert "refusal_rate:offline-refusal" not in set(run.results().metric)


def test_a_judge_that_goes_away_leaves_the_rest(parent: Parent, tmp_path: Path) -> None:
    judge = FakeJudge("harm", fails_from=4)  # the probe, two cells, then nothing
    run = run_jailbreak(parent, ATTACKS, SETTINGS, [judge], root=tmp_path)
    unscored = run.manifest["method"]["unscored"]["fake-harm"]
    assert unscored["it went away"] > 0
    assert sum(unscored.values()) >= 6 * (6 * 2 - 2), "all but the two cells it judged"
    frame = run.results()
    rows = frame[(frame.metric == "harm_score:fake-harm") & (frame.condition == "direct")]
    assert rows[rows["mask"].isna()].value.notna().all()
    assert rows[rows.contrast == "both"].value.isna().all()
    assert frame[(frame.metric == "refusal_rate") & (frame.contrast == "both")].n.max() == 6


# -- what does not fit ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"harmful": 1}, "harmful must be"),
        ({"benign": 0}, "benign must be"),
        ({"max_new_tokens": 4}, "max_new_tokens must be"),
        ({"draws": 1}, "draws must be a whole number from 2 to 20"),
        ({"seed": -1}, "seed must be"),
        ({"requests": ("fetched",)}, "requests must come from builtin or report"),
        ({"requests": ()}, "at least one of"),
        ({"q": 1e-5}, "q and p belong together"),
        ({"q": 2.0, "p": 0.01}, "q must satisfy"),
        ({"q": 0.01, "p": 1.0}, r"p must satisfy 0 <= p < 1, got 1\.0"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(SETTINGS, **changes)


def test_there_is_no_grid_without_attacks(parent: Parent, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one attack"):
        run_jailbreak(parent, (), SETTINGS, [], root=tmp_path)


def test_a_run_without_headline_masks_needs_q_and_p(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(RunIncompatible, match="no headline masks; say which with --q and --p"):
        mask_points(run)
    assert mask_points(run, (1e-5, 0.01)) == {c: Point("mean(all)", 1e-5, 0.01, contrast=c) for c in ("none", "both")}


def test_an_experiment_has_no_masks(made: Run) -> None:
    with pytest.raises(RunIncompatible, match="is an experiment, and masks come from map runs"):
        mask_points(made)


def test_another_model_is_refused(parent: Parent) -> None:
    with pytest.raises(RunIncompatible, match="made with other weights"):
        open_parent(parent.run, tiny_model("llama", seed=1))


def test_an_attack_that_leaves_no_room_for_an_answer(parent: Parent, tmp_path: Path) -> None:
    long = Attack("long", "L", "d", "{request}" + " word" * 300)
    with pytest.raises(DataInvalid, match="no harmful or no benign request fits"):
        run_jailbreak(parent, (long,), SETTINGS, [], root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_judge_that_cannot_be_reached_is_found_out_before_any_work(parent: Parent, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="it went away"):
        run_jailbreak(parent, ATTACKS, SETTINGS, [FakeJudge(fails_from=1)], root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_random_masks_are_as_large_as_the_contrastive_one_and_apart_from_it(parent: Parent) -> None:
    arms, notes = make_arms(parent)
    by_name = {a.name: a.mask for a in arms}
    base, first, second = (mask for n in ("contrastive", "random-0", "random-1") if (mask := by_name[n]) is not None)
    assert first.n_weights == second.n_weights == base.n_weights
    table = parent.run.table
    assert not set(first.to_global(table)) & set(base.to_global(table))
    assert first.digest != second.digest
    assert notes == []


# -- the command ------------------------------------------------------------------------------------------------------
SMALL = ("--attacks", "direct,prefill", "--harmful", "6", "--benign", "4", "--max-new-tokens", "8")


def test_the_command_prints_a_table_and_json(
    tiny_run: Path, tiny_dir: Path, made: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["experiment", "jailbreak", str(tiny_run), "--model", str(tiny_dir), *SMALL, "--out", str(tmp_path)]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "harmful requests refused, keyword list (a lower bound)" in table
    assert "attacks that succeed, by offline-harm: unscored" in table
    assert all(part in table for part in ("all attacks", "benign_signed", "n=6"))
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["run_id"] == made.id
    assert document["finding"]["sentence"] in table, "one sentence, wherever it stands"
    assert len(document["rows"]) == len(made.results())
    assert result_digest(open_run(document["path"])) == result_digest(made), "the command makes what the function makes"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--attacks", "nonsense"], "no attack 'nonsense'"),
        (["--requests", "web"], "requests must come from"),
        (["--judge", "oracle"], "judge must be one of"),
        (["--q", "0.01"], "q and p belong together"),
        (["--q", "0.01", "--p", "1"], "p must satisfy 0 <= p < 1, got 1.0"),
        (["--harmful", "0"], "harmful must be"),
        (["--judge", "endpoint"], f"set {URL} and {MODEL}"),
    ],
)
def test_the_command_refuses_bad_input_in_one_line(
    more: list[str],
    says: str,
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(URL, raising=False)
    assert main(["experiment", "jailbreak", str(tiny_run), *more, "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_a_model_that_cannot_be_loaded_by_its_name_is_asked_for(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiment", "jailbreak", str(tiny_run), *SMALL, "--out", str(tmp_path)]) == 2
    assert "say where it is with --model" in capsys.readouterr().err.splitlines()[-1]


def test_an_endpoint_that_is_down_stops_the_command(
    tiny_run: Path, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:9/v1")
    monkeypatch.setenv(MODEL, "m")
    monkeypatch.setattr("harmviz.judges.endpoint.time.sleep", lambda _: None)
    command = [
        "experiment",
        "jailbreak",
        str(tiny_run),
        "--model",
        str(tiny_dir),
        *SMALL,
        "--judge",
        "endpoint",
        "--out",
        str(tmp_path),
    ]
    assert main(command) == 2
    assert "judge endpoint 127.0.0.1: the endpoint cannot be reached" in capsys.readouterr().err
    assert not [p for p in tmp_path.iterdir() if not p.name.startswith(".")]


def test_the_keyword_list_alone() -> None:
    assert chosen_judges(["keyword"]) == []
    assert [j.name for j in chosen_judges(["offline-refusal", "keyword", "offline-refusal"])] == ["offline-refusal"]


# -- the mask of a stage scene ----------------------------------------------------------------------------------------
def stage_scene(root: Path, parent: Parent, contrast: str = "guarded") -> tuple[Run, PruneMask]:
    """A stored scene of the map run, made by hand: its mask is a random one of five weights a matrix."""
    table = parent.loaded.table
    ids = [r.id for r in choose_requests(parent.run, ("builtin",), harmful=6, benign=4, seed=0).requests]
    mask = PruneMask(
        {table[i].name: np.arange(5) + i for i in (0, 1)},
        "harm",
        parent.loaded.weight_hash,
        {"scoring_prompts": [ids[0], ids[-1]]},
    )
    chosen = {"contrast": contrast, "q": 1e-2, "p": 0.01, "n_weights": mask.n_weights}
    with begin(f"tiny-scene-{contrast}", root) as partial:
        mask.save(partial.path("masks/scene.safetensors"))
        partial.finish("all")
        kept = {k: parent.run.manifest[k] for k in ("model", "data", "seeds", "software", "hardware", "digests")}
        method = {"experiment": "scene", "chosen": chosen}
        run = partial.commit(
            {
                **kept,
                "kind": "experiment",
                "parents": [parent.run.id],
                "weights": [],
                "parameters": {},
                "method": method,
            }
        )
    return run, mask


def test_the_mask_of_a_scene_is_one_more_and_its_requests_are_left_out(parent: Parent, tmp_path: Path) -> None:
    scene, mask = stage_scene(tmp_path, parent)
    settings = replace(SETTINGS, harmful=1000, benign=1000)
    made = run_jailbreak(parent, ATTACKS, settings, (), scene=scene, root=tmp_path)
    assert made.manifest["parents"] == [parent.run.id, scene.id]
    arms = made.manifest["method"]["arms"]
    assert [a["name"] for a in arms] == [
        "intact",
        "plain",
        "contrastive",
        "guarded",
        "random-0",
        "random-1",
        "benign_signed",
    ]
    assert (arms[3]["digest"], arms[3]["contrast"], arms[3]["n_weights"]) == (mask.digest, "guarded", 10)
    assert {a["n_weights"] for a in arms[4:6]} == {10}, "random masks are as large as it"
    everything = choose_requests(parent.run, ("builtin",), harmful=1000, benign=1000, seed=0).requests
    asked = made.manifest["method"]["requests"]
    assert asked["harmful"] == sum(r.harmful for r in everything) - 1
    assert asked["benign"] == sum(not r.harmful for r in everything) - 1
    assert set(grid_of(made).groups) == {"intact", "plain", "contrastive", "guarded", "random", "benign_signed"}


def test_a_scene_that_does_not_fit_is_refused(parent: Parent, made: Run, tmp_path: Path) -> None:
    contrastive, _ = stage_scene(tmp_path, parent, "both")
    with pytest.raises(RunIncompatible, match=r"chose a contrastive mask: give its --q 0\.01 --p 0\.01"):
        make_arms(parent, scene=contrastive)
    for other in (made, parent.run):
        with pytest.raises(RunIncompatible, match="is no stage scene of run"):
            make_arms(parent, scene=other)
