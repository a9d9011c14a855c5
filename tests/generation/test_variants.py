"""Side by side equals in place; each row sees its own mask only; nothing stays behind."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.errors import MaskInvalid, UnsupportedArchitecture
from harmviz.generation import variants as variants_module
from harmviz.generation.passes import RowPasses, TurnPasses, make_passes
from harmviz.generation.variants import SideBySide, Variant, expert_matrix, side_by_side
from harmviz.masks.apply import hash_weights, pruned
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from tests.worlds.generation import PROMPTS, follow, gap, random_mask, walk
from tests.worlds.tiny import DENSE_FAMILIES, FAMILIES, tiny_model

ATOL, RTOL = 1e-3, 1e-4
_SHARED = tiny_model()


def hooks_left(loaded: LoadedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())


def four(loaded: LoadedModel, only: str = "") -> list[Variant]:
    a, b = random_mask(loaded, 200, 1, only=only), random_mask(loaded, 300, 2, only=only)
    return [Variant("intact"), Variant("a", a), Variant("b", b), Variant("a again, half", a, 0.5)]


def test_golden_by_hand() -> None:
    """One layer, two rows: y₁ loses s · w[2, 5] · x₁[5] in unit 2, y₀ nothing."""
    loaded = tiny_model()
    place = loaded.table.index_of["model.layers.0.mlp.up_proj.weight"]
    layer, weight = loaded.modules[place], loaded.tensor(place)
    mask = PruneMask({loaded.table[place].name: np.array([2 * 16 + 5])}, "harm", loaded.weight_hash)
    for n_tokens in (1, 3):
        x = torch.randn(2, n_tokens, 16)
        plain = layer(x)
        with side_by_side(loaded, [Variant("intact"), Variant("masked", mask, 0.25)]):
            y = layer(x)
        expected = plain.clone()
        expected[1, :, 2] -= 0.25 * weight[2, 5] * x[1, :, 5]
        torch.testing.assert_close(y, expected)
        assert torch.equal(layer(x), plain)


@pytest.mark.parametrize("family", DENSE_FAMILIES)
def test_equals_in_place_over_64_steps(family: str) -> None:
    loaded = tiny_model(family)
    variants = four(loaded)
    for prompt in PROMPTS:
        tokens, rows = walk(RowPasses(loaded, variants), prompt, 4, 64)
        turns = follow(TurnPasses(loaded, variants), prompt, tokens)
        torch.testing.assert_close(rows, turns, atol=ATOL, rtol=RTOL)
        differs = turns.argmax(-1) != tokens
        assert bool((gap(turns)[differs] < 1e-3).all())
        assert not torch.allclose(rows[0, 0], rows[0, 1], atol=1e-2)  # the masks do something here


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_prompts_against_pruned(family: str) -> None:
    """The other code path: many tokens a row, no cache; and mixtures masked outside their experts."""
    loaded = tiny_model(family)
    variants = four(loaded, only="" if family != "mixtral" else "self_attn")
    ids = torch.tensor(PROMPTS[2])[None]
    with torch.no_grad():
        with side_by_side(loaded, variants):
            rows = loaded.model(input_ids=ids.expand(4, -1)).logits
        for k, v in enumerate(variants):
            if v.mask is None:
                expected = loaded.model(input_ids=ids).logits[0]
            else:
                with pruned(loaded, v.mask, v.strength):
                    expected = loaded.model(input_ids=ids).logits[0]
            torch.testing.assert_close(rows[k], expected, atol=ATOL, rtol=RTOL)


def test_long_prompts_are_corrected_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_model()
    ids = torch.tensor([PROMPTS[2]] * 4)
    with torch.no_grad(), side_by_side(loaded, four(loaded)):
        whole = loaded.model(input_ids=ids).logits
        monkeypatch.setattr(variants_module, "_CHUNK", 100)
        assert torch.allclose(loaded.model(input_ids=ids).logits, whole, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(1, 400), strength=st.floats(0, 1), n_tokens=st.integers(1, 5))
def test_any_mask_any_strength(seed: int, n: int, strength: float, n_tokens: int) -> None:
    loaded, mask = _SHARED, random_mask(_SHARED, n, seed)
    ids = torch.arange(5, 5 + n_tokens)[None]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a strength of 1e-300 changes nothing, and says so
        with side_by_side(loaded, [Variant("a", mask, strength), Variant("intact")]):
            rows = loaded.model(input_ids=ids.expand(2, -1)).logits
        with pruned(loaded, mask, strength):
            torch.testing.assert_close(rows[:1], loaded.model(input_ids=ids).logits, atol=ATOL, rtol=RTOL)
        torch.testing.assert_close(rows[1:], loaded.model(input_ids=ids).logits, atol=1e-5, rtol=1e-5)


def in_bfloat16(seed: int = 0) -> LoadedModel:
    loaded = tiny_model(seed=seed, scale=1.0)
    for p in loaded.model.parameters():
        p.data = p.data.bfloat16()
    loaded.dtype = torch.bfloat16
    return loaded


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # gpt2 stores its matrices transposed
def test_every_output_of_a_layer_is_corrected_once(family: str) -> None:
    """Masks come as they will: here most of their weights lie in a few outputs, so that a bag has many entries."""
    loaded = tiny_model(family)
    place = next(i for i, m in enumerate(loaded.table) if m.rows != m.cols)
    matrix = loaded.table[place]
    grid = np.arange(matrix.size).reshape(matrix.rows, matrix.cols)
    by_output = grid.T if matrix.transposed else grid
    flat = np.sort(np.concatenate([by_output[:3].ravel(), by_output[3:, 1]]))
    mask = PruneMask({matrix.name: flat}, "harm", loaded.weight_hash)
    rows = SideBySide(loaded, [Variant("a", mask), Variant("intact"), Variant("b", mask, 0.5)])
    (share,) = rows._shares
    ((_, correction),) = share.corrections
    n_bags = len(by_output)
    assert len(correction.target.unique()) == len(correction.target) == 2 * n_bags
    assert correction.start.diff().tolist() == 2 * ([by_output.shape[1]] * 3 + [1] * (n_bags - 3))
    assert correction.weight.dtype == torch.float32
    layer = loaded.modules[place]
    for n_tokens in (1, 7):
        x = torch.randn(3, n_tokens, by_output.shape[1])
        with torch.no_grad(), rows.active():
            y, again = layer(x), layer(x)
        assert torch.equal(y, again)
        for k, strength in ((0, 1.0), (2, 0.5)):
            with torch.no_grad(), pruned(loaded, mask, strength):
                torch.testing.assert_close(y[k], layer(x)[k], atol=1e-5, rtol=1e-5)
        assert torch.equal(y[1], layer(x)[1])


def test_the_same_result_each_time() -> None:
    for loaded in (tiny_model(), in_bfloat16()):
        variants = four(loaded)
        tokens, logits = walk(RowPasses(loaded, variants), PROMPTS[2], 4, 12)
        again_tokens, again = walk(RowPasses(loaded, variants), PROMPTS[2], 4, 12)
        assert torch.equal(tokens, again_tokens)
        assert torch.equal(logits, again)


@pytest.mark.parametrize("n_tokens", [1, 5])
def test_bfloat16_corrections_are_rounded_once(n_tokens: int) -> None:
    """One output loses all of its 16 weights. What is left is rounding: of y, of the sum and of their difference, each
    at most 2⁻⁸ of what is rounded. Sixteen additions in bfloat16 would leave several times as much."""
    loaded = in_bfloat16()
    place = loaded.table.index_of["model.layers.0.mlp.up_proj.weight"]
    mask = PruneMask({loaded.table[place].name: np.arange(2 * 16, 3 * 16)}, "harm", loaded.weight_hash)
    layer = loaded.modules[place]
    x = torch.randn(1, n_tokens, 16, generator=torch.Generator().manual_seed(0)).bfloat16() + 4
    with torch.no_grad(), side_by_side(loaded, [Variant("a", mask)]):
        left = layer(x)[0, :, 2].double()
    y = x[0].double() @ loaded.tensor(place)[2].double()
    assert bool((left.abs() <= 2 * 2**-8 * y.abs() + 1e-6).all())


def test_bfloat16_is_close() -> None:
    loaded = in_bfloat16()
    variants = four(loaded)
    tokens, rows = walk(RowPasses(loaded, variants), PROMPTS[0], 4, 16)
    torch.testing.assert_close(rows, follow(TurnPasses(loaded, variants), PROMPTS[0], tokens), atol=3e-2, rtol=3e-2)


@contextmanager
def one_thread() -> Iterator[None]:
    """With several threads some processors add up the rows of one batch in different orders."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("threads", "atol"), [(one_thread, 0.0), (nullcontext, 1e-6)])
