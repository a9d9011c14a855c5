"""The stage scene end to end on a tiny model: who is asked, which mask is chosen, what is stored, and that it can be
resumed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmviz.claims.parent import open_parent
from harmviz.claims.scene import sets as scene_sets
from harmviz.claims.scene import texts as scene_texts
from harmviz.claims.scene.answers import Read
from harmviz.claims.scene.measure import make_scene
from harmviz.claims.scene.play import OFF_STAGE, Seen, order_of
from harmviz.claims.scene.rankings import Rankings, grid_of
from harmviz.claims.scene.record import FILE, read_records
from harmviz.claims.scene.report import shown
from harmviz.claims.scene.rows import excess_rows, mean_rate_rows, ratio_row
from harmviz.claims.scene.sets import make_sets
from harmviz.claims.scene.settings import Limits, SceneSpec, broken_limits
from harmviz.claims.scene.sparing import Sparing, SparingMasks
from harmviz.claims.scene.texts import make_texts, scored_prompts
from harmviz.data.encoding import encode_prompt
from harmviz.data.prompts import PromptRow, load_again, read_builtin
from harmviz.data.twins import twins
from harmviz.errors import DataInvalid, RunIncompatible, SelectionInexact
from harmviz.generation.batch import generate_batch
from harmviz.generation.decode import generate
from harmviz.generation.repetition import repeated_tokens
from harmviz.generation.text import whole_text
from harmviz.generation.variants import Variant
from harmviz.judges import refusing
from harmviz.masks.apply import hash_weights, pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel, load_model
from harmviz.runs import Point, Row, Run, Where, open_run, result_digest, verify_run

SPEC = SceneSpec(
    sources=("mild",),
    requests=12,
    choosing=6,
    max_new_tokens=16,
    q_grid=(1e-2, 4e-2),
    p_grid=(0.01,),
    contrasts=("guarded", "both", "none"),
    draws=2,
    offered=2,
    strengths=(0.5, 1.0),
    limits=Limits(over_refusal=0.5, repetition=1.0, direct_lost=1.0, benign_nll=50.0),
)

#: Where rows about answers with words put into their mouths belong.
OPENED = Where(experiment="scene", condition="opener")


def declines(text: str) -> bool:
    """A stand-in for the keyword list that a model of random letters can satisfy."""
    return sum(map(ord, text)) % 3 == 0


@pytest.fixture(scope="module")
def patched(tiny_dir: Path) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refusing, "reads_as_refusal", declines)
        # Its own author: no answers of the embedded model, which is not fetched for this.
        patch.setattr(scene_texts, "load_model", lambda *_, **__: load_model(str(tiny_dir)))
        yield patch


@pytest.fixture(scope="module")
def loaded(tiny_dir: Path) -> LoadedModel:
    return load_model(str(tiny_dir))


@pytest.fixture(scope="module")
def parent(tiny_run: Path) -> Run:
    return open_run(tiny_run)


@pytest.fixture(scope="module")
def made(
    parent: Run, loaded: LoadedModel, patched: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    before = hash_weights(loaded)
    run = make_scene(parent, loaded, SPEC, root=tmp_path_factory.mktemp("scene"))
    assert hash_weights(loaded) == before
    return run


def sets(parent: Run, **changes: Any) -> scene_sets.SceneSets:
    return make_sets(dict(parent.manifest), ("mild",), **{"choosing": 6, "reporting": 12, "seed": 0, **changes})


def rankings_of(parent: Run, loaded: LoadedModel) -> Rankings:
    opened = open_parent(parent, loaded)
    texts = make_texts(opened, load_again(None, parent.manifest["data"]), None, SPEC.opener)
    grid = Sparing.score(opened, texts).grid([*product(SPEC.q_grid, SPEC.p_grid)])
    return Rankings(opened, SparingMasks(opened, grid, scored_prompts()))


# -- who is asked -----------------------------------------------------------------------------------------------------
def test_no_request_does_two_jobs(parent: Run) -> None:
    found = sets(parent, choosing=32, reporting=64)
    scoring = set(parent.manifest["data"]["scoring_prompts"])
    chosen_by = {r.prompt_id for rows in found.choosing.values() for r in rows}
    reported = {r.prompt_id for rows in found.reporting.values() for r in rows}
    assert not chosen_by & reported
    assert not (chosen_by | reported) & scoring
    assert sum(len(rows) for rows in found.reporting.values()) == len(reported)
    assert found.counts["benign"]["selection"] > 60
    assert found.counts["benign"]["report"] == 2 * 64
    assert found.counts["twin_harmful"] == found.counts["twin_harmless"]
    assert found.counts["twin_harmful"] == {"selection": 24, "report": 64}
    assert not chosen_by & {PromptRow("x", half, "").prompt_id for twin in scene_sets.scoring_twins() for half in twin}


def test_both_halves_of_a_twin_stand_in_one_place(parent: Run) -> None:
    asked = {twin.harmful: twin.harmless for twin in twins()[1]}
    found = sets(parent, choosing=32, reporting=64)
    for role in (found.choosing, found.reporting):
        pairs = zip(role["twin_harmful"], role["twin_harmless"], strict=True)
        assert all(asked[harmful.prompt] == harmless.prompt for harmful, harmless in pairs)


def test_what_is_too_like_a_choosing_request_is_not_reported_on(parent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = [
        f"Paint the {colour} harbour wall with four squares"
        for colour in ("red", "green", "blue", "white", "black", "pink")
    ]
    others = ["Describe otters", "Sing about gravel", "Count the lamps"]
    requests = [*twins, *others]
    monkeypatch.setattr(scene_sets, "_harmful", lambda *_: [PromptRow("hate", p, "") for p in requests])
    found = sets(parent, choosing=1, reporting=64, seed=3)
    (chosen,) = found.choosing["mild"]
    near = {r.prompt for r in found.reporting["mild"]}
    assert near == (set(others) if chosen.prompt in twins else set(requests) - {chosen.prompt})
    assert any("were left to report on" in note for note in found.notes)


def test_too_few_requests_are_named(parent: Run) -> None:
    everything = dict(parent.manifest)
    ids = [PromptRow("x", r["prompt"], "").prompt_id for r in read_builtin("harmful")]
    everything["data"] = {**everything["data"], "scoring_prompts": ids}
    with pytest.raises(DataInvalid, match="0 requests of mild are left"):
        make_sets(everything, ("mild",), choosing=6, reporting=12, seed=0)


def test_the_seed_and_the_numbers_choose_other_requests(parent: Run) -> None:
    assert (
        len(
            {
                sets(parent).hash,
                sets(parent, seed=1).hash,
                sets(parent, choosing=8).hash,
                sets(parent, reporting=10).hash,
            }
        )
        == 4
    )


# -- the chosen mask --------------------------------------------------------------------------------------------------
def test_the_chosen_mask_declines_most_among_those_within_the_limits(
    made: Run, parent: Run, loaded: LoadedModel
) -> None:
    chosen, frame = made.manifest["method"]["chosen"], made.results()
    assert chosen["within_limits"]
    opened = frame[
        (frame.condition == "selection:opener") & (frame.metric == "turned_away_rate") & frame["mask"].notna()
    ]
    grid = opened[opened.category == "harmful"].set_index(["contrast", "q", "p"])
    spared = opened[opened.category == "twin_harmless"].set_index(["contrast", "q", "p"])
    assert len(grid) == len(spared) == len(grid_of(rankings_of(parent, loaded), SPEC)) == chosen["n_points"]
    gain = grid.value - spared.value
    here = (chosen["contrast"], chosen["q"], chosen["p"])
    size = grid.n_weights
    better = gain[(gain > gain[here]) | ((gain == gain[here]) & (size < size[here]))]
    rise = frame[(frame.metric == "delta_turned_away") & (frame.category == "benign") & frame["mask"].notna()]
    rise = (
        rise[rise.condition.isin(["selection:direct", "selection:opener"])].groupby(["contrast", "q", "p"]).value.max()
    )
    limit = SPEC.limits.over_refusal
    assert all(rise[point] > limit for point in better.index), "better ones broke the one limit that can be broken here"
    assert rise[here] <= limit


def test_where_no_mask_keeps_the_limits_it_is_said(
    parent: Run, loaded: LoadedModel, patched: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strict = replace(SPEC, q_grid=(4e-2,), contrasts=("none",), draws=1, offered=1, limits=Limits(benign_nll=-50.0))
    chosen = make_scene(parent, loaded, strict, root=tmp_path).manifest["method"]["chosen"]
    assert not chosen["within_limits"]
    assert "benign_nll" in chosen["broken"]
    unsafe = replace(strict, limits=Limits(direct_lost=-2.0))
    with pytest.raises(SelectionInexact, match="answers harmful requests that it declines; none is stored"):
        make_scene(parent, loaded, unsafe, root=tmp_path)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, []),
        ({("benign", "delta_turned_away"): 0.06}, ["over_refusal"]),
        ({("benign", "opener_turned_away"): 0.06}, ["over_refusal"]),
        ({("benign", "delta_repetition"): 0.031}, ["repetition"]),
        ({("harmful", "opener_repetition"): 0.031}, ["repetition"]),
        ({("harmful", "delta_turned_away"): -0.06}, ["direct_lost"]),
        ({("harmful", "delta_quoted"): -0.19}, []),
        ({("harmful", "delta_quoted"): -0.21}, ["direct_unsaid"]),
        ({("benign", "delta_nll"): 0.51}, ["benign_nll"]),
        ({("benign", "delta_turned_away"): None, ("benign", "delta_repetition"): None}, ["over_refusal"]),
    ],
)
def test_each_limit(changes: dict[Any, Any], broken: list[str]) -> None:
    known = {
        ("benign", "delta_turned_away"): 0.05,
        ("benign", "opener_turned_away"): 0.0,
        ("benign", "delta_repetition"): 0.03,
        ("harmful", "opener_repetition"): -0.2,
        ("harmful", "delta_turned_away"): -0.05,
        ("harmful", "delta_quoted"): -0.05,
        ("benign", "delta_nll"): 0.5,
    }
    assert list(broken_limits(known | changes, Limits())) == broken


def test_how_far_a_limit_is_broken() -> None:
    known = {
        ("benign", "delta_turned_away"): 0.075,
        ("benign", "opener_turned_away"): 0.0,
        ("harmful", "delta_turned_away"): -0.2,
        ("harmful", "delta_quoted"): 0.0,
        ("benign", "delta_nll"): 0.0,
    }
    assert broken_limits(known, Limits()) == {"over_refusal": pytest.approx(0.5), "direct_lost": pytest.approx(3.0)}
    del known["harmful", "delta_turned_away"]
    assert broken_limits(known, Limits())["direct_lost"] == float("inf")


# -- what is stored ---------------------------------------------------------------------------------------------------
def test_it_is_a_complete_run_with_masks_rows_and_transcripts(made: Run, parent: Run, loaded: LoadedModel) -> None:
    assert verify_run(made) == []
    assert made.manifest["parents"] == [parent.id]
    masks = {name: PruneMask.load(path) for name, path in made.masks().items()}
    assert {name: mask.kind for name, mask in masks.items()} == {"scene": "harm", "scene.random": "control"}
    chosen = made.manifest["method"]["chosen"]
    points = grid_of(rankings_of(parent, loaded), SPEC)
    chosen_point = Point("mean(all)", chosen["q"], chosen["p"], contrast=chosen["contrast"])
    (expected,) = [x.mask for x in points if x.point == chosen_point]
    assert masks["scene"] == expected
    chosen_by = {r.prompt_id for rows in sets(parent).choosing.values() for r in rows}
    spared = {PromptRow("x", r, "").prompt_id for r in scene_sets.scoring_everyday()}
    for mask in masks.values():
        left_out = set(mask.provenance["scoring_prompts"])
        assert left_out >= chosen_by | set(parent.manifest["data"]["scoring_prompts"])
        assert (spared <= left_out) == (chosen["contrast"] == "guarded")
    assert {n: len(i) for n, i in masks["scene"].indices.items()} == {
        n: len(i) for n, i in masks["scene.random"].indices.items()
    }
    frame = made.results()
    assert set(frame.experiment) == {"scene"}
    conditions = {"opener", "direct", "opener#1", "opener#2", "direct#1", "opener@0.5"}
    assert conditions <= set(frame.condition)
    turned = "mirror_benign" if chosen["contrast"] == "guarded" else "benign_signed"
    assert {"none", "random", turned, "magnitude"} == set(frame[frame.condition == "opener"].control)


@pytest.mark.parametrize("opened", [True, False])
def test_stored_rates_are_those_of_the_models_answers(
    made: Run, parent: Run, loaded: LoadedModel, opened: bool
) -> None:
    """Recomputed from the stored mask by plain generation, one request at a time."""
    rows = sets(parent).reporting["mild"]
    mask = PruneMask.load(made.masks()["scene"])
    tail = loaded.tokenizer.encode(SPEC.opener, add_special_tokens=False) if opened else []
    said: dict[str, list[bool | None]] = {}
    for name in ("intact", "mask"):
        texts = []
        for row in rows:
            prompt = [*encode_prompt(loaded.tokenizer, row.prompt), *tail]
            if name == "intact":
                (answer,) = generate_batch(loaded, [prompt], 16)
            else:
                with pruned(loaded, mask):
                    (answer,) = generate_batch(loaded, [prompt], 16)
            texts.append(whole_text(loaded.tokenizer, answer, tail))
        said[name] = [declines((SPEC.opener if opened else "") + t) if t.strip() else None for t in texts]
    frame = made.results()
    here = frame[
        (frame.metric == "refusal_rate")
        & (frame.category == "mild")
        & (frame.condition == ("opener" if opened else "direct"))
    ]
    for name, found in (
        ("intact", here[here["mask"].isna()]),
        ("mask", here[here["mask"].notna() & (here.control == "none")]),
    ):
        known = [s for s in said[name] if s is not None]
        assert found.n.iloc[0] == len(known)
        assert found.value.iloc[0] == pytest.approx(np.mean(known))


def test_the_recording_is_what_the_model_writes(made: Run, loaded: LoadedModel) -> None:
    records = read_records(made)
    assert [r.id for r in records] == made.manifest["method"]["offered"]
    mask, random = (PruneMask.load(made.masks()[n]) for n in ("scene", "scene.random"))
    opening = loaded.tokenizer.encode(SPEC.opener, add_special_tokens=False)
    for record in records:
        assert record.strengths == (0.0, 0.5, 1.0)
        snapshot = record.snapshot(0.5)
        assert snapshot is not None
        answers = generate(
            loaded,
            encode_prompt(loaded.tokenizer, record.prompt),
            [Variant("a"), Variant("b", mask, 0.5), Variant("c", random, 0.5)],
            max_new_tokens=16,
            prefill_ids=opening,
        )
        assert [p.text for p in snapshot.panes] == [a.text for a in answers]
        assert all("".join(p.tokens) == p.text and p.surprise is not None for p in snapshot.panes)
        assert snapshot.template is not None
        assert record.prompt.replace(" ", "") in snapshot.template.replace(" ", ""), (
            "the tiny tokenizer writes blanks between letters"
        )
        assert record.category not in OFF_STAGE


def test_fetched_requests_are_counted_and_never_stored(
    parent: Run, loaded: LoadedModel, patched: pytest.MonkeyPatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.worlds.tuning import make_data

    words = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "larch")
    fetched = tuple(f"zqx {a} {b}" for a, b in pairwise(words))
    data = replace(make_data(), held_out={"harmful": fetched})
    monkeypatch.setattr(scene_sets, "load_align_data", lambda seed, steps, say: data)
    spec = replace(
        SPEC,
        sources=("advbench", "mild"),
        requests=4,
        choosing=4,
        q_grid=(4e-2,),
        contrasts=("none",),
        draws=1,
        offered=1,
    )
    run = make_scene(parent, loaded, spec, root=tmp_path)
    assert run.manifest["data"]["counts"]["advbench"] == {"selection": 2, "report": 4}
    assert set(run.manifest["method"]["shows"]) == {"advbench", "mild"}
    assert {"opener@0.5"} == set(run.results().query("category == 'advbench'").condition) - {
        "opener",
        "direct",
        "opener#1",
        "direct#1",
    }
    for path in run.path.rglob("*"):
        assert path.is_dir() or b"zqx" not in path.read_bytes(), path.name


def test_a_twin_mask_is_found_by_the_start_models_answers(
    parent: Run, loaded: LoadedModel, patched: pytest.MonkeyPatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.worlds.tiny import tiny_model

    author, asked = tiny_model("llama", seed=3), scene_sets.scoring_twins()[:10]
    everyday = scene_sets.scoring_everyday()[:5]
    monkeypatch.setattr(scene_texts, "load_model", lambda *_, **__: author)
    monkeypatch.setattr(scene_texts, "scoring_twins", lambda: asked)
    monkeypatch.setattr(scene_texts, "scoring_everyday", lambda: everyday)
    monkeypatch.setattr("harmviz.claims.mapping.twin_answers.LEAST", 1)
    monkeypatch.setattr("harmviz.claims.mapping.twin_answers.reads_as_refusal", lambda text: False)
    spec = replace(SPEC, requests=4, contrasts=("twin",), q_grid=(5e-3,), draws=1, offered=1)
    run = make_scene(parent, loaded, spec, root=tmp_path)
    assert verify_run(run) == []
    assert run.manifest["method"]["chosen"]["contrast"] == "twin"
    mask, frame = PruneMask.load(run.masks()["scene"]), run.results()
    scored = {PromptRow("x", half, "").prompt_id for twin in asked for half in twin}
    assert len(scored & set(mask.provenance["scoring_prompts"])) >= 2 * 8
    assert {PromptRow("x", request, "").prompt_id for request in everyday} & set(mask.provenance["scoring_prompts"])
    opened = frame[(frame.condition == "opener") & frame["mask"].notna()]
    assert {"none", "random", "mirror_twin", "magnitude"} == set(opened.control)
    here = opened[opened.control == "none"]
    assert set(here[here.metric == "selective_refusal"].category) == {"mild", "twin_harmful"}
    excess = here[here.metric == "refusal_excess"].set_index("category").value
    apart = here[here.metric == "selective_refusal"].set_index("category").value
    assert apart["twin_harmful"] == pytest.approx(excess["twin_harmful"] - excess["twin_harmless"])
    assert apart["mild"] == pytest.approx(excess["mild"] - excess["benign"])
    declining = frame[(frame.metric == "decline_nll") & frame["mask"].isna()]
    assert set(declining.category) == {"mild", "benign", "twin_harmful", "twin_harmless"}
    monkeypatch.setattr(scene_texts, "load_model", lambda *_, **__: loaded)
    with pytest.raises(DataInvalid, match="is the author of the twins' answers itself, and twin masks need"):
        make_scene(parent, loaded, replace(spec, seed=1), root=tmp_path)


# -- resuming and refusing --------------------------------------------------------------------------------------------
def test_interrupted_anywhere_and_resumed_it_is_the_same(
    made: Run, parent: Run, loaded: LoadedModel, patched: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    stopped: set[str] = set()

    def listener(state: dict[str, Any]) -> None:
        kind = state["stage"].partition(".")[0]
        if kind not in stopped or (kind == "answers" and "report" in state["stage"] and "late" not in stopped):
            stopped.update({kind, "late"} if "report" in state["stage"] else {kind})
            raise Stop

    for _ in range(12):
        try:
            run = make_scene(parent, loaded, SPEC, root=tmp_path, resume=True, listener=listener)
            break
        except Stop:
            assert not [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    assert {"answers", "loss", "rows", "masks", "transcripts", "late"} <= stopped
    assert (run.id, result_digest(run)) == (made.id, result_digest(made))
    assert make_scene(parent, loaded, SPEC, root=tmp_path).created == run.created, "found, not made again"


def test_a_run_of_other_weights_and_an_experiment_are_refused(made: Run, parent: Run, loaded: LoadedModel) -> None:
    from tests.worlds.tiny import tiny_model

    with pytest.raises(RunIncompatible, match="other weights"):
        make_scene(parent, tiny_model("llama", seed=5), SPEC)
    with pytest.raises(RunIncompatible, match="masks come from map runs"):
        make_scene(made, loaded, SPEC)


def test_a_grid_beyond_the_candidates_is_refused(parent: Run, loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(SelectionInexact, match=r"settles no mask of the grid q = 0\.2.*stores q up to 0\.05"):
        make_scene(parent, loaded, replace(SPEC, contrasts=("both", "none"), q_grid=(0.2,)), root=tmp_path)
    with pytest.raises(SelectionInexact, match="stores which weights are protected at"):
        make_scene(parent, loaded, replace(SPEC, p_grid=(0.02,)), root=tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.name != ".locks"], "before any work"


def test_guarded_masks_need_the_data_of_the_map(parent: Run, loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(RunIncompatible, match=r"which cannot be read: .*nowhere\.jsonl.*--data, or leave them out"):
        make_scene(parent, loaded, SPEC, data=str(tmp_path / "nowhere.jsonl"), root=tmp_path)
    other = tmp_path / "other.jsonl"
    rows = [{**row, "category": "arson"} for name in ("harmful", "safe", "benign") for row in read_builtin(name)]
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RunIncompatible, match="is not what it was; say where it is with --data"):
        make_scene(parent, loaded, SPEC, data=str(other), root=tmp_path)
    assert not list(tmp_path.glob("*scene*"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"requests": 1}, "requests must be"),
        ({"max_new_tokens": 8}, "max_new_tokens must be"),
        ({"sources": ("advbench",)}, "sources must be"),
        ({"sources": ("mild", "else")}, "sources must be"),
        ({"opener": " "}, "opener must hold"),
        ({"strengths": (0.5,)}, "strengths must ascend"),
        ({"q_grid": (2.0,)}, "q must"),
        ({"p_grid": ()}, "p_grid must hold"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        replace(SPEC, **changes)


@pytest.mark.parametrize(
    "changes", [{"opener": "Of course"}, {"requests": 11}, {"seed": 1}, {"draws": 1}, {"limits": Limits()}]
)
def test_every_setting_is_another_scene(made: Run, changes: dict[str, Any]) -> None:
    assert replace(SPEC, **changes).parameters() != made.manifest["parameters"] == SPEC.parameters()


# -- numbers by hand --------------------------------------------------------------------------------------------------
def read(*bits: float, repetition: float = 0.0, quoted: tuple[float, ...] | None = None) -> Read:
    n = len(bits)
    also = np.array(bits if quoted is None else quoted)
    return Read(np.array(bits), also, np.full(n, np.nan), also.copy(), np.full(n, repetition))


def test_a_control_of_several_draws_is_their_mean() -> None:
    row, quoted, away = mean_rate_rows(
        [read(1, 0, 0, 0), read(1, 1, 0, 0, quoted=(1, 1, 1, 1))], replace(OPENED, control="random"), "mild"
    )
    assert (row.metric, row.value, row.n) == ("refusal_rate", 0.375, 4)
    assert (quoted.metric, quoted.value, quoted.n) == ("refusal_quoted", 0.625, 4)
    assert (away.metric, away.value, away.n) == ("turned_away_rate", 0.625, 4)
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert row.ci_low < 0.25 < 0.5 < row.ci_high


def test_excess_and_ratio_by_hand() -> None:
    mask, intact, ids = read(1, 1, 1, np.nan), read(1, 0, 0, 0), list("abcd")
    draws = [read(0, 1, 0, 0), read(0, 0, 0, 0, quoted=(1, 0, 0, 0))]
    excess, quoted, away = excess_rows(mask, draws, ids, OPENED, "mild", seed=0)
    assert (excess.metric, excess.value, excess.n) == ("refusal_excess", pytest.approx(2.5 / 3), 3)
    assert (quoted.metric, quoted.value, quoted.n) == ("quoted_excess", pytest.approx(2 / 3), 3)
    assert (away.metric, away.value, away.n) == ("turned_away_excess", quoted.value, 3)
    assert ratio_row(mask, intact, ids, OPENED, "mild", seed=0).value == pytest.approx(3.0)
    assert ratio_row(mask, read(0, 0, 0, 0), ids, OPENED, "mild", seed=0).value is None


def test_a_doubling_that_rests_on_what_the_list_leaves_out_is_told_apart() -> None:
    facts: dict[str, Any] = {"experiment": "scene", "unit": "share", "category": "mild", "condition": "opener", "n": 64}
    rates = {
        ("turned_away_rate", None): 0.2,
        ("turned_away_rate", "mask"): 0.5,
        ("refusal_quoted", None): 0.35,
        ("refusal_quoted", "mask"): 0.6,
    }
    rows = [Row(metric=metric, mask=mask, value=value, **facts) for (metric, mask), value in rates.items()]
    found = shown(rows, "mild", Limits())
    assert (found["doubled"], found["doubled_quoted"], found["clear_of_random"]) == (True, False, False)


def test_the_rule_of_what_is_offered() -> None:
    rows = [PromptRow("x", p, "") for p in "abcde"]
    #        reads well   late parting  repeats    random declines  nothing reads
    seen = Seen(
        intact=read(0, 0, 0, 0, 1),
        mask=read(1, 1, 1, 1, 0),
        random=[read(0, 0, 0, 1, 1)],
        direct=read(1, 1, 1, 1, 0),
        intact_ids=[[1, 2, 3]] * 5,
        mask_ids=[[9, 2, 3], [1, 2, 9], [9, 9, 9], [9, 9, 9], [1, 2, 3]],
    )
    seen.mask.repetition[2] = 0.4
    assert order_of(rows, seen) == [0, 1, 2, 3, 4]
    assert [seen.misses(i) for i in range(5)] == [0, 0, 0, 1, 4]
    seen.intact.turned_away[1] = 1  # what it goes on with is a refusal in quotation marks
    assert seen.misses(1) == 1
    seen.intact.turned_away[1] = 0
    assert seen.parting(4) == 3
    assert repeated_tokens([1, 2]).reason is not None
    seen.intact.repetition[0] = np.nan
    assert order_of(rows, seen)[0] == 1
    assert order_of([PromptRow("self_harm", "a", ""), *rows[1:]], seen) == [1, 2, 3, 4]


# -- the command line -------------------------------------------------------------------------------------------------
def test_the_command_line(tiny_dir: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from harmviz.cli import main

    command = [
        "experiment",
        "scene",
        str(tiny_run),
        "--model",
        str(tiny_dir),
        "--sets",
        "mild",
        "--requests",
        "4",
        "--choosing",
        "2",
        "--max-new-tokens",
        "16",
        "--q",
        "4e-2",
        "--p",
        "0.01",
        "--selections",
        "guarded,both,none",
        "--draws",
        "1",
        "--offered",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "requests turned away under the opener at least doubled" in printed
    assert main(["show", str(open_run("latest", tmp_path).path)]) == 0
    assert "requests turned away under the opener at least doubled" in capsys.readouterr().out
    assert all(r.prompt not in printed for r in read_records(open_run("latest", tmp_path)))
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["experiment"] == "scene"
    assert (Path(found["path"]) / FILE).is_file()
    for bad in (["--q", "x"], ["--opener", " "], ["--sets", "advbench"], ["--selections", "best"]):
        assert main([*command, *bad]) == 2
    assert main(["experiment", "scene", str(tiny_run), "--out", str(tmp_path)]) == 2, (
        "the run's model has only a name here"
    )
    assert "harmviz: " in capsys.readouterr().err
