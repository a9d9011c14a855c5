"""A model's parameters read from its files one at a time, as loading would hold them: same names, types and tying.

Files may call a tensor otherwise than the model does, and may hold every expert by itself where the model holds a stack
of them. What becomes of which tensor is for transformers to say: the model is made without memory (on the device
``meta``) from the headers of its files, and its own renamings and conversions are applied to one parameter at a time.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

from harmviz.errors import HarmvizError, ModelUnavailable
from harmviz.models.architecture import scored_matrices
from harmviz.models.assets import Say
from harmviz.models.hub import download, shards
from harmviz.models.kinds import loader_of
from harmviz.models.locating import Location, locate
from harmviz.models.reading import check_complete, read_model
from harmviz.models.weights import WeightTable

#: Types of tensors as safetensors headers name them.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class _Source:
    """What a parameter is made of: one tensor of the files, or several that are converted together.

    ``patterns``: for each tensor the pattern of the converter that it fits; ``target``: the first parameter that the
    converter makes.
    """

    keys: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    converter: WeightConverter | None = None
    target: str = ""

    def converted(self, model: PreTrainedModel, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """Parameter → what the converter makes of these tensors; of a single one itself, under no name."""
        if self.converter is None:
            return {"": read(self.keys[0])}
        converter = deepcopy(self.converter)
        for key, pattern in zip(self.keys, self.patterns, strict=True):
            late: Any = partial(read, key)  # declared as a future alone, whatever can be called is called
            converter.add_tensor(self.target, key, pattern, late)
        made = converter.convert(self.target, model=model, config=model.config)
        return {name: tensor[0] if isinstance(tensor, list) else tensor for name, tensor in made.items()}


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk whose parameters can be read singly.

    ``dtypes``: every parameter's name → the type that loading gives it. ``tied``: further names of a parameter → the
    first one. ``unused``: tensors of the files that the model does not read.
    """

    name: str
    revision: str | None
    table: WeightTable
    dtypes: Mapping[str, torch.dtype]
    tied: Mapping[str, str]
    unused: tuple[str, ...]
    _model: PreTrainedModel = field(repr=False)
    _files: Mapping[str, Any] = field(repr=False)
    _sources: Mapping[str, _Source] = field(repr=False)

    def names(self) -> set[str]:
        """All names of its parameters, those of tied ones too."""
        return {*self.dtypes, *self.tied}

    def read(self, name: str) -> Tensor:
        """The parameter of this name (or the one it is tied to), as loading gives it.

        Raises:
            ModelUnavailable: it holds NaN or infinity, or its file is cut off.
        """
        name = self.tied.get(name, name)
        source, dtype = self._sources[name], self.dtypes[name]

        def read(key: str) -> Tensor:
            return self._files[key].get_tensor(key).to(dtype)

        try:
            made = source.converted(self._model, read)
        except (SafetensorError, OSError) as e:
            raise ModelUnavailable(f"model {self.name}: {name} cannot be read ({e}); copy or download it again") from e
        tensor = made[name if source.converter else ""]
        if not bool(torch.isfinite(tensor).all()):
            raise ModelUnavailable(f"model {self.name}: the weight {name} holds NaN or infinity; the file is damaged")
        return tensor.contiguous()


@contextmanager
def opened(name: str, say: Say) -> Iterator[Checkpoint]:
    """The checkpoint of this name, which may be whatever ``harmviz.models.locating`` knows. An adapter that has to be
    merged with its base is merged once, into a temporary folder.

    Raises:
        ModelUnavailable: nothing that could be loaded has this name; files are missing, damaged or quantized.
        UnsupportedArchitecture: it is no causal language model, or holds weights that harmviz cannot score.
    """
    location = locate(name, say)
    if location.adapter is None:
        folder = location.source if isinstance(location.source, Path) else download(name, say)
        yield _checkpoint(location, folder)
        return
    with tempfile.TemporaryDirectory(prefix="harmviz-merged-") as merged:
        say(f"{location.name}: merging its adapter")
        model, _ = read_model(name, location)
        model.save_pretrained(merged)
        del model
        yield _checkpoint(location, Path(merged))


