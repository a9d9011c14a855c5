"""Splits: no prompt has two roles, every set comes close to its shares, and nothing hangs on anything but the seed."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.data.prompts import PromptData, PromptRow, load_prompts
from harmviz.data.splits import BENIGN_SHARES, HARM_SHARES, choose_rows, rows_for, split_prompts

SETS = ("alpha", "beta", "safe:alpha", "safe:beta", "benign")


def data_of(rows: list[PromptRow]) -> PromptData:
    return PromptData("made-up", tuple(rows), {}, ())


def made_up(n_prompts: int = 36, answers: int = 2) -> PromptData:
    """Every set with its own prompts, each answered ``answers`` times."""
    return data_of(
        [PromptRow(s, f"{s} {i}", f"answer {k}") for s in SETS for i in range(n_prompts) for k in range(answers)]
    )


#: Rows over few prompts, so that sets share many of them.
row_lists = st.lists(
    st.builds(PromptRow, st.sampled_from(SETS), st.integers(0, 40).map(str), st.integers(0, 4).map(str)),
    min_size=1,
    max_size=120,
    unique_by=lambda r: r.id,
)
seeds = st.integers(0, 2**31 - 1)


# -- roles -------------------------------------------------------------------------------------------------------------
@settings(deadline=None)
@given(row_lists, seeds)
def test_every_row_has_exactly_one_job(rows: list[PromptRow], seed: int) -> None:
    data = data_of(rows)
    roles = split_prompts(data, seed)
    assert set(roles) == {r.prompt_id for r in rows}
    for name in data.sets:
        parts = {which: rows_for(data, roles, name, which) for which in BENIGN_SHARES}
        assert sum(map(len, parts.values())) == len(data.of(name))
        prompts = [{r.prompt_id for r in part} for part in parts.values()]
        assert sum(map(len, prompts)) == len(set().union(*prompts))
    own_benign = {r.prompt_id for r in rows if r.set == "benign"} - {r.prompt_id for r in rows if r.set != "benign"}
    assert all(which in HARM_SHARES or prompt in own_benign for prompt, which in roles.items())


@settings(deadline=None)
@given(row_lists, seeds)
def test_the_order_of_rows_does_not_matter(rows: list[PromptRow], seed: int) -> None:
    assert split_prompts(data_of(rows), seed) == split_prompts(data_of(rows[::-1]), seed)


@pytest.mark.parametrize("n", [1, 5, 6, 12, 36, 50, 61, 300])
def test_shares_are_as_close_as_whole_prompts_allow(n: int) -> None:
    data = made_up(n, answers=1)
    for seed in range(5):
        roles = split_prompts(data, seed)
        for name in SETS:
            shares = BENIGN_SHARES if name == "benign" else HARM_SHARES
            have = Counter(roles[r.prompt_id] for r in data.of(name))
            for which, share in shares.items():
                assert abs(have[which] - n * share / sum(shares.values())) < 1.5, (name, which)


def test_six_prompts_are_enough_for_every_job() -> None:
    """What load_prompts asks of a harm category."""
    data = made_up(6, answers=4)
    for seed in range(20):
        roles = split_prompts(data, seed)
        for name in ("alpha", "beta", "safe:alpha"):
            assert {roles[r.prompt_id] for r in data.of(name)} == set(HARM_SHARES)


def test_a_prompt_in_two_sets_has_one_job_and_shares_still_hold() -> None:
    shared = [f"both {i}" for i in range(12)]
    rows = [PromptRow(s, p, "x") for s in ("alpha", "beta") for p in shared]
    rows += [PromptRow(s, f"{s} {i}", "x") for s in ("alpha", "beta") for i in range(24)]
    rows += [PromptRow("benign", f" BOTH  {i} ", "x") for i in range(4)]  # the same prompts, written differently
    rows += [PromptRow("benign", f"plain {i}", "x") for i in range(36)]
    data = data_of(rows)
    for seed in range(10):
        roles = split_prompts(data, seed)
        assert len(roles) == 12 + 48 + 36
        for name, shares in (("alpha", HARM_SHARES), ("beta", HARM_SHARES), ("benign", BENIGN_SHARES)):
            prompts = {r.prompt_id for r in data.of(name)}
            have = Counter(roles[p] for p in prompts)
            for which, share in shares.items():
                assert abs(have[which] - len(prompts) * share / sum(shares.values())) <= 2, (name, which)
        for prompt in shared[:4]:
            (in_harm,) = {roles[r.prompt_id] for r in data.of("alpha") if r.prompt == prompt}
            assert in_harm in HARM_SHARES


def test_the_seed_decides_and_nothing_else() -> None:
    data = made_up()
    assert split_prompts(data, 3) == split_prompts(made_up(), 3)
    splits = [split_prompts(data, seed) for seed in range(6)]
    for a in range(6):
        for b in range(a):
            same = sum(splits[a][p] == splits[b][p] for p in splits[a]) / len(splits[a])
            assert 0.1 < same < 0.5  # by chance about Σ share²: 0.26 (harm), 0.23 (benign)


def test_a_golden_split() -> None:
    """Stored runs name their split by its seed: the same seed must go on meaning the same split."""
    rows = [PromptRow("alpha", f"prompt {i}", "x") for i in range(8)]
    roles = split_prompts(data_of(rows), 5)
    # Taken in the order of sha256(seed, set, prompt id), each to the role with the smallest (n + 1) / share, of equal
    # ones the first: report 1/4, a 1/3, b 1/3, report 2/4, validation 1/2, a 2/3, b 2/3, report 3/4.
    order = sorted(rows, key=lambda r: hashlib.sha256(f"5\0alpha\0{r.prompt_id}".encode()).hexdigest())
    assert [roles[r.prompt_id] for r in order] == [
        "report",
        "scoring_a",
        "scoring_b",
        "report",
        "validation",
        "scoring_a",
        "scoring_b",
        "report",
    ]
    assert [r.prompt[-1] for r in order] == list("46730215")


def test_builtin_data_fill_every_job() -> None:
    data = load_prompts("builtin")
    for seed in range(3):
        roles = split_prompts(data, seed)
        for name in data.sets:
            have = Counter(roles[p] for p in {r.prompt_id for r in data.of(name)})
            assert min(have[which] for which in HARM_SHARES) >= 2, name
        assert Counter(roles[r.prompt_id] for r in data.of("benign"))["preserve"] >= 40


# -- choosing rows ----------------------------------------------------------------------------------------------------
@settings(deadline=None)
@given(row_lists, st.one_of(st.none(), st.integers(0, 60)), seeds, st.one_of(st.none(), st.integers(1, 4)))
def test_rows_are_spread_over_prompts(
    rows: list[PromptRow], limit: int | None, seed: int, per_prompt: int | None
) -> None:
    chosen = choose_rows(rows, limit, seed, per_prompt=per_prompt)
    assert len({r.id for r in chosen}) == len(chosen)
    assert {r.id for r in chosen} <= {r.id for r in rows}
    available = Counter(r.prompt_id for r in rows)
    most = {p: n if per_prompt is None else min(n, per_prompt) for p, n in available.items()}
    assert len(chosen) == min(sum(most.values()), len(rows) if limit is None else limit)
    # Every prompt's first answer before any prompt's second: nobody is two ahead of somebody who has one left.
    have = Counter(r.prompt_id for r in chosen)
    deepest = max(have.values(), default=0)
    assert all(have[p] >= min(most[p], deepest - 1) for p in available)
    depth: Counter[str] = Counter()
    order = []
    for row in chosen:
        depth[row.prompt_id] += 1
        order.append(depth[row.prompt_id])
    assert order == sorted(order)


@settings(deadline=None)
@given(row_lists, seeds, st.integers(0, 30), st.integers(0, 30))
def test_a_larger_limit_only_adds_rows(rows: list[PromptRow], seed: int, a: int, b: int) -> None:
    few, many = sorted((a, b))
    assert choose_rows(rows, many, seed)[:few] == choose_rows(rows, few, seed)
    assert choose_rows(rows[::-1], few, seed) == choose_rows(rows, few, seed)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_another_seed_chooses_other_rows(seed: int) -> None:
    rows = made_up().of("alpha")
    assert choose_rows(rows, 12, seed) != choose_rows(rows, 12, seed ^ 1)
    assert len({r.prompt_id for r in choose_rows(rows, 36, seed)}) == 36


def test_no_rows() -> None:
    assert choose_rows([], 5, 0) == []
    assert split_prompts(data_of([PromptRow("alpha", "p", "r")]), 0).keys() == {PromptRow("alpha", "p", "r").prompt_id}
