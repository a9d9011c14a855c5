"""Load any causal language model, frozen and checked, with its scored weights named.

What a model may be called is said in ``harmviz.models.locating``, how its files are read in ``harmviz.models.reading``,
which of its weights are scored in ``harmviz.models.scored``, and how its chat template is used in
``harmviz.models.chat``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harmviz.errors import BadSetting, DataInvalid, ModelUnavailable, OutOfMemory
from harmviz.models.architecture import scored_matrices
from harmviz.models.assets import EMBEDDED, Say
from harmviz.models.chat import chat_form
from harmviz.models.fitting import n_embeddings, unembedded_tokens
from harmviz.models.hashing import hash_parameters
from harmviz.models.identity import config_hash, tokenizer_hash
from harmviz.models.locating import locate
from harmviz.models.memory import free_on
from harmviz.models.reading import read_model
from harmviz.models.scored import reads_other_senses
from harmviz.models.spread import spread
from harmviz.models.weights import WeightTable

if TYPE_CHECKING:
    from harmviz.models.rank_channel import Change
    from harmviz.models.ranks import Ranks

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class LoadedModel:
    """A model ready to score, mask and play, with the address book of its scored weights.

    ``lock`` serialises everything that changes weights or relies on them; ``modules[i]`` is the module that applies
    matrix ``i`` (for a fused expert slice: the module that holds the experts). ``weight_hash``, ``tokenizer_hash`` and
    ``config_hash`` are what the model is recognised by: weights, what text becomes, and how the weights are used.
    ``unembedded``: special tokens without an embedding. ``notes``: what a reader of its results should know.
    ``ranks``: other processes with a copy of it. ``in_force``: the masks that are applied now, innermost last.
    ``others``: the further devices that its layers are spread over (``harmviz.models.spread``); what a pass is given
    and gives lies on ``device``.
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
    tokenizer_hash: str = ""
    config_hash: str = ""
    unembedded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lock: threading.RLock = field(default_factory=threading.RLock)
    ranks: Ranks | None = None
    in_force: list[Change] = field(default_factory=list)
    others: tuple[torch.device, ...] = ()

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """All devices that it lies on, the first one first."""
        return (self.device, *self.others)

    def device_of(self, index: int) -> torch.device:
        """Where matrix ``index`` of the table lies."""
        return self.tensor(index).device if self.others else self.device

    def check_on_one_device(self, what: str) -> None:
        """Nothing, if the model is not spread.

        Raises:
            BadSetting: it is; ``what`` cannot be done then.
        """
        if self.others:
            raise BadSetting(f"{what} needs the whole model on one device; leave --device all out")

    @property
    def scored_parameters(self) -> dict[str, nn.Parameter]:
        """Name → the parameters that hold scored matrices, each once: fused experts are many matrices of one."""
        return {name: self.model.get_parameter(name) for name in dict.fromkeys(m.param_name for m in self.table)}

    def tensor(self, index: int) -> Float[Tensor, "rows cols"]:
        """Matrix ``index`` of the table as a view of the live parameter, rows × cols as stored."""
        matrix = self.table[index]
        # By its module: walking the model by name takes longer than using the weights, 210 times for every mask.
        parameter = getattr(self.modules[index], matrix.param_name.rpartition(".")[2])
        return parameter if matrix.expert is None else parameter[matrix.expert]

    @property
    def sharing(self) -> Ranks | None:
        """The processes to share work with; None where there are none, or what is applied now must not leave this
        one."""
        return self.ranks if all(change.travels for change in self.in_force) else None

    @property
    def n_parameters(self) -> int:
        """All parameters of the model, tied ones counted once; those that read images or sounds are among them."""
        return sum(p.numel() for p in self.model.parameters())

    def check_ids(self, ids: Tensor) -> None:
        """Nothing, if every token of ``ids`` has an embedding. (Costs nothing where all tokens have: nearly always.)

        Raises:
            DataInvalid: a text holds a token that this model has no embedding for.
        """
        if self.unembedded and int(ids.max()) >= n_embeddings(self.model):
            raise DataInvalid(
                f"a text holds one of the special tokens that {self.name} has no embedding for "
                f"({', '.join(self.unembedded[:3])}); take them out of the data"
            )


