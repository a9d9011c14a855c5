"""One stage of safety tuning: every linear layer inside the decoder blocks, whole, by SFT or by DPO.

Rows come encoded and in their final order (``tuning.schedule``), so that the trainer neither applies a template of its
own nor shuffles. SFT: cross-entropy over the answer's tokens, its end token included, the prompt's left out. DPO: the
reference is the model that the stage starts from. The learning rate rises over the first twelfth of the steps and falls
to 0 in a line; the rest of a step is that of narrow tuning (``tuning.step``).

A checkpoint is what ships: the difference to the start model, of each matrix its best approximation of ``spec.rank``
(Eckart-Young), in float16. The next stage goes on from the checkpoint, not from the weights behind it, and every figure
is measured on it.

Source: Rafailov et al. 2023, DPO (arXiv:2305.18290); Eckart and Young 1936.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harmviz.errors import UnsupportedArchitecture
from harmviz.generation.passes import accepts
from harmviz.models.adapters import Adapter, merged
from harmviz.models.load import LoadedModel
from harmviz.tuning.schedule import PairRow, SftRow
from harmviz.tuning.settings import AlignSpec
from harmviz.tuning.step import BATCH, MAX_NORM, WEIGHT_DECAY, fast_forward

if TYPE_CHECKING:
    from jaxtyping import Float, Float16, Int64
    from torch import Tensor

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

    ``loaded`` ends as it was, bit for bit.

    Raises:
        UnsupportedArchitecture: see ``tuned_modules``.
    """
    import torch

    weights = {module: loaded.model.get_parameter(f"{module}.weight") for module in tuned_modules(loaded)}
    torch.manual_seed(spec.seed)
    with (
        loaded.lock,
        tempfile.TemporaryDirectory(prefix="harmviz-align-") as scratch,
        _trainable(loaded, weights) as before,
        merged(loaded, start),
    ):

        def after_step(step: int) -> None:
            if step in spec.checkpoints(stage):
                factors = {m: low_rank(w.detach() - before[m], spec.rank) for m, w in weights.items()}
                keep(Adapter(factors, 1, loaded.weight_hash, arm, stage, step))
            tick(step, spec.length(stage))

        trainer = _trainer(loaded, rows, spec, stage, scratch)
        trainer.add_callback(_after_each_step(after_step))
        trainer.train()


@contextmanager
def _trainable(loaded: LoadedModel, weights: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
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
    rows: Sequence[SftRow] | Sequence[PairRow],
    spec: AlignSpec,
    stage: str,
    scratch: str,
) -> Any:
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
                return answer_loss(model, inputs)

    common: dict[str, Any] = dict(
        output_dir=scratch,
        max_steps=spec.length(stage),
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=1,
        lr_scheduler_type="linear",
        warmup_steps=max(1, spec.length(stage) // 12),
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
    if stage == "sft":
        examples: list[dict[str, list[int]]] = [sft_example(r) for r in rows if isinstance(r, SftRow)]
        settings: Any = SFTConfig(learning_rate=spec.sft_rate, packing=False, **common)
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
        settings = DPOConfig(learning_rate=spec.dpo_rate, beta=spec.beta, precompute_ref_log_probs=True, **common)
        trainer = PreferenceTrainer(
            model=loaded.model,
            args=settings,
            train_dataset=Dataset.from_list(examples),
            processing_class=loaded.tokenizer,
        )
    trainer.remove_callback(PrinterCallback)  # it prints on stdout, which may be a JSON document
    return trainer


def sft_example(row: SftRow) -> dict[str, list[int]]:
    """Token ids and labels; −100 (no loss) on the prompt."""
    return {"input_ids": [*row.prompt, *row.answer], "labels": [-100] * len(row.prompt) + list(row.answer)}


def left_padded(examples: Sequence[dict[str, list[int]]]) -> dict[str, Int64[Tensor, "batch pos"]]:
    """One batch whose rows end together, so that the answers stand in its last columns."""
    import torch

    width = max(len(e["input_ids"]) for e in examples)

    def padded(rows: Sequence[list[int]], filler: int) -> Int64[Tensor, "batch pos"]:
        return torch.tensor([[filler] * (width - len(row)) + row for row in rows])

    ids, labels = ([list(e[key]) for e in examples] for key in ("input_ids", "labels"))
    seen = [[1] * len(row) for row in ids]
    return {"input_ids": padded(ids, 0), "labels": padded(labels, -100), "attention_mask": padded(seen, 0)}


def answer_loss(model: Any, inputs: dict[str, Int64[Tensor, "batch pos"]]) -> Float[Tensor, ""]:
    """Mean cross-entropy over the answers' tokens, in nats.

    Logits are made for the columns that hold answers only: over a long prompt they would be most of a step's time and
    memory.
    """
    from torch.nn import functional

    labels, seen = inputs["labels"], inputs["attention_mask"]
    columns = int((labels != -100).any(0).sum())
    options: dict[str, Any] = {"attention_mask": seen}
    if accepts(model, "position_ids"):
        options["position_ids"] = (seen.cumsum(-1) - 1).clamp(min=0)
    if accepts(model, "logits_to_keep"):
        options["logits_to_keep"] = columns + 1
    logits = model(input_ids=inputs["input_ids"], **options).logits[:, -columns - 1 : -1]
    wanted = labels[:, -columns:]
    chosen = wanted != -100
    return functional.cross_entropy(logits[chosen].float(), wanted[chosen])
