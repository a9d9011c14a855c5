"""The words and numbers of the jailbreak page, from fabricated experiments: what it says also where nothing differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.jailbreak import answers, facts
from harmviz.claims.jailbreak import finding as jailbreak
from harmviz.claims.jailbreak.attacks import Attack, load_attacks
from harmviz.errors import RunIncompatible
from harmviz.runs import Run
from tests.worlds.jailbreak import REFUSED, WITH_SCENE, make_experiment

SAME = dict.fromkeys(REFUSED, (0.97, 0.3))
NAMES = {a.id: a.name for a in load_attacks()}


def loaded(
    root: Path, refused: Mapping[str, tuple[float, float]] = REFUSED, **changes: object
) -> tuple[Run, jailbreak.Grid, pd.DataFrame]:
    run = make_experiment(root, refused=refused, **changes)  # type: ignore[arg-type]
    rows = jailbreak.grid_rows(run.results())
    return run, jailbreak.Grid(rows), rows


def test_every_row_finds_its_state_of_the_model(tmp_path: Path) -> None:
    _, grid, rows = loaded(tmp_path)
    assert grid.groups == [g for g in facts.GROUPS if g != "guarded"]
    assert grid.attacks == [a.id for a in load_attacks()[:4]]
    assert rows["group"].value_counts()["intact"] < rows["group"].value_counts()["contrastive"], (
        "the intact model has no differences"
    )
    direct = rows[
        (rows.metric == "refusal_rate") & (rows.category == "harm") & (rows.condition == "direct") & rows["mask"].isna()
    ]
    assert grid.value("refusal_rate", "intact", "direct") == direct.value.iloc[0]
    assert grid.row("excess_refusal_rate", "random", None) is None


def test_only_what_was_scored_is_offered(tmp_path: Path) -> None:
    _, _, rows = loaded(tmp_path)
    known = jailbreak.metrics(rows)
    assert list(known) == ["refusal_rate", "refusal_rate:offline-refusal", "compliance_rate"]
    assert known["refusal_rate:offline-refusal"] == "refused, by offline-refusal"
    assert jailbreak.metric_name("attack_success:endpoint") == "attack succeeds, by endpoint"


@pytest.mark.parametrize(("view", "columns"), [("rates", 5), ("delta", 4), ("excess", 3)])
def test_cells_of_every_view(tmp_path: Path, view: str, columns: int) -> None:
    _, grid, _ = loaded(tmp_path)
    table = jailbreak.cells(grid, NAMES, "refusal_rate", view)
    assert len(table) == 2 * 5 * columns
    assert list(dict.fromkeys(table["panel"])) == ["harm", "benign"]
    assert list(table["last"]).count(True) == 2 * columns
    pooled = table[(table["mask"] == "contrastive") & table["last"] & (table["panel"] == "harm")].iloc[0]
    prefix = "" if view == "rates" else f"{view}_"
    assert pooled["value"] == grid.value(f"{prefix}refusal_rate", "contrastive", None)
    assert "n = 20" in pooled["note"]
    if view == "rates":
        assert pooled["text"] == jailbreak.percent(pooled["value"])
        assert "random mask of equal size: " in pooled["note"]
        assert table["limit"].iloc[0] == 1
    else:
        assert pooled["text"].startswith("+")
        assert set(table["colours"]) == {"reversed"}
        assert any(t.startswith("(") for t in table["text"]), "what is not clear of 0 stands in brackets"


def test_more_compliance_is_vermilion_and_benign_requests_stay_refusals(tmp_path: Path) -> None:
    _, grid, _ = loaded(tmp_path)
    rates, differences = (jailbreak.cells(grid, NAMES, "compliance_rate", v) for v in ("rates", "delta"))
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
    _, grid, _ = loaded(tmp_path, attacks=spaced)
    table = jailbreak.cells(grid, NAMES, "refusal_rate", "rates")
    marked = table[table["collapsed"]]
    assert set(marked["mask"]) == {"benign_signed"}
    assert set(marked["attack"].dropna()) == {"spaced"}
    assert all(t.endswith("†") for t in marked["text"])
    assert "gibberish is not safety" in marked["note"].iloc[0]


def test_the_finding_where_a_mask_resists_and_where_it_does_not(tmp_path: Path) -> None:
    run, grid, _ = loaded(tmp_path / "a", n=(60, 20))
    assert "points against random masks" in jailbreak.finding(grid, "refusal_rate")
    said = " ".join(jailbreak.found_lines(grid, run))
    assert "jailbreaks pass its guardrail (−" in said
    assert "more than under random masks: +" in said
    run, grid, _ = loaded(tmp_path / "b", refused=SAME, n=(60, 20))
    assert "no difference to random masks shows" in jailbreak.finding(grid, "refusal_rate")
    assert "no clear difference to random masks" in " ".join(jailbreak.found_lines(grid, run))


def test_the_mask_of_a_stage_scene_is_told_of_first(tmp_path: Path) -> None:
    run, grid, _ = loaded(tmp_path, n=(60, 20), states=WITH_SCENE)
    assert grid.groups == list(facts.GROUPS)
    assert "without the guarded mask's weights: +" in jailbreak.finding(grid, "refusal_rate")
    assert "With the mask guarded against over-refusal it refuses" in jailbreak.found_lines(grid, run)[-1]
    assert "guarded 2,123 weights" in facts.set_up(run)


def test_a_model_without_a_guardrail_and_attacks_that_do_not_pass(tmp_path: Path) -> None:
    run, grid, _ = loaded(tmp_path / "a", refused=dict.fromkeys(REFUSED, (0.0, 0.05)))
    assert "there is hardly a guardrail" in jailbreak.found_lines(grid, run)[0]
    run, grid, _ = loaded(tmp_path / "b", refused=dict.fromkeys(REFUSED, (0.95, 1.3)))
    assert "these attacks hardly pass it" in jailbreak.found_lines(grid, run)[0]


def test_the_claim_stands_beside_what_was_found(tmp_path: Path) -> None:
    run, grid, _ = loaded(tmp_path, refused=SAME)
    box = jailbreak.claim_box(grid, run)
    assert all(part in box for part in ("The claim", "Found here", "no clear difference"))


def test_dots_are_bare_request_attacks_and_benign(tmp_path: Path) -> None:
    run, grid, _ = loaded(tmp_path)
    table = jailbreak.dots(grid, run, "refusal_rate")
    assert len(table) == 15
    assert set(table[table["control"]]["label"]) == {"random mask", "benign-signed"}
    ring = table[(table["kind"] == "direct") & (table["label"] == "intact")].iloc[0]
    assert ring["value"] == grid.value("refusal_rate", "intact", "direct")
    run, grid, _ = loaded(tmp_path / "b", attacks=load_attacks()[1:3])
    assert set(jailbreak.dots(grid, run, "refusal_rate")["kind"]) == {"attacks", "benign"}


def test_names_that_read_alike_are_told_apart(tmp_path: Path) -> None:
    twins = (Attack("a", "Twin", "d", "{request}!"), Attack("b", "Twin", "d", "{request}?"))
    run, _, _ = loaded(tmp_path, attacks=twins)
    assert facts.attack_names(run) == {"a": "Twin (a)", "b": "Twin (b)"}


def test_numbers_read() -> None:
    assert jailbreak.percent(0.314) == "31 %"
    assert jailbreak.percent(None) == jailbreak.percent(float("nan")) == "–"
    assert jailbreak.points(-0.304) == "−30 points"
    row = {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 9}
    assert jailbreak.reads(row) == "50 % (40 % … 60 %, n = 9)"
    assert jailbreak.reads(row, difference=True) == "+50 points (+40 … +60, n = 9)"
    assert jailbreak.reads({**row, "ci_low": np.nan}) == "50 % (no interval, n = 9)"
    assert jailbreak.reads(None) == "not measured"


def test_judges_and_set_up_are_told_with_their_numbers(tmp_path: Path) -> None:
    run, _, _ = loaded(tmp_path)
    said = facts.judge_notes(run)
    assert ". On human labels: recall 0.52 (0.33 … 0.71" in said
    assert "480 answers unscored: it does not tell harmful from harmless in mild texts" in said
    assert "a note" in said
    assert "contrastive 5,308 weights" in facts.set_up(run)
    assert "20 held-out harmful requests, all mild, 12 benign" in facts.set_up(run)


# -- untrusted text ---------------------------------------------------------------------------------------------------
EVIL = "<img src=x onerror=alert(1)>"


def test_markup_from_files_stays_text(tmp_path: Path) -> None:
    attack = Attack("a", EVIL, EVIL, EVIL + "{request}", source=EVIL, opening=EVIL)
    judges = [{"name": EVIL, "kind": EVIL, "source": EVIL, "quality": []}]
    run, grid, _ = loaded(
        tmp_path, attacks=(attack,), answer=EVIL, parent=EVIL, method={"judges": judges, "unscored": {EVIL: {EVIL: 1}}}
    )
    kept = answers.transcripts(run)
    shown = [
        facts.attack_list(run),
        facts.judge_notes(run),
        facts.set_up(run),
        jailbreak.claim_box(grid, run),
        answers.panes(kept, "a", kept[0].request, list(facts.GROUPS)),
    ]
    for markup in shown:
        assert "<img" not in markup
    assert all("&lt;img" in markup for markup in (shown[0], shown[-1]))
    assert answers.asked(run, "a", "x")[0] == ("User", EVIL + "x"), "for st.code, which escapes"


# -- answers ----------------------------------------------------------------------------------------------------------
def test_answers_are_read_and_stand_side_by_side(tmp_path: Path) -> None:
    run, _, _ = loaded(tmp_path)
    kept = answers.transcripts(run)
    assert len(kept) == 5 * 4 * 2
    assert answers.requests(kept) == ["a privacy request", "a benign request"]
    panes = answers.panes(kept, "prefill", "a privacy request", ["intact", "contrastive"])
    assert panes.count("<article") == 2
    assert all(part in panes for part in ("contrastive answers prefill", "Sure, here is"))
    assert panes.count("<dd>yes</dd>") == 1
    assert "other words than intact" in panes
    assert answers.panes(kept, "prefill", "no such request", ["intact"]) == ""
    assert [name for name, _ in answers.asked(run, "prefill", "x")] == ["User", "Beginning of the answer"]
    assert answers.asked(run, "nonsense", "x") == []


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
    run, grid, _ = loaded(
        tmp_path, method=dict.fromkeys(("attacks", "arms", "judges", "requests", "unscored"), nonsense)
    )
    for markup in (facts.set_up(run), facts.judge_notes(run), facts.attack_list(run), jailbreak.claim_box(grid, run)):
        assert markup.startswith("<")
    assert facts.attack_names(run) == {}
    assert not jailbreak.dots(grid, run, "refusal_rate").empty
    assert len(jailbreak.cells(grid, {}, "refusal_rate", "rates")) == 50


def test_a_judge_is_told_by_its_own_figures() -> None:
    own, words = (["auc", by, "human labels", 0.87, 0.84, 0.90, 984] for by in ("judge", "keyword list"))
    assert facts.quality_words([own, ["auc", "keyword list", "human labels", 0.59, 0.56, 0.62, 984]]) == [
        "auc 0.87 (0.84 … 0.90, n = 984)"
    ]
    assert facts.quality_words([words]) == ["auc 0.87 (0.84 … 0.90, n = 984)"]
    assert facts.quality_words([["auc", "judge", "mild texts", 0.5, 0.4, 0.6, 32]]) == facts.quality_words(None) == []
