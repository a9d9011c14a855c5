"""References for the scoring and loss tests: plain autograd over single samples, and one model small enough to work by
hand.

Nothing here uses ``harmviz.scoring``: the loss is ``log_softmax`` and ``gather`` on the full logits of one sample.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoModelForCausalLM, DeepseekV3Config, OPTConfig, PretrainedConfig, Qwen2MoeConfig

from harmviz.data.encoding import Sample, encode
from harmviz.data.prompts import PromptRow
from harmviz.models.load import LoadedModel, wrap
from harmviz.models.weights import WeightMatrix, WeightTable
from tests.worlds.tiny import _COMMON, _GQA, VOCAB, tokenizer


def samples(n: int = 6, *, skip: int = 0, seed: int = 0, longest: int = 40) -> list[Sample]:
    """Encoded pairs of random letters, of unequal lengths; every response has more than 8 tokens."""
    draw = random.Random(seed)

    def text(length: int) -> str:
        return "".join(draw.choices(string.ascii_letters + string.digits, k=length))

    rows = [PromptRow("x", text(draw.randint(1, 12)), text(draw.randint(10, longest))) for _ in range(n)]
    return [encode(tokenizer(), row, max_response_tokens=96, skip_tokens=skip) for row in rows]


def single_loss(model: nn.Module, sample: Sample) -> torch.Tensor:
    """L(x) of one sample, unpadded, from its full logits."""
    ids = torch.tensor([sample.ids], device=next(model.parameters()).device)
    log_p = model(input_ids=ids).logits[0].float().log_softmax(-1)
    predicting = torch.arange(sample.loss_from - 1, len(sample.ids) - 1, device=ids.device)
    return -log_p[predicting].gather(1, ids[0, predicting + 1][:, None]).mean()


class Reference(NamedTuple):
    """``Σ_x W ⊙ ∇L(x)`` and ``Σ_x |W ⊙ ∇L(x)|``, in the table's order."""

    signed: list[torch.Tensor]
    absolute: list[torch.Tensor]


def reference(loaded: LoadedModel, group: Sequence[Sample], only: int | None = None) -> Reference:
    """Both scores by one ``torch.autograd.grad`` a sample; ``only`` restricts it to one matrix of the table."""
    places = range(len(loaded.table)) if only is None else [only]
    names = list(dict.fromkeys(loaded.table[i].param_name for i in places))
    parameters = [loaded.model.get_parameter(n) for n in names]
    signed = [torch.zeros_like(loaded.tensor(i), dtype=torch.float32) for i in places]
    absolute = [torch.zeros_like(s) for s in signed]
    try:
        for p in parameters:
            p.requires_grad_(True)
        for sample in group:
            gradients = torch.autograd.grad(single_loss(loaded.model, sample), parameters, allow_unused=True)
            by_name = dict(zip(names, gradients, strict=True))
            for at, place in enumerate(places):
                matrix = loaded.table[place]
                gradient = by_name[matrix.param_name]
                if gradient is None:
                    continue
                product = loaded.tensor(place).detach() * (
                    gradient if matrix.expert is None else gradient[matrix.expert]
                )
                signed[at] += product
                absolute[at] += product.abs()
    finally:
        for p in parameters:
            p.requires_grad_(False)
    return Reference(signed, absolute)


def worst_error(got: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """Largest relative Frobenius error over the matrices; a matrix that should be 0 must be exactly 0."""
    errors = [0.0]
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape
        assert a.dtype == torch.float32
        norm = float(b.norm())
        if norm == 0:
            assert not a.any()
        else:
            errors.append(float((a - b).norm()) / norm)
    return max(errors)


class ByHand(nn.Module):
    """Two tokens, one scored 2 × 3 matrix: ``logits = W · embedding[token]``, nothing else.

        embedding[0] = (1, 2, 0)      W = [[2, 1, 3],      W·embedding[0] = (4, 4)
        embedding[1] = (0, 1, 1)           [0, 2, 2]]      W·embedding[1] = (4, 4)

    so both tokens are equally likely everywhere: every loss is ln 2, and the gradient at the logits is
    ``p − onehot``: (−½, ½) where token 0 is the target, (½, −½) where token 1 is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.config = PretrainedConfig(vocab_size=2)
        self.embedding = nn.Embedding(2, 3)
        self.linear = nn.Linear(3, 2, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]))
            self.linear.weight.copy_(torch.tensor([[2.0, 1.0, 3.0], [0.0, 2.0, 2.0]]))
            self.head.weight.copy_(torch.eye(2))
        self.requires_grad_(False)

    @property
    def base_model(self) -> nn.Module:
        return self

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(
        self, input_ids: torch.Tensor | None = None, inputs_embeds: torch.Tensor | None = None, **_: Any
    ) -> SimpleNamespace:
        embedded = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        return SimpleNamespace(logits=self.head(self.linear(embedded)))


def by_hand() -> LoadedModel:
    model: Any = ByHand()
    table = WeightTable([WeightMatrix("linear.weight", 0, "linear", 2, 3)])
    return LoadedModel(
        model, tokenizer(), "by-hand", None, "00" * 32, table, [model.linear], torch.device("cpu"), torch.float32
    )


#: One prompt token, then the response: of A one token 0 (after token 0), of B one token 1 (after token 1).
SAMPLE_A = Sample("a", "a", (0, 0), 1, 1)
SAMPLE_B = Sample("b", "b", (1, 1), 1, 1)


# -- families beyond tests.tiny ---------------------------------------------------------------------------------------
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 8}
#: Layers of theirs see inputs that are not batch × pos × d: OPT and Qwen2-MoE tokens × d, DeepSeek-V3 batch × 1 × pos ×
#: d.
ODD_SHAPES: dict[str, Callable[[], Any]] = {
    "opt": lambda: OPTConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        word_embed_proj_dim=16,
    ),
    "qwen2_moe": lambda: Qwen2MoeConfig(**_GQA, **_EXPERTS, num_experts=4, shared_expert_intermediate_size=8),
    "deepseek_v3": lambda: DeepseekV3Config(
        **_COMMON,
        **_EXPERTS,
        n_routed_experts=4,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=8,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
    ),
}


def odd_model(family: str) -> LoadedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(ODD_SHAPES[family](), dtype=torch.float32)
    for name, p in model.named_parameters():
        if p.ndim >= 2 and "embed" not in name:
            p.data *= 3
    return wrap(model, tokenizer(), name=family)