def test_strength_zero_rows_are_identical_to_the_intact_row(
    threads: Callable[[], AbstractContextManager[None]], atol: float
) -> None:
    loaded = tiny_model()
    mask = random_mask(loaded, 500)
    variants = [Variant("intact"), Variant("off", mask, 0.0), Variant("on", mask)]
    with threads(), warnings.catch_warnings():
        warnings.simplefilter("error")
        _, logits = walk(RowPasses(loaded, variants), PROMPTS[0], 3, 32)
    torch.testing.assert_close(logits[:, 0], logits[:, 1], atol=atol, rtol=0.0)
    assert torch.equal(logits[:, 0].argmax(-1), logits[:, 1].argmax(-1))
    assert not torch.allclose(logits[:, 0], logits[:, 2], atol=1e-2)


def test_the_strength_slider() -> None:
    loaded = tiny_model()
    mask = random_mask(loaded, 300)
    ids = torch.tensor([PROMPTS[0]] * 2)
    with torch.no_grad(), side_by_side(loaded, [Variant("intact"), Variant("a", mask)]) as rows:
        for strength in (0.3, 1.0, 0.0):
            rows.set_strength(1, strength)
            moved = loaded.model(input_ids=ids).logits[1]
            rebuilt = SideBySide(loaded, [Variant("intact"), Variant("a", mask, strength)])
            assert torch.equal(rows._shares[0]._scaled, rebuilt._shares[0]._scaled)
            with pruned(loaded, mask, strength), _without_hooks(loaded):
                torch.testing.assert_close(moved, loaded.model(input_ids=ids[:1]).logits[0], atol=ATOL, rtol=RTOL)
        with pytest.raises(ValueError, match=r"strength must lie in \[0, 1\]"):
            rows.set_strength(1, 1.5)


