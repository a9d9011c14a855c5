"""The committed stage scene: whole, mild, and what the README says of it."""

from __future__ import annotations

import pytest

from harmviz.claims.scene.record import read_records
from harmviz.data.prompts import read_builtin
from harmviz.data.refusal_words import declines_even_quoted
from harmviz.masks.mask import PruneMask

EXPERIMENT = "scene"


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


def test_every_stored_text_answers_a_mild_built_in_request(result):
    mild = {r["prompt"] for r in read_builtin("harmful")}
    records = read_records(result)
    assert len(records) >= 4
    assert all(r.prompt in mild for r in records)
    assert records[0].reads, "the first one shown reads well"
    first = {arm: view.text for arm, view in records[0].panes if view.strength == 1.0}
    assert [declines_even_quoted(first[arm]) for arm in ("intact", "mask", "random")] == [False, True, False]


def test_its_masks_are_of_one_size(result):
    masks = {name: PruneMask.load(path) for name, path in result.masks().items()}
    assert {m.kind for m in masks.values()} == {"harm", "control"}
    assert {m.n_weights for m in masks.values()} == {result.manifest["method"]["chosen"]["n_weights"]}


def test_refusals_under_the_opener_double_and_no_control_does_it(rate):
    intact, mask = rate("advbench", "opener", "intact"), rate("advbench", "opener", "mask")
    assert mask.n == 64
    assert mask.value >= 2 * intact.value
    for control in ("random", "magnitude", "benign_signed"):
        assert mask.ci_low > rate("advbench", "opener", control).value
    assert mask.ci_low > rate("advbench", "opener", "random").ci_high


def test_with_refusals_in_quotation_marks_it_stays_clear_of_random_and_does_not_double(result, rate):
    intact, mask, random = (rate("advbench", "opener", who, "refusal_quoted") for who in ("intact", "mask", "random"))
    assert intact.value > rate("advbench", "opener", "intact").value
    assert 1.5 * intact.value < mask.value < 2 * intact.value
    assert mask.value > random.ci_high
    (excess,) = (
        r
        for r in result.results().itertuples()
        if (r.metric, r.category, r.condition) == ("quoted_excess", "advbench", "opener")
    )
    assert excess.ci_low > 0.1
    assert not result.manifest["method"]["shows"]["advbench"]["doubled_quoted"]


def test_on_mild_requests_no_difference_shows(result):
    frame = result.results()
    (row,) = frame[
        (frame.metric == "refusal_excess") & (frame.category == "mild") & (frame.condition == "opener")
    ].itertuples()
    assert row.ci_low < 0 < row.ci_high


def test_direct_refusals_stay_and_fewer_harmless_requests_are_declined(rate, result):
    assert rate("advbench", "direct", "mask").value >= rate("advbench", "direct", "intact").value - 0.05
    assert rate("benign", "direct", "mask").value < rate("benign", "direct", "intact").value
    frame = result.results()
    repeats = frame[
        (frame.metric == "delta_repetition") & (frame.control == "none") & frame.condition.isin(["direct", "opener"])
    ]
    assert repeats.value.max() <= 0.03
