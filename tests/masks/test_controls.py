"""The six controls: as many weights in the same places, none the mask's or protected, and as like as claimed."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.errors import MaskInvalid, SelectionInexact
from harmviz.masks.controls import benign_signed, matched_controls, random_control, safe_signed, unprotected
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection, make_mask
from tests.worlds.masks import CATEGORIES, World, table_of

TABLE = table_of((20, 30), (10, 40), (1, 50))


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(1)
    n = TABLE.n_weights
    scores = {s: rng.standard_normal(n).astype(np.float32) for s in (*CATEGORIES, "benign", "safe")}
    return World(TABLE, rng.random(n, np.float32), scores)


@pytest.fixture(scope="module")
def candidates(world):
    return world.build()


@pytest.fixture(scope="module")
def mask(candidates) -> PruneMask:
    return make_mask(
        candidates, Selection(CATEGORIES, q=0.05, p=0.1), model_hash="m", run_id="r", scoring_prompts=["ab"]
    )


def draw_control(name, mask, candidates, world, seed=0, draw=0) -> PruneMask:
    eligible = partial(candidates.eligible, p=0.1)
    if name == "random":
        return random_control(mask, TABLE, eligible, seed=seed, draw=draw)
    values = np.arange(TABLE.n_weights, dtype=np.float32) if name == "magnitude" else world.utility
    drawn = matched_controls(
        mask, TABLE, eligible, lambda i: values[TABLE.span(i)], seed=seed, draws=(draw,), name=name
    )
    return drawn[0]


NAMES = ["random", "magnitude", "utility"]


@pytest.mark.parametrize("name", NAMES)
def test_drawn_controls_have_the_masks_counts_and_none_of_its_weights(name, mask, candidates, world):
    control = draw_control(name, mask, candidates, world)
    assert {n: len(i) for n, i in control.indices.items()} == {n: len(i) for n, i in mask.indices.items()}
    assert (control & mask).n_weights == 0
    assert set(control.to_global(TABLE).tolist()) <= world.eligible(0.1)
    facts = control.provenance
    assert (control.kind, control.model_hash, facts["control"], facts["seed"], facts["draw"]) == (
        "control",
        "m",
        name,
        0,
        0,
    )
    assert facts["matched"] == mask.digest
    # What must be left out of evaluation is left out for the control too.
    assert (facts["run_id"], facts["scoring_prompts"], facts["q"]) == ("r", ["ab"], 0.05)


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_reproducible_and_differ(name, mask, candidates, world):
    def draws(seed, draw):
        return draw_control(name, mask, candidates, world, seed, draw).digest

    assert draws(0, 0) == draws(0, 0)
    assert len({draws(seed, draw) for seed in (0, 1) for draw in (0, 1, 2)}) == 6


@pytest.mark.parametrize("name", ["random", "utility"])
def test_what_one_matrix_draws_does_not_hang_on_the_others(name, mask, candidates, world):
    first = TABLE[0].name
    alone = PruneMask({first: mask.indices[first]}, "harm", "m")
    together = draw_control(name, mask, candidates, world).indices[first]
    assert np.array_equal(draw_control(name, alone, candidates, world).indices[first], together)


def test_random_controls_are_uniform_over_the_pool():
    # Weights 0 … 3 of ten are the mask, 9 is protected: each of 4 … 8 is drawn 4 times in 5.
    table = table_of((1, 10))
    mask = PruneMask({table[0].name: np.arange(4)}, "harm", "m")
    eligible = np.arange(10) < 9
    drawn = np.concatenate(
        [random_control(mask, table, lambda i: eligible, seed=s).indices[table[0].name] for s in range(500)]
    )
    counts = np.bincount(drawn, minlength=10)
    assert counts[[0, 1, 2, 3, 9]].sum() == 0
    # Binomial(500, 0.8): sd 9; five sigma.
    assert np.all(np.abs(counts[4:9] - 400) < 45)


def test_partners_are_drawn_from_both_sides_of_the_nearest_in_rank():
    # Values are 0 … 199 in scrambled places; the mask is the weight of value 100.
    table, place = table_of((10, 20)), np.random.default_rng(3).permutation(200)
    mask = PruneMask({table[0].name: np.flatnonzero(place == 100)}, "harm", "m")
    drawn = [
        int(
            place[
                matched_controls(mask, table, lambda i: np.ones(200, bool), lambda i: place, seed=s, name="magnitude")[
                    0
                ].indices[table[0].name][0]
            ]
        )
        for s in range(400)
    ]
    assert set(drawn) == {*range(84, 100), *range(101, 117)}
    assert abs(np.mean(drawn) - 100) < 5 * 9.8 / 20


def test_the_stated_match_is_the_match(mask, candidates, world):
    control = draw_control("utility", mask, candidates, world)
    match = control.provenance["match"]
    of_mask, of_control = (world.utility[m.to_global(TABLE)].mean(dtype=np.float64) for m in (mask, control))
    assert match["mean_mask"] == pytest.approx(of_mask)
    assert match["mean_control"] == pytest.approx(of_control)
    assert 0 <= match["median_relative_difference"] <= match["max_relative_difference"] <= 1
    # 50 … 600 weights a matrix, uniform utilities, at most 32 ranks and a few used ones away.
    random = world.utility[draw_control("random", mask, candidates, world).to_global(TABLE)].mean(dtype=np.float64)
    assert abs(of_control - of_mask) < 0.03
    assert match["median_relative_difference"] < 0.1
    assert abs(random - of_mask) < 0.5


def test_magnitude_partners_of_the_largest_weights_are_the_next_largest():
    # The mask holds the 20 largest of 1,000: partners come from the 16 + 19 next, since each used one moves the window.
    table = table_of((10, 100))
    values = np.arange(1000, dtype=np.float32)
    mask = PruneMask({table[0].name: np.arange(980, 1000)}, "harm", "m")
    (control,) = matched_controls(
        mask, table, lambda i: np.ones(1000, bool), lambda i: values, seed=0, name="magnitude"
    )
    assert control.indices[table[0].name].min() >= 980 - 16 - 19


def test_draws_made_together_are_those_made_alone_from_one_reading_of_each_matrix():
    values, read = np.random.default_rng(0).random(TABLE.n_weights, dtype=np.float32), []
    mask = PruneMask({m.name: np.arange(3) for m in TABLE}, "harm", "m")

    def drawn(draws):
        def of(i):
            read.append(i)
            return values[TABLE.span(i)]

        return matched_controls(
            mask, TABLE, lambda i: np.ones(TABLE[i].size, bool), of, seed=5, name="utility", draws=draws
        )

    together = drawn((0, 1, 2))
    assert read == [0, 1, 2]
    alone = [drawn((draw,))[0] for draw in (0, 1, 2)]
    assert [c.digest for c in together] == [c.digest for c in alone]
    assert [c.provenance for c in together] == [c.provenance for c in alone]
    assert len({c.digest for c in together}) == 3


@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_a_pool_just_large_enough_is_used_up(seed, n, levels):
    # n mask weights and exactly n others, values full of ties: every control is the others.
    rng = np.random.default_rng(seed)
    table, places = table_of((2, n)), rng.permutation(2 * n)
    mask = PruneMask({table[0].name: places[:n]}, "harm", "m")
    values = rng.integers(0, levels, 2 * n).astype(np.float32) * np.float32(-0.0 if levels == 1 else 1)
    for control in (
        random_control(mask, table, lambda i: np.ones(2 * n, bool), seed=seed),
        *matched_controls(mask, table, lambda i: np.ones(2 * n, bool), lambda i: values, seed=seed, name="utility"),
    ):
        assert control.indices[table[0].name].tolist() == sorted(places[n:])


def test_too_few_eligible_weights_are_named():
    table = table_of((2, 3))
    mask = PruneMask({table[0].name: [0, 1, 2]}, "harm", "m")
    with pytest.raises(
        SelectionInexact, match=r"layers.0.w.weight has 2 eligible weights outside the mask, but a control needs 3"
    ):
        random_control(mask, table, lambda i: np.array([1, 1, 1, 1, 1, 0], bool), seed=0)


@pytest.mark.parametrize("values", [[1, 2, -1, 0, 0, 0], [1, 2, np.nan, 0, 0, 0], [1, 2, np.inf, 0, 0, 0], [1, 2]])
def test_values_that_cannot_be_ranked_are_refused(values):
    table = table_of((2, 3))
    mask = PruneMask({table[0].name: [0]}, "harm", "m")
    with pytest.raises(ValueError, match=r"must be 6 finite non-negative numbers"):
        matched_controls(mask, table, lambda i: np.ones(6, bool), lambda i: np.array(values), seed=0, name="utility")


def test_a_mask_of_another_model_is_refused():
    with pytest.raises(MaskInvalid, match=r"does not have"):
        random_control(PruneMask({"other": [0]}, "harm", "m"), TABLE, lambda i: np.ones(6, bool), seed=0)


def test_the_control_of_a_measurement_mask_stays_in_the_process():
    mask = PruneMask({TABLE[0].name: [0]}, "measurement", "m")
    assert random_control(mask, TABLE, lambda i: np.ones(TABLE[i].size, bool), seed=0).kind == "measurement"


def test_an_empty_mask_has_empty_controls(candidates, world):
    empty = PruneMask({}, "harm", "m")
    assert all(draw_control(name, empty, candidates, world).n_weights == 0 for name in NAMES)


def test_selected_controls_keep_q_p_and_scope(candidates, world):
    s = Selection(("hate", "privacy"), "union", q=0.05, p=0.1, contrast="both")
    benign = benign_signed(candidates, s, model_hash="m", run_id="r")
    safe = safe_signed(candidates, s, model_hash="m")
    free = unprotected(candidates, s, model_hash="m")
    for control, name in ((benign, "benign_signed"), (safe, "safe_signed"), (free, "unprotected")):
        assert (control.kind, control.provenance["control"], control.provenance["q"]) == ("control", name, 0.05)
    assert benign.provenance["run_id"] == "r"
    assert set(benign.to_global(TABLE).tolist()) == world.top(("benign",), Selection(("benign",), q=0.05, p=0.1))
    assert set(safe.to_global(TABLE).tolist()) == world.top(("safe",), Selection(("safe",), q=0.05, p=0.1))
    assert set(free.to_global(TABLE).tolist()) == world.select(
        Selection(s.categories, "union", 0.05, 0.0, contrast="both")
    )
    assert free.provenance["p"] == 0.0