class _without_hooks:
    """The in-place reference inside an active side-by-side context."""

    def __init__(self, loaded: LoadedModel):
        self.modules = [m for m in loaded.model.modules() if m._forward_hooks]

    def __enter__(self) -> None:
        self.hooks = [m._forward_hooks.copy() for m in self.modules]
        for m in self.modules:
            m._forward_hooks.clear()

    def __exit__(self, *_: object) -> None:
        for m, h in zip(self.modules, self.hooks, strict=True):
            m._forward_hooks.update(h)


def test_a_module_called_twice_in_one_pass() -> None:
    """Two blocks that share one MLP: its mask must act in both."""
    loaded = tiny_model()
    layers = loaded.model.model.layers
    layers[1].mlp = layers[0].mlp
    mask = random_mask(loaded, 200, only="layers.0.mlp")
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        with side_by_side(loaded, [Variant("intact"), Variant("a", mask)]):
            rows = loaded.model(input_ids=ids.expand(2, -1)).logits
        with pruned(loaded, mask):
            torch.testing.assert_close(rows[1:], loaded.model(input_ids=ids).logits, atol=ATOL, rtol=RTOL)


def test_routed_experts_take_turns() -> None:
    loaded = tiny_model("mixtral")
    variants = four(loaded)
    name = expert_matrix(loaded, variants)
    assert name is not None
    assert ".experts." in name
    with pytest.raises(UnsupportedArchitecture, match="routed expert") as e, side_by_side(loaded, variants):
        pass
    assert name in str(e.value)
    assert isinstance(make_passes(loaded, variants), TurnPasses)
    assert isinstance(make_passes(loaded, four(loaded, only="self_attn")), RowPasses)


