"""Candidates: what is listed, what is protected, and the file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from harmviz.errors import OutOfMemory, RunIncompatible, SelectionInexact
from harmviz.masks import candidates as module
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import ListKey, mean_score
from harmviz.masks.packing import pack_gaps, unpack_gaps
from tests.worlds.masks import CATEGORIES, SETS, floor_of, golden, worlds


def test_golden_lists():
    c = golden().build(q_max=0.5, p_grid=(0.0, 0.2), matrix_p=(0.2,))
    lists = {key: c.global_index[rows].tolist() for key, rows in c.orders.items()}
    # ⌊0.5 · 6⌋ = 3 a list. hate: 7 at 0, 5 at 5, then 3 at 2 and at 3: the tie goes to index 2.
    assert lists[ListKey("hate", "none", 0.0, "global")] == [0, 5, 2]
    # Protected at p = 0.2: weight 0, whose utility tail is 1/6.
    assert lists[ListKey("hate", "none", 0.2, "global")] == [5, 2, 3]
    assert lists[ListKey("hate", "none", 0.2, "matrix")] == [5, 2, 3]
    # max(0, safe, benign) = [0 0 4 0 0 6]; hate minus that = [7 -1 -1 3 0 -1]: positive at 0 and 3.
    assert lists[ListKey("hate", "both", 0.0, "global")] == [0, 3]
    # mean of hate, privacy, exploits = [8/3 1/3 2 1 0 4].
    assert lists[ListKey("mean", "none", 0.0, "global")] == [5, 0, 2]
    assert lists[ListKey("exploits", "none", 0.0, "global")] == []
    # #{j : U_j >= U_i} of U = 9 1 2 3 2 8.
    tails = dict(zip(c.global_index.tolist(), c.tail_count.tolist(), strict=True))
    assert tails == {i: [1, 6, 5, 3, 5, 2][i] for i in tails}
    assert c.eligible(0, 0.2).tolist() == [False, True, True, True, True, True]


@given(worlds())
@settings(deadline=None, max_examples=40)
def test_rows_hold_what_the_full_arrays_hold(world):
    c = world.build()
    index = c.global_index
    assert np.all(np.diff(index) > 0)
    assert c.tail_count.tolist() == [world.tail[i] for i in index]
    for name in SETS:
        assert np.array_equal(c.scores[name], world.scores[name][index])
    # The mean from stored rows is bit for bit the mean over whole matrices.
    assert np.array_equal(c.score("mean"), mean_score([world.scores[s] for s in CATEGORIES])[index])
    for key, rows in c.orders.items():
        score = world.score(CATEGORIES if key.set == "mean" else (key.set,), key.contrast)
        assert np.array_equal(c.score(key.set, key.contrast, rows), score[index[rows]])
        assert set(index[rows].tolist()) <= world.eligible(key.p)
        if key.scope == "global":
            assert len(rows) <= floor_of(0.2, world.table.n_weights)


@given(worlds(), st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.3]))
@settings(deadline=None, max_examples=40)
def test_eligible_is_exact_on_the_grid_and_never_wider_off_it(world, p):
    c = world.build()
    drawn = np.concatenate([c.eligible(i, p) for i in range(len(world.table))])
    allowed = set(np.flatnonzero(drawn).tolist())
    level = min(level for level in (0.0, 0.1, 0.3) if level >= p)
    assert allowed == world.eligible(level) <= world.eligible(p)


def test_eligible_above_the_grid_is_not_known():
    with pytest.raises(SelectionInexact, match=r"use p <= 0.3"):
        golden().build().eligible(0, 0.31)


@given(worlds(), st.sampled_from([1, 3, 7]))
@settings(deadline=None, max_examples=20)
def test_working_in_pieces_changes_nothing(world, piece):
    whole, original = world.build().to_bytes(), module.PIECE
    module.PIECE = piece
    try:
        assert world.build().to_bytes() == whole
    finally:
        module.PIECE = original


@given(
    st.frozensets(st.one_of(st.integers(0, 40), st.integers(0, 5000), st.sampled_from([254, 255, 256, 510, 65_535])))
)
@settings(deadline=None, max_examples=100)
def test_gap_bytes_round_trip(index):
    ordered = np.array(sorted(index), np.int64)
    packed = pack_gaps(ordered)
    assert packed.dtype == np.uint8
    assert np.array_equal(unpack_gaps(packed), ordered)


def test_a_protected_weight_costs_about_a_byte():
    index = np.flatnonzero(np.random.default_rng(0).random(100_000) < 0.01)
    assert len(pack_gaps(index)) < 1.15 * len(index)


def test_without_both_baselines_there_are_no_contrastive_lists():
    c = golden().build(baselines=("benign",))
    assert not c.has_contrast
    assert {key.contrast for key in c.orders} == {"none"}
    assert "safe" not in {key.set for key in c.orders}


def test_progress_counts_every_matrix_of_every_pass():
    seen = []
    world = golden()
    world.build(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 5) for i in range(5)]


def test_each_score_array_is_read_once_a_pass():
    reads, world = [], golden()
    module.build_candidates(
        world.table,
        lambda s, i: reads.append((s, i)) or world.scores[s],
        lambda i: world.utility,
        categories=CATEGORIES,
    )
    assert sorted(reads) == sorted(2 * [(s, 0) for s in SETS])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categories": ()}, "categories must be distinct"),
        ({"categories": ("hate", "hate")}, "categories must be distinct"),
        ({"categories": ("mean",)}, "other than mean, benign, safe"),
        ({"baselines": ("own",)}, "baselines must be distinct names out of"),
        ({"q_max": -1}, "q_max must satisfy 0 <= q_max <= 1, got -1"),
        ({"p_grid": (0.1, 0.0)}, "p_grid must ascend"),
        ({"p_grid": ()}, "p_grid must hold at least one"),
        ({"matrix_p": (1.0,)}, "matrix_p must satisfy 0 <= matrix_p < 1"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        golden().build(**options)


def test_too_many_rows_are_refused_with_a_way_out():
    with pytest.raises(
        OutOfMemory,
        match=r"one list .* would hold 3 weights at q_max=0.5, more than the 2 allowed; use q_max <= 3.3e-01",
    ):
        golden().build(q_max=0.5, max_rows=2)
    with pytest.raises(OutOfMemory, match=r"the union .* more than the 3 allowed"):
        golden().build(q_max=0.5, max_rows=3)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("hate", np.nan, "scores of 'hate' on layers.0.w.weight are not finite"),
        ("hate", -np.inf, "not finite"),
        ("utility", np.nan, "utility on layers.0.w.weight are not finite|the utility on"),
        ("utility", -1.0, "is negative"),
    ],
)
def test_broken_scores_are_named(where, value, message):
    world = golden()
    (world.utility if where == "utility" else world.scores[where])[4] = value
    with pytest.raises(RunIncompatible, match=message):
        world.build()


def test_scores_of_another_shape_are_named():
    world = golden()
    world.scores["hate"] = world.scores["hate"][:5]
    with pytest.raises(RunIncompatible, match=r"hold 5 values, expected 6"):
        world.build()


@given(worlds())
@settings(deadline=None, max_examples=15)
def test_save_and_load_round_trip(tmp_path_factory, world):
    candidates = world.build()
    path = tmp_path_factory.mktemp("c") / "candidates.safetensors"
    path.write_bytes(candidates.to_bytes())
    read = Candidates.load(path)
    assert read.to_bytes() == candidates.to_bytes()
    assert read.table == candidates.table
    assert (read.q_max, read.p_grid, read.categories, read.baselines) == (
        0.2,
        (0.0, 0.1, 0.3),
        CATEGORIES,
        ("benign", "safe"),
    )
    assert list(read.orders) == list(candidates.orders)
    for p in (0.1, 0.3):
        assert all(np.array_equal(read.eligible(i, p), candidates.eligible(i, p)) for i in range(len(world.table)))


def test_a_missing_truncated_or_foreign_file_is_named(tmp_path):
    path = tmp_path / "candidates.safetensors"
    with pytest.raises(RunIncompatible, match=r"cannot be read"):
        Candidates.load(path)
    whole = golden().build().to_bytes()
    for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RunIncompatible, match=r"truncated"):
            Candidates.load(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(RunIncompatible, match=r"1 bytes follow"):
        Candidates.load(path)
    save_file({"w": np.zeros(2, np.float32)}, path, metadata={"format": "harmviz-mask-1"})
    with pytest.raises(RunIncompatible, match=r"is not a harmviz candidates file"):
        Candidates.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("score/hate"), "KeyError"),
        (lambda a: a.update(tail_count=np.zeros(1, np.uint32)), "columns differ in length"),
        (lambda a: a.update({"order/0": np.array([99], np.uint32)}), "a row that does not exist"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, change, message):
    path = tmp_path / "candidates.safetensors"
    path.write_bytes(golden().build().to_bytes())
    arrays, meta = module.map_arrays(path)
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays)
    save_file(arrays, path, metadata=meta)
    with pytest.raises(RunIncompatible, match=message):
        Candidates.load(path)
