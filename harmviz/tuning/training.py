"""One stage of safety tuning: every linear layer inside the decoder blocks, by SFT or by DPO.

Rows come encoded and in their final order (``tuning.schedule``), so that the trainer neither applies a template of its
own nor shuffles. SFT (loss: ``tuning.losses``) first tunes the matrices whole; then their difference to the start is
cut to its best approximation of ``spec.rank`` (Eckart-Young), and the last sixth of the steps tunes the two factors of
that, which makes good what the cut lost. DPO goes on with the factors; its reference is the model that it starts from.
The learning rate rises over the first twelfth of the steps of each part and falls to 0 in a line; the rest of a step is
that of narrow tuning (``tuning.step``).

A checkpoint is what ships: the two factors of every matrix in float16. The next stage goes on from it, and every figure
is measured on it.

Source: Rafailov et al. 2023, DPO (arXiv:2305.18290); Hu et al. 2021, LoRA (arXiv:2106.09685); Eckart and Young 1936.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harmviz.errors import UnsupportedArchitecture
from harmviz.models.adapters import Adapter
from harmviz.models.load import LoadedModel
from harmviz.tuning.held_weights import LowRank
from harmviz.tuning.losses import left_padded, sft_example, sft_loss
from harmviz.tuning.schedule import PairRow, SftRow
from harmviz.tuning.settings import BATCH, AlignSpec
from harmviz.tuning.step import MAX_NORM, WEIGHT_DECAY, fast_forward

if TYPE_CHECKING:
    from jaxtyping import Float, Float16
    from torch import Tensor

    Factors = tuple[Float16[Tensor, "rank d_in"], Float16[Tensor, "d_out rank"]]

Tick = Callable[[int, int], None]
Keep = Callable[[Adapter], None]


def tuned_modules(loaded: LoadedModel) -> list[str]:
    """Names of the linear layers that are tuned: all whose weights are scored.

    Raises:
        UnsupportedArchitecture: some are not plain ``nn.Linear`` (Conv1D, expert slices) or not float32; the message
            names one.
    """
    import torch
    from torch import nn

    for matrix, module in zip(loaded.table, loaded.modules, strict=True):
        if type(module) is not nn.Linear or matrix.expert is not None:
            raise UnsupportedArchitecture(
                f"{loaded.name}: {matrix.name} is a {type(module).__name__}, and adapters are made for nn.Linear only; "
                "choose another model"
            )
        if module.weight.dtype != torch.float32:
            raise UnsupportedArchitecture(
                f"{loaded.name}: {matrix.name} is {str(module.weight.dtype).removeprefix('torch.')}, too coarse for "
                "the small steps of tuning; add --dtype float32"
            )
    return [matrix.param_name.removesuffix(".weight") for matrix in loaded.table]


def train_stage(
    loaded: LoadedModel,
    rows: Sequence[SftRow] | Sequence[PairRow],
    spec: AlignSpec,
    *,
    arm: str,
    stage: str,
    start: Adapter | None,
    keep: Keep,
    tick: Tick,
) -> None:
    """Trains one stage on ``rows`` in their order and hands every checkpoint's adapter to ``keep``.

    ``start``: the adapter that DPO goes on from; None: SFT, which begins at the model itself. ``loaded`` ends as it
    was, bit for bit.

    Raises:
        UnsupportedArchitecture: see ``tuned_modules``.
    """
    import torch

    weights = {module: loaded.model.get_parameter(f"{module}.weight") for module in tuned_modules(loaded)}
    torch.manual_seed(spec.seed)
    was = copy.deepcopy(loaded.model) if start is None else None
    scale = 1.0 if start is None else start.scale
    done = 0

    def train(steps: int, rate: float, adapter: Callable[[], dict[str, Factors]]) -> None:
        def after_step(_: int) -> None:
            nonlocal done
            done += 1
            if done in spec.checkpoints(stage):
                keep(Adapter(adapter(), scale, loaded.weight_hash, arm, stage, done))
            tick(done, spec.length(stage))

        part = rows[done * BATCH : (done + steps) * BATCH]
        with tempfile.TemporaryDirectory(prefix="harmviz-align-") as scratch:
            trainer = _trainer(loaded, was, part, spec, steps, rate, scratch)
            trainer.add_callback(_after_each_step(after_step))
            trainer.train()

    with loaded.lock, _no_traces(loaded.model):
        if start is None:
            with _whole(loaded, weights) as before:

                def nearest() -> dict[str, Factors]:
                    return {m: low_rank(w.detach() - before[m], spec.rank) for m, w in weights.items()}

                train(spec.whole_steps, spec.sft_rate, nearest)
                factors = nearest()
        else:
            factors = start.factors
        with _factored(loaded, factors, scale) as halves:
            rate = spec.fit_rate if start is None else spec.dpo_rate

            def now() -> dict[str, Factors]:
                return {m: (f.a.detach().to(torch.float16), f.b.detach().to(torch.float16)) for m, f in halves.items()}

            train(spec.length(stage) - done, rate, now)


@contextmanager
def _no_traces(model: Any) -> Iterator[None]:
    """After the block the model has the attributes it had before. A trainer leaves its own on it, a ``forward`` bound
    to this very model among them, which a copy would go on calling in place of its own."""
    before = set(vars(model))
    try:
        yield
    finally:
        for name in set(vars(model)) - before:
            delattr(model, name)


@contextmanager
def _whole(loaded: LoadedModel, weights: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """The block may train these weights; it gets what they are before it, and they are that again after it."""
    before = {module: weight.detach().clone() for module, weight in weights.items()}
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        yield before
    finally:
        for module, weight in weights.items():
            weight.grad = None
            weight.data.copy_(before[module])
        loaded.model.eval().requires_grad_(False)


@contextmanager
def _factored(loaded: LoadedModel, factors: Mapping[str, Factors], scale: float) -> Iterator[Mapping[str, LowRank]]:
    """The block may train the halves of these low-rank differences, which every forward pass adds to the weights."""
    from torch import nn
    from torch.nn.utils import parametrize

    def trained(half: Float16[Tensor, ...]) -> nn.Parameter:
        return nn.Parameter(half.float().to(loaded.device))

    halves = {module: LowRank(trained(a), trained(b), scale, None) for module, (a, b) in factors.items()}
    adapted: list[nn.Module] = []
    try:
        for module, pair in halves.items():
            owner = loaded.model.get_submodule(module)
            parametrize.register_parametrization(owner, "weight", pair.as_module())
            adapted.append(owner)
        yield halves
    finally:
        for owner in adapted:
            parametrize.remove_parametrizations(owner, "weight", leave_parametrized=False)
        loaded.model.eval().requires_grad_(False)


def low_rank(
    difference: Float[Tensor, "d_out d_in"], rank: int
) -> tuple[Float16[Tensor, "rank d_in"], Float16[Tensor, "d_out rank"]]:
    """(A, B) of which ``B A`` is the nearest matrix of this rank: the leading singular triplets, each value's root on
    either side, so that both keep within float16.

    The sign of a triplet is that under which the largest entry of its row of ``A`` is positive.
    """
    import torch

    u, values, v = torch.linalg.svd(difference.float().cpu(), full_matrices=False)
    roots = values[:rank].sqrt()
    a, b = roots[:, None] * v[:rank], u[:, :rank] * roots
    signs = a.gather(1, a.abs().argmax(1, keepdim=True)).sign()
    signs[signs == 0] = 1
    return (a * signs).to(torch.float16), (b * signs[:, 0]).to(torch.float16)


def _after_each_step(act: Callable[[int], None]) -> Any:
    """A trainer's callback that calls ``act`` with the number of every step that is done."""
    from transformers import TrainerCallback

    class AfterEachStep(TrainerCallback):  # defined here: transformers' trainer is heavy to import
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            act(state.global_step)

    return AfterEachStep()


