"""PruneMask: its algebra, its files, and what must never leave the process."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from harmviz.errors import MaskInvalid
from harmviz.masks.mask import KINDS, PruneMask
from tests.worlds.masks import table_of

TABLE = table_of((2, 3), (1, 4), (3, 1))
index_sets = st.frozensets(st.integers(0, TABLE.n_weights - 1))


def mask_of(indices, kind="harm", model="m", **provenance) -> PruneMask:
    return PruneMask.from_global(TABLE, np.array(sorted(indices), np.int64), kind=kind, model_hash=model, **provenance)


def set_of(mask) -> set[int]:
    return set(mask.to_global(TABLE).tolist())


def test_golden_on_a_two_by_three_matrix():
    # Global 1 and 5 are flat 1 and 5 of the first matrix (row 0 col 1, row 1 col 2); 6 is flat 0 of the second; 12 is
    # flat 2 of the third, whose offset is 6 + 4 = 10.
    mask = mask_of([12, 5, 1, 6, 5])
    assert {n: i.tolist() for n, i in mask.indices.items()} == {
        "layers.0.w.weight": [1, 5],
        "layers.1.w.weight": [0],
        "layers.2.w.weight": [2],
    }
    assert all(i.dtype == np.uint32 for i in mask.indices.values())
    assert mask.n_weights == 4
    row, col = TABLE[0].out_in(mask.indices["layers.0.w.weight"])
    assert (row.tolist(), col.tolist()) == ([0, 1], [1, 2])


@given(index_sets, index_sets, index_sets)
@settings(deadline=None, max_examples=60)
def test_algebra_is_set_algebra(a, b, c):
    x, y, z = mask_of(a), mask_of(b), mask_of(c)
    assert set_of(x | y) == a | b
    assert set_of(x & y) == a & b
    assert set_of(x - y) == a - b
    assert x | y == y | x
    assert (x | y) | z == x | (y | z)
    assert x & (y | z) == (x & y) | (x & z)
    assert (x - y) | (x & y) == x
    assert x | x == x == x & x
    assert (x - x).n_weights == 0


@given(index_sets, index_sets)
@settings(deadline=None, max_examples=40)
def test_the_digest_names_the_effect(a, b):
    assert (mask_of(a).digest == mask_of(b).digest) == (a == b)
    assert mask_of(a, note=1) == mask_of(a, note=2)
    assert mask_of(a).digest != mask_of(a, kind="control").digest
    assert mask_of(a).digest != mask_of(a, model="other").digest
    assert len({mask_of(a), mask_of(a)}) == 1


@pytest.mark.parametrize("other", KINDS)
def test_algebra_cannot_launder_a_measurement_mask(other):
    for mask in (mask_of({1}, "measurement") | mask_of({2}, other), mask_of({2}, other) - mask_of({1}, "measurement")):
        assert mask.kind == "measurement"


def test_masks_of_two_models_do_not_combine():
    with pytest.raises(MaskInvalid, match=r"two different models"):
        mask_of({1}) | mask_of({1}, model="other")


@pytest.mark.parametrize(
    ("indices", "message"),
    [([-1], "fit uint32"), ([1 << 32], "fit uint32"), ([0.5], "must be integers")],
)
def test_indices_that_are_none_are_refused(indices, message):
    with pytest.raises(ValueError, match=message):
        PruneMask({"w": np.array(indices)}, "harm", "m")


@pytest.mark.parametrize("bad", [-1, TABLE.n_weights])
def test_global_indices_outside_the_model_are_refused(bad):
    with pytest.raises(ValueError, match=r"must lie in 0 … 12"):
        mask_of([bad])


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind must be one of harm, control, measurement, got 'refusal'"):
        mask_of({1}, "refusal")


def test_a_mask_of_another_model_does_not_fit():
    with pytest.raises(MaskInvalid, match=r"which this model does not have"):
        mask_of({12}).check_fits(table_of((2, 3)))
    with pytest.raises(MaskInvalid, match=r"mask index 5 lies outside"):
        mask_of({5}).to_global(table_of((2, 2)))


@pytest.mark.parametrize("indices", [{0, 4, 11}, set()])
def test_save_and_load_round_trip(tmp_path, indices):
    mask = mask_of(indices, kind="control", q=1e-5, categories=["hate"])
    loaded = PruneMask.load(mask.save(tmp_path / "m.safetensors"))
    assert (loaded, loaded.kind, loaded.provenance) == (mask, "control", {"q": 1e-5, "categories": ["hate"]})
    assert set_of(loaded) == indices
    assert [f.name for f in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_missing_truncated_or_foreign_file_is_named(tmp_path):
    with pytest.raises(MaskInvalid, match=r"gone.safetensors does not exist"):
        PruneMask.load(tmp_path / "gone.safetensors")
    path = mask_of({0, 4, 11}).save(tmp_path / "m.safetensors")
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(MaskInvalid, match=r"m.safetensors"):
            PruneMask.load(path)
    save_file({"w": np.zeros(2, np.uint32)}, path)
    with pytest.raises(MaskInvalid, match=r"is not a harmviz mask"):
        PruneMask.load(path)


def rewritten(path, change):
    """The mask file with its arrays and header changed, otherwise well-formed."""
    with safe_open(path, framework="numpy") as f:
        meta, arrays = json.loads(f.metadata()["harmviz"]), {n: f.get_tensor(n) for n in f.keys()}  # noqa: SIM118
    change(meta, arrays)
    save_file(arrays, path, metadata={"harmviz": json.dumps(meta)})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta, arrays: arrays["layers.0.w.weight"].__setitem__(0, 2), "altered"),
        (lambda meta, arrays: meta.update(kind="control"), "altered"),
        (lambda meta, arrays: meta.update(model_hash="other"), "altered"),
        (lambda meta, arrays: meta.update(kind="refusal"), "damaged mask header"),
        (lambda meta, arrays: meta.pop("model_hash"), "damaged mask header"),
        (lambda meta, arrays: meta.update(provenance="{"), "damaged mask header"),
        (lambda meta, arrays: arrays.update({"layers.0.w.weight": np.zeros(2, np.int64)}), "not a flat uint32"),
    ],
)
def test_an_altered_file_is_refused(tmp_path, change, message):
    path = rewritten(mask_of({0, 4}).save(tmp_path / "m.safetensors"), change)
    with pytest.raises(MaskInvalid, match=message):
        PruneMask.load(path)


def test_a_measurement_mask_never_leaves_and_never_enters(tmp_path):
    with pytest.raises(MaskInvalid, match=r"cannot be exported"):
        mask_of({1}, "measurement").save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())
    # A file that claims to be one, digest and all.
    hidden = mask_of({1}, "measurement")
    meta = {"format": "harmviz-mask-1", "kind": "measurement", "model_hash": "m", "digest": hidden.digest}
    save_file(
        dict(hidden.indices), tmp_path / "m.safetensors", metadata={"harmviz": json.dumps({**meta, "provenance": {}})}
    )
    with pytest.raises(MaskInvalid, match=r"measurement-only"):
        PruneMask.load(tmp_path / "m.safetensors")
