"""Load any causal language model and name its linear weights.

A model is named by ``smollm2-135m-instruct`` (embedded), ``smollm2-135m-aligned`` (the same after safety tuning),
``<ladder>/<checkpoint>`` or an adapter file of ``python -m harmviz align``, a local folder or ``.gguf`` file, or a hub id
with an optional ``@revision``. ``trust_remote_code`` is always off, and weights come from safetensors or GGUF only.

*Which weights are scored*: every linear map inside the decoder blocks, found by module type, not by Llama's names:
``nn.Linear``, GPT-2's ``Conv1D`` (stored transposed), and each expert's slice of a fused mixture-of-experts parameter.
Routers, norms, embeddings and ``lm_head`` are not scored (METHOD.md §2 of Wei et al. 2024, arXiv:2402.05162, and of
Orgad et al. 2026, arXiv:2604.09544, restrict to the same set).
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from harmviz.errors import HarmvizError, ModelUnavailable, OutOfMemory, UnsupportedArchitecture
from harmviz.models.adapters import tuned_model_dir
from harmviz.models.assets import EMBEDDED, Say, embedded_model_dir, sha256_of
from harmviz.models.gguf import convert_gguf
from harmviz.models.names import find_adapter
from harmviz.models.weights import WeightMatrix, WeightTable
from harmviz.paths import assets_root

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

    def tensor(self, index: int) -> torch.Tensor:
        """Matrix ``index`` of the table as a view of the live parameter, rows × cols as stored."""
        matrix = self.table[index]
        parameter = self.model.get_parameter(matrix.param_name)
        return parameter if matrix.expert is None else parameter[matrix.expert]

    @property
    def n_parameters(self) -> int:
        """All parameters of the model, tied ones counted once."""
        return sum(p.numel() for p in self.model.parameters())


# -- finding the scored weights ---------------------------------------------------------------------------------------
def _decoder_blocks(model: nn.Module, n_layers: int) -> tuple[str, nn.ModuleList]:
    lists = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if not lists:
        raise UnsupportedArchitecture(
            f"{type(model).__name__} has no list of {n_layers} decoder blocks; harmviz needs a decoder-only transformer"
        )
    return max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))


def _is_router(name: str, parents: dict[str, nn.Module]) -> bool:
    """Whether this parameter weighs experts against each other (a gate beside ``experts``), rather than mapping text."""
    owner_name = name.rpartition(".")[0]
    owner, parent = parents[owner_name], parents.get(owner_name.rpartition(".")[0])
    return "router" in type(owner).__name__.lower() or (
        hasattr(parent, "experts") and owner_name.rpartition(".")[2] in {"gate", "router", "shared_expert_gate"}
    )


def _module_kind(module_name: str, block: nn.Module) -> str:
    """The module's own name, with its parent's where a block uses the name twice (GPT-2: attn.c_proj, mlp.c_proj)."""
    leaf = module_name.rpartition(".")[2]
    linear = [n for n, m in block.named_modules() if isinstance(m, nn.Linear | Conv1D) and n.rpartition(".")[2] == leaf]
    clash = len({n.rpartition(".")[0].rpartition(".")[2] for n in linear}) > 1 and "experts" not in module_name
    return ".".join(module_name.split(".")[-2:]) if clash else leaf


def scored_matrices(model: PreTrainedModel) -> tuple[WeightTable, list[nn.Module]]:
    """The table of all scored weight matrices, in parameter order, and the module that applies each.

    Raises:
        UnsupportedArchitecture: no decoder blocks or no linear weights, or a block holds a weight matrix that is
            neither a known linear map nor a router; the message names it.
    """
    n_layers = model.config.get_text_config().num_hidden_layers
    prefix, blocks = _decoder_blocks(model, n_layers)
    # A module shared by several blocks has several names; its weights are listed once, under the first.
    parents: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    owners: dict[int, nn.Module] = {}
    matrices: list[WeightMatrix] = []
    modules: list[nn.Module] = []
    unknown: list[str] = []
    for layer, block in enumerate(blocks):
        for local, parameter in block.named_parameters():
            name = f"{prefix}.{layer}.{local}"
            owner_name, _, leaf = name.rpartition(".")
            owner = parents[owner_name]
            if parameter.ndim < 2 or _is_router(name, parents) or owners.get(id(parameter)) is owner:
                continue
            if owners.setdefault(id(parameter), owner) is not owner:
                unknown.append(f"{name} (the same weights in two modules)")
                continue
            if leaf == "weight" and isinstance(owner, nn.Linear | Conv1D) and parameter.is_floating_point():
                kind = _module_kind(owner_name, block)
                rows, cols = parameter.shape
                matrices.append(WeightMatrix(name, layer, kind, rows, cols, transposed=isinstance(owner, Conv1D)))
                modules.append(owner)
            elif parameter.ndim == 3 and "expert" in owner_name.lower() and parameter.is_floating_point():
                transposed = bool(getattr(owner, "is_transposed", False))
                n_experts, rows, cols = parameter.shape
                for e in range(n_experts):
                    matrices.append(WeightMatrix(f"{name}[{e}]", layer, leaf, rows, cols, transposed=transposed))
                    modules.append(owner)
            else:
                unknown.append(f"{name} ({type(owner).__name__}, {'×'.join(map(str, parameter.shape))})")
    if unknown:
        raise UnsupportedArchitecture(
            f"{type(model).__name__} holds weights that are neither nn.Linear, Conv1D, expert slices nor routers: "
            f"{', '.join(unknown[:3])}{f' and {len(unknown) - 3} more' if len(unknown) > 3 else ''}"
        )
    if not matrices:
        raise UnsupportedArchitecture(
            f"{type(model).__name__} has no linear weights in its decoder blocks; nothing to score"
        )
    return WeightTable(matrices), modules


# -- loading ----------------------------------------------------------------------------------------------------------
def hash_parameters(named: Iterable[tuple[str, torch.Tensor]]) -> str:
    """sha256 over names, dtypes, shapes and bytes of the tensors, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(named, key=lambda item: item[0]):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def choose_device(device: str) -> torch.device:
    """``auto`` is the GPU where there is one.

    Raises:
        ValueError: not one of auto, cpu, cuda.
        ModelUnavailable: cuda asked for and none is there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}")
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
        raise ValueError(f"dtype must be auto, {' or '.join(DTYPES)}, got {dtype!r}")
    return DTYPES[dtype]


def _locate(name: str, say: Say) -> tuple[str, str | None, Path | str]:
    """(canonical name, revision, folder or hub id) of what the user typed."""
    if name == EMBEDDED:
        return EMBEDDED, None, embedded_model_dir(say)
    if (adapter := find_adapter(name)) is not None:
        return name, None, tuned_model_dir(adapter, embedded_model_dir(say), say)
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return path.stem, None, _converted(path, say)
    if path.is_dir():
        ggufs = sorted(path.glob("*.gguf"))
        if not (path / "config.json").is_file() and len(ggufs) == 1:
            return path.name, None, _converted(ggufs[0], say)
        if not (path / "config.json").is_file():
            raise ModelUnavailable(f"{path} holds no config.json; give the folder of a saved transformers model")
        if not any(path.glob("*.safetensors")):
            raise ModelUnavailable(f"{path} holds no .safetensors file; save the model with safe_serialization first")
        return path.name, None, path
    hub, _, revision = name.partition("@")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", hub) and not name.startswith((".", "/", "~")):
        return hub, revision or None, hub
    raise ModelUnavailable(
        f"model {name!r} is neither {EMBEDDED!r}, an existing folder or .gguf file, nor a hub id like 'org/name@revision'"
    )


def _converted(gguf: Path, say: Say) -> Path:
    folder = assets_root() / f"gguf-{sha256_of(gguf)[:16]}"
    if not folder.is_dir():
        say(f"{gguf.name}: converting GGUF to safetensors (once)")
        assets_root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=assets_root()) as part:
            convert_gguf(gguf, Path(part) / "model")
            (Path(part) / "model").replace(folder)
    return folder


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
    first = next(model.parameters())
    return LoadedModel(
        model,
        tokenizer,
        name,
        revision,
        hash_parameters(model.named_parameters()),
        table,
        modules,
        first.device,
        first.dtype,
    )


def load_model(
    name: str = EMBEDDED, *, dtype: str = "auto", device: str = "auto", say: Say = lambda _: None
) -> LoadedModel:
    """Loads a model by name (see the module docstring).

    Args:
        name: embedded name, folder, .gguf file, or hub id with optional ``@revision``.
        dtype: auto, float32 or bfloat16.
        device: auto, cpu or cuda.
        say: told one line per step.

    Raises:
        ModelUnavailable: nothing loadable under this name, damaged weights, or no such device.
        UnsupportedArchitecture: the model has weights harmviz cannot score.
        OutOfMemory: the device is too small.
        ValueError: dtype or device is not among the allowed ones.
    """
    where = choose_device(device)
    choose_dtype(dtype, torch.device("cpu"), 0)  # a typing mistake should fail before gigabytes are read
    canonical, revision, source = _locate(name, say)
    options: dict[str, Any] = {"trust_remote_code": False}
    if revision:
        options["revision"] = revision
    say(f"{canonical}: loading")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        # The checkpoint's own dtype first: the weight hash must not depend on the dtype one computes in.
        found: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype="auto", use_safetensors=True, output_loading_info=True, **options
        )
        model, info = found
    except HarmvizError:
        raise
    except torch.cuda.OutOfMemoryError as e:
        raise OutOfMemory(f"model {name} does not fit into memory; choose a smaller one or --device cpu") from e
    except Exception as e:  # transformers raises many types here; all mean: this cannot be loaded
        reason = str(e).strip().splitlines() or [type(e).__name__]
        raise ModelUnavailable(f"model {name!r} cannot be loaded: {type(e).__name__}: {reason[0][:300]}") from e
    if lacking := sorted(info["missing_keys"]):  # transformers would go on with random weights in their place
        raise ModelUnavailable(
            f"model {name!r} lacks the weight {lacking[0]} ({len(lacking)} in all); its files are incomplete"
        )
    loaded = wrap(model, tokenizer, name=canonical, revision=revision or getattr(model.config, "_commit_hash", None))
    chosen = choose_dtype(dtype, where, loaded.n_parameters)
    try:
        for parameter in loaded.model.parameters():  # parameters only: rotary frequencies must stay float32
            parameter.data = parameter.data.to(device=where, dtype=chosen)
        nn.Module.to(loaded.model, device=where)
    except torch.cuda.OutOfMemoryError as e:
        raise OutOfMemory(f"model {name} does not fit on {where}; use --dtype bfloat16 or --device cpu") from e
    loaded.device, loaded.dtype = where, chosen
    return loaded
