"""The table of the eight claims: every verdict follows its rule, every run has its place, and nothing is left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmviz.claims import CLAIMS, eight
from harmviz.claims.dissociation import objections as dissociation
from harmviz.claims.emergent import objections as emergent
from harmviz.claims.jailbreak import objections as jailbreak
from harmviz.claims.mapping import objections as mapping
from harmviz.claims.objection import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    NOT_TESTABLE,
    PAPER,
    UNDECIDED,
    VERDICTS,
    Objection,
)
from harmviz.claims.scene import objections as scene
from harmviz.cli import main
from harmviz.runs import Row, Run, read_run
from tests.worlds.dissociation import dissociation_rows, make_dissociation
from tests.worlds.effects import POINT, effect_row
from tests.worlds.emergent import HELPS, NO_HELP, NOTHING, make_experiment
from tests.worlds.fabricated import make_run
from tests.worlds.jailbreak import OVER, REFUSED
from tests.worlds.jailbreak import make_experiment as make_grid
from tests.worlds.scene import make_scene, scene_rows

METHOD = {"score": "signed", "headline": {"both": POINT}}


def number(metric: str, value: float, *, half: float = 0.02, **changes: Any) -> Row:
    """A number of the contrastive mask on harmful answers, unless ``changes`` say otherwise."""
    return effect_row(metric, value, value - half, value + half, **changes)


def causal(error: float) -> list[Row]:
    values = {"measured": 0.2, "predicted": 0.2, "relative_error": error}
    return [Row(experiment="causal", metric=name, value=v, n=100, unit="") for name, v in values.items()]


def mirror(control: str, text: str, difference: str, harm: float = 0.02) -> list[Row]:
    return [
        number("delta_nll", harm, control=control),
        number("delta_nll", 0.3, control=control, category=text),
        number(difference, harm - 0.05, control=control),
    ]


MASK = [
    number("delta_nll", 0.4),
    number("harm_specific", 0.3),
    number("harm_minus_benign", 0.35),
    number("delta_nll", 0.01, category="benign"),
    number("delta_nll", 0.02, category="benign_own"),
    number("excess_over_control", 0.4, control="random"),
]
MIRRORS = [
    *mirror("mirror_safe", "safe", "harm_specific"),
    *mirror("mirror_benign", "benign", "harm_minus_benign"),
]


def mapped(root: Path, rows: list[Row], **parameters: Any) -> dict[str, Objection]:
    run = make_run(root, rows=rows, method=METHOD, parameters={"skip_tokens": 0, **parameters})
    return {o.paper: o for o in mapping.objections(run)}


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([*MASK, *causal(1e-4)], HOLDS),
        ([*MASK, *causal(0.05)], UNDECIDED),
        ([*MASK, *causal(0.2)], FAILS),
        ([*MASK, *causal(1e-4), number("excess_over_control", 0.0, control="utility")], UNDECIDED),
        ([*MASK, *causal(1e-4), number("excess_over_control", -0.1, control="utility")], FAILS),
        (MASK, NOT_MEASURED),
        ([*MASK[:-1], *causal(1e-4)], NOT_MEASURED),
    ],
)
def test_c1_asks_for_prediction_and_controls(rows: list[Row], verdict: str, tmp_path: Path) -> None:
    assert mapped(tmp_path, rows)["C1"].verdict == verdict


@pytest.mark.parametrize(
    ("harm", "excess", "n_weights", "verdict"),
    [
        (0.2, 0.2, 1061, HOLDS),
        (0.11, 0.2, 1061, UNDECIDED),
        (0.05, 0.05, 1061, FAILS),
        (0.2, -0.1, 1061, FAILS),
        (0.2, None, 1061, UNDECIDED),
        (0.2, 0.2, 20_000, NOT_TESTABLE),
    ],
)
def test_c2_looks_at_the_point_that_nobody_chose(
    harm: float, excess: float | None, n_weights: int, verdict: str, tmp_path: Path
) -> None:
    fixed: dict[str, Any] = {"q": 1e-5, "n_weights": n_weights}
    rows = [*MASK, number("delta_nll", harm, **fixed)]
    if excess is not None:
        rows.append(number("excess_over_control", excess, control="random", **fixed))
    assert mapped(tmp_path, rows, fixed_point=[1e-5, 0.01])["C2"].verdict == verdict
    assert mapped(tmp_path / "b", MASK, fixed_point=[1e-5, 0.01])["C2"].verdict == NOT_MEASURED


def shared(other: float, safe: float = 0.05) -> list[Row]:
    """Two types' own masks: 0.4 on themselves, ``other`` on each other, ``safe`` on same-topic safe answers."""
    values = {("a", "a"): 0.4, ("a", "b"): other, ("b", "b"): 0.4, ("b", "a"): other}
    values |= {(mask, "safe"): safe for mask in "ab"}
    return [number("delta_nll", v, experiment="transfer", mask=m, category=c) for (m, c), v in values.items()]


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([*shared(0.2), *MIRRORS], HOLDS),
        (shared(0.2), UNDECIDED),  # no mirror was measured
        ([*shared(0.2), *mirror("mirror_safe", "safe", "harm_specific", harm=0.2), *MIRRORS[3:]], FAILS),
        ([*shared(0.01), *MIRRORS], FAILS),  # does not reach
        ([*shared(0.2, safe=0.2), *MIRRORS], FAILS),  # reaches safe text as far
        ([], NOT_MEASURED),
        ([number("delta_nll", 0.4, experiment="transfer", mask="a", category="a")], NOT_TESTABLE),
    ],
)
def test_c3_asks_whether_types_that_are_none_would_do(rows: list[Row], verdict: str, tmp_path: Path) -> None:
    assert mapped(tmp_path, [*MASK, *rows])["C3"].verdict == verdict


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([*MASK, *MIRRORS], HOLDS),
        (MASK, UNDECIDED),
        ([*MASK, *MIRRORS[:3]], UNDECIDED),
        ([*MASK, *mirror("mirror_safe", "safe", "harm_specific", harm=0.39), *MIRRORS[3:]], FAILS),
        ([*MASK[:4], number("delta_nll", 0.25, category="benign_own"), MASK[5], *MIRRORS], UNDECIDED),
        ([MASK[0], number("harm_specific", 0.0), *MASK[2:], *MIRRORS], FAILS),
        ([*MASK, *MIRRORS, number("collapsed", 1.0, category="benign")], FAILS),
        ([MASK[0]], NOT_MEASURED),
    ],
)
def test_c4_needs_its_mirrors_and_small_costs(rows: list[Row], verdict: str, tmp_path: Path) -> None:
    told = mapped(tmp_path, rows)["C4"]
    assert told.verdict == verdict
    assert ("no mirror was measured in this run" in told.control) == (not any("mirror" in r.control for r in rows))


