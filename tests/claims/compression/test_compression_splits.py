"""Which rows a scoring split measures with, and settings out of range."""

from __future__ import annotations

from typing import Any

import pytest

from harmviz.claims.compression.settings import CompressionSpec
from harmviz.claims.compression.splits import choose_split, usable_categories
from harmviz.data.prompts import PromptData, load_prompts
from harmviz.errors import DataInvalid
from tests.worlds.compression import TINY_SPEC


def test_every_prompt_of_a_split_has_one_job(data: PromptData) -> None:
    split = choose_split(data, CompressionSpec(), 0, lambda row: True)
    roles = [[r.prompt_id for r in rows] for rows in (*split.signed.values(), split.preserve, split.held_out)]
    used: dict[str, set[int]] = {}
    for i, prompts in enumerate(roles):
        for p in prompts:
            used.setdefault(p, set()).add(i)
    held = len(roles) - 1
    assert not [p for p, of in used.items() if held in of and len(of) > 1], (
        "nothing is measured that was scored or preserved"
    )
    assert len(split.held_out) == len({r.prompt_id for r in split.held_out if r.set == "benign"}) + sum(
        r.set != "benign" for r in split.held_out
    )
    assert {r.set for r in split.held_out} == {*split.categories, *(f"safe:{c}" for c in split.categories), "benign"}


def test_six_tuning_seeds_have_six_different_splits(data: PromptData) -> None:
    splits = [choose_split(data, CompressionSpec(), seed, lambda row: True) for seed in range(6)]
    assert len({tuple(split.row_ids) for split in splits}) == 6
    assert len({split.categories for split in splits}) == 1


@pytest.mark.slow
def test_the_default_data_serves_six_splits() -> None:
    data = load_prompts("pyrit")
    splits = [choose_split(data, CompressionSpec(), seed, lambda row: True) for seed in range(6)]
    assert all(split.categories == splits[0].categories for split in splits)
    assert min(len(split.held_out) for split in splits) >= 100


def test_data_without_what_it_takes_is_refused(data: PromptData) -> None:
    no_safe = PromptData("d", tuple(r for r in data.rows if not r.set.startswith("safe:")), {}, ())
    with pytest.raises(DataInvalid, match="no harm category has a set safe:<category>"):
        usable_categories(no_safe)
    no_benign = PromptData("d", tuple(r for r in data.rows if r.set != "benign"), {}, ())
    with pytest.raises(DataInvalid, match="no benign rows"):
        usable_categories(no_benign)
    one_less = PromptData("d", tuple(r for r in data.rows if r.set != "safe:hate"), {}, ())
    assert "hate" not in usable_categories(one_less)
    with pytest.raises(DataInvalid, match=r"split 3: 0 usable rows of .* for scoring_a"):
        choose_split(data, TINY_SPEC, 3, lambda row: False)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"samples": 1}, "samples must be"),
        ({"held_out": 1}, "held_out must be"),
        ({"q_plain": ()}, "q must name"),
        ({"q_plain": (1e-5, 1e-5)}, "q must name"),
        ({"q_contrastive": (0.5,)}, "q must lie in"),
        ({"p": 1.0}, "p must satisfy"),
        ({"max_response_tokens": 2}, "max_response_tokens must be"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CompressionSpec(**changes)
