"""One stage of safety tuning: low-rank adapters on every linear layer inside the decoder blocks, by SFT or by DPO.

Rows come encoded and in their final order (``tuning.schedule``), so that the trainer neither applies a template of its
own nor shuffles. SFT: cross-entropy over the answer's tokens, its end token included, the prompt's left out. DPO: the
reference is the adapter the stage starts from. The learning rate rises over the first twelfth of the steps and falls
to 0 in a line; the rest of a step is that of narrow tuning (``tuning.step``).

Source: Hu et al. 2021 (arXiv:2106.09685); Rafailov et al. 2023, DPO (arXiv:2305.18290).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harmviz.errors import UnsupportedArchitecture
from harmviz.generation.passes import accepts
from harmviz.models.adapters import Adapter
from harmviz.models.load import LoadedModel
from harmviz.tuning.schedule import PairRow, SftRow
from harmviz.tuning.settings import AlignSpec
from harmviz.tuning.step import BATCH, MAX_NORM, WEIGHT_DECAY, fast_forward

if TYPE_CHECKING:
    from jaxtyping import Float, Float16, Int64
    from torch import Tensor

Tick = Callable[[int, int], None]
Keep = Callable[[Adapter], None]


def adapted_modules(loaded: LoadedModel) -> list[str]:
    """Names of the linear layers that get an adapter: all whose weights are scored.

    Raises:
        UnsupportedArchitecture: some are not plain ``nn.Linear`` (Conv1D, expert slices); the message names one.
    """
    from torch import nn

    for matrix, module in zip(loaded.table, loaded.modules, strict=True):
        if type(module) is not nn.Linear or matrix.expert is not None:
            raise UnsupportedArchitecture(
                f"{loaded.name}: {matrix.name} is a {type(module).__name__}, and adapters are made for nn.Linear only; "
                "choose another model"
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

    ``loaded`` ends as it was: adapters live beside its weights and are taken off again.

    Raises:
        UnsupportedArchitecture: see ``adapted_modules``.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    modules = adapted_modules(loaded)
    torch.manual_seed(spec.seed)  # the adapters' random halves: the same in every arm
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.rank * spec.scale,
        target_modules=modules,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with loaded.lock, tempfile.TemporaryDirectory(prefix="harmviz-align-") as scratch:
        tuned: Any = get_peft_model(loaded.model, config)
        try:
            if start is not None:
                _put(tuned, start)

            def after_step(step: int) -> None:
                if step in spec.checkpoints(stage):
                    keep(Adapter(_take(tuned, modules), spec.scale, loaded.weight_hash, arm, stage, step))
                tick(step, spec.length(stage))

            trainer = _trainer(tuned, loaded, rows, spec, stage, scratch)
            trainer.add_callback(_after_each_step(after_step))
            trainer.train()
        finally:
            tuned.unload()
            loaded.model.eval().requires_grad_(False)


def _put(tuned: Any, adapter: Adapter) -> None:
    for module, (a, b) in adapter.factors.items():
        layer = tuned.get_submodule(f"base_model.model.{module}")
        layer.lora_A["default"].weight.data.copy_(a)
        layer.lora_B["default"].weight.data.copy_(b)


def _take(
    tuned: Any, modules: Sequence[str]
) -> dict[str, tuple[Float16[Tensor, "rank d_in"], Float16[Tensor, "d_out rank"]]]:
    import torch

    factors = {}
    for module in modules:
        layer = tuned.get_submodule(f"base_model.model.{module}")
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        factors[module] = (a.detach().cpu().to(torch.float16).clone(), b.detach().cpu().to(torch.float16).clone())
    return factors


def _after_each_step(act: Callable[[int], None]) -> Any:
    """A trainer's callback that calls ``act`` with the number of every step that is done."""
    from transformers import TrainerCallback

    class AfterEachStep(TrainerCallback):  # defined here: transformers' trainer is heavy to import
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            act(state.global_step)

    return AfterEachStep()


def _trainer(
    tuned: Any,
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
            model=tuned,
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
        settings = DPOConfig(learning_rate=spec.dpo_rate, beta=spec.beta, **common)
        trainer = PreferenceTrainer(
            model=tuned, args=settings, train_dataset=Dataset.from_list(examples), processing_class=loaded.tokenizer
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
    base = model.get_base_model()
    if accepts(base, "position_ids"):
        options["position_ids"] = (seen.cumsum(-1) - 1).clamp(min=0)
    if accepts(base, "logits_to_keep"):
        options["logits_to_keep"] = columns + 1
    logits = model(input_ids=inputs["input_ids"], **options).logits[:, -columns - 1 : -1]
    wanted = labels[:, -columns:]
    chosen = wanted != -100
    return functional.cross_entropy(logits[chosen].float(), wanted[chosen])
