"""In-place application: exact while it lasts, bit-equal afterwards, refused where it must be."""

from __future__ import annotations

import threading
import time
import warnings
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.errors import MaskInvalid
from harmviz.masks import apply
from harmviz.masks.apply import PreparedMask, hash_matrix, hash_weights, pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.models.rank_messages import pack, unpack
from tests.worlds.tiny import FAMILIES, tiny_model

_SHARED = tiny_model()


def random_mask(loaded: LoadedModel, n: int, seed: int = 0, kind: str = "harm") -> PruneMask:
    index = np.random.default_rng(seed).choice(loaded.table.n_weights, n, replace=False)
    return PruneMask.from_global(loaded.table, index, kind=kind, model_hash=loaded.weight_hash)


def snapshot(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: p.clone() for name, p in loaded.model.named_parameters()}


def test_golden_by_hand() -> None:
    loaded = tiny_model()
    place = loaded.table.index_of["model.layers.1.mlp.down_proj.weight"]
    weight = loaded.tensor(place)  # 16 × 32: flat 33 is (1, 1), flat 511 is (15, 31)
    mask = PruneMask({loaded.table[place].name: np.array([33, 511])}, "harm", loaded.weight_hash)
    before = weight.clone()
    with pruned(loaded, mask, 0.25) as changed:
        assert weight[1, 1] == before[1, 1] * 0.75
        assert weight[15, 31] == before[15, 31] * 0.75
        assert int((weight != before).sum()) == 2
        assert (changed.n_weights, changed.n_changed, changed.strength) == (2, 2, 0.25)
    with pruned(loaded, mask):
        assert weight[1, 1] == 0
        assert weight[15, 31] == 0
    assert torch.equal(weight, before)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_family_and_dtype(family: str, dtype: torch.dtype) -> None:
    loaded = tiny_model(family)
    for p in loaded.model.parameters():
        p.data = p.data.to(dtype)
    mask = random_mask(loaded, 300)
    before, hashed = snapshot(loaded), hash_weights(loaded)
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        intact = loaded.model(input_ids=ids).logits
        with pruned(loaded, mask) as changed:
            assert changed.n_changed == 300
            for name, index in mask.indices.items():
                flat = loaded.tensor(loaded.table.index_of[name]).reshape(-1)[torch.from_numpy(index.astype(np.int64))]
                assert bool((flat == 0).all())
                assert not bool(torch.signbit(flat).any())
            n_zero = sum(int((p == 0).sum()) for p in loaded.model.parameters())
            n_zero_before = sum(int((p == 0).sum()) for p in before.values())
            assert n_zero == n_zero_before + 300  # and nothing else
            assert not torch.equal(loaded.model(input_ids=ids).logits, intact)
        assert torch.equal(loaded.model(input_ids=ids).logits, intact)
    assert hash_weights(loaded) == hashed
    for name, p in loaded.model.named_parameters():
        assert torch.equal(p, before[name])


def test_zeroing_an_output_row_of_a_transposed_matrix_silences_that_output() -> None:
    """GPT-2 stores d_in × d_out: column j of the storage is output j."""
    loaded = tiny_model("gpt2")
    place = loaded.table.index_of["transformer.h.0.mlp.c_fc.weight"]
    m = loaded.table[place]
    mask = PruneMask({m.name: np.arange(m.rows) * m.cols + 3}, "control", loaded.weight_hash)
    x = torch.randn(2, m.rows, generator=torch.Generator().manual_seed(0))
    with pruned(loaded, mask), torch.no_grad():
        y = loaded.modules[place](x)
        assert torch.allclose(y[:, 3], loaded.modules[place].bias[3].expand(2))
        assert float(y[:, 4].abs().max()) > 0.01


def test_a_parameter_that_is_not_contiguous() -> None:
    loaded = tiny_model()
    place = loaded.table.index_of["model.layers.0.mlp.up_proj.weight"]
    owner = loaded.modules[place]
    owner.weight.data = owner.weight.data.t().contiguous().t()
    before = owner.weight.clone()
    with pruned(loaded, PruneMask({loaded.table[place].name: np.array([17])}, "harm", loaded.weight_hash)):
        assert owner.weight[1, 1] == 0
        assert int((owner.weight != before).sum()) == 1
    assert torch.equal(owner.weight, before)


