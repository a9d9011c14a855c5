"""What is computed from shapes alone, at the sizes it is for: 8 and 32 billion weights and mixtures of experts, on the
meta device. No number here was measured on a GPU; each follows from shapes, or is counted while a pass is traced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harmviz.claims.mapping.settings import DEFAULT_Q_MAX, MAX_ROWS, RunSpec, default_q_max, n_lists
from harmviz.claims.mapping.work import scratch_bytes
from harmviz.data.encoding import Sample, make_batches
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of
from harmviz.models.load import choose_dtype, wrap
from harmviz.models.weights import WeightTable
from harmviz.preflight.tensors import Tensors
from harmviz.scoring import absolute, signed
from harmviz.scoring.blocks import blocks_of
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import sums_devices
from tests.worlds.held_bytes import HeldBytes
from tests.worlds.large import LARGE, large_model
from tests.worlds.tiny import tiny_model

GB = 10**9
#: Matrices, scored weights and all parameters, from the configs: attention + three maps of the MLP (or of each expert).
SIZES = {
    "8B": (32 * 7, 32 * (2 * 4096 * (4096 + 1024) + 3 * 4096 * 14336), 8_030_261_248),
    "32B": (64 * 7, 64 * (2 * 5120 * (5120 + 1024) + 3 * 5120 * 27648), 32_763_876_352),
    "8x7B": (32 * (4 + 2 * 8), 32 * (2 * 4096 * (4096 + 1024) + 8 * 3 * 4096 * 14336), 46_702_792_704),
    "30B-A3B": (48 * (4 + 2 * 128), 48 * (2 * 2048 * (4096 + 512) + 128 * 3 * 2048 * 768), 30_532_122_624),
}
N_TYPES, N_SETS = 7, 9  # harm types of the default data; and benign and safe answers


# -- addresses --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", LARGE)
def test_every_weight_is_counted_once(name: str) -> None:
    loaded = large_model(name)
    n_matrices, n_scored, n_parameters = SIZES[name]
    assert (len(loaded.table), loaded.table.n_weights, loaded.n_parameters) == (n_matrices, n_scored, n_parameters)
    assert loaded.table.offsets.dtype == np.int64
    assert n_scored > 2**32, "the case that this is about"
    assert max(m.size for m in loaded.table) < 2**32, "flat indices of masks are uint32"
    assert len(loaded.table) < 2**16, "matrix numbers of candidates are uint16"
    assert WeightTable.from_json(loaded.table.to_json()) == loaded.table


@pytest.mark.parametrize("name", LARGE)
def test_masks_far_into_the_model_keep_their_addresses(name: str, tmp_path: Path) -> None:
    table = large_model(name).table
    n = table.n_weights
    far = np.array([0, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, n - 2, n - 1])
    mask = PruneMask.from_global(table, far, kind="harm", model_hash="0" * 64)
    mask.save(tmp_path / "mask.safetensors")
    loaded = PruneMask.load(tmp_path / "mask.safetensors")
    assert loaded.to_global(table).tolist() == far.tolist()
    last = table[len(table) - 1]
    assert loaded.indices[last.name].tolist()[-1] == last.size - 1
    assert loaded.indices[last.name].dtype == np.uint32
    out, into = last.out_in(loaded.indices[last.name])
    assert (int(out[-1]), int(into[-1])) == (last.rows - 1, last.cols - 1)
    with pytest.raises(ValueError, match=f"must lie in 0 … {n - 1}"):
        PruneMask.from_global(table, np.array([n]), kind="harm", model_hash="0" * 64)


# -- bytes ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "sums", "files", "q_max"),
    [("8B", 27.9, 530.4, 1e-5), ("32B", 124.8, 2371.6, 2e-6), ("8x7B", 185.8, 3529.4, 1e-6),
     ("30B-A3B", 119.6, 2272.2, 2e-6)],
)  # fmt: skip
def test_sums_score_files_and_candidates(name: str, sums: float, files: float, q_max: float) -> None:
    n = large_model(name).table.n_weights
    assert 4 * n / GB == pytest.approx(sums, abs=0.05)
    assert scratch_bytes(n, N_SETS) / GB == pytest.approx(files, abs=0.05)
    assert default_q_max(n, N_TYPES) == q_max < DEFAULT_Q_MAX
    spec = RunSpec(q_max=q_max)  # it may be asked for
    entries = n_lists(N_TYPES) * count_of(q_max, n)
    assert MAX_ROWS / 3 < entries <= MAX_ROWS, "as many as the limit allows, in one digit of q"
    assert count_of(min(spec.q_grid), n) >= 400, "the smallest mask tried on validation is no handful"


def test_the_header_judge_agrees_with_the_model() -> None:
    """By shapes as a checkpoint has them: transformers keeps experts stacked, and saves those of Mixtral one by one."""
    for name in LARGE:
        loaded = large_model(name)
        config = loaded.model.config
        used = getattr(config, "num_experts_per_tok", None)
        stacked = {n: tuple(p.shape) for n, p in loaded.model.named_parameters()}
        apart: dict[str, tuple[int, ...]] = {}
        for n, shape in stacked.items():
            for e in range(shape[0] if len(shape) == 3 else 0):
                stem = n.rpartition(".")[0]
                if n.endswith("gate_up_proj"):
                    apart |= {f"{stem}.{e}.{w}.weight": (shape[1] // 2, shape[2]) for w in ("w1", "w3")}
                else:
                    apart[f"{stem}.{e}.w2.weight"] = shape[1:]
            if len(shape) != 3:
                apart[n] = shape
        n_layers = config.num_hidden_layers
        for shapes in (stacked, apart):
            tensors = Tensors(shapes, 0, n_layers, used)
            assert (tensors.n_scored, tensors.n_parameters) == (loaded.table.n_weights, loaded.n_parameters)
            assert tensors.vocabulary == config.vocab_size
        assert Tensors(stacked, 0, n_layers, used).activations_per_token == loaded.table.activations_per_token(used)
        if used is not None:
            # Apart, gate and up read their input twice; unknown, all experts count.
            width = config.hidden_size * used * n_layers
            known = Tensors(apart, 0, n_layers, used).activations_per_token
            assert known == loaded.table.activations_per_token(used) + width
            assert Tensors(apart, 0, n_layers).activations_per_token > 3 * known


# -- memory -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch):
    """Sets what a GPU of so many bytes says: of those taken, torch holds ``cached`` without using them."""

    def fill(n_bytes: int, used: int, cached: int = 0) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (n_bytes - used - cached, n_bytes))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: used + cached)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: used)

    return fill


def weight_bytes(name: str) -> int:
    return 2 * large_model(name).n_parameters


@pytest.mark.parametrize(
    ("name", "gigabytes", "where"),
    [("8B", 40, "cpu"), ("8B", 80, "cuda"), ("8B", 141, "cuda"), ("32B", 80, "cpu"), ("32B", 141, "cpu"),
     ("30B-A3B", 141, "cpu")],
)  # fmt: skip
def test_where_the_sums_lie(name: str, gigabytes: int, where: str, card) -> None:
    loaded, taken = large_model(name, "cuda"), weight_bytes(name)
    for cached in (0, gigabytes * GB - taken):  # after a stage torch holds all of the card, and the driver says so
        card(gigabytes * GB, taken, cached)
        assert {d.type for d in sums_devices(loaded, range(len(loaded.table)))} == {where}
        free = gigabytes * GB - taken
        block = blocks_of(loaded.table, int(0.5 * free) // (8 * 2 * N_SETS))[-1]
        assert {d.type for d in sums_devices(loaded, block)} == {"cuda"}, "a block's sums fit beside the model"
    assert choose_dtype("auto", loaded.device, loaded.n_parameters) == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "gigabytes", "n_blocks", "n_utility"), [("8B", 80, 32, 2), ("8B", 141, 18, 1), ("32B", 141, 192, 7)]
)
def test_blocks_hold_what_they_may(name: str, gigabytes: int, n_blocks: int, n_utility: int) -> None:
    table = large_model(name).table
    room = (gigabytes * GB - weight_bytes(name)) // 2  # as ScoreBlocks takes it
    of_sets, of_utility = (blocks_of(table, room // (8 * n)) for n in (2 * N_SETS, 1))
    for blocks in (of_sets, of_utility):
        assert [i for block in blocks for i in block] == list(range(len(table)))
    largest_sets, largest_utility = (
        max(int(table.offsets[b.stop] - table.offsets[b.start]) for b in blocks) for blocks in (of_sets, of_utility)
    )
    assert 4 * (2 * N_SETS * largest_sets + largest_utility) <= room
    assert (len(of_sets), len(of_utility)) == (n_blocks, n_utility)


def test_a_stack_of_experts_is_a_block_even_where_it_is_too_large(card) -> None:
    """Its gradient is one. What its sums have no room for on the card goes to main memory."""
    loaded, taken = large_model("8x7B", "cuda"), weight_bytes("8x7B")
    blocks = blocks_of(loaded.table, (141 * GB - taken) // 2 // (8 * 2 * N_SETS))
    assert len(blocks) == 3 * 32  # attention and the two stacks of every layer
    n_bytes = [4 * sum(loaded.table[i].size for i in block) for block in blocks]
    assert max(n_bytes) == 4 * 8 * 28_672 * 4096
    free, kept = 141 * GB - taken, 0
    for _ in range(2 * N_SETS):  # as the sets' sums are made one after another
        card(141 * GB, taken + kept)
        kept += max(n_bytes) * ({d.type for d in sums_devices(loaded, blocks[n_bytes.index(max(n_bytes))])} == {"cuda"})
    assert 0 < kept < free


@pytest.mark.parametrize(("name", "tokens"), [("8B", 726), ("32B", 983), ("8x7B", 2929), ("30B-A3B", 1766)])
def test_batches_are_as_large_as_memory_and_vocabulary_allow(name: str, tokens: int) -> None:
    loaded = large_model(name, "cuda")
    assert default_batch_tokens(loaded) == tokens
    used = getattr(loaded.model.config, "num_experts_per_tok", None)
    kept = 1.5 * 2 * loaded.table.activations_per_token(used) * tokens
    logits = 4 * 4 * loaded.model.config.vocab_size * tokens
    assert kept <= 0.13 * (weight_bytes(name) + 4 * loaded.table.n_weights)
    assert logits <= 4 << 30


@pytest.mark.parametrize("score", ["signed", "absolute"])
@pytest.mark.parametrize("name", ["8B", "32B"])
def test_a_pass_takes_weights_one_sum_and_fifteen_per_cent(name: str, score: str, monkeypatch) -> None:
    """Counted over two batches as full as they may be, traced on the meta device."""
    for module in (signed, absolute):
        monkeypatch.setattr(module, "check_losses", lambda *_: None)  # nothing has a value here
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda *_: None)
    tokens = default_batch_tokens(large_model(name, "cuda"))
    length = tokens // 3
    group = [Sample(str(i), str(i), (1,) * length, length // 2, length // 2) for i in range(6)]
    loaded = large_model(name)
    batches = make_batches(group, max_tokens=tokens, device="meta")
    assert [b.n_samples for b in batches] == [3, 3]
    with HeldBytes() as counted:
        sums = {"signed": signed.score_signed, "absolute": absolute.score_absolute}[score](loaded, batches)
    one_sum = 4 * loaded.table.n_weights
    assert sum(s.nbytes for s in sums) == one_sum
    resident = weight_bytes(name) + one_sum
    assert resident < weight_bytes(name) + counted.peak <= 1.15 * resident
    activations = counted.peak - one_sum
    assumed = 1.5 * 2 * loaded.table.activations_per_token() * 3 * (length - 1)
    assert 0.8 * assumed < activations < 1.3 * assumed


def test_a_mixture_takes_one_sum_too() -> None:
    """Counted where experts are most of the weights: sums once, and no gradient of them for longer than it is added."""
    loaded = tiny_model("mixtral")
    config = loaded.model.config
    config.num_local_experts, config.intermediate_size, config.num_hidden_layers = 16, 512, 6
    torch.manual_seed(0)
    loaded = wrap(type(loaded.model)(config), loaded.tokenizer, name="wide")
    of_experts = 4 * sum(m.size for m in loaded.table if m.expert is not None)
    one_sum = 4 * loaded.table.n_weights
    assert of_experts > 0.99 * one_sum
    group = [Sample(str(i), str(i), tuple(range(5, 11)), 2, 2) for i in range(2)]  # few tokens: few activations
    with HeldBytes() as counted:
        absolute.score_absolute(loaded, make_batches(group, max_tokens=1))
    largest = 4 * 16 * 1024 * 16  # of a layer's two stacks
    assert of_experts == 6 * 1.5 * largest
    assert one_sum < counted.peak < one_sum + 5.5 * largest < 2 * one_sum
