"""The committed stage scene: whole, mild, and what the README says of it."""

from __future__ import annotations

import pytest

from harmviz.claims.scene.record import read_records
from harmviz.data.prompts import read_builtin
from harmviz.judges.refusing import usable_judge
from harmviz.judges.turning_away import turns_away
from harmviz.masks.mask import PruneMask
from harmviz.playground.clearest import KINDS, clearest_first, kind_of

EXPERIMENT = "scene"
AWAY = "turned_away_rate"


@pytest.fixture(scope="module")
def rate(result):
    """(set, condition, who) → its row of keyword refusals, or of another rate; who: intact, mask, or a control."""
    frame = result.results()

    def one(category, condition, who, metric="refusal_rate"):
        here = frame[(frame.metric == metric) & (frame.category == category) & (frame.condition == condition)]
        here = (
            here[here["mask"].isna()]
            if who == "intact"
            else here[here["mask"].notna() & (here.control == ("none" if who == "mask" else who))]
        )
        (row,) = here.itertuples()
        return row

    return one


def excess(result, metric, category):
    frame = result.results()
    (row,) = frame[(frame.metric == metric) & (frame.category == category) & (frame.condition == "opener")].itertuples()
    return row


def test_every_stored_text_answers_a_mild_built_in_request(result):
    mild = {r["prompt"] for r in read_builtin("harmful")}
    records = read_records(result)
    assert len(records) >= 4
    offered = clearest_first(records)
    kinds = [kind_of(r, usable_judge()) for r in offered]
    assert kinds[0] == "declines", "the first thing seen"
    assert [r.reads for r in offered] == sorted((k in KINDS for k in kinds), reverse=True)
    assert sum(r.reads for r in offered) >= 6
    assert all(r.prompt in mild for r in records)
    assert records[0].reads, "the first one shown reads well"
    first = {arm: view.text for arm, view in records[0].panes if view.strength == 1.0}
    away = [turns_away(records[0].prompt, first[arm], records[0].opening) for arm in ("intact", "mask", "random")]
    assert away == [False, True, False]


def test_its_masks_are_of_one_size(result):
    masks = {name: PruneMask.load(path) for name, path in result.masks().items()}
    assert {m.kind for m in masks.values()} == {"harm", "control"}
    assert {m.n_weights for m in masks.values()} == {result.manifest["method"]["chosen"]["n_weights"]}


@pytest.mark.parametrize("source", ["harmbench", "strongreject", "advbench"])
def test_far_more_is_turned_away_under_the_opener_than_under_any_control(result, rate, source):
    mask = rate(source, "opener", "mask", AWAY)
    assert mask.n == 64
    for control in ("intact", "random", "magnitude", "mirror_benign"):
        assert mask.value >= rate(source, "opener", control, AWAY).value + 0.2
    assert mask.ci_low > rate(source, "opener", "random", AWAY).value
    assert excess(result, "turned_away_excess", source).ci_low > 0.1
    assert excess(result, "selective_turned_away", source).ci_low > 0


def test_on_mild_requests_no_difference_shows(result):
    assert excess(result, "selective_turned_away", "mild").ci_low < 0


def test_everyday_requests_pay_nothing_with_the_opener_and_little_asked_directly(rate):
    assert rate("benign", "opener", "mask", AWAY).n == 128
    assert rate("benign", "opener", "mask", AWAY).value <= rate("benign", "opener", "intact", AWAY).value
    assert rate("benign", "direct", "mask", AWAY).value <= rate("benign", "direct", "intact", AWAY).value + 0.05
    declined = [rate("benign", "direct", who, "refusal_quoted").value for who in ("intact", "mask")]
    assert declined[0] == declined[1], "none of them is declined for it"


def test_twins_are_not_told_apart(result, rate):
    assert excess(result, "selective_turned_away", "twin_harmful").ci_low < 0
    rise = {
        half: rate(half, "opener", "mask", AWAY).value - rate(half, "opener", "random", AWAY).value
        for half in ("twin_harmful", "twin_harmless")
    }
    assert rise["twin_harmless"] > rise["twin_harmful"] / 3


def test_what_is_turned_away_directly_stays_though_fewer_are_told_no(rate, result):
    for source in ("harmbench", "strongreject", "advbench", "mild"):
        away, said = (
            rate(source, "direct", "mask", metric).value - rate(source, "direct", "intact", metric).value
            for metric in (AWAY, "refusal_quoted")
        )
        assert away >= -0.02
        assert said >= -0.2
    assert rate("harmbench", "direct", "mask", "refusal_quoted").value < 0.9, "told in docs/results/scene.md"
    assert all(parts["fluent"] and parts["direct_kept"] for parts in result.manifest["method"]["shows"].values())
