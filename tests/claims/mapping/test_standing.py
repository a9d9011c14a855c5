"""Whether harm stands out from its mirrors and from types that are none: rules by hand, and titles that say so."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harmviz.claims.mapping.headline import chosen_headline
from harmviz.claims.mapping.mirrored import NO_MIRROR, Mirror, mirrors_of, reach_words, reached_as_far
from harmviz.claims.mapping.sham_overlap import (
    NO_SHAM,
    SHUFFLED,
    TOPICS,
    Sham,
    as_dealt,
    beyond_topics,
    core_as_large,
    in_common,
    shams_at,
)
from harmviz.claims.mapping.views import intersections, mirrors, overlap, overlap_words, transfer
from harmviz.runs import Row, Run, rows_to_frame
from tests.worlds.fabricated import make_run
from tests.worlds.overlap import overlap_rows, transfer_rows

POINT: dict[str, Any] = {"q": 5e-5, "p": 0.01, "n_weights": 5308}
METHOD = {"score": "signed", "headline": {"both": POINT, "none": POINT}}
HALF = {("hate", "privacy"): 0.04, ("hate", "safe"): 0.01, ("privacy", "safe"): 0.01}


# -- mirrors ----------------------------------------------------------------------------------------------------------
def number(metric: str, value: float, control: str, category: str, contrast: str) -> Row:
    return Row(
        experiment="effect",
        mask="mean(all)",
        metric=metric,
        value=value,
        ci_low=value - 0.02,
        ci_high=value + 0.02,
        control=control,
        category=category,
        contrast=contrast,
        scope="global",
        skip_tokens=0,
        n=20,
        unit="nats/token",
        **POINT,
    )


def effects(contrast: str = "both", mirror: tuple[float, float, float] | None = (0.05, 0.2, -0.15)) -> list[Row]:
    """A mask that moves harm by 0.3, 0.2 of it beyond safe; ``mirror``: harm, safe text and harm − safe under it."""
    rows = [number("delta_nll", 0.3, "none", "harm", contrast), number("harm_specific", 0.2, "none", "harm", contrast)]
    if mirror is not None:
        control = "mirror_safe" if contrast == "both" else "safe_signed"
        harm, own, specific = mirror
        rows += [
            number("delta_nll", harm, control, "harm", contrast),
            number("delta_nll", own, control, "safe", contrast),
            number("harm_specific", specific, control, "harm", contrast),
        ]
    return rows


def stored(root: Path, rows: list[Row], name: str = "a") -> Run:
    return make_run(
        root, f"smollm2-135m-instruct-pyrit-{name * 10}", rows=rows, method=METHOD, parameters={"skip_tokens": 0}
    )


def mirrors_in(run: Run, contrast: str) -> list[Mirror]:
    mask = chosen_headline(run, run.results(), contrast)
    assert mask is not None
    return mirrors_of(run.results(), mask)


@pytest.mark.parametrize("contrast", ["both", "none"])
def test_a_mirror_is_read_with_its_text_and_its_difference_turned_round(tmp_path: Path, contrast: str) -> None:
    (mirror,) = mirrors_in(stored(tmp_path, effects(contrast)), contrast)
    assert mirror.text == "safe"
    assert mirror.reach == pytest.approx(0.05 / 0.2)
    turned = mirror.turned
    assert turned is not None
    assert (turned["value"], turned["ci_low"], turned["ci_high"]) == pytest.approx((0.15, 0.13, 0.17))
    assert "safe text minus harm +0.150 (+0.130 … +0.170, n = 20)" in mirror.sentence().replace("\xa0", " ")


@pytest.mark.parametrize(
    ("mirror", "as_much"),
    [
        ((0.05, 0.2, -0.15), False),
        ((0.28, 0.3, -0.02), True),  # moves harm as far as 0.3 − 0.02
        ((0.05, 0.3, -0.25), True),  # more specific to safe text than the mask to harm
        (None, False),
    ],
)
def test_what_a_mask_does_not_stand_out_from(
    tmp_path: Path, mirror: tuple[float, float, float] | None, as_much: bool
) -> None:
    run = stored(tmp_path, effects(mirror=mirror))
    mask = chosen_headline(run, run.results(), "both")
    assert mask is not None
    assert any(m.does_as_much(mask.first) for m in mirrors_of(run.results(), mask)) == as_much
    standing = mirrors.standing([run], [run.results()], "both")
    assert standing.startswith("Harm does not stand out") == as_much
    page = mirrors.markup(run.results(), mask)
    assert (NO_MIRROR in page) == (mirror is None) == (standing == "")
    assert ("safe text, against harm" in page) == (mirror is not None)


def test_several_runs_are_counted_and_one_without_mirrors_is_named(tmp_path: Path) -> None:
    runs = [
        stored(tmp_path, effects(), "a"),
        stored(tmp_path, effects(mirror=(0.3, 0.3, 0.0)), "b"),
        stored(tmp_path, effects(mirror=None), "c"),
    ]
    frames = [run.results() for run in runs]
    title = mirrors.standing(runs, frames, "both")
    assert title == "Harm stands out from its mirrors in 1 of 2 runs (1 without mirrors)"
    page = mirrors.of_runs(["one", "two", "<b>"], runs, frames, "both")
    assert "No mirror was measured in: &lt;b&gt;." in page
    assert NO_MIRROR in mirrors.of_runs(["<b>"], runs[2:], frames[2:], "both")


def test_transfer_that_a_mirror_does_as_well_is_said_in_the_title(tmp_path: Path) -> None:
    rows = transfer.shifts(
        rows_to_frame(transfer_rows({"hate": {"hate": 0.4, "privacy": 0.1}, "privacy": {"privacy": 0.4, "hate": 0.1}})),
        "none",
    )
    means = transfer.summary(rows)
    far = mirrors_in(stored(tmp_path, effects(mirror=(0.1, 0.2, -0.1))), "both")
    assert reached_as_far(0.25, far) == far
    assert "That does not stand out: a mask for safe text reaches harmful answers with 50 %" in transfer.sentence(
        means, far
    )
    near = mirrors_in(stored(tmp_path, effects(mirror=(0.02, 0.2, -0.18)), "b"), "both")
    assert reached_as_far(0.25, near) == []
    assert transfer.sentence(means, near) == transfer.sentence(means)
    assert reach_words([]) == "no mirror was measured in this run"


def test_a_mirror_without_a_clear_effect_has_no_reach(tmp_path: Path) -> None:
    (mirror,) = mirrors_in(stored(tmp_path, effects(mirror=(0.05, 0.01, 0.04))), "both")
    assert math.isnan(mirror.reach)
    assert reached_as_far(0.1, [mirror]) == []


def test_the_harm_specific_dots_have_a_line_for_the_mirror(tmp_path: Path) -> None:
    rows = transfer_rows({"hate": {"hate": 0.4, "privacy": 0.1}}, contrast="both")
    table = transfer.specific(rows_to_frame(rows), "both")
    found = mirrors_in(stored(tmp_path, effects()), "both")
    shown = transfer.with_mirror(table, found)
    assert shown.iloc[-1]["value"] == pytest.approx(0.15)
    assert not shown.iloc[-1]["harm"]
    title = "1 of 1 masks move harmful answers more than safe ones"
    assert transfer.specific_words(shown).title == f"{title}; 0 beyond the mirror"
    assert transfer.specific_words(table).title == title
    assert "no mirror was measured in this run" in transfer.specific_words(table).subtitle


# -- sham types -------------------------------------------------------------------------------------------------------
def sham_rows(kind: str, half: float, ceiling: float, core: tuple[float, ...] = ()) -> list[Row]:
    names = {SHUFFLED: ("shuffled 1", "shuffled 2"), TOPICS: ("topic code", "topic travel")}[kind]
    at: dict[str, Any] = {"experiment": "overlap", "control": "sham", "contrast": "none", "q": 1e-4, "p": 0.01, "n": 20}
    rows = [Row(metric="jaccard_ceiling", mask=n, category=n, value=ceiling, **at) for n in names]
    for metric in ("jaccard", "jaccard_half"):
        rows.append(Row(metric=metric, mask=names[0], category=names[1], value=half, ci_low=0.0, ci_high=1.0, **at))
    cores = enumerate(core, 1)
    return rows + [Row(metric="core_size", mask=f"all {kind}", condition=f"k>={k}", value=v, **at) for k, v in cores]


def overlap_with(*shams: Row, core: tuple[tuple[float, float], ...] = ()) -> overlap.Overlap:
    frame = rows_to_frame([*overlap_rows(HALF, core=core), *shams])
    return overlap.overlap_at(frame, "none", 1e-4)


def test_sham_types_are_read_by_kind() -> None:
    frame = rows_to_frame([*sham_rows(SHUFFLED, 0.03, 0.06), *sham_rows(TOPICS, 0.01, 0.04, (9.0, 2.0))])
    shams = shams_at(frame, "none", 1e-4)
    assert {kind: sham.half for kind, sham in shams.items()} == {SHUFFLED: 0.03, TOPICS: 0.01}
    assert shams[TOPICS].relative == pytest.approx(0.01 / 0.04)
    assert shams[TOPICS].core == {1: 9.0, 2: 2.0}
    assert shams_at(frame, "both", 1e-4) == {}
    assert shams_at(frame, "none", 1e-5) == {}


@pytest.mark.parametrize(
    ("half", "relative", "out"),
    [(0.05, 0.5, True), (0.04, 0.5, False), (0.05, 0.3, False), (0.05, math.nan, True), (math.nan, 0.5, None)],
)
def test_harm_types_stand_out_from_topics_in_both_measures(half: float, relative: float, out: bool | None) -> None:
    pairs = pd.DataFrame({"half": [0.04], "relative": [0.25]})
    topics = {TOPICS: Sham(TOPICS, ("a", "b"), pairs, {}, {})}
    assert beyond_topics(half, relative, topics) is out
    assert beyond_topics(half, relative, {}) is None


def test_dealt_answers_that_share_more_tell_types_apart() -> None:
    dealt = {SHUFFLED: Sham(SHUFFLED, ("a", "b"), pd.DataFrame({"half": [0.05], "relative": [0.5]}), {}, {})}
    assert as_dealt(0.04, dealt) is True
    assert as_dealt(0.03, dealt) is False
    assert as_dealt(0.03, {}) is None


def test_weights_in_common_by_hand() -> None:
    """Three types, 6 weights in one, 3 in two, 2 in all: two drawn types share (3·1 + 2·3) / 3 = 3."""
    core = {1: 11.0, 2: 5.0, 3: 2.0}
    assert in_common(core, 2) == pytest.approx(3.0)
    assert in_common(core, 3) == pytest.approx(2.0)
    assert in_common(core, 1) == pytest.approx((6 + 2 * 3 + 3 * 2) / 3)
    assert math.isnan(in_common(core, 4))
    assert math.isnan(in_common({1: 3.0, 3: 1.0}, 2))
    pairs = pd.DataFrame({"half": [0.1], "relative": [0.1]})
    small = Sham(TOPICS, ("a", "b"), pairs, {}, {1: 20.0, 2: 2.0})
    assert core_as_large(core, 2, {TOPICS: small}) == []
    assert core_as_large(core, 2, {TOPICS: replace(small, core={1: 20.0, 2: 3.0})}) == [TOPICS]


def test_the_title_says_where_harm_does_not_stand_out_from_topics() -> None:
    assert overlap_words.sentence(overlap_with()).endswith("with same-topic safe answers")
    assert NO_SHAM in overlap_words.notes(overlap_with())
    none = overlap_words.sentence(overlap_with(*sham_rows(TOPICS, 0.04, 0.05)))
    assert none == "Harm types share no more weights than topics of harmless text do: 4.0 % against 4.0 %"
    out = overlap_words.sentence(overlap_with(*sham_rows(TOPICS, 0.01, 0.05), *sham_rows(SHUFFLED, 0.08, 0.1)))
    assert "more than topics of harmless text" in out
    assert "less than the same answers dealt at random (4.0 % against 8.0 %)" in out


def test_sham_types_stand_in_the_comparison_and_the_core() -> None:
    shared = overlap_with(
        *sham_rows(SHUFFLED, 0.03, 0.06, (9.0, 9.0)), *sham_rows(TOPICS, 0.01, 0.04, (9.0, 0.0)), core=((9, 9), (4, 1))
    )
    groups = set(overlap.comparison(shared)["group"])
    assert {"sham types: the same answers dealt at random", "sham types: topics of harmless text"} <= groups
    assert list(shared.core["sham_shuffled"]) == [9.0, 9.0]
    words = intersections.core_words(shared, "0.01 %")
    assert words.title.endswith("and the same answers dealt at random have as many")
    assert "2 harm types 4; 2 of the same answers dealt at random 9" in intersections.core_note(shared)
    as_large = overlap_with(*sham_rows(TOPICS, 0.01, 0.04, (9.0, 5.0)), core=((9, 9), (4, 1)))
    title = intersections.core_words(as_large, "0.01 %").title
    assert title == "No core of harm: topics of harmless text have as many weights in common"
    assert intersections.core_note(overlap_with(core=((9, 9), (4, 1)))) == NO_SHAM