def _trainer(
    loaded: LoadedModel,
    was: Any,
    rows: Sequence[SftRow] | Sequence[PairRow],
    spec: AlignSpec,
    steps: int,
    rate: float,
    scratch: str,
) -> Any:
    """``was``: the model as it was, which SFT holds it to; None: DPO."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # before trl is imported
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    class PreferenceTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # encoded already, with harmviz's own template

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            with fast_forward(loaded.device):
                return super().compute_loss(*args, **kwargs)

    class AnswerTrainer(SFTTrainer):
        def compute_loss(self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Float[Tensor, ""]:
            with fast_forward(loaded.device):
                return sft_loss(model, was, inputs, spec.hold)

    common: dict[str, Any] = dict(
        output_dir=scratch,
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=1,
        lr_scheduler_type="linear",
        learning_rate=rate,
        warmup_steps=max(1, steps // 12),
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_NORM,
        seed=spec.seed,
        data_seed=spec.seed,
        train_sampling_strategy="sequential",
        use_cpu=loaded.device.type == "cpu",
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        max_length=None,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer: Any
    if was is not None:
        examples: list[dict[str, Any]] = [sft_example(r) for r in rows if isinstance(r, SftRow)]
        settings: Any = SFTConfig(packing=False, remove_unused_columns=False, **common)
        trainer = AnswerTrainer(
            model=loaded.model,
            args=settings,
            train_dataset=Dataset.from_list(examples),
            processing_class=loaded.tokenizer,
            data_collator=left_padded,
        )
    else:
        examples = [
            {"prompt_ids": list(r.prompt), "chosen_ids": list(r.chosen), "rejected_ids": list(r.rejected)}
            for r in rows
            if isinstance(r, PairRow)
        ]
        settings = DPOConfig(beta=spec.beta, precompute_ref_log_probs=True, **common)
        trainer = PreferenceTrainer(
            model=loaded.model,
            args=settings,
            train_dataset=Dataset.from_list(examples),
            processing_class=loaded.tokenizer,
        )
    trainer.remove_callback(PrinterCallback)  # it prints on stdout, which may be a JSON document
    return trainer
