"""Selection from stored lists equals selection from full arrays, or says that it cannot know."""

from dataclasses import replace
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.errors import SelectionInexact
from harmviz.masks.candidates import build_candidates
from harmviz.masks.selection import Selection, largest_exact_q, make_mask, select
from harmviz.runs.point import Point
from tests.worlds.masks import CATEGORIES, World, floor_of, golden, selections, table_of, worlds


def test_golden_selection():
    # Scores and lists of worlds.masks.golden; q = 0.34 of N = 6 is ⌊2.04⌋ = 2 weights.
    c = golden().build(q_max=0.5, p_grid=(0.0, 0.2), matrix_p=(0.2,))

    def chosen(*categories, **settings):
        return select(c, Selection(categories, q=0.34, **settings)).global_index.tolist()

    assert chosen("hate", p=0.0) == [0, 5]
    assert chosen("hate", p=0.2) == [2, 5]
    assert chosen("hate", p=0.0, contrast="both") == [0, 3]
    assert chosen("privacy", p=0.0) == [2, 5]
    assert chosen("hate", "privacy", p=0.0, combine="union") == [0, 2, 5]
    assert chosen("hate", "privacy", p=0.0, combine="intersection") == [5]
    assert chosen("hate", "privacy", p=0.0, combine="difference") == [0]
    assert chosen("privacy", "hate", p=0.0, combine="difference") == [2]
    # mean of hate and privacy = [4 .5 3 1.5 0 6]; of all three the same order.
    assert chosen("hate", "privacy", p=0.0) == [0, 5]
    assert chosen(*CATEGORIES, p=0.0) == [0, 5]
    assert chosen("benign", p=0.0) == [2]  # one weight only supports benign text: fewer than asked for
    assert chosen("exploits", p=0.0) == []


@pytest.mark.parametrize("scope", ["global", "matrix"])
@pytest.mark.parametrize(
    "fixed",
    [{"categories": ("privacy", "exploits"), "combine": "mean"}, {"categories": CATEGORIES, "combine": "mean"}, {}],
    ids=["mean of some", "mean of all", "any"],
)
@given(world=worlds(), data=st.data())
@settings(deadline=None, max_examples=60)
def test_what_select_answers_is_what_full_arrays_answer(scope, fixed, world, data):
    c = world.build()
    for _ in range(3):
        s = data.draw(selections(scope=scope, **fixed))
        try:
            selected = select(c, s)
        except SelectionInexact:
            # Never where the lists are the ranking itself: one list, p on its grid, q within what is stored.
            one_list = len(s.categories) == 1 or set(s.categories) == set(CATEGORIES) or s.combine != "mean"
            stored = (0.0, 0.1, 0.3) if scope == "global" else (0.1,)
            assert not (one_list and s.q <= c.q_max and s.p in stored)
            continue
        assert s.q <= c.q_max
        assert set(selected.global_index.tolist()) == world.select(s)
        assert np.all(np.diff(selected.global_index) > 0)


@given(worlds(), selections())
@settings(deadline=None, max_examples=120)
def test_the_largest_exact_q_is_exact_and_the_largest(world, s):
    c = world.build()
    try:
        q, reason = largest_exact_q(c, s)
    except SelectionInexact:
        assert s.scope == "matrix"
        assert s.p < 0.1
        return
    assert 0 <= q <= c.q_max
    assert reason
    largest = replace(s, q=q)
    assert set(select(c, largest).global_index.tolist()) == world.select(largest)
    if q == c.q_max:
        assert "q_max" in reason
        return
    # One weight more, in whichever matrix is next, is refused; and the refusal proposes a q that works.
    sizes = [world.table.n_weights] if s.scope == "global" else [m.size for m in world.table]
    further = min(Fraction(floor_of(q, n) + 1, n) for n in sizes)
    beyond = replace(s, q=float(further) * (1 + 1e-12))
    with pytest.raises(SelectionInexact, match=r"use q <= ") as e:
        select(c, beyond)
    proposed = float(str(e.value).split("use q <= ")[1].split(",")[0])
    assert proposed <= q
    select(c, replace(s, q=proposed))


@given(worlds(), selections(q_top=0.2))
@settings(deadline=None, max_examples=60)
def test_masks_hold_the_count_and_nothing_protected(world, s):
    try:
        mask = make_mask(world.build(), s, model_hash="m")
    except SelectionInexact:
        return
    chosen = set(mask.to_global(world.table).tolist())
    assert chosen <= world.eligible(s.p)
    if s.combine == "mean" and s.scope == "global":
        positive = sum(world.score(s.categories, s.contrast)[i] > 0 for i in world.eligible(s.p))
        # Exact under ties, fewer only where fewer are positive.
        assert mask.n_weights == min(floor_of(s.q, world.table.n_weights), positive)


