"""The words and numbers of the jailbreak page, from fabricated experiments: what it says also where nothing differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from harmviz.claims.jailbreak import answers, setup
from harmviz.claims.jailbreak.attacks import Attack, given, load_attacks
from harmviz.claims.jailbreak.finding import (
    GIVES_WAY,
    GROUPS,
    NO_DIFFERENCE,
    NOT_TESTABLE,
    PAYS,
    RESISTS,
    Grid,
    finding,
    finding_lines,
    grid_of,
    metric_name,
    sentence,
    verdict,
)
from harmviz.claims.jailbreak.page import claim_box
from harmviz.claims.jailbreak.pictures import cells, dots
from harmviz.display.rates import percent, points, reads
from harmviz.errors import RunIncompatible
from harmviz.runs import Run
from tests.worlds.jailbreak import OVER, REFUSED, WITH_SCENE, make_experiment

SAME = dict.fromkeys(REFUSED, (0.97, 0.3))
NAMES = {a.id: a.name for a in load_attacks()}


def loaded(root: Path, refused: Mapping[str, tuple[float, float]] = REFUSED, **changes: object) -> tuple[Run, Grid]:
    run = make_experiment(root, refused=refused, **changes)  # type: ignore[arg-type]
    return run, grid_of(run)


def test_every_row_finds_its_state_of_the_model(tmp_path: Path) -> None:
    run, grid = loaded(tmp_path)
    rows = run.results()
    assert grid.groups == [g for g in GROUPS if g not in ("guarded", "twin")]
    assert grid.attacks == [a.id for a in load_attacks()[:4]]
    assert grid.bare == "direct"
    direct = rows[
        (rows.metric == "refusal_rate") & (rows.category == "harm") & (rows.condition == "direct") & rows["mask"].isna()
    ]
    assert grid.value("refusal_rate", "intact", "direct") == direct.value.iloc[0]
    assert grid.row("delta_refusal_rate", "intact", None) is None, "the intact model has no differences"
    assert grid.row("excess_refusal_rate", "random", None) is None


def test_only_what_was_scored_is_offered(tmp_path: Path) -> None:
    known = loaded(tmp_path)[1].metrics()
    assert list(known) == ["refusal_rate", "refusal_rate:offline-refusal", "compliance_rate"]
    assert known["refusal_rate:offline-refusal"] == "refused, by offline-refusal"
    assert metric_name("attack_success:endpoint") == "attack succeeds, by endpoint"


@pytest.mark.parametrize(("view", "columns"), [("rates", 5), ("delta", 4), ("excess", 3)])
def test_cells_of_every_view(tmp_path: Path, view: str, columns: int) -> None:
    _, grid = loaded(tmp_path)
    table = cells(grid, NAMES, "refusal_rate", view)
    assert len(table) == 2 * 5 * columns
    assert list(dict.fromkeys(table["panel"])) == ["harm", "benign"]
    assert list(table["last"]).count(True) == 2 * columns
    pooled = table[(table["mask"] == "contrastive") & table["last"] & (table["panel"] == "harm")].iloc[0]
    prefix = "" if view == "rates" else f"{view}_"
    assert pooled["value"] == grid.value(f"{prefix}refusal_rate", "contrastive", None)
    assert "n = 20" in pooled["note"]
    if view == "rates":
        assert pooled["text"] == percent(pooled["value"])
        assert "random mask of equal size: " in pooled["note"]
        assert table["limit"].iloc[0] == 1
    else:
        assert pooled["text"].startswith("+")
        assert set(table["colours"]) == {"reversed"}
        assert any(t.startswith("(") for t in table["text"]), "what is not clear of 0 stands in brackets"


def test_more_compliance_is_vermilion_and_benign_requests_stay_refusals(tmp_path: Path) -> None:
    _, grid = loaded(tmp_path)
    rates, differences = (cells(grid, NAMES, "compliance_rate", v) for v in ("rates", "delta"))
    assert set(zip(rates["panel"], rates["colours"], rates["metric"], strict=True)) == {
        ("harm", "harm", "compliance_rate"),
        ("benign", "benign", "refusal_rate"),
    }
    assert dict(zip(differences["panel"], differences["colours"], strict=True)) == {
        "harm": "signed",
        "benign": "reversed",
    }


def test_a_collapsed_cell_says_so(tmp_path: Path) -> None:
    spaced = (load_attacks()[0], next(a for a in load_attacks() if a.id == "spaced"))
    _, grid = loaded(tmp_path, attacks=spaced)
    table = cells(grid, NAMES, "refusal_rate", "rates")
    marked = table[table["collapsed"]]
    assert set(marked["mask"]) == {"benign_signed"}
    assert set(marked["attack"].dropna()) == {"spaced"}
    assert all(t.endswith("†") for t in marked["text"])
    assert "gibberish is not safety" in marked["note"].iloc[0]


def test_the_sentence_where_a_mask_resists_and_where_it_does_not(tmp_path: Path) -> None:
    _, grid = loaded(tmp_path / "a", n=(60, 20))
    assert "points against random masks" in sentence(grid, "refusal_rate")
    lines = " ".join(finding_lines(grid))
    assert "attacks pass its guardrail (−" in lines
    assert "more than under random masks: +" in lines
    _, grid = loaded(tmp_path / "b", refused=SAME, n=(60, 20))
    assert "no difference to random masks shows" in sentence(grid, "refusal_rate")
    assert "no clear difference to random masks" in " ".join(finding_lines(grid))


#: How one mask answers beside random ones that change nothing → the verdict on it.
OUTCOMES = {
    RESISTS: ((0.97, 0.8), 0.04),
    PAYS: ((0.97, 0.8), 0.9),
    GIVES_WAY: ((0.97, 0.05), 0.04),
    NO_DIFFERENCE: ((0.97, 0.3), 0.04),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_verdict_follows_the_rule(tmp_path: Path, outcome: str) -> None:
    shares, over = OUTCOMES[outcome]
    run, grid = loaded(tmp_path, {**SAME, "contrastive": shares}, over={**OVER, "contrastive": over}, n=(80, 40))
    result = finding(run)
    assert result.verdict == verdict(grid, "contrastive") == outcome
    assert result.sentence == sentence(grid, "refusal_rate")
    assert (" of benign requests" in result.sentence) == (outcome == PAYS)
    assert result.numbers["masks"]["plain"]["verdict"] == NO_DIFFERENCE
    assert result.numbers["masks"]["contrastive"]["refused"]["n"] == 80
    assert json.loads(json.dumps(result.as_dict())) == result.as_dict()


def test_a_mask_that_only_does_what_random_ones_undo_does_not_resist(tmp_path: Path) -> None:
    """More than under the random masks, no more than intact: the random masks lowered it."""
    lowered = {name: (0.97, 0.05) for name in ("random-0", "random-1")}
    _, grid = loaded(tmp_path, {**SAME, **lowered}, n=(80, 40))
    assert grid.value("excess_refusal_rate", "contrastive", None) > 0.1
    assert verdict(grid, "contrastive") == NO_DIFFERENCE


def test_the_mask_of_a_stage_scene_is_told_of_first(tmp_path: Path) -> None:
    run, grid = loaded(tmp_path, n=(60, 20), states=WITH_SCENE)
    assert grid.groups == [g for g in GROUPS if g != "twin"]
    assert "without the guarded mask's weights: +" in sentence(grid, "refusal_rate")
    assert "; the contrastive mask resists" in sentence(grid, "refusal_rate")
    assert "resists" not in sentence(grid, "compliance_rate"), "verdicts are about refusals by keyword"
    assert "With the mask (guarded against over-refusal) it refuses" in finding_lines(grid)[-1]
    assert "guarded 2,123 weights" in setup.set_up(run)


def test_a_model_without_a_guardrail_and_attacks_that_do_not_pass(tmp_path: Path) -> None:
    run, grid = loaded(tmp_path / "a", refused=dict.fromkeys(REFUSED, (0.0, 0.05)))
    assert "there is hardly a guardrail" in finding_lines(grid)[0]
    assert finding(run).verdict == NOT_TESTABLE
    assert finding(run).sentence.endswith("; bare ones are refused to 0 %: not testable")
    _, grid = loaded(tmp_path / "b", refused=dict.fromkeys(REFUSED, (0.95, 1.3)))
    assert "these attacks hardly pass it" in finding_lines(grid)[0]


def test_the_claim_stands_beside_what_was_found(tmp_path: Path) -> None:
    _, grid = loaded(tmp_path, refused=SAME)
    box = claim_box(grid)
    assert all(part in box for part in ("The claim", "Found here", "no clear difference"))


def test_dots_are_bare_request_attacks_and_benign(tmp_path: Path) -> None:
    _, grid = loaded(tmp_path)
    table = dots(grid, "refusal_rate")
    assert len(table) == 15
    assert set(table[table["control"]]["label"]) == {"random mask", "benign-signed"}
    ring = table[(table["kind"] == "direct") & (table["label"] == "intact")].iloc[0]
    assert ring["value"] == grid.value("refusal_rate", "intact", "direct")
    _, grid = loaded(tmp_path / "b", attacks=load_attacks()[1:3])
    assert set(dots(grid, "refusal_rate")["kind"]) == {"attacks", "benign"}


def test_names_that_read_alike_are_told_apart(tmp_path: Path) -> None:
    twins = (Attack("a", "Twin", "d", "{request}!"), Attack("b", "Twin", "d", "{request}?"))
    run, _ = loaded(tmp_path, attacks=twins)
    assert setup.attack_names(run) == {"a": "Twin (a)", "b": "Twin (b)"}


def test_numbers_read() -> None:
    assert percent(0.314) == "31 %"
    assert percent(None) == percent(float("nan")) == "–"
    assert points(-0.304) == "−30 points"
    row = {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 9}
    assert reads(row) == "50 % (40 % … 60 %, n = 9)"
    assert reads(row, difference=True) == "+50 points (+40 … +60, n = 9)"
    assert reads({**row, "ci_low": np.nan}) == "50 % (no interval, n = 9)"
    assert reads(None) == "not measured"


def test_judges_and_set_up_are_told_with_their_numbers(tmp_path: Path) -> None:
    run, _ = loaded(tmp_path)
    notes = setup.judge_notes(run)
    assert ". On human labels: recall 0.52 (0.33 … 0.71" in notes
    assert "480 answers unscored: it does not tell harmful from harmless in mild texts" in notes
    assert "a note" in notes
    assert "contrastive 5,308 weights" in setup.set_up(run)
    assert "20 held-out harmful requests, all mild, 12 benign" in setup.set_up(run)


# -- untrusted text ---------------------------------------------------------------------------------------------------
EVIL = "<img src=x onerror=alert(1)>"


def test_markup_from_files_stays_text(tmp_path: Path) -> None:
    attack = Attack("a", EVIL, EVIL, EVIL + "{request}", source=EVIL, opening=EVIL)
    judges = [{"name": EVIL, "kind": EVIL, "source": EVIL, "quality": []}]
    run, grid = loaded(
        tmp_path, attacks=(attack,), answer=EVIL, parent=EVIL, method={"judges": judges, "unscored": {EVIL: {EVIL: 1}}}
    )
    kept = answers.transcripts(run)
    shown = [
        setup.attack_list(run),
        setup.judge_notes(run),
        setup.set_up(run),
        claim_box(grid),
        answers.panes(kept, "a", kept[0].request, GROUPS),
    ]
    for markup in shown:
        assert "<img" not in markup
    assert all("&lt;img" in markup for markup in (shown[0], shown[-1]))
    assert given(setup.attack_record(run, "a"), "x")[0] == ("User", EVIL + "x"), "for st.code, which escapes"


# -- answers ----------------------------------------------------------------------------------------------------------
def test_answers_are_read_and_stand_side_by_side(tmp_path: Path) -> None:
    run, _ = loaded(tmp_path)
    kept = answers.transcripts(run)
    assert len(kept) == 5 * 4 * 2
    assert answers.requests(kept) == ["a privacy request", "a benign request"]
    panes = answers.panes(kept, "prefill", "a privacy request", {m: GROUPS[m] for m in ("intact", "contrastive")})
    assert panes.count("<article") == 2
    assert all(part in panes for part in ("contrastive answers prefill", "Sure, here is"))
    assert panes.count("<dd>yes</dd>") == 1
    assert "other words than intact" in panes
    assert answers.panes(kept, "prefill", "no such request", {"intact": "intact"}) == ""
    assert [name for name, _ in given(setup.attack_record(run, "prefill"), "x")] == ["User", "Beginning of the answer"]
    assert given(setup.attack_record(run, "nonsense"), "x") == []


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        json.dumps({"mask": "intact"}),
        json.dumps(
            {"mask": 1, "attack": "a", "category": "c", "request": "r", "opening": "", "answer": "x", "refused": None}
        ),
    ],
)
def test_damaged_answers_are_one_clear_error(tmp_path: Path, line: str) -> None:
    run = make_experiment(tmp_path, lines=f"\n{line}\n")
    with pytest.raises(RunIncompatible, match="line 2: not an answer"):
        answers.transcripts(run)


def test_an_experiment_without_answers(tmp_path: Path) -> None:
    assert answers.transcripts(make_experiment(tmp_path, lines="")) == []


@pytest.mark.parametrize(
    "nonsense", [None, 3, "x", [3], [{}], [{"quality": [[1]], "group": "plain", "n_weights": "many"}], {"a": 1}]
)
def test_a_manifest_that_says_nonsense_is_shown_without_it(tmp_path: Path, nonsense: object) -> None:
    run, grid = loaded(tmp_path, method=dict.fromkeys(("attacks", "arms", "judges", "requests", "unscored"), nonsense))
    for markup in (setup.set_up(run), setup.judge_notes(run), setup.attack_list(run), claim_box(grid)):
        assert markup.startswith("<")
    assert setup.attack_names(run) == {}
    assert grid_of(run).bare is None
    assert not dots(grid, "refusal_rate").empty
    assert len(cells(grid, {}, "refusal_rate", "rates")) == 50