def _checkpoint(location: Location, folder: Path) -> Checkpoint:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if getattr(config, "quantization_config", None):
            raise ModelUnavailable(
                f"model {location.name!r} is quantized, so that its zeros may be rounded weights; give a copy in "
                "float32, bfloat16 or float16"
            )
        loader = loader_of(config, location.name)
        files, headers = _headers(folder)
        with torch.device("meta"):
            kind = type(loader.from_config(config))
        # Tensors of the headers' shapes on ``meta``: names, types, tying and what is missing, without reading a weight.
        model, info = kind.from_pretrained(
            None, config=config, state_dict=headers, dtype="auto", device_map={"": "meta"}, output_loading_info=True
        )
    except HarmvizError:
        raise
    except Exception as e:  # transformers raises many types here; all mean: this cannot be loaded
        reason = str(e).strip().splitlines() or [type(e).__name__]
        raise ModelUnavailable(
            f"model {location.name!r} cannot be opened: {type(e).__name__}: {reason[0][:300]}"
        ) from e
    check_complete(location.name, model, sorted(info["missing_keys"]))
    parameters = dict(model.named_parameters())
    first = {id(p): name for name, p in parameters.items()}
    named = model.named_parameters(remove_duplicate=False)
    return Checkpoint(
        location.name,
        location.revision or getattr(config, "_commit_hash", None),
        scored_matrices(model)[0],
        {name: p.dtype for name, p in parameters.items()},
        {name: first[id(p)] for name, p in named if name not in parameters},
        tuple(sorted(info["unexpected_keys"])),
        model,
        files,
        _sources(model, headers),
    )


def _headers(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(tensor of the files → the open file that holds it, → its like on ``meta``)."""
    files: dict[str, Any] = {}
    likes: dict[str, Tensor] = {}
    for path in shards(folder):
        try:
            file = safe_open(path, framework="pt")
            for key in file.keys():  # noqa: SIM118  (not a dict)
                tensor = file.get_slice(key)
                files[key], kind = file, tensor.get_dtype()
                if kind not in _DTYPES:
                    raise ModelUnavailable(f"{path}: {key} is stored as {kind}; give a copy in float32 or bfloat16")
                likes[key] = torch.empty(tensor.get_shape(), dtype=_DTYPES[kind], device="meta")
        except (OSError, SafetensorError) as e:
            raise ModelUnavailable(f"{path} cannot be read as safetensors ({e}); copy or download it again") from e
    return files, likes


def _sources(model: PreTrainedModel, headers: Mapping[str, Tensor]) -> dict[str, _Source]:
    """Parameter → what it is made of, by the rules that transformers loads this model with."""
    rules = get_model_conversion_mapping(model, None, None)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    wanted = model.state_dict()
    plain: dict[str, str] = {}
    parts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in sorted(headers, key=dot_natural_key):
        target, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, wanted)
        if target not in wanted and key in wanted:  # a name of the model's own that a rule should not have touched
            target, pattern = rename_source_key(key, [], [], model.base_model_prefix, wanted)
        if target in wanted and pattern is None:
            plain[target] = key
        elif target in wanted:
            parts[target].append((key, str(pattern)))
    sources = {target: _Source((key,)) for target, key in plain.items()}
    for target, found in parts.items():
        keys, patterns = zip(*found, strict=True)
        source = _Source(keys, patterns, by_pattern[patterns[0]], target)
        sources |= dict.fromkeys(source.converted(model, headers.__getitem__), source)  # on ``meta``: its names alone
    return _under_first_names(model, sources)


def _under_first_names(model: PreTrainedModel, sources: dict[str, _Source]) -> dict[str, _Source]:
    """The sources under the names that the model lists its parameters by: a tied one may be stored under another."""
    of = {id(p): sources[name] for name, p in model.named_parameters(remove_duplicate=False) if name in sources}
    return {name: of[id(p)] for name, p in model.named_parameters() if id(p) in of}
