"""Linear layers over few rows: the same numbers by the other form, hooks as ever, nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harmviz.generation import few_rows as module
from harmviz.generation.decode import decode
from harmviz.generation.few_rows import few_rows, is_gained
from harmviz.generation.variants import Variant
from tests.worlds.tiny import tiny_model


@pytest.fixture(params=["AVX2", "AVX512", "DEFAULT"])
def capability(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    return str(request.param)


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def test_taken_where_it_was_measured_and_nowhere_else(capability: str) -> None:
    taken = [n for n in range(20) if is_gained(n)]
    assert taken == ([2, 3, 4, 5, 6, 7, 8] if capability == "AVX2" else [])
    for layer in (nn.Linear(3, 4), nn.Linear(3, 4).bfloat16(), nn.Linear(3, 4).to("meta")):
        with few_rows(layer, 4):
            usual = capability != "AVX2" or layer.weight.dtype != torch.float32 or layer.weight.device.type != "cpu"
            assert ("forward" in layer.__dict__) is not usual


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 1, 48), (8, 1, 48), (1, 4, 48), (6, 48), (0, 48)])
def test_same_numbers_contiguous_and_seen_by_hooks(
    avx2: None, bias: bool, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(48, 80, bias=bias), torch.randn(shape)
    taken: list[int] = []
    usual = module.weights_first
    monkeypatch.setattr(module, "weights_first", lambda m, x: taken.append(1) or usual(m, x))
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda _m, _args, out: seen.append(out))
    with torch.inference_mode():
        wanted = layer(x)
        with few_rows(layer, 3):  # of the whole pass; a layer may be given fewer, or none
            found = layer(x)
    handle.remove()
    assert taken == [1]
    assert found.shape == wanted.shape
    assert found.is_contiguous()
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert [out.data_ptr() for out in seen] == [wanted.data_ptr(), found.data_ptr()]


def test_nothing_is_left_behind_and_what_others_replaced_stays(avx2: None) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4))

    def theirs(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    model[1].__dict__["forward"] = theirs
    with few_rows(model, 3):
        assert "forward" in model[0].__dict__
        assert model[1].__dict__["forward"] is theirs
        assert "forward" not in model[2].__dict__
    assert "forward" not in model[0].__dict__
    with pytest.raises(RuntimeError, match="shape"), few_rows(model, 3):
        model[0](torch.zeros(3, 5))
    assert "forward" not in model[0].__dict__
    assert model[1].__dict__["forward"] is theirs


def test_variants_decoded_together_take_it_and_say_the_same(avx2: None, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_model("llama")
    ids = loaded.tokenizer.encode("how do I bake bread")
    taken: list[int] = []
    usual = module.weights_first
    monkeypatch.setattr(module, "weights_first", lambda m, x: taken.append(x.shape[0]) or usual(m, x))
    variants = [Variant("a"), Variant("b"), Variant("c")]
    found = [step.tokens for step in decode(loaded, ids, variants, max_new_tokens=6)]
    # The prompt's pass is no few rows; every step after it is, in every linear layer.
    linear = sum(type(m) is nn.Linear for m in loaded.model.modules())
    assert set(taken) == {3}
    assert len(taken) == linear * (len(found) - 1)
    monkeypatch.setattr(module, "FEW_ROWS", range(0))
    assert found == [step.tokens for step in decode(loaded, ids, variants, max_new_tokens=6)]
