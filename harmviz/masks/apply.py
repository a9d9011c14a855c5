"""Apply a prune mask to the live model: exact, in place, and undone bit for bit.

    with pruned(loaded, mask, strength=1.0) as changed:
        ...                       # every forward pass in here sees  W′[i] = (1 − strength) · W[i]  for i in the mask

The k affected values are saved, scaled and, whatever happens inside (an exception, Ctrl-C), put back from the saved
copy; nothing is ever recomputed, so the restored weights equal the old ones in every bit. The model's lock is held
throughout: no other thread sees a half-pruned model. Contexts of two masks may be nested; each restores what it found.

Strength runs from 0 (intact) to 1 (zeroed) and never amplifies (METHOD.md §6). For several masks at once in one decode,
see ``harmviz.generation.variants``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from harmviz.errors import BadSetting, MaskInvalid
from harmviz.masks.mask import PruneMask
from harmviz.models.hashing import hash_parameters
from harmviz.models.load import LoadedModel


@dataclass(frozen=True)
class Pruned:
    """What an application did: of ``n_weights`` in the mask, ``n_changed`` now hold another value than before.

    While it lasts it stands in ``LoadedModel.in_force``, for other processes with a copy of the model to do it too.
    """

    mask: PruneMask
    strength: float
    n_weights: int
    n_changed: int

    @property
    def travels(self) -> bool:
        """Whether it may be sent to another process: not where the mask is measurement-only."""
        return self.mask.kind != "measurement"

    def again(self, loaded: LoadedModel) -> AbstractContextManager[Pruned]:
        """The same mask at the same strength on another copy of the model.

        Raises:
            MaskInvalid: see ``check_mask``.
        """
        return PreparedMask(loaded, self.mask).applied(self.strength)


# -- checks -----------------------------------------------------------------------------------------------------------
def check_strength(strength: float) -> float:
    """The strength as a float.

    Raises:
        ValueError: not a finite number in [0, 1].
    """
    if isinstance(strength, bool) or not isinstance(strength, int | float | np.integer | np.floating):
        raise BadSetting(f"strength must be a number in [0, 1], got {strength!r}")
    if not math.isfinite(strength) or not 0 <= strength <= 1:
        raise BadSetting(f"strength must lie in [0, 1] (0 = intact, 1 = zeroed), got {strength!r}")
    return float(strength)


def check_mask(loaded: LoadedModel, mask: PruneMask, *, allow_measurement: bool = False) -> None:
    """Nothing, if the mask may be applied to this model.

    Raises:
        MaskInvalid: the mask is measurement-only, was made for other weights, or names weights this model lacks.
    """
    if mask.kind == "measurement" and not allow_measurement:
        raise MaskInvalid(
            "this mask is measurement-only (found on texts that read as refusals) and cannot be applied; "
            "use a mask of kind harm or control"
        )
    if mask.model_hash != loaded.weight_hash:
        raise MaskInvalid(
            f"the mask was made for weights {mask.model_hash[:12]}…, but {loaded.name} has {loaded.weight_hash[:12]}…; "
            "use a mask from a run of this very model"
        )
    mask.check_fits(loaded.table)


def warn_if_unchanged(n_changed: int, strength: float, n_weights: int, what: str = "the mask") -> None:
    """A RuntimeWarning where an application was asked for and no weight changed: such a result only looks like one."""
    if strength > 0 and n_changed == 0:
        why = (
            "it is empty" if n_weights == 0 else f"its {n_weights} weights already are 0, or the strength is too small"
        )
        warnings.warn(
            f"{what} changed 0 weights at strength {strength:g} ({why}); what follows is the intact model",
            RuntimeWarning,
            stacklevel=4,
        )


# -- application ------------------------------------------------------------------------------------------------------
@dataclass
class _Saved:
    """The old values of one matrix, at flat indices of its row-major order."""

    tensor: Float[Tensor, "d_out d_in"]
    flat: Int64[Tensor, " k"]
    values: Float[Tensor, " k"]


def _restore(saved: list[_Saved]) -> None:
    """Writes all saved values back, latest first. Ctrl-C during the restore is raised only after its end."""
    interrupt: KeyboardInterrupt | None = None
    while saved:
        try:
            with torch.no_grad():
                while saved:
                    last = saved[-1]
                    last.tensor.put_(last.flat, last.values)
                    saved.pop()  # only now: writing twice is harmless, forgetting is not
        except KeyboardInterrupt as e:
            interrupt = e
    if interrupt is not None:
        raise interrupt


class PreparedMask:
    """A mask checked against a model, its indices on the model's device: for repeated use of one mask.

    Parameters are looked up anew at every application, so that it stays right when ``loaded.model`` is moved or cast.

    Raises:
        MaskInvalid: see ``check_mask``.
    """

    def __init__(self, loaded: LoadedModel, mask: PruneMask, *, allow_measurement: bool = False):
        check_mask(loaded, mask, allow_measurement=allow_measurement)
        self.loaded = loaded
        self.mask = mask
        self._matrices = [loaded.table.index_of[name] for name in mask.indices]
        flats = list(mask.indices.values())
        joined = np.concatenate(flats).astype(np.int64) if flats else np.empty(0, dtype=np.int64)
        moved = torch.from_numpy(joined).to(loaded.device).split([len(f) for f in flats])  # one transfer
        self._flats = [f.to(loaded.device_of(i)) for i, f in zip(self._matrices, moved, strict=True)]

    @contextmanager
    def applied(self, strength: float = 1.0) -> Iterator[Pruned]:
        """The model with this mask's weights scaled by (1 − strength). Does not warn (see ``pruned``).

        Raises:
            ValueError: strength is not a finite number in [0, 1].
        """
        strength = check_strength(strength)
        saved: list[_Saved] = []
        written: list[Float[Tensor, " k"]] = []
        with self.loaded.lock:
            n_before = len(self.loaded.in_force)
            try:
                with torch.no_grad():
                    for matrix, flat in zip(self._matrices, self._flats, strict=True):
                        tensor = self.loaded.tensor(matrix)
                        # take and put_ go by row-major order, whatever the strides: also right where not contiguous.
                        old = tensor.take(flat)
                        new = old * (1.0 - strength) if strength < 1 else torch.zeros_like(old)  # not −0.0
                        saved.append(_Saved(tensor, flat, old))  # before the write, so that it cannot be missed
                        tensor.put_(flat, new)
                        written.append(new)
                    n_changed = self._count_changed(written, [s.values for s in saved])
                done = Pruned(self.mask, strength, self.mask.n_weights, n_changed)
                self.loaded.in_force.append(done)
                yield done
            finally:
                try:
                    _restore(saved)
                finally:
                    del self.loaded.in_force[n_before:]

    def _count_changed(self, new: list[Float[Tensor, " k"]], old: list[Float[Tensor, " k"]]) -> int:
        if not new:
            return 0
        if self.loaded.others:
            new, old = ([part.to(self.loaded.device) for part in parts] for parts in (new, old))
        return int((torch.cat(new) != torch.cat(old)).sum())


@contextmanager
def pruned(
    loaded: LoadedModel, mask: PruneMask, strength: float = 1.0, *, allow_measurement: bool = False
) -> Iterator[Pruned]:
    """The model with the mask's weights scaled by (1 − strength) for as long as the context lasts.

    Args:
        loaded: the model; its lock is held until the weights are back.
        mask: made for exactly these weights.
        strength: 0 leaves the model intact, 1 sets the weights to exactly 0.
        allow_measurement: only for experiments inside this process that measure what a refusal set does (its losses
            and rates leave, its indices and its generations never do). Nothing a user can reach may set it.

    Yields:
        What was done. Where no weight changed although strength > 0, a RuntimeWarning says so.

    Raises:
        MaskInvalid: the mask is measurement-only, made for other weights, or does not fit.
        ValueError: strength is not a finite number in [0, 1].
    """
    with PreparedMask(loaded, mask, allow_measurement=allow_measurement).applied(strength) as changed:
        warn_if_unchanged(changed.n_changed, changed.strength, changed.n_weights)
        yield changed


# -- proof that nothing was left behind -------------------------------------------------------------------------------
def hash_matrix(loaded: LoadedModel, name: str) -> str:
    """sha256 over name, dtype, shape and bytes of one scored weight matrix.

    Raises:
        KeyError: the model has no scored matrix of this name.
    """
    return hash_parameters([(name, loaded.tensor(loaded.table.index_of[name]))])


def hash_weights(loaded: LoadedModel) -> str:
    """sha256 over all scored weights, in name order: equal before and after every ``pruned``."""
    return hash_parameters((m.name, loaded.tensor(i)) for i, m in enumerate(loaded.table))
