"""Low-rank adapters as single safetensors files, and how they are merged into a model.

An adapter holds, for each adapted linear layer, ``A [rank, d_in]`` and ``B [d_out, rank]`` in float16; merged,
``W ← W + scale · B A`` in float32. The header says which base weights it belongs to, so that it is never merged into
others.

Source: Hu et al. 2021, LoRA, arXiv:2106.09685.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from harmviz.errors import ModelUnavailable
from harmviz.files import TEMPORARY, disk_errors, json_bytes, move_folder, sha256_of_file, write_atomic
from harmviz.models.assets import Say, embedded_model_dir
from harmviz.models.hashing import hash_parameters
from harmviz.models.names import MARKER, merged_dir

if TYPE_CHECKING:
    from jaxtyping import Float16, Float32
    from torch import Tensor

    from harmviz.models.load import LoadedModel

FORMAT = 1
_HEADER = "harmviz_adapter"
_FACTS = ("base_hash", "scale", "arm", "stage", "step")


@dataclass(frozen=True)
class Adapter:
    """``factors[module] = (A, B)`` in float16; ``base_hash`` is the ``weight_hash`` of the model it was tuned on."""

    factors: dict[str, tuple[Float16[Tensor, "rank d_in"], Float16[Tensor, "d_out rank"]]] = field(repr=False)
    scale: float
    base_hash: str
    arm: str
    stage: str
    step: int

    def delta(self, module: str) -> Float32[Tensor, "d_out d_in"]:
        """What merging adds to the module's weight, ``scale · B A``, multiplied in float32."""
        a, b = self.factors[module]
        return self.scale * (b.float() @ a.float())

    def to_bytes(self) -> bytes:
        """The adapter as one safetensors file; the same adapter gives the same bytes."""
        import torch
        from safetensors.torch import save

        header = {"format": FORMAT, **{name: getattr(self, name) for name in _FACTS}}
        tensors = {}
        for module, (a, b) in sorted(self.factors.items()):
            tensors[f"{module}.lora_A"] = a.to(torch.float16).contiguous()
            tensors[f"{module}.lora_B"] = b.to(torch.float16).contiguous()
        return save(tensors, {_HEADER: json.dumps(header, sort_keys=True)})


def save_adapter(path: Path, adapter: Adapter) -> None:
    """Nothing; writes the adapter so that the file is whole or absent."""
    write_atomic(path, adapter.to_bytes())


def load_adapter(path: Path) -> Adapter:
    """The adapter in this file.

    Raises:
        ModelUnavailable: no such file, not a harmviz adapter, or damaged.
    """
    import torch

    if not path.is_file():
        raise ModelUnavailable(f"adapter {path} does not exist; `python -m harmviz align` makes one")
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {}).get(_HEADER, "null")) or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, ValueError, OSError) as e:
        raise ModelUnavailable(
            f"adapter {path} cannot be read ({e}); make it again with `python -m harmviz align`"
        ) from e
    if not isinstance(header, dict) or not {"format", *_FACTS} <= header.keys() or header["format"] != FORMAT:
        raise ModelUnavailable(
            f"{path} is no adapter of harmviz (format {FORMAT}); give a file of a ladder's adapters folder, or of a "
            "model or a LoRA adapter in another format its folder"
        )
    modules = sorted({name.rpartition(".")[0] for name in tensors})
    factors = {}
    for module in modules:
        a, b = tensors.get(f"{module}.lora_A"), tensors.get(f"{module}.lora_B")
        if a is None or b is None or a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise ModelUnavailable(
                f"adapter {path}: the factors of {module} are incomplete or do not fit; make it again"
            )
        if not (bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())):
            raise ModelUnavailable(f"adapter {path}: the factors of {module} hold NaN or infinity; make it again")
        factors[module] = (a, b)
    return Adapter(
        factors,
        scale=float(header["scale"]),
        base_hash=str(header["base_hash"]),
        arm=str(header["arm"]),
        stage=str(header["stage"]),
        step=int(header["step"]),
    )


