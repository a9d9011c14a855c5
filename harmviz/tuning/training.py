"""One stage of tuning: low-rank adapters on every linear layer inside the decoder blocks, by SFT or by DPO.

Rows come encoded and in their final order (``align.schedule``), so that the trainer neither applies a template of its own
nor shuffles. SFT: cross-entropy over the answer's tokens, its end token included, the prompt's left out. DPO: the reference
is the adapter the stage starts from.

Source: Hu et al. 2021 (arXiv:2106.09685); Rafailov et al. 2023, DPO (arXiv:2305.18290).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch

from harmviz.errors import UnsupportedArchitecture
from harmviz.generation.passes import accepts
from harmviz.models.adapters import Adapter
from harmviz.models.load import LoadedModel
from harmviz.tuning.precision import fast_forward
from harmviz.tuning.schedule import PairRow, SftRow
from harmviz.tuning.settings import BATCH, AlignSpec

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
Tick = Callable[[int, int], None]
Keep = Callable[[Adapter], None]


def adapted_modules(loaded: LoadedModel) -> list[str]:
    """Names of the linear layers that get an adapter: all whose weights are scored.

    Raises:
        UnsupportedArchitecture: some are not plain ``nn.Linear`` (Conv1D, expert slices); the message names one.
    """
    for matrix, module in zip(loaded.table, loaded.modules, strict=True):
        if type(module) is not torch.nn.Linear or matrix.expert is not None:
            raise UnsupportedArchitecture(
                f"{loaded.name}: {matrix.name} is a {type(module).__name__}, and adapters are made for nn.Linear only; choose another model"
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

            def kept(step: int) -> None:
                keep(Adapter(_take(tuned, modules), spec.scale, loaded.weight_hash, arm, stage, step))

            trainer = _trainer(tuned, loaded, rows, spec, stage, scratch)
            trainer.add_callback(_checkpoints(spec.checkpoints(stage), spec.length(stage), kept, tick))
            trainer.train()
        finally:
            tuned.unload()
            loaded.model.eval().requires_grad_(False)


def _put(tuned: Any, adapter: Adapter) -> None:
    for module, (a, b) in adapter.factors.items():
        layer = tuned.get_submodule(f"base_model.model.{module}")
        layer.lora_A["default"].weight.data.copy_(a)
        layer.lora_B["default"].weight.data.copy_(b)


def _take(tuned: Any, modules: Sequence[str]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    factors = {}
    for module in modules:
        layer = tuned.get_submodule(f"base_model.model.{module}")
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        factors[module] = (a.detach().cpu().to(torch.float16).clone(), b.detach().cpu().to(torch.float16).clone())
    return factors


def _checkpoints(at: tuple[int, ...], total: int, kept: Callable[[int], None], tick: Tick) -> Any:
    from transformers import TrainerCallback

    class Checkpoints(TrainerCallback):  # defined here: transformers' trainer is heavy to import
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in at:
                kept(state.global_step)
            tick(state.global_step, total)

    return Checkpoints()


def _trainer(
    tuned: Any,
    loaded: LoadedModel,
    rows: Sequence[SftRow] | Sequence[PairRow],
    spec: AlignSpec,
    stage: str,
    scratch: str,
) -> Any:
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
        def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
            with fast_forward(loaded.device):
                return answer_loss(model, inputs)

    common: dict[str, Any] = dict(
        output_dir=scratch,
        max_steps=spec.length(stage),
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=1,
        lr_scheduler_type="linear",
        warmup_steps=max(1, spec.length(stage) // 12),
        weight_decay=0.0,
        max_grad_norm=1.0,
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


def left_padded(examples: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """One batch whose rows end together, so that the answers stand in its last columns."""
    width = max(len(e["input_ids"]) for e in examples)

    def rows(key: str, filler: int) -> torch.Tensor:
        return torch.tensor([[filler] * (width - len(e[key])) + list(e[key]) for e in examples])

    seen = torch.tensor([[0] * (width - len(e["input_ids"])) + [1] * len(e["input_ids"]) for e in examples])
    return {"input_ids": rows("input_ids", 0), "labels": rows("labels", -100), "attention_mask": seen}


def answer_loss(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy over the answers' tokens.

    Logits are made for the columns that hold answers only: over a long prompt they would be most of the time and memory of a step.
    """
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
    return torch.nn.functional.cross_entropy(logits[chosen].float(), wanted[chosen])
