"""Load any causal language model, frozen and checked, with its scored weights named.

What a model may be called is said in ``harmviz.models.locating``, which of its weights are scored in
``harmviz.models.scored``. ``trust_remote_code`` is always off, and weights come from safetensors or GGUF only.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from harmviz.errors import BadSetting, HarmvizError, ModelUnavailable, OutOfMemory
from harmviz.models.architecture import scored_matrices
from harmviz.models.assets import EMBEDDED, Say
from harmviz.models.hashing import hash_parameters
from harmviz.models.locating import Location, locate
from harmviz.models.weights import WeightTable

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class LoadedModel:
    """A model ready to score, mask and play, with the address book of its scored weights.

    ``lock`` serialises everything that changes weights or relies on them; ``modules[i]`` is the module that applies
    matrix ``i`` (for a fused expert slice: the module that holds the experts).
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    revision: str | None
    weight_hash: str
    table: WeightTable
    modules: list[nn.Module]
    device: torch.device
    dtype: torch.dtype
    lock: threading.RLock = field(default_factory=threading.RLock)

    def tensor(self, index: int) -> Float[Tensor, "rows cols"]:
        """Matrix ``index`` of the table as a view of the live parameter, rows × cols as stored."""
        matrix = self.table[index]
        parameter = self.model.get_parameter(matrix.param_name)
        return parameter if matrix.expert is None else parameter[matrix.expert]

    @property
    def n_parameters(self) -> int:
        """All parameters of the model, tied ones counted once."""
        return sum(p.numel() for p in self.model.parameters())


def choose_device(device: str) -> torch.device:
    """``auto`` is the GPU where there is one.

    Raises:
        ValueError: not one of auto, cpu, cuda.
        ModelUnavailable: cuda asked for and none is there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise BadSetting(f"device must be auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable("device cuda was asked for, but no CUDA device is visible here; use --device cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def choose_dtype(dtype: str, device: torch.device, n_parameters: int) -> torch.dtype:
    """``auto`` is float32 on the CPU, and on a GPU where weights and float32 sums take at most 60 % of free memory,
    else bfloat16. float16 is not offered: products of weight and gradient underflow in it.

    Raises:
        ValueError: not one of auto, float32, bfloat16.
    """
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        free, _ = torch.cuda.mem_get_info(device)
        return torch.float32 if 12 * n_parameters < 0.6 * free else torch.bfloat16
    if dtype not in DTYPES:
        raise BadSetting(f"dtype must be auto, {' or '.join(DTYPES)}, got {dtype!r}")
    return DTYPES[dtype]


def wrap(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str, revision: str | None = None
) -> LoadedModel:
    """A LoadedModel around a model already in memory: frozen, in eval mode, checked for NaN, its weights named.

    Raises:
        UnsupportedArchitecture: see ``scored_matrices``.
        ModelUnavailable: a parameter holds NaN or infinity; the message names it.
    """
    model.eval().requires_grad_(False)
    table, modules = scored_matrices(model)
    if any(m.expert is not None for m in table) and hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # one expert at a time: the only path whose sums are reproducible
    for parameter_name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelUnavailable(
                f"model {name}: the weight {parameter_name} holds NaN or infinity; the file is damaged"
            )
    weight_hash = hash_parameters(model.named_parameters())
    first = next(model.parameters())
    return LoadedModel(model, tokenizer, name, revision, weight_hash, table, modules, first.device, first.dtype)


def load_model(
    name: str = EMBEDDED, *, dtype: str = "auto", device: str = "auto", say: Say = lambda _: None
) -> LoadedModel:
    """The model of this name on the device, in the dtype.

    Args:
        name: see ``harmviz.models.locating``.
        dtype: auto, float32 or bfloat16.
        device: auto, cpu or cuda.
        say: told one line per step.

    Raises:
        ModelUnavailable: nothing loadable under this name, damaged weights, or no such device.
        UnsupportedArchitecture: the model has weights harmviz cannot score.
        OutOfMemory: the device is too small.
        ValueError: dtype or device is not among the allowed ones.
    """
    chosen_device = choose_device(device)
    choose_dtype(dtype, torch.device("cpu"), 0)  # a typing mistake should fail before gigabytes are read
    location = locate(name, say)
    say(f"{location.name}: loading")
    model, tokenizer = _read(name, location)
    revision = location.revision or getattr(model.config, "_commit_hash", None)
    loaded = wrap(model, tokenizer, name=location.name, revision=revision)
    chosen_dtype = choose_dtype(dtype, chosen_device, loaded.n_parameters)
    try:
        for parameter in loaded.model.parameters():  # parameters only: rotary frequencies must stay float32
            parameter.data = parameter.data.to(device=chosen_device, dtype=chosen_dtype)
        nn.Module.to(loaded.model, device=chosen_device)
    except torch.cuda.OutOfMemoryError as e:
        raise OutOfMemory(f"model {name} does not fit on {chosen_device}; use --dtype bfloat16 or --device cpu") from e
    loaded.device, loaded.dtype = chosen_device, chosen_dtype
    return loaded


def _read(name: str, location: Location) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and its tokenizer as their files hold them, in the checkpoint's own dtype: the weight hash must not
    depend on the dtype one computes in.

    Raises:
        ModelUnavailable: transformers cannot load it, or would go on with random weights in place of those it lacks.
        OutOfMemory: it does not fit.
    """
    options: dict[str, Any] = {"trust_remote_code": False}
    if location.revision:
        options["revision"] = location.revision
    answer: Any  # (model, what was missing), which transformers' annotations do not know
    try:
        tokenizer = AutoTokenizer.from_pretrained(location.source, **options)
        answer = AutoModelForCausalLM.from_pretrained(
            location.source, dtype="auto", use_safetensors=True, output_loading_info=True, **options
        )
        model, info = answer
    except HarmvizError:
        raise
    except torch.cuda.OutOfMemoryError as e:
        raise OutOfMemory(f"model {name} does not fit into memory; choose a smaller one or --device cpu") from e
    except Exception as e:  # transformers raises many types here; all mean: this cannot be loaded
        reason = str(e).strip().splitlines() or [type(e).__name__]
        raise ModelUnavailable(f"model {name!r} cannot be loaded: {type(e).__name__}: {reason[0][:300]}") from e
    if lacking := sorted(info["missing_keys"]):
        raise ModelUnavailable(
            f"model {name!r} lacks the weight {lacking[0]} ({len(lacking)} in all); its files are incomplete"
        )
    return model, tokenizer