def mean_world(middle: float) -> World:
    """Ten weights. At q_max 0.2 each list holds two: hate ends in 6 at index 1, privacy in 6 at index 3.

    Weights 5 and 6 are in neither list, and may have a mean of up to (6 + 6) / 2 = 6.
    hate    = 8 6 0 0 0 m m 0 0 0
    privacy = 0 0 8 6 0 m m 0 0 0     means: 4 3 4 3 0 m m
    """
    hate = np.array([8, 6, 0, 0, 0, middle, middle, 0, 0, 0], np.float32)
    privacy = np.array([0, 0, 8, 6, 0, middle, middle, 0, 0, 0], np.float32)
    zero = np.zeros(10, np.float32)
    scores = {"hate": hate, "privacy": privacy, "exploits": zero, "benign": zero, "safe": zero}
    return World(table_of((2, 5)), zero, scores)


def test_the_mean_of_some_categories_is_refused_where_an_unlisted_weight_could_win():
    # Every listed mean is at most 4, the bound 6: weights 5 and 6 (mean 5) would win, and no list holds them.
    pair = Selection(("hate", "privacy"), q=0.1, p=0.0)
    assert mean_world(5).select(pair) == {5}
    with pytest.raises(
        SelectionInexact, match=r"settle only the first 0 weights of mean\(hate,privacy\) at p=0.0; use q <= 0"
    ):
        select(mean_world(5).build(), pair)
    # The mean over all categories has its own list and needs no bound.
    assert select(mean_world(5).build(), replace(pair, categories=CATEGORIES)).global_index.tolist() == [5]


def test_a_mean_equal_to_the_bound_is_refused():
    # Three equal weights, each list cut after two by the index alone: the third has the very mean of the bound.
    four = np.array([4, 4, 4, 0, 0, 0, 0, 0, 0, 0], np.float32)
    zero = np.zeros(10, np.float32)
    scores = {"hate": four, "privacy": four, "exploits": zero, "benign": zero, "safe": zero}
    c = World(table_of((2, 5)), zero, scores).build()
    with pytest.raises(SelectionInexact):
        select(c, Selection(("hate", "privacy"), q=0.2, p=0.0))


def test_the_mean_of_some_categories_ranks_each_matrix_by_itself():
    # Two matrices of ten; q_max 0.2 lists two of each, q = 0.1 takes one. Flat 3 and 4 lead hate and privacy in both.
    # means of flat 3, 4, 5: (9 + 8)/2 = 8.5, (8 + 10)/2 = 9, 1  |  (2 + 1)/2 = 1.5, (1.5 + 0.5)/2 = 1, 0
    # cut-offs 8 and 8 in the first: B = 8; 1.5 and 0.5 in the second: B = 1. Best: 9 at 4, and 1.5 at 10 + 3.
    hate, privacy, zero = np.zeros((3, 20), np.float32)
    hate[[3, 4, 5, 13, 14]] = [9, 8, 1, 2, 1.5]
    privacy[[3, 4, 5, 13, 14]] = [8, 10, 1, 1, 0.5]
    world = World(
        table_of((2, 5), (2, 5)),
        zero,
        {"hate": hate, "privacy": privacy, **{s: zero for s in ("exploits", "benign", "safe")}},
    )
    s = Selection(("hate", "privacy"), q=0.1, p=0.1, scope="matrix")
    assert select(world.build(), s).global_index.tolist() == [4, 13]


def test_a_mean_does_not_hang_on_the_order_of_its_categories():
    # In float64 (1e30 + 1) - 1e30 is 0 but (1e30 - 1e30) + 1 is 1: the run's order of categories decides, always.
    first = np.eye(1, 10, dtype=np.float32)[0]
    scores = {"a": 1e30 * first, "b": first, "c": -1e30 * first, "d": 0 * first, "benign": 0 * first, "safe": 0 * first}
    c = build_candidates(table_of((2, 5)), lambda s, i: scores[s], lambda i: first, categories=tuple("abcd"), q_max=0.2)
    for order in permutations("abc"):
        assert select(c, Selection(order, q=0.1, p=0.0)).n_weights == 0


def test_off_the_grid_is_exact_while_enough_survive():
    # U ascends with the index, so at p = 0.2 the last two of ten are protected, at p = 0.1 the last one.
    # hate = 1 … 10 ascends too: the list at p = 0.1 (q_max 0.2: two weights) is 8, 7; at p = 0.2 only 7 survives.
    rise = np.arange(1, 11, dtype=np.float32)
    zero = np.zeros(10, np.float32)
    world = World(
        table_of((2, 5)), rise, {"hate": rise, **{s: zero for s in ("privacy", "exploits", "benign", "safe")}}
    )
    c = world.build()
    assert select(c, Selection(("hate",), q=0.1, p=0.2)).global_index.tolist() == [7]
    with pytest.raises(
        SelectionInexact,
        match=r"q=0.2 at p=0.2 .*settle only the first 1 weights of hate at p=0.2; use q <= 0.1, or p in 0.0, 0.1, 0.3",
    ):
        select(c, Selection(("hate",), q=0.2, p=0.2))
    assert largest_exact_q(c, Selection(("hate",), p=0.2))[0] == 0.1
    # A list with room left holds every positive score, so any p above it is exact at any q.
    assert select(c, Selection(("privacy",), q=0.2, p=0.25)).n_weights == 0


