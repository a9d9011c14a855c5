"""The pre-flight of large models and mixtures: it counts a batch as scoring makes it, and what a run stores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from harmviz import preflight
from harmviz.claims.mapping.settings import CANDIDATE_P_GRID, RunSpec
from harmviz.preflight import ModelEstimate, estimate, machine
from harmviz.scoring.forward import default_batch_tokens
from tests.worlds.large import LARGE, large_model
from tests.worlds.tiny import tiny_model


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", LARGE)
def test_the_batch_that_is_counted_is_the_one_that_is_made(name: str, device: str) -> None:
    loaded = large_model(name, device)
    vocabulary = loaded.model.config.vocab_size
    activations = loaded.table.activations_per_token(getattr(loaded.model.config, "num_experts_per_tok", None))
    model = ModelEstimate(
        name,
        loaded.n_parameters,
        loaded.table.n_weights,
        vocabulary=vocabulary,
        activations_per_token=activations,
    )
    tokens = default_batch_tokens(loaded)
    needed = estimate._working_bytes(model, on_gpu=device == "cuda", width=2)
    assert needed == tokens * (3 * activations + 3 * 4 * vocabulary)


def test_of_a_mixtures_experts_those_count_that_a_token_is_sent_to(tmp_path: Path) -> None:
    loaded = tiny_model("mixtral")
    loaded.model.save_pretrained(tmp_path)
    # Two layers; attention: 16 + 16 and 16 + 8 twice each; of four experts two, of three maps 16 + 32.
    attention, expert = 2 * (16 + 16) + 2 * (16 + 8), 3 * (16 + 32)
    assert preflight.model_estimate(str(tmp_path)).activations_per_token == 2 * (attention + 2 * expert)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["num_experts_per_tok"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert preflight.model_estimate(str(tmp_path)).activations_per_token == 2 * (attention + 4 * expert)


@pytest.mark.parametrize("used", [8, None])
def test_a_mixture_is_not_refused_for_a_batch_of_all_its_experts(used: int | None, monkeypatch) -> None:
    """30 billion, of which a token uses 3: on a card of 141 GB weights and a batch fit, its sums lie in main memory.
    Where the config does not say how many experts are used, batches are smaller."""
    monkeypatch.setattr(machine, "free_gpu_memory", lambda: 141 * 10**9)
    monkeypatch.setattr(machine, "free_memory", lambda: 512 * 10**9)
    loaded = large_model("30B-A3B")
    model = ModelEstimate(
        "m",
        loaded.n_parameters,
        loaded.table.n_weights,
        2 * loaded.n_parameters,
        vocabulary=151_936,
        activations_per_token=loaded.table.activations_per_token(used),
    )
    memory, gpu = preflight.memory_needs(model)
    assert (memory.what, gpu.what, gpu.verdict) == ("memory", "GPU memory", "fits")
    assert memory.needed > 4 * loaded.table.n_weights


def test_the_protected_weights_are_counted_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "free_gpu_memory", lambda: None)
    monkeypatch.setattr(machine, "free_disk", lambda _: 10**11)  # no room for score files: what stays is all there is
    plan = preflight.plan_source("builtin", RunSpec())
    n = large_model("8B").table.n_weights
    needed = preflight.run_estimate(ModelEstimate("m", n, n, 2 * n), plan, q_max=1e-6).needs[-1].needed
    rows = int(58 * 1e-6 * n)
    assert needed == 50 * rows + int(sum(CANDIDATE_P_GRID) * n)
    assert needed > 0.06 * n, "more than the candidates themselves"


def test_gap_bytes_are_about_a_byte_a_protected_weight() -> None:
    from harmviz.masks.packing import pack_gaps, squeeze

    draw = torch.Generator().manual_seed(0)
    kept = [(torch.rand(2_000_000, generator=draw) < p).nonzero().flatten().numpy() for p in CANDIDATE_P_GRID[1:]]
    stored = sum(len(squeeze(pack_gaps(index))) for index in kept)
    assert 0.75 * sum(map(len, kept)) < stored <= sum(CANDIDATE_P_GRID) * 2_000_000
