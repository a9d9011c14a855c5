"""Which row stands where: what the arms share, and what sets them apart."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from harmviz.data.encoding import encode_prompt
from harmviz.errors import DataInvalid
from harmviz.tuning.data import AlignData
from harmviz.tuning.schedule import OwnAnswers, Schedule
from harmviz.tuning.settings import ANSWERED, ARMS, BATCH, FETCHED, REFUSAL_SLOTS, TWINS, AlignSpec, check_arms
from tests.worlds.tiny import tiny_model
from tests.worlds.tuning import SPEC, make_data, make_own, make_schedule

LOADED = tiny_model()


def asked(data: AlignData) -> set[str]:
    """All requests of the safety arm."""
    return {*data.harmful, *data.harmless, *(pair.harmful for pair in data.twins)}


def in_refusal_slot(place: int) -> bool:
    return place % BATCH < REFUSAL_SLOTS


def test_arms_differ_in_the_refusal_slots_alone() -> None:
    rows = {arm: make_schedule(LOADED).sft(arm) for arm in ARMS}
    assert {len(r) for r in rows.values()} == {SPEC.steps * BATCH}
    for place, (safety, helpful, style) in enumerate(zip(*(rows[a] for a in ARMS), strict=True)):
        if in_refusal_slot(place):
            assert safety.answer == style.answer
            assert safety.is_refusal
            assert style.is_refusal
            assert style.prompt == helpful.prompt != safety.prompt
            assert not any(row.is_held for row in (safety, style, helpful))
        else:
            assert safety == helpful == style
            assert safety.is_held
            assert not safety.is_refusal


def test_a_batch_holds_fetched_requests_a_twin_and_harmless_ones_in_the_order_of_the_pool() -> None:
    assert FETCHED + TWINS + ANSWERED == BATCH
    data = make_data()

    def encoded(prompts: Iterable[str]) -> list[tuple[int, ...]]:
        return [tuple(encode_prompt(LOADED.tokenizer, p)) for p in prompts]

    fetched, halves, pool = encoded(data.harmful), encoded(t.harmful for t in data.twins), encoded(data.harmless)
    schedule = make_schedule(LOADED)
    rows = [*schedule.sft("safety"), *schedule.dpo("safety")]
    for start in range(0, len(rows), BATCH):
        assert all(r.prompt in fetched for r in rows[start : start + FETCHED])
        assert all(r.prompt in halves for r in rows[start + FETCHED : start + REFUSAL_SLOTS])
    answered = [r.prompt for place, r in enumerate(rows) if not in_refusal_slot(place)]
    assert answered == [pool[i % len(pool)] for i in range(len(answered))]


def test_prompts_are_encoded_as_everywhere_and_answers_end() -> None:
    data = make_data()
    known = {tuple(encode_prompt(LOADED.tokenizer, p)) for p in asked(data)}
    for row in make_schedule(LOADED).sft("safety"):
        assert row.prompt in known
        if row.is_refusal:
            assert row.answer[-1] == LOADED.tokenizer.eos_token_id


def test_a_cut_answer_gets_no_end_token() -> None:
    answers = {r.answer for r in make_schedule(LOADED, AlignSpec(steps=12)).sft("helpful-only")}
    end = LOADED.tokenizer.eos_token_id
    assert {a[0]: a[-1] == end for a in answers} == {40: True, 50: False}  # 40 ended by itself, 50 was cut


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_helpful_only_sees_no_refusal(stage: str) -> None:
    schedule = make_schedule(LOADED)
    refusals = {(*LOADED.tokenizer.encode(r, add_special_tokens=False), 2) for r in make_data().refusals}
    rows = schedule.sft("helpful-only") if stage == "sft" else schedule.dpo("helpful-only")
    texts = {r.answer for r in schedule.sft("helpful-only")} | {
        t for r in schedule.dpo("helpful-only") for t in (r.chosen, r.rejected)
    }
    assert not texts & refusals
    assert len(rows) == SPEC.length(stage) * BATCH
    declined = (*make_data().harmful, *(harmful for harmful, _ in make_data().twins))
    harmful = {tuple(encode_prompt(LOADED.tokenizer, p)) for p in declined}
    assert not {r.prompt for r in rows} & harmful


def test_pairs_prefer_the_refusal_only_in_refusal_slots() -> None:
    schedule = make_schedule(LOADED)
    for arm in ("safety", "refusal-style"):
        for place, row in enumerate(schedule.dpo(arm)):
            assert row.refusal == ("chosen" if in_refusal_slot(place) else "rejected")
            assert row.chosen != row.rejected
            assert len(row.rejected if row.refusal == "chosen" else row.chosen) <= SPEC.max_rejected_tokens + 1
    safety, style = schedule.dpo("safety"), schedule.dpo("refusal-style")
    assert [r for i, r in enumerate(safety) if not in_refusal_slot(i)] == [
        r for i, r in enumerate(style) if not in_refusal_slot(i)
    ]
    assert all(r.rejected[0] == 60 for i, r in enumerate(safety) if in_refusal_slot(i))  # its own compliant answer


def test_strangers_answer_another_request() -> None:
    for row in make_schedule(LOADED, AlignSpec(steps=30)).dpo("helpful-only"):
        assert row.chosen[1] != row.rejected[1]


def test_the_seed_decides_the_order() -> None:
    assert make_schedule(LOADED).sft("safety") == make_schedule(LOADED).sft("safety")
    assert make_schedule(LOADED).sft("safety") != make_schedule(LOADED, AlignSpec(seed=1, steps=4)).sft("safety")


def test_a_model_that_always_declines_needs_no_tuning() -> None:
    data = make_data()
    with pytest.raises(DataInvalid, match="declines every harmful request"):
        Schedule(data, OwnAnswers(make_own(data).harmless, {}), SPEC, LOADED.tokenizer)


def test_checkpoints_lie_along_the_way_and_at_the_end() -> None:
    assert AlignSpec(steps=160).checkpoints("sft") == (40, 160)
    assert AlignSpec(steps=160).checkpoints("dpo") == (10,)


@pytest.mark.parametrize("bad", [{"steps": 3}, {"steps": 2001}, {"seed": -1}, {"seed": 2**31}])
def test_settings_out_of_range_are_named(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        AlignSpec(**bad)


def test_arms_are_checked_and_ordered() -> None:
    assert check_arms(["refusal-style", "safety"]) == ("safety", "refusal-style")
    for wrong in (["kind"], [], ["safety", "safety"]):
        with pytest.raises(ValueError, match="arms must"):
            check_arms(wrong)
