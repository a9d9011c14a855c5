"""Models of a known architecture with random weights, and random tokens for them.

The weights are drawn on the device in the dtype they are used in; nothing larger is made on the way. Before anything is
made it is asked whether they fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harmviz.bench import machine
from harmviz.bench.floors import Sizes, scoring_flops, sizes_of
from harmviz.bench.shapes import Shape
from harmviz.data.encoding import Sample
from harmviz.display.text import duration, size
from harmviz.errors import BadSetting, HarmvizError, OutOfMemory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harmviz.models.load import LoadedModel

#: What one scoring pass may take at the least on a CPU, in seconds: a bench makes about forty.
PATIENCE = 300.0
_SEED = 0


def random_samples(shape: Shape) -> list[Sample]:
    """The texts of a shape, as token ids."""
    n_tokens = shape.n_prompt + shape.n_response
    drawn = np.random.default_rng(_SEED).integers(shape.config["vocab_size"], size=(shape.n_samples, n_tokens))
    return [
        Sample(f"random-{i}", f"random-{i}", tuple(ids), shape.n_prompt, shape.n_prompt)
        for i, ids in enumerate(drawn.tolist())
    ]


def random_model(shape: Shape, *, dtype: str = "auto", device: str = "auto", scored: bool = True) -> LoadedModel:
    """A model of this shape on the device; two calls give the same weights on the same kind of device.

    Args:
        dtype: auto (bfloat16), bfloat16 or float32.
        device: as in ``harmviz.models.load.load_model``.
        scored: whether it will be scored, for which float32 sums of all scored weights need a place too.

    Raises:
        OutOfMemory: the device does not hold it; nothing was made yet.
        HarmvizError: on this CPU a single scoring pass would take longer than ``PATIENCE``; nothing was made yet.
        ValueError, ModelUnavailable: see ``choose_device``.
    """
    import torch

    from harmviz.models.architecture import scored_matrices
    from harmviz.models.load import DTYPES, LoadedModel, choose_device

    where = choose_device(device)
    if dtype not in ("auto", *DTYPES):
        raise BadSetting(f"dtype must be auto, {' or '.join(DTYPES)}, got {dtype!r}")
    kind = DTYPES["bfloat16" if dtype == "auto" else dtype]
    with torch.device("meta"):  # shapes without memory
        outline = _model(shape, kind)
    _check_fits(shape, sizes_of(outline, scored_matrices(outline)[0]), kind, where, scored=scored)
    torch.manual_seed(_SEED)
    try:
        with torch.device(where):
            model = _model(shape, kind)
    except torch.OutOfMemoryError as e:
        raise OutOfMemory(f"the shape {shape.name} does not fit on {where}; use a device with more memory") from e
    model.eval().requires_grad_(False)
    table, modules = scored_matrices(model)
    name = f"{shape.name} (random weights)"
    key = f"{shape.name}, seed {_SEED}, {kind}, {where.type}"  # says which weights they are as well as a hash of them
    return LoadedModel(model, _no_tokenizer(), name, None, key, table, modules, where, kind)


def _model(shape: Shape, dtype: torch.dtype) -> PreTrainedModel:
    """No token ends an answer, so that all are equally long."""
    from transformers import AutoConfig, AutoModelForCausalLM

    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = AutoConfig.for_model(shape.model_type, **{**shape.config, **ends})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model


def _no_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer of one token: random weights know no words, and are given token ids."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"?": 0}, unk_token="?")), unk_token="?")


def _check_fits(shape: Shape, sizes: Sizes, dtype: torch.dtype, device: torch.device, *, scored: bool) -> None:
    import torch

    from harmviz.models.memory import free_on

    weights, sums = dtype.itemsize * sizes.n_parameters, 4 * sizes.n_scored if scored else 0
    needed, free = weights + sums, free_on(device)
    needs = f"the shape {shape.name} takes {size(weights)} of {str(dtype).removeprefix('torch.')} weights"
    needs += f" and, while it is scored, {size(sums)} of float32 sums: {size(needed)} in all" if scored else ""
    slow = ""
    if scored and device.type == "cpu":
        seconds = scoring_flops(sizes, random_samples(shape)) / machine.rates(device, dtype).flops
        if seconds > PATIENCE:
            slow = (
                f"on this CPU (threads: {torch.get_num_threads()}) one scoring pass of {shape.n_samples} samples takes "
                f"{duration(seconds)} at the least"
            )
    if free is not None and needed > free:
        raise OutOfMemory(
            f"{needs}, and {size(free)} are free on {device}{f'; {slow}' if slow else ''}; use a GPU that holds it"
        )
    if slow:
        raise HarmvizError(f"{needs}; {slow}; use a GPU that holds it (--device cuda)")
