"""LoRA adapters in PEFT's format (``adapter_config.json``, ``adapter_model.safetensors``): their base, and merging.

The merged model is what is scored, masked and played, and its ``weight_hash`` is what a run's identity says: an adapter
that was trained on is another model. (Adapters of ``python -m harmviz align`` are another, smaller format; see
``harmviz.models.adapters``.)

Source: Hu et al. 2021, LoRA, arXiv:2106.09685.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmviz.errors import ModelUnavailable
from harmviz.models.fitting import n_embeddings
from harmviz.models.folders import ADAPTER_CONFIG, ADAPTER_WEIGHTS, held_at, read_json

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

#: Whole matrices that an adapter may bring along where its tokenizer got new tokens.
_EMBEDDINGS = ("embed_tokens.weight", "lm_head.weight", "wte.weight", "embed_in.weight", "embed_out.weight")


def base_name(adapter: Path) -> str:
    """What the adapter's config calls the model it was trained on.

    Raises:
        ModelUnavailable: the config cannot be read, names no base, or is of an adapter that is not merged.
    """
    config = read_json(adapter / ADAPTER_CONFIG)
    kind, base = config.get("peft_type"), config.get("base_model_name_or_path")
    if kind != "LORA":
        raise ModelUnavailable(
            f"{adapter} is an adapter of type {str(kind)[:40]!r}; harmviz merges LoRA adapters: merge it yourself and "
            "save the merged model"
        )
    if not isinstance(base, str) or not base.strip():
        raise ModelUnavailable(
            f"{adapter / ADAPTER_CONFIG} names no base; write its folder or hub id into base_model_name_or_path"
        )
    return base


def base_of(adapter: Path) -> Path | str:
    """The base of the adapter as it can be looked for here: a path that exists, or else the name as it stands. A
    relative path is looked for from here and from beside the adapter.

    Raises:
        ModelUnavailable: as ``base_name``, or the base is an adapter itself.
    """
    base = base_name(adapter)
    for path in (Path(base).expanduser(), adapter.parent / base):
        try:
            there = path.exists()
        except (OSError, ValueError):  # no name that a file could have
            break
        if there:
            if held_at(path).kind == "adapter":
                raise ModelUnavailable(f"{adapter} is a LoRA adapter of another adapter, {path}; merge that one first")
            return path
    return base


def merge_lora(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """The model with the adapter merged in, in the model's own dtype; ``model`` itself is changed.

    Raises:
        ModelUnavailable: the adapter is damaged, or does not fit this base.
    """
    import torch
    from peft import LoraConfig, PeftConfig, get_peft_model, set_peft_model_state_dict

    base = base_name(adapter)
    tensors = _tensors(adapter)
    try:
        _grow(model, tensors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of (missing keys, tied weights) is checked below or is moot
            config = PeftConfig.from_pretrained(str(adapter))
            if not isinstance(config, LoraConfig):
                raise ValueError("its config is none of LoRA")
            tuned: Any = get_peft_model(model, config)
            result: Any = set_peft_model_state_dict(tuned, tensors)
            lacking = [k for k in result.missing_keys if "lora_" in k or "modules_to_save" in k]
            if lacking or result.unexpected_keys:
                raise ValueError(
                    f"it lacks {lacking[0]}" if lacking else f"the base has no place for {result.unexpected_keys[0]}"
                )
            with torch.no_grad():
                merged: PreTrainedModel = tuned.merge_and_unload(safe_merge=True)
    except Exception as e:  # PEFT raises many types here; all mean: this adapter does not fit
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise ModelUnavailable(
            f"{adapter} cannot be merged into its base {base!r} ({reason[:300]}); give the base it was trained on"
        ) from e
    vars(merged).pop("peft_config", None)  # a plain model again: nothing may take it for one with adapters
    return merged


def _tensors(adapter: Path) -> dict[str, Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = adapter / ADAPTER_WEIGHTS
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as e:
        raise ModelUnavailable(f"{path} cannot be read ({e}); copy or download the adapter again") from e
    if not tensors:
        raise ModelUnavailable(f"{path} holds no tensors; copy or download the adapter again")
    if bad := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise ModelUnavailable(f"{path}: {bad[0]} holds NaN or infinity; the file is damaged")
    return tensors


def _grow(model: PreTrainedModel, tensors: dict[str, Tensor]) -> None:
    """Gives the model as many embeddings as the adapter brings along, where it brings any."""
    import torch

    rows = {t.shape[0] for name, t in tensors.items() if name.endswith(_EMBEDDINGS) and t.ndim == 2}
    if len(rows) == 1 and (n := rows.pop()) != n_embeddings(model):
        with torch.random.fork_rng():  # new rows are drawn at random before the adapter's take their place
            model.resize_token_embeddings(n, mean_resizing=False)