def test_a_run_without_rows_answers_nothing(tmp_path: Path) -> None:
    told = mapped(tmp_path, [])
    assert {o.verdict for o in told.values()} == {NOT_MEASURED}
    assert list(told) == ["C1", "C2", "C3", "C4"]


def test_c6_of_a_grid_by_mask(tmp_path: Path) -> None:
    def told(name: str, **options: Any) -> dict[str, str]:
        return {o.about: o.verdict for o in jailbreak.objections(make_grid(tmp_path / name, **options))}

    resists = told("a", refused=REFUSED)
    assert set(resists) == {"as in the paper", "contrastive"}
    assert resists["contrastive"] in (HOLDS, UNDECIDED)
    assert told("b", refused=REFUSED, over=OVER | {"contrastive": 1.0})["contrastive"] in (FAILS, UNDECIDED)
    nothing = dict.fromkeys(REFUSED, (0.0, 0.05))
    assert set(told("c", refused=nothing).values()) == {NOT_TESTABLE}


def test_c7_of_narrow_tuning(tmp_path: Path) -> None:
    (helps,) = emergent.objections(make_experiment(tmp_path / "a", shifts=HELPS))
    (same,) = emergent.objections(make_experiment(tmp_path / "b", shifts=NO_HELP))
    (nothing,) = emergent.objections(make_experiment(tmp_path / "c", shifts=NOTHING))
    assert (helps.verdict, nothing.verdict) == (HOLDS, NOT_TESTABLE)
    assert same.verdict in (FAILS, UNDECIDED)
    assert "minus as many random weights: −" in helps.control


def test_c8_needs_recognition_to_lose(tmp_path: Path) -> None:
    def told(name: str, **changes: Any) -> dict[str, str]:
        rows = [
            replace(r, ci_low=0.5) if changes and r.metric == "auc" and r.mask is None else r
            for r in dissociation_rows()
        ]
        run = make_dissociation(tmp_path / name, "parent", rows=rows)
        return {o.about: o.verdict for o in dissociation.objections(run)}

    assert set(told("a")) == {"as in the paper", "contrastive"}
    assert NOT_TESTABLE not in told("a2").values()
    assert set(told("b", weak=True).values()) == {NOT_TESTABLE}