class Boom(Exception):
    pass


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, SystemExit])
def test_restored_after_any_exception(error: type[BaseException]) -> None:
    loaded = tiny_model()
    before = hash_weights(loaded)
    with pytest.raises(error), pruned(loaded, random_mask(loaded, 100), 0.5):  # noqa: PT012
        assert hash_weights(loaded) != before
        raise error
    assert hash_weights(loaded) == before
    assert loaded.in_force == []
    assert loaded.lock.acquire(blocking=False)
    loaded.lock.release()


def test_interrupt_while_writing_or_restoring(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_model()
    before = hash_weights(loaded)
    mask = random_mask(loaded, 200)
    real, calls = LoadedModel.tensor, 0

    def interrupted(self: LoadedModel, index: int) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return real(self, index)

    monkeypatch.setattr(LoadedModel, "tensor", interrupted)
    with pytest.raises(KeyboardInterrupt), pruned(loaded, mask):
        pytest.fail("the body must not run on half-written weights")
    monkeypatch.undo()
    assert hash_weights(loaded) == before
    assert loaded.in_force == []

    class Twice(list):
        def pop(self, *a: int) -> object:
            if len(self) == 5 and not hasattr(self, "hit"):
                self.hit = True
                raise KeyboardInterrupt
            return super().pop(*a)

    w = torch.zeros(9, 1)
    saved = Twice(apply._Saved(w, torch.tensor([i]), torch.tensor([i + 1.0])) for i in range(9))
    with pytest.raises(KeyboardInterrupt):
        apply._restore(saved)
    assert w[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_two_hundred_random_masks() -> None:
    loaded = tiny_model()
    everything = hash_weights(loaded)
    names = [m.name for m in loaded.table]
    clean = {name: hash_matrix(loaded, name) for name in names}
    rng = np.random.default_rng(7)
    for i in range(200):
        mask = random_mask(loaded, int(rng.integers(1, 60)), seed=i)
        with pruned(loaded, mask, float(rng.uniform(0.1, 1))):
            dirty = {n for n in names if hash_matrix(loaded, n) != clean[n]}
            assert dirty == set(mask.indices)
        assert all(hash_matrix(loaded, n) == clean[n] for n in mask.indices)
    assert hash_weights(loaded) == everything


@settings(max_examples=25, deadline=None)
@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4), strength=st.floats(0, 1))
def test_nested_masks_restore_in_reverse(seeds: list[int], strength: float) -> None:
    """Overlapping masks included: 400 of 4,608 weights each."""
    loaded = _SHARED
    hashes = [hash_weights(loaded)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stacks = []
        for s in seeds:
            stacks.append(ExitStack())
            stacks[-1].enter_context(pruned(loaded, random_mask(loaded, 400, seed=s), strength))
            hashes.append(hash_weights(loaded))
        for stack in reversed(stacks):
            assert hash_weights(loaded) == hashes.pop()
            stack.close()
    assert hash_weights(loaded) == hashes.pop()


def test_what_is_in_force_makes_another_copy_the_same() -> None:
    loaded, copy = tiny_model(), tiny_model()
    intact = hash_weights(copy)
    with pruned(loaded, random_mask(loaded, 400), 0.5), pruned(loaded, random_mask(loaded, 400, seed=1)):
        assert [done.strength for done in loaded.in_force] == [0.5, 1.0]
        sent = unpack(pack(loaded.in_force))
        assert sent == loaded.in_force
        with ExitStack() as stack:
            for done in sent:
                stack.enter_context(done.again(copy))
            assert hash_weights(copy) == hash_weights(loaded) != intact
            assert len(copy.in_force) == 2
        assert hash_weights(copy) == intact
    assert loaded.in_force == copy.in_force == []


def test_a_measurement_mask_is_in_force_and_does_not_travel() -> None:
    loaded = tiny_model()
    with (
        pruned(loaded, random_mask(loaded, 9)),
        pruned(loaded, random_mask(loaded, 9, 1, "measurement"), allow_measurement=True),
    ):
        assert [done.travels for done in loaded.in_force] == [True, False]
        with pytest.raises(MaskInvalid, match="measurement-only"), loaded.in_force[1].again(tiny_model()):
            pytest.fail("it must not be applied elsewhere")


def test_prepared_mask_is_reusable_and_follows_a_cast_model() -> None:
    loaded = tiny_model()
    prepared = PreparedMask(loaded, random_mask(loaded, 50))
    for dtype in (torch.float32, torch.bfloat16):
        loaded.model.to(dtype)
        before = hash_weights(loaded)
        for strength in (1.0, 0.3):
            with prepared.applied(strength) as changed:
                assert changed.n_changed == 50
                assert hash_weights(loaded) != before
            assert hash_weights(loaded) == before


def test_strength_zero_changes_nothing_and_does_not_warn() -> None:
    loaded = tiny_model()
    before = hash_weights(loaded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pruned(loaded, random_mask(loaded, 50), 0) as changed:
            assert changed.n_changed == 0
            assert hash_weights(loaded) == before


def test_a_mask_that_changes_nothing_says_so() -> None:
    loaded = tiny_model()
    with (
        pytest.warns(RuntimeWarning, match=r"changed 0 weights at strength 1 \(it is empty"),
        pruned(loaded, PruneMask({}, "harm", loaded.weight_hash)) as changed,
    ):
        assert (changed.n_weights, changed.n_changed) == (0, 0)
    mask = random_mask(loaded, 20)
    with pruned(loaded, mask), pytest.warns(RuntimeWarning, match="its 20 weights already are 0"), pruned(loaded, mask):
        pass


@pytest.mark.parametrize("strength", [-0.01, 1.0001, float("nan"), float("inf"), "1", None, True])
def test_strength_out_of_range(strength: object) -> None:
    loaded = tiny_model()
    with pytest.raises(ValueError, match=r"strength must .*got") as e, pruned(loaded, random_mask(loaded, 5), strength):  # type: ignore[arg-type]
        pass
    assert repr(strength) in str(e.value)


def test_wrong_model_measurement_and_misfit() -> None:
    loaded, other = tiny_model(), tiny_model(seed=1)
    before = hash_weights(loaded)
    with pytest.raises(MaskInvalid, match=r"made for weights .*tiny-llama"), pruned(loaded, random_mask(other, 5)):
        pass
    secret = random_mask(loaded, 5, kind="measurement")
    with pytest.raises(MaskInvalid, match="measurement-only"), pruned(loaded, secret):
        pass
    with pruned(loaded, secret, allow_measurement=True) as changed:
        assert changed.n_changed == 5
    bad = PruneMask({loaded.table[0].name: np.array([10**6])}, "harm", loaded.weight_hash)
    with pytest.raises(MaskInvalid, match="lies outside"), pruned(loaded, bad):
        pass
    assert hash_weights(loaded) == before


def test_the_lock_is_held() -> None:
    loaded = tiny_model()
    got: list[bool] = []

    def attempt() -> None:
        got.append(loaded.lock.acquire(blocking=False))
        if got[-1]:
            loaded.lock.release()

    with pruned(loaded, random_mask(loaded, 5)):
        t = threading.Thread(target=attempt)
        t.start()
        t.join()
    t = threading.Thread(target=attempt)
    t.start()
    t.join()
    assert got == [False, True]


def test_inside_inference_mode_and_no_grad_does_not_leak() -> None:
    loaded = tiny_model()
    before = hash_weights(loaded)
    with torch.inference_mode(), pruned(loaded, random_mask(loaded, 50)):
        loaded.model(input_ids=torch.tensor([[5, 6]]))
    with pruned(loaded, random_mask(loaded, 50)):
        assert torch.is_grad_enabled()
    assert hash_weights(loaded) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_cuda(family: str) -> None:
    loaded = tiny_model(family)
    loaded.model.to("cuda")
    loaded.device = torch.device("cuda")
    before = hash_weights(loaded)
    with pruned(loaded, random_mask(loaded, 100), 0.5) as changed:
        assert changed.n_changed == 100
    assert hash_weights(loaded) == before


@pytest.mark.alone
@pytest.mark.slow
def test_toggle_and_restore_within_20_ms_on_the_embedded_model() -> None:
    from harmviz.models.load import load_model

    loaded = load_model(dtype="float32", device="cpu")
    mask = random_mask(loaded, 10_616)
    before = hash_weights(loaded)
    times, prepared_times = [], []
    prepared = PreparedMask(loaded, mask)
    for _ in range(30):
        start = time.perf_counter()
        with pruned(loaded, mask):
            pass
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
        with prepared.applied():
            pass
        prepared_times.append(time.perf_counter() - start)
    print(
        f"toggle + restore, 10,616 weights in {len(mask.indices)} matrices: median {1e3 * np.median(times):.1f} ms, "
        f"prepared {1e3 * np.median(prepared_times):.1f} ms"
    )
    assert hash_weights(loaded) == before
    assert np.min(times) < 0.020
