"""Floors against what torch counts, and against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harmviz.bench.floors import LINE, decoding_bytes, scoring_flops, selection_bytes, sizes_of, toggle_bytes
from harmviz.bench.random_weights import random_samples
from harmviz.bench.scoring import plain_pass
from harmviz.bench.shapes import SHAPES
from harmviz.data.encoding import Sample, make_batches
from harmviz.masks.selection import Combine, Selection, make_mask
from harmviz.models.load import LoadedModel
from tests.worlds.masks import CATEGORIES, SETS, World, table_of
from tests.worlds.tiny import tiny_model

SAMPLE = Sample("a", "a", tuple(range(5, 25)), n_prompt=8, loss_from=8)
FED, PREDICTED = 19, 12


def sizes(loaded: LoadedModel):
    return sizes_of(loaded.model, loaded.table)


def first_inputs(loaded: LoadedModel) -> int:
    """Weights of the first layer that read the embedded tokens, which need no gradient when parameters are trained."""
    first = ("q_proj", "k_proj", "v_proj", "c_attn")
    return sum(m.size for m in loaded.table if m.layer == 0 and m.module_kind.rpartition(".")[2] in first)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma3", "mixtral"])
def test_scoring_flops_are_what_torch_counts(family: str) -> None:
    """Of matrix products; attention's are counted by the formula alone, since torch does not count them on a CPU."""
    loaded = tiny_model(family)
    with FlopCounterMode(display=False) as counter:
        plain_pass(loaded, make_batches([SAMPLE], max_tokens=100))
    attention = 2 * 6 * 16 * FED * (FED + 1)  # 2 layers of 2 heads of 8
    routers = sum(p.numel() for n, p in loaded.model.named_parameters() if n.endswith("mlp.gate.weight"))  # not scored
    expected = scoring_flops(sizes(loaded), [SAMPLE]) - attention - 2 * FED * first_inputs(loaded)
    assert counter.get_total_flops() == expected + 4 * FED * routers


def test_scoring_flops_by_hand() -> None:
    s = sizes(tiny_model())
    assert (s.n_layers, s.n_head, s.d_query, s.d_key_value) == (2, 128 * 16, 16, 2 * 8)
    assert s.n_matrix == s.n_scored == 2 * (2 * 16 * 16 + 2 * 8 * 16 + 3 * 16 * 32)
    one = 6 * 4608 * FED + 4 * 2048 * PREDICTED + 6 * 2 * 16 * FED * (FED + 1)
    assert scoring_flops(s, [SAMPLE]) == one
    assert scoring_flops(s, [SAMPLE, SAMPLE]) == 2 * one


def test_what_a_decoding_step_reads() -> None:
    llama, gemma, gpt2, mixtral = map(tiny_model, ("llama", "gemma3", "gpt2", "mixtral"))
    norms = 5 * 16
    assert sizes(llama).n_step == 4608 + 2048 + norms  # not the input embedding
    assert sizes(gemma).n_step == sizes(gemma).n_parameters  # head and embedding are one matrix
    assert sizes(gpt2).n_step == sizes(gpt2).n_parameters - 1024 * 16  # one row of the position embedding
    experts = sum(m.size for m in mixtral.table if m.expert is not None)
    assert sizes(mixtral).n_matrix == mixtral.table.n_weights - experts / 2  # two of four experts a token
    # 3 variants, contexts of 10, 11 and 12 tokens
    assert decoding_bytes(sizes(llama), 2, 3, n_prompt=10, n_steps=3) == 2 * (6736 + 3 * 2 * 16 * 11)


def test_the_shape_of_llama_8b() -> None:
    from harmviz.bench.random_weights import _model
    from harmviz.models.architecture import scored_matrices

    shape = SHAPES["llama-3.1-8b"]
    with torch.device("meta"):
        model = _model(shape, torch.bfloat16)
    s = sizes_of(model, scored_matrices(model)[0])
    assert s.n_parameters == 8_030_261_248
    assert s.n_scored == 32 * (2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 4096 * 14336)
    assert decoding_bytes(s, 2, 1, 64, 1) == pytest.approx(2 * (s.n_parameters - 128256 * 4096), rel=1e-3)
    assert scoring_flops(s, random_samples(shape)) == pytest.approx(32 * 255 * 6 * s.n_scored, rel=0.08)


def test_toggle_bytes() -> None:
    assert toggle_bytes(10, "cpu") == 10 * (4 * 64 + 24)
    assert toggle_bytes(10, "cpu") - toggle_bytes(10, "cuda") == 40 * (LINE["cpu"] - LINE["cuda"])


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(0)
    table = table_of((20, 20), (10, 20))
    return World(table, rng.random(600, dtype=np.float32), {s: rng.random(600, dtype=np.float32) for s in SETS})


@pytest.mark.parametrize(
    ("categories", "combine", "lists"),
    [(CATEGORIES, "mean", 1), (CATEGORIES[:1], "mean", 1), (CATEGORIES[:2], "union", 2), (CATEGORIES[:2], "mean", 0)],
)
def test_selection_bytes(world: World, categories: tuple[str, ...], combine: Combine, lists: int) -> None:
    candidates = world.build()
    selection = Selection(categories, combine=combine, q=0.02, p=0.1)
    n = make_mask(candidates, selection, model_hash="").n_weights
    address = candidates.matrix.itemsize + candidates.flat.itemsize
    row = next(iter(candidates.orders.values())).itemsize
    of_lists = lists * 12 * row  # ⌊0.02 · 600⌋ rows of each
    both_whole = 2 * 120 * row + 120 * 2 * 4  # and two scores of as many rows
    assert selection_bytes(candidates, selection, n) == n * address + (of_lists or both_whole)