def test_a_masked_layer_that_never_runs_is_no_silent_no_op() -> None:
    loaded = tiny_model()
    mlp = loaded.model.model.layers[0].mlp
    mlp.forward = lambda x: torch.nn.functional.linear(  # uses up_proj's weight behind the module's back
        mlp.act_fn(mlp.gate_proj(x)) * torch.nn.functional.linear(x, mlp.up_proj.weight), mlp.down_proj.weight
    )
    with pytest.raises(UnsupportedArchitecture, match=r"layers\.0\.mlp\.up_proj\.weight and 1 more did not run"):
        RowPasses(loaded, four(loaded))(torch.tensor([PROMPTS[0]] * 4))
    assert hooks_left(loaded) == 0


def test_the_wrong_number_of_rows_is_refused() -> None:
    loaded = tiny_model()
    with pytest.raises(ValueError, match="not 4 rows"), side_by_side(loaded, four(loaded)):
        loaded.model(input_ids=torch.tensor([PROMPTS[0]] * 3))
    assert hooks_left(loaded) == 0


@pytest.mark.parametrize("make", [RowPasses, TurnPasses, side_by_side])
def test_masks_and_strengths_are_checked(make: type) -> None:
    loaded, other = tiny_model(), tiny_model(seed=1)

    def attempt(variants: list[Variant]) -> None:
        context = make(loaded, variants)
        if make is side_by_side:
            context.__enter__()

    with pytest.raises(MaskInvalid, match="made for weights"):
        attempt([Variant("x", random_mask(other, 5))])
    with pytest.raises(MaskInvalid, match="measurement-only"):
        attempt([Variant("x", random_mask(loaded, 5, kind="measurement"))])
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"strength must lie in \[0, 1\]"):
            attempt([Variant("x", random_mask(loaded, 5), strength)])
    with pytest.raises(ValueError, match="at least one variant"):
        attempt([])
    assert hooks_left(loaded) == 0


def test_a_mask_that_changes_nothing_says_so() -> None:
    loaded = tiny_model()
    empty = PruneMask({}, "harm", loaded.weight_hash)
    with pytest.warns(RuntimeWarning, match="the mask of 'pane 2' changed 0 weights"):
        SideBySide(loaded, [Variant("intact"), Variant("pane 2", empty)])
    with pytest.warns(RuntimeWarning, match="the mask of 'pane 2' changed 0 weights"):
        TurnPasses(loaded, [Variant("pane 2", empty)])(torch.tensor([[5]]))


def test_clean_after_an_exception_and_locked_meanwhile() -> None:
    loaded = tiny_model()
    before = hash_weights(loaded)
    got: list[bool] = []
    with pytest.raises(KeyboardInterrupt), side_by_side(loaded, four(loaded)):  # noqa: PT012
        assert hooks_left(loaded) > 0
        assert hash_weights(loaded) == before  # side by side never writes a weight
        t = threading.Thread(target=lambda: got.append(loaded.lock.acquire(blocking=False)))
        t.start()
        t.join()
        raise KeyboardInterrupt
    assert got == [False]
    assert hooks_left(loaded) == 0
    assert hash_weights(loaded) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", DENSE_FAMILIES)
def test_cuda(family: str) -> None:
    loaded = tiny_model(family)
    loaded.model.to("cuda")
    loaded.device = torch.device("cuda")
    variants = four(loaded)
    ids = torch.tensor([PROMPTS[0]] * 4, device="cuda")
    for passes in (RowPasses(loaded, variants), TurnPasses(loaded, variants)):
        logits = passes(ids)
        torch.testing.assert_close(passes(logits.argmax(-1)[:, None]).shape, logits.shape)
    together = RowPasses(loaded, variants)(ids)
    torch.testing.assert_close(together, TurnPasses(loaded, variants)(ids), atol=ATOL, rtol=RTOL)
    assert torch.equal(together, RowPasses(loaded, variants)(ids))
