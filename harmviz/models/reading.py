"""From the files of a model to model and tokenizer in memory, as the files hold them.

``trust_remote_code`` is always off, and weights come from safetensors only (GGUF was converted before).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from harmviz.errors import HarmvizError, ModelUnavailable, OutOfMemory
from harmviz.models.folders import read_json
from harmviz.models.hub import shards
from harmviz.models.kinds import loader_of
from harmviz.models.locating import Location
from harmviz.models.peft_adapters import merge_lora


def read_model(name: str, location: Location) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and its tokenizer in the checkpoint's own dtype (the weight hash must not depend on the dtype one
    computes in), with its LoRA adapter merged in where it has one.

    Raises:
        UnsupportedArchitecture: it is no causal language model.
        ModelUnavailable: transformers cannot load it, or would go on with random weights in place of those it lacks.
        OutOfMemory: it does not fit.
    """
    options: dict[str, Any] = {"trust_remote_code": False}
    if location.revision:
        options["revision"] = location.revision
    try:
        if isinstance(location.source, Path):
            shards(location.source)  # names a part that is missing, or an index that cannot be read
        config = AutoConfig.from_pretrained(location.source, **options)
        loader = loader_of(config, name)
        tokenizer = _read_tokenizer(location, options)
        model = _read_weights(name, loader, location, options)
        return (model if location.adapter is None else merge_lora(model, location.adapter)), tokenizer
    except HarmvizError:
        raise
    except torch.cuda.OutOfMemoryError as e:
        raise OutOfMemory(f"model {name} does not fit into memory; choose a smaller one or --device cpu") from e
    except Exception as e:  # transformers raises many types here; all mean: this cannot be loaded
        reason = str(e).strip().splitlines() or [type(e).__name__]
        raise ModelUnavailable(f"model {name!r} cannot be loaded: {type(e).__name__}: {reason[0][:300]}") from e


def _read_weights(name: str, loader: Any, location: Location, options: dict[str, Any]) -> PreTrainedModel:
    model: PreTrainedModel
    model, info = loader.from_pretrained(
        location.source, dtype="auto", use_safetensors=True, output_loading_info=True, **options
    )
    check_complete(name, model, sorted(info["missing_keys"]))
    return model


def check_complete(name: str, model: PreTrainedModel, lacking: list[str]) -> None:
    """Nothing, if the files of the model hold all its weights. ``lacking``: names of those they do not hold.

    Raises:
        ModelUnavailable: weights are missing; the message says whether it is the head alone.
    """
    head = model.get_output_embeddings()
    if lacking and all(model.get_parameter(key) is getattr(head, "weight", None) for key in lacking):
        raise ModelUnavailable(
            f"model {name!r} has no language-modelling head ({lacking[0]}), so that it cannot write; give the model "
            "that was saved with one"
        )
    if lacking:
        raise ModelUnavailable(
            f"model {name!r} lacks the weight {lacking[0]} ({len(lacking)} in all); its files are incomplete"
        )


def _read_tokenizer(location: Location, options: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer of the adapter where that brings one, else of the model; with the chat template that older
    multimodal models keep in a file of its own."""
    own = location.adapter is not None and any(
        (location.adapter / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
    )
    source = location.adapter if own else location.source
    given = {"trust_remote_code": False} if own else options
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **given)
    if not tokenizer.chat_template:
        apart = cached_file(
            str(source),
            "chat_template.json",
            revision=given.get("revision"),
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if apart is not None and isinstance(template := read_json(Path(apart)).get("chat_template"), str):
            tokenizer.chat_template = template
    return tokenizer