# -- in memory --------------------------------------------------------------------------------------------------------
@contextmanager
def merged(loaded: LoadedModel, adapter: Adapter | None) -> Iterator[None]:
    """The model with the adapter merged in while the block runs; afterwards its weights are bit for bit what they were.

    Raises:
        ModelUnavailable: the adapter belongs to another model.
    """
    if adapter is None:
        yield
        return
    if adapter.base_hash != loaded.weight_hash:
        raise ModelUnavailable(
            f"the adapter {adapter.arm}-{adapter.stage}-{adapter.step} was tuned on another model than {loaded.name}"
        )
    with loaded.lock:
        before: dict[str, Tensor] = {}
        try:
            for module in adapter.factors:
                weight = loaded.model.get_parameter(f"{module}.weight")
                before[module] = weight.detach().clone()
                weight.data.add_(adapter.delta(module).to(weight))
            yield
        finally:
            for module, original in before.items():
                loaded.model.get_parameter(f"{module}.weight").data.copy_(original)


# -- on disk ----------------------------------------------------------------------------------------------------------
def merge_adapter(model_dir: Path, adapter_path: Path, out_dir: Path) -> Path:
    """``out_dir``, a complete model folder with the adapter merged in; made in one step, kept if it is there already.

    Raises:
        ModelUnavailable: the adapter is damaged or belongs to another model, or the folder holds no safetensors
            weights.
        OutOfMemory: the disk is full.
    """
    from safetensors.torch import load_file, save_file

    adapter = load_adapter(adapter_path)
    mark = {"adapter_sha256": sha256_of_file(adapter_path), "base_hash": adapter.base_hash}
    marker = out_dir / MARKER
    if marker.is_file() and json.loads(marker.read_bytes()) == mark:
        return out_dir
    files = sorted(model_dir.glob("*.safetensors"))
    shards = {path: load_file(path) for path in files}
    weights = ((name, tensor) for tensors in shards.values() for name, tensor in tensors.items())
    if not shards or hash_parameters(weights) != adapter.base_hash:
        raise ModelUnavailable(
            f"the adapter {adapter_path} was not tuned on the weights in {model_dir}; give the model it belongs to"
        )
    wanted = {f"{module}.weight": module for module in adapter.factors}
    with disk_errors(out_dir):
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        part = out_dir.with_name(f"{TEMPORARY}{out_dir.name}-{uuid.uuid4().hex[:8]}")
        part.mkdir()
        try:
            for path, tensors in shards.items():
                for name in sorted(tensors.keys() & wanted.keys()):
                    weight = tensors[name]
                    tensors[name] = (weight.float() + adapter.delta(wanted[name])).to(weight.dtype)
                save_file(tensors, part / path.name, metadata={"format": "pt"})
            for path in sorted(model_dir.iterdir()):
                if path.is_file() and path.suffix != ".safetensors" and path.name != MARKER:
                    shutil.copyfile(path, part / path.name)
            (part / MARKER).write_bytes(json_bytes(mark))
            if out_dir.exists():
                shutil.rmtree(out_dir)
            move_folder(part, out_dir)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return out_dir


# -- by name ----------------------------------------------------------------------------------------------------------
def tuned_model_dir(adapter: Path, say: Say = lambda _: None) -> Path:
    """Folder of the embedded model with the adapter merged in, made on first use (some 5 s).

    Raises:
        ModelUnavailable, OutOfMemory: as ``merge_adapter``.
        AssetUnavailable: as ``embedded_model_dir``.
    """
    load_adapter(adapter)  # a missing or damaged file is named before anything is fetched or made
    base = embedded_model_dir(say)
    target = merged_dir(adapter)
    if not target.is_dir():
        say(f"{adapter.stem}: merging into {base.name} (once)")
    return merge_adapter(base, adapter, target)