def choose_device(device: str) -> torch.device:
    """``auto`` is the first GPU where there is one; ``cuda:1`` is the second.

    Raises:
        ValueError: not one of auto, cpu, cuda, cuda:N.
        ModelUnavailable: a GPU is asked for that is not there.
    """
    asked = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if asked is None:
        raise BadSetting(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ModelUnavailable(f"device {device} was asked for, but no CUDA device is visible here; use --device cpu")
    n = torch.cuda.device_count()
    if asked[1] is not None and int(asked[1]) >= n:
        raise ModelUnavailable(
            f"device {device} was asked for; the last CUDA device that is visible here is cuda:{n - 1}"
        )
    return torch.device("cuda" if asked[1] is None else f"cuda:{int(asked[1])}")


def choose_devices(device: str) -> tuple[torch.device, ...]:
    """As ``choose_device``, and ``all``: every GPU that is visible, for one model to be spread over.

    Raises:
        as ``choose_device``.
    """
    if device != "all":
        try:
            return (choose_device(device),)
        except BadSetting as e:
            raise BadSetting(f"device must be auto, cpu, cuda, cuda:N or all, got {device!r}") from e
    if not torch.cuda.is_available():
        raise ModelUnavailable("device all was asked for, but no CUDA device is visible here; use --device cpu")
    return tuple(torch.device(f"cuda:{i}") for i in range(torch.cuda.device_count()))


def choose_dtype(dtype: str, device: torch.device, n_parameters: int) -> torch.dtype:
    """``auto`` is float32 on the CPU, and on a GPU where weights and float32 sums take at most 60 % of free memory,
    else bfloat16. float16 is not offered: products of weight and gradient underflow in it.

    Raises:
        ValueError: not one of auto, float32, bfloat16.
    """
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.float32 if 12 * n_parameters < 0.6 * (free_on(device) or 0) else torch.bfloat16
    if dtype not in DTYPES:
        raise BadSetting(f"dtype must be auto, {' or '.join(DTYPES)}, got {dtype!r}")
    return DTYPES[dtype]


def wrap(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str, revision: str | None = None
) -> LoadedModel:
    """A LoadedModel around a model already in memory: frozen, in eval mode, checked for NaN and for whether tokenizer,
    chat template and model fit, its weights named.

    Raises:
        UnsupportedArchitecture: see ``scored_matrices``.
        ModelUnavailable: a parameter holds NaN or infinity, a token has no embedding, or the chat template fails; the
            message names it.
    """
    model.eval().requires_grad_(False)
    settings = config_hash(model)
    table, modules = scored_matrices(model)
    if table.has_fused_experts and hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # one expert at a time: the only path whose sums are reproducible
    for parameter_name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelUnavailable(
                f"model {name}: the weight {parameter_name} holds NaN or infinity; the file is damaged"
            )
    try:
        unembedded = unembedded_tokens(model, tokenizer)
        of_template = chat_form(tokenizer).notes if tokenizer.chat_template else ()
        reads_with = tokenizer_hash(tokenizer)
    except ModelUnavailable as e:
        raise ModelUnavailable(f"model {name}: {e}") from e
    except Exception as e:  # a tokenizer with damaged files may load, and then fail in many ways
        reason = (str(e).strip().splitlines() or [""])[0][:200]
        raise ModelUnavailable(
            f"model {name}: its tokenizer cannot be used ({type(e).__name__}: {reason}); copy or download its files "
            "again"
        ) from e
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
        tokenizer_hash=reads_with,
        config_hash=settings,
        unembedded=unembedded,
        notes=(*of_template, *_notes(model, unembedded)),
    )


def _notes(model: PreTrainedModel, unembedded: tuple[str, ...]) -> Iterator[str]:
    others = sum(p.numel() for n, p in model.named_parameters() if reads_other_senses(n))
    if others:
        total = sum(p.numel() for p in model.parameters())
        yield f"{others:,} of its {total:,} parameters read images or sounds: they are counted, not scored, and unused"
    if unembedded:
        shown = ", ".join(unembedded[:3]) + (f" and {len(unembedded) - 3} more" if len(unembedded) > 3 else "")
        yield f"texts that hold {shown} cannot be read: it has no embedding for them"


def load_model(
    name: str = EMBEDDED, *, dtype: str = "auto", device: str = "auto", say: Say = lambda _: None
) -> LoadedModel:
    """The model of this name on the device, in the dtype.

    Args:
        name: see ``harmviz.models.locating``.
        dtype: auto, float32 or bfloat16.
        device: auto, cpu, cuda, cuda:N, or all (``choose_devices``).
        say: told one line per step.

    Raises:
        ModelUnavailable: nothing loadable under this name, damaged weights, or no such device.
        UnsupportedArchitecture: the model has weights harmviz cannot score.
        OutOfMemory: the device is too small.
        ValueError: dtype or device is not among the allowed ones.
    """
    devices = choose_devices(device)
    choose_dtype(dtype, torch.device("cpu"), 0)  # a typing mistake should fail before gigabytes are read
    location = locate(name, say)
    say(f"{location.name}: loading")
    model, tokenizer = read_model(name, location)
    revision = location.revision or getattr(model.config, "_commit_hash", None)
    loaded = wrap(model, tokenizer, name=location.name, revision=revision)
    for note in loaded.notes:
        say(f"{loaded.name}: {note}")
    chosen_dtype = choose_dtype(dtype, devices[0], loaded.n_parameters)  # by one of several: the same on any number
    if len(devices) > 1:
        say(f"{loaded.name}: spreading its layers over {len(devices)} GPUs")
    try:
        place(loaded, devices, chosen_dtype)
    except torch.cuda.OutOfMemoryError as e:
        where = " and ".join(map(str, devices))
        remedy = "a smaller model" if len(devices) > 1 else "--device cpu, or --device all where there are several GPUs"
        raise OutOfMemory(f"model {name} does not fit on {where}; use --dtype bfloat16, or {remedy}") from e
    return loaded


def place(loaded: LoadedModel, devices: Sequence[torch.device], dtype: torch.dtype) -> None:
    """Moves the model to the device, or spreads it over several, in this dtype.

    Raises:
        OutOfMemory, UnsupportedArchitecture: see ``harmviz.models.spread.spread``.
    """
    model = loaded.model
    if len(devices) > 1:
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
        spread(model, devices, [free_on(device) or 0 for device in devices])
    else:
        for parameter in model.parameters():  # parameters only: rotary frequencies must stay float32
            parameter.data = parameter.data.to(device=devices[0], dtype=dtype)
        nn.Module.to(model, device=devices[0])
    loaded.device, loaded.others, loaded.dtype = devices[0], tuple(devices[1:]), dtype
