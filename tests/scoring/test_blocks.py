"""Scores computed block by block are those of the files, whatever the block; and no more is held than was allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from harmviz.data.encoding import Batch, Sample, make_batches
from harmviz.data.splits import SCORING
from harmviz.models.load import LoadedModel
from harmviz.scoring import blocks
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.blocks import ScoreBlocks, blocks_of
from harmviz.scoring.files import ScoreFiles, score_file, write_scores
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed
from tests.worlds.masks import table_of
from tests.worlds.tiny import FAMILIES, tiny_model
from tests.worlds.worked import samples

SETS = ("hate", "benign")
SCORING_SAMPLES = {
    (name, half): samples(3, seed=k) for k, (name, half) in enumerate((n, h) for n in SETS for h in SCORING)
}
PRESERVE = samples(4, seed=9)


def in_files(loaded: LoadedModel, folder: Path) -> ScoreFiles:
    fused = any(m.expert is not None for m in loaded.table)

    def write(name: str, sums: list[torch.Tensor]) -> None:
        write_scores(folder / f"{name}.f32", (m.numpy() for m in sums), 4 * loaded.table.n_weights)

    def batched(group: list[Sample], one: bool = False) -> list:
        return make_batches(group, max_tokens=1 if one else default_batch_tokens(loaded))

    write("utility", score_absolute(loaded, batched(PRESERVE, fused)))
    for (name, half), group in SCORING_SAMPLES.items():
        write(score_file(name, half), score_signed(loaded, batched(group)))
    counts = {key: len(group) for key, group in SCORING_SAMPLES.items()}
    return ScoreFiles(folder, loaded.table, counts, len(PRESERVE))


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_those_of_the_files(family: str, tmp_path: Path) -> None:
    loaded = tiny_model(family)
    stored = in_files(loaded, tmp_path)
    largest = max(m.size for m in loaded.table)
    for room in (1 << 30, 8 * 4 * 3 * largest, 1):  # all at once, a few matrices, a parameter
        computed = ScoreBlocks(loaded, SCORING_SAMPLES, PRESERVE, n_bytes=room)
        n_sets, n_utility = computed.blocks
        assert (n_sets == 1) == (room == 1 << 30)
        assert 1 <= n_utility <= n_sets <= len({m.param_name for m in loaded.table})
        for i in range(len(loaded.table)):
            assert np.array_equal(computed.utility(i), stored.utility(i))
            for name in SETS:
                assert np.array_equal(computed.harm(name, i), stored.harm(name, i))
                for half in SCORING:
                    assert np.array_equal(computed.half(name, half, i), stored.half(name, half, i))


def test_a_block_is_computed_once_in_order_and_again_on_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, seen = tiny_model(), []

    def watched(loaded: LoadedModel, batches: Sequence[Batch], *, matrices: range) -> list[torch.Tensor]:
        seen.append(matrices)
        return score_signed(loaded, batches, matrices=matrices)

    monkeypatch.setattr(blocks, "score_signed", watched)
    n = loaded.table.n_weights
    computed = ScoreBlocks(loaded, SCORING_SAMPLES, PRESERVE, n_bytes=8 * len(SCORING_SAMPLES) * n // 2)
    n_sets, _ = computed.blocks
    assert n_sets >= 2
    for i in range(len(loaded.table)):
        computed.harm("hate", i)
        computed.harm("benign", i)
    assert len(seen) == n_sets * len(SCORING_SAMPLES)
    computed.harm("hate", 0)
    assert len(seen) == (n_sets + 1) * len(SCORING_SAMPLES)


def test_half_of_what_is_free_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_model()
    n = loaded.table.n_weights
    for share, whole in ((1.0, True), (0.9, False)):
        # 8 bytes a weight and set: the sums have half of the room, the utility the other
        monkeypatch.setattr(blocks, "free_on", lambda _, share=share: int(2 * 8 * len(SCORING_SAMPLES) * n * share))
        assert (ScoreBlocks(loaded, SCORING_SAMPLES, PRESERVE).blocks[0] == 1) == whole


def test_the_backward_pass_goes_no_deeper_than_the_block() -> None:
    loaded, batches = tiny_model(), make_batches(samples(2), max_tokens=1000)
    last = [len(loaded.table) - 1]
    reached = []
    first = loaded.modules[0]
    handle = first.register_full_backward_hook(lambda *_: reached.append(1))
    try:
        score_signed(loaded, batches, matrices=last)
        assert reached == []
        score_signed(loaded, batches)
        assert reached != []
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("room", "wanted"),
    [(0, [1, 1, 1, 1]), (5, [1, 1, 1, 1]), (8, [1, 1, 2]), (12, [2, 2]), (18, [2, 2]), (19, [3, 1]), (100, [4])],
)
def test_blocks_are_as_large_as_they_may_be(room: int, wanted: list[int]) -> None:
    table = table_of((2, 4), (1, 4), (1, 7), (1, 1))
    found = blocks_of(table, room)
    assert [len(block) for block in found] == wanted
    assert [i for block in found for i in block] == [0, 1, 2, 3]


def test_slices_of_one_parameter_stay_together() -> None:
    loaded = tiny_model("mixtral")
    for block in blocks_of(loaded.table, 1):
        names = {loaded.table[i].param_name for i in block}
        assert len(names) == 1
        assert [i for i, m in enumerate(loaded.table) if m.param_name in names] == list(block)