def test_what_is_not_stored_is_refused():
    c = golden().build(p_grid=(0.1, 0.3), matrix_p=())
    with pytest.raises(SelectionInexact, match=r"q_max=0.2 of every set; use q <= 0.2"):
        select(c, Selection(("hate",), q=0.21, p=0.1))
    with pytest.raises(SelectionInexact, match=r"p=0.05 is not stored for scope 'global': this run answers p >= 0.1"):
        select(c, Selection(("hate",), p=0.05))
    with pytest.raises(SelectionInexact, match=r"no protection level"):
        select(c, Selection(("hate",), p=0.1, scope="matrix"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1e-9, 1.1, "1e-5", None])
@pytest.mark.parametrize("name", ["q", "p"])
def test_fractions_out_of_range_are_refused(name, bad):
    with pytest.raises(ValueError, match=rf"^{name} must .*{name} <.*, got "):
        Selection(("hate",), **{name: bad})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"categories": "hate"}, "must be a sequence of category ids, got 'hate'"),
        ({"categories": ()}, "at least one"),
        ({"categories": ("hate", "hate")}, "distinct"),
        ({"categories": ("hate", "benign")}, "selected alone"),
        ({"categories": ("safe",), "contrast": "both"}, "without contrast"),
        ({"combine": "sum"}, "combine must be one of mean, union, intersection, difference, got 'sum'"),
        ({"scope": "layer"}, "scope must be one of global, matrix, got 'layer'"),
        ({"contrast": "safe"}, "contrast must be one of none, both, got 'safe'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Selection(**({"categories": ("hate",)} | settings))


def test_unknown_categories_and_missing_contrast_are_named():
    c = golden().build(baselines=("benign",))
    with pytest.raises(ValueError, match=r"unknown category 'violence'; this run has exploits, hate, privacy, benign"):
        select(c, Selection(("violence",)))
    with pytest.raises(ValueError, match=r"contrast 'both' needs scores"):
        select(c, Selection(("hate",), contrast="both"))


@pytest.mark.parametrize(
    ("selection", "name", "kind", "control"),
    [
        (Selection(("hate",), q=0.5, p=0.1), "hate", "harm", "none"),
        (Selection(("privacy", "exploits", "hate"), q=0.5, p=0.1), "mean(all)", "harm", "none"),
        (Selection(("hate", "privacy"), "union", q=0.5, p=0.1), "union(hate,privacy)", "harm", "none"),
        (Selection(CATEGORIES, "difference", q=0.5, p=0.1), "difference(exploits,hate,privacy)", "harm", "none"),
        (Selection(("benign",), q=0.5, p=0.1), "benign", "control", "benign_signed"),
        (Selection(("safe",), q=0.5, p=0.1), "safe", "control", "safe_signed"),
    ],
)
def test_masks_say_where_they_come_from(selection, name, kind, control):
    mask = make_mask(golden().build(q_max=0.5), selection, model_hash="m", run_id="r", scoring_prompts=["ab"])
    assert (mask.kind, mask.model_hash) == (kind, "m")
    facts = mask.provenance
    assert (facts["set"], facts["control"], facts["run_id"], facts["scoring_prompts"]) == (name, control, "r", ["ab"])
    assert (facts["q"], facts["p"], facts["scope"], facts["contrast"], facts["n_requested"]) == (
        0.5,
        0.1,
        "global",
        "none",
        3,
    )


def test_every_setting_changes_the_mask():
    rng = np.random.default_rng(1)
    world = World(
        table_of((10, 20), (5, 20)),
        rng.random(300, np.float32),
        {s: rng.standard_normal(300).astype(np.float32) for s in (*CATEGORIES, "benign", "safe")},
    )
    c = world.build()
    base = Selection(("hate", "privacy"), "union", q=0.1, p=0.1)
    variants = [
        base,
        replace(base, categories=("hate", "exploits")),
        replace(base, combine="intersection"),
        replace(base, combine="difference"),
        replace(base, categories=CATEGORIES, combine="mean"),
        replace(base, q=0.05),
        replace(base, p=0.3),
        replace(base, scope="matrix"),
        replace(base, contrast="both"),
    ]
    assert len({make_mask(c, s, model_hash="m").digest for s in variants}) == len(variants)


def test_a_selection_has_the_address_that_its_mask_carries() -> None:
    candidates = golden().build(q_max=0.5, p_grid=(0.0, 0.2), matrix_p=(0.2,))
    selection = Selection(("hate", "privacy"), combine="union", q=0.34, p=0.2, contrast="both")
    point = selection.point(candidates.categories)
    assert point == Point("union(hate,privacy)", 0.34, 0.2, "global", "both")
    mask = make_mask(candidates, selection, model_hash="m")
    assert mask.point == point
    assert (mask | mask).point is None  # set algebra leaves no address
