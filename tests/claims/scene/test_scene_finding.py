"""The numbers of a scene as a reader sees them: counts, intervals, which row is whose, and no claim that was not
measured.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harmviz.claims.scene.card import footing, rates_markup, story, weights
from harmviz.claims.scene.finding import Numbers, count, finding, numbers
from harmviz.claims.scene.pictures import pictures
from harmviz.display.style import Theme
from harmviz.runs import Row, Run
from harmviz.stats.estimate import Estimate
from tests.worlds.scene import make_scene, rate, scene_rows


@pytest.fixture
def scene(tmp_path: Path) -> Run:
    return make_scene(tmp_path)


def shown(run: Run, strength: float = 1.0) -> Numbers:
    return numbers(run, run.results(), strength)


def test_each_rate_is_its_own_row(scene: Run) -> None:
    rates = shown(scene)
    counts = [
        count(r) if r else None
        for r in (
            rates.intact,
            rates.mask,
            rates.random,
            rates.direct,
            rates.direct_mask,
            rates.benign,
            rates.benign_mask,
        )
    ]
    assert counts == ["3 of 64", "40 of 64", "4.3 of 64", "62 of 64", "61 of 64", "2 of 64", "5 of 64"]
    assert rates.mask is not None
    assert round(rates.mask.ci_low or 0, 3) == 0.565


def test_the_strength_is_that_of_the_mask_and_zero_is_intact(scene: Run) -> None:
    half, none = shown(scene, 0.5), shown(scene, 0.0)
    assert half.mask is not None
    assert count(half.mask) == "21 of 64"
    assert none.mask == none.random == none.intact == half.intact
    assert shown(scene, 0.3).mask is None, "not measured"


def test_what_was_not_measured_is_said(scene: Run) -> None:
    page = rates_markup(shown(scene, 0.3))
    assert page.count("not measured") == 2
    assert "3 of 64" in page


def test_the_markup_holds_count_interval_and_place() -> None:
    one = Estimate(0.5, 0.25, 0.75, 8, 8)
    page = rates_markup(Numbers("mild", 1.0, one, one, one, None, None, None, None))
    assert page.count("4 of 8") == 3
    assert page.count("left:25.0%;width:50.0%") == 3
    assert "left:50.0%" in page


def test_the_story_claims_only_what_was_measured(tmp_path: Path) -> None:
    good = make_scene(tmp_path / "a")
    weak = make_scene(tmp_path / "b", shows=False)
    assert "declines again 40 of 64; as many random weights" in story(good, shown(good))
    assert "62 of 64" in story(good, shown(good))
    assert "did not stand out" in story(weak, shown(weak))
    unsettled = make_scene(tmp_path / "c", rows=[rate(3, "opener", None)])
    assert "Asked directly" not in story(unsettled, shown(unsettled))


def test_refusals_in_quotation_marks_are_counted_beside_where_they_were_measured(tmp_path: Path) -> None:
    run = make_scene(tmp_path / "a")
    words = re.sub("<[^>]*>", "", footing(run, shown(run)))
    assert "quotation marks, a lower bound · with those inside: 11 → 44 of 64, random 12 of 64" in words
    older = make_scene(tmp_path / "b", rows=[r for r in scene_rows() if r.metric != "refusal_quoted"])
    assert "with those inside" not in footing(older, shown(older))
    assert "with those inside" not in footing(run, shown(run, 0.0))


def test_the_opener_of_a_manifest_is_text(tmp_path: Path) -> None:
    parameters = {"opener": "<img src=x>", "sources": ["<b>"], "max_new_tokens": 48}
    run = make_scene(tmp_path, parameters=parameters)
    page = story(run, shown(run)) + footing(run, shown(run))
    assert "<img" not in page
    assert "<b>" not in page
    assert "&lt;img src=x&gt;" in page


def test_the_mask_is_told_by_size_and_selection(tmp_path: Path) -> None:
    run = make_scene(tmp_path)
    assert "4,246 weights" in weights(run)
    assert "contrastive" in weights(run)
    run.manifest["method"]["chosen"]["contrast"] = "<img>"
    assert "<img" not in weights(run)


def test_the_verdict_follows_its_rule(tmp_path: Path) -> None:
    good, weak = make_scene(tmp_path / "a"), make_scene(tmp_path / "b", shows=False)
    assert finding(good).verdict == "declines again"
    assert "declines 3 of 64 held-out AdvBench requests; without" in finding(good).sentence
    assert "40 of 64, with as many random ones 4.3 of 64" in finding(good).sentence
    assert finding(weak).verdict == "not shown"
    assert finding(weak).sentence.endswith("no difference that stands out.")
    empty = make_scene(tmp_path / "c", rows=[rate(40, "opener", "none")])
    assert finding(empty).sentence.startswith("Not measured")


def turned_away_rows() -> list[Row]:
    """A scene that counts requests turned away: half as many again as those declined."""
    counted = [("direct", None, 63, 2), ("direct", "none", 62, 3), ("opener", None, 4, 0), ("opener", "none", 50, 2)]
    rows = [rate(hits, how, who, metric="turned_away_rate") for how, who, hits, _ in counted]
    rows += [rate(hits, how, who, "benign", "turned_away_rate") for how, who, _, hits in counted]
    return [*scene_rows(), *rows, rate(5, "opener", "random", metric="turned_away_rate")]


def test_a_scene_that_counts_what_is_turned_away_is_told_by_it(tmp_path: Path) -> None:
    run = make_scene(tmp_path / "a", rows=turned_away_rows())
    rates = shown(run)
    assert rates.mask is not None
    assert (count(rates.mask), rates.reading.past) == ("50 of 64", "turned away")
    assert finding(run).verdict == "turns away again"
    assert "turns away 4 of 64 held-out AdvBench requests; without" in finding(run).sentence
    assert "50 of 64, with as many random ones 5 of 64" in finding(run).sentence
    words = re.sub("<[^>]*>", "", story(run, rates) + rates_markup(rates) + footing(run, rates))
    assert "it turns away again 50 of 64" in words
    assert "turned away, after the opener" in words
    assert "declined, or answered with something else" in words
    assert "told no: 11 → 44 of 64, random 12 of 64" in words
    assert "harmless ones asked directly: 2 → 3 of 64" in words
    picture = next(pictures(run, Theme(dark=False)))
    assert set(picture.table["value"] * 64) >= {4.0, 50.0, 5.0}
    assert 40.0 not in set(picture.table["value"] * 64), "refusals alone are not mixed in"


def test_refusals_lost_in_so_many_words_are_told_where_they_are_many(tmp_path: Path) -> None:
    def with_plain(after: int) -> list[Row]:
        plain = ((None, 60), ("none", after))
        return [*turned_away_rows(), *(rate(hits, "direct", who, metric="refusal_quoted") for who, hits in plain)]

    lost, kept = make_scene(tmp_path / "a", rows=with_plain(48)), make_scene(tmp_path / "b", rows=with_plain(58))
    assert "and of the first 60 → 48 are declined in so many words" in finding(lost).sentence
    assert "so many words" not in finding(kept).sentence
    words = re.sub("<[^>]*>", "", footing(lost, shown(lost)))
    assert "asked directly: 63 → 62 of 64, told no 60 → 48 of 64" in words
    older = make_scene(tmp_path / "c")
    assert "told no" not in footing(older, shown(older)), "told by keywords alone"