def test_c2_and_c6_of_a_scene(tmp_path: Path) -> None:
    told = {o.paper: o for o in scene.objections(make_scene(tmp_path))}
    assert list(told) == ["C2", "C6"]
    assert "40 of 64" in told["C2"].found
    assert told["C2"].verdict == NOT_MEASURED, "this scene holds no excess over random masks"
    excess = [
        replace(r, metric="refusal_excess", value=0.3, ci_low=0.2, ci_high=0.4)
        for r in scene_rows()
        if (r.metric, r.condition, r.control) == ("refusal_rate", "opener", "none") and r.mask is not None
    ]
    more = {o.paper: o for o in scene.objections(make_scene(tmp_path / "b", rows=[*scene_rows(), *excess]))}
    assert more["C2"].verdict == HOLDS
    assert more["C6"].verdict in (HOLDS, UNDECIDED)


# -- the table --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def committed() -> list[eight.Line]:
    return eight.lines(eight.committed_runs())


def test_every_claim_has_a_row_and_every_answer_a_verdict(committed: list[eight.Line]) -> None:
    assert [line.paper for line in committed] == list(PAPER)
    assert all(a.objection.verdict in VERDICTS for line in committed for a in line.answers)
    assert all(a.objection.found and a.objection.control for line in committed for a in line.answers)
    of = [a.of for a in committed[0].answers]
    assert of.index(next(o for o in of if "instruct" in o)) == 0, "the start model first"


def test_runs_of_one_claim_stand_start_first_then_as_made(tmp_path: Path) -> None:
    def made(name: str, model: str, created: str) -> Run:
        run = make_run(tmp_path, f"{name}-0123456789", rows=[])
        manifest = run.manifest | {"created": created, "model": run.manifest["model"] | {"name": model}}
        return replace(run, manifest=manifest)

    runs = [
        made("c", "other", "2026-03-01"),
        made("b", "other", "2026-02-01"),
        made("a", "smollm2-135m-instruct", "2026-04-01"),
    ]
    assert [run.id[0] for run in sorted(runs, key=eight.place)] == ["a", "b", "c"]


def test_what_no_run_speaks_to_is_not_measured_and_texts_are_escaped() -> None:
    lines = eight.lines([])
    assert [line.answers for line in lines] == [()] * 8
    assert eight.markdown(lines).count(f"**{NOT_MEASURED}**") == 8
    assert eight.markup(lines).count(NOT_MEASURED) == 8
    odd = Objection("C1", "", "<b>found</b>", "<i>why</i>", "<u>control</u>", HOLDS)
    page = eight.markup([eight.Line("C1", "A claim.", (eight.Answer("run", "<img>", odd),))])
    assert not any(tag in page for tag in ("<img", "<u>", "<i>why", "<b>found"))


def test_unknown_verdicts_and_claims_are_refused() -> None:
    with pytest.raises(ValueError, match="C9"):
        Objection("C9", "", "", "", "", HOLDS)
    with pytest.raises(ValueError, match="perhaps"):
        Objection("C1", "", "", "", "", "perhaps")


def test_all_eight_are_spoken_to_by_some_package() -> None:
    of_the_paper = {name for name, claim in CLAIMS.items() if claim.is_of_the_paper}
    assert {name for name, claim in CLAIMS.items() if claim.has_face("objections")} == of_the_paper
    assert set(CLAIMS) - of_the_paper == {"rankings"}, "about the method, which is no claim of the paper"


def test_show_claims(capsys: pytest.CaptureFixture[str], tiny_run: Path) -> None:
    assert main(["show", "--claims", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [line["paper"] for line in document["claims"]] == list(PAPER)
    assert main(["show", str(tiny_run), "--claims"]) == 0
    printed = capsys.readouterr().out
    assert "NOT TESTABLE HERE" in printed, "a tiny model's masks are no compact ones"
    assert "selected for safe text" in printed, "its mirrors stand beside the harm-specific number"
    assert main(["show"]) == 2
    assert "give RUN" in capsys.readouterr().err


def test_a_real_run_with_all_controls_measured_is_told_with_them(tiny_run: Path) -> None:
    told = mapping.objections(read_run(tiny_run))
    assert {o.paper for o in told} == {"C1", "C2", "C3", "C4"}
    assert not any("not measured" in o.control for o in told if o.paper == "C4")
    plain = next(o for o in told if (o.paper, o.about) == ("C3", "as in the paper"))
    assert "the same answers dealt at random" in plain.control
