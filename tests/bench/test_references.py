"""What stands beside a figure does the same work: the plain ways come to the same scores, masks and tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harmviz.bench.decode import one_after_another
from harmviz.bench.machine import Rates
from harmviz.bench.masks import dense_selection
from harmviz.bench.scoring import bench as bench_scoring
from harmviz.bench.scoring import naive_loop
from harmviz.bench.subject import Subject
from harmviz.bench.toggle import spread_mask
from harmviz.data.encoding import Sample, make_batches
from harmviz.generation.decode import decode
from harmviz.generation.variants import Variant
from harmviz.masks.selection import Selection, select
from harmviz.scoring.absolute import score_absolute
from tests.worlds.masks import CATEGORIES, SETS, World, table_of
from tests.worlds.tiny import tiny_model


def test_the_naive_loop_comes_to_the_absolute_scores() -> None:
    loaded = tiny_model()
    samples = [Sample(str(n), str(n), tuple(range(5, 25 + n)), 8, 8) for n in range(4)]
    wanted = score_absolute(loaded, make_batches(samples, max_tokens=1000))
    for one, score in zip(naive_loop(loaded, make_batches(samples, max_tokens=1)), wanted, strict=True):
        torch.testing.assert_close(one, score, atol=1e-6, rtol=1e-4)
    assert not any(p.requires_grad or p.grad is not None for p in loaded.model.parameters())


def test_fused_experts_are_benched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their parameters hold many matrices each, and absolute scores take one sample at a time."""
    loaded = tiny_model("mixtral")
    samples = [Sample(str(n), str(n), tuple(range(5, 25 + n)), 8, 8) for n in range(3)]
    names = {m.param_name for m in loaded.table}
    assert len(names) < len(loaded.table)
    found = naive_loop(loaded, make_batches(samples, max_tokens=1))
    assert len(found) == len(names)
    monkeypatch.setattr(Subject, "rates", Rates(flops=1e11, bandwidth=1e10))
    figures = {figure.what: figure for figure in bench_scoring(Subject(loaded, samples, [5, 6, 7]))}
    assert figures["absolute"].value > 0


@pytest.mark.parametrize(("q", "p"), [(0.05, 0.1), (0.2, 0.3), (0.01, 0.0)])
def test_the_dense_way_comes_to_the_same_mask(tmp_path: Path, q: float, p: float) -> None:
    rng = np.random.default_rng(1)
    table = table_of((20, 20), (10, 20))
    world = World(table, rng.random(600, dtype=np.float32), {s: rng.random(600, dtype=np.float32) for s in SETS})
    world.scores[CATEGORIES[1]].tofile(tmp_path / "harm")
    world.utility.tofile(tmp_path / "utility")
    chosen = select(world.build(), Selection((CATEGORIES[1],), q=q, p=p)).global_index
    assert len(chosen) == int(600 * q)
    assert np.array_equal(dense_selection(tmp_path / "harm", tmp_path / "utility", q, p), chosen)


def test_generate_writes_the_same_answers() -> None:
    loaded = tiny_model()
    loaded.model.generation_config.eos_token_id = None
    variants = [Variant("intact"), Variant("a", spread_mask(loaded, 0.05)), Variant("b", spread_mask(loaded, 0.2, 1))]
    prompt = [5, 40, 41, 42]
    steps = list(decode(loaded, prompt, variants, max_new_tokens=12))
    together = [[t for step in steps if (t := step.tokens[k]) is not None] for k in range(3)]
    apart = one_after_another(loaded, prompt, variants, 12)
    assert len({tuple(answer) for answer in apart}) > 1  # the masks do something here
    for ours, theirs in zip(together, apart, strict=True):
        assert theirs[: len(ours)] == ours
        assert len(theirs) == 12
