"""What several ranks compute together, beside what one computes alone: a job's program, its findings as JSON.

torchrun --nproc-per-node N tests/worlds/rank_program.py MODEL RESULT.json
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harmviz.data.encoding import make_batches
from harmviz.errors import HarmvizError
from harmviz.generation.batch import generate_batch
from harmviz.masks.apply import pruned
from harmviz.masks.mask import Kind, PruneMask
from harmviz.models import processes
from harmviz.models.load import LoadedModel
from harmviz.models.rank_messages import WORKS, Work
from harmviz.models.ranks import joined, leave, load_shared
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.loss import response_losses
from harmviz.scoring.signed import score_signed
from harmviz.scoring.wanda import InputNorms
from tests.worlds.worked import samples, worst_error

#: What this program's ranks can be asked for, beside what harmviz' can.
WORKS.update(who="tests.worlds.rank_program", fails="tests.worlds.rank_program")


def who(loaded: LoadedModel, items: list[int]) -> list[list[Any]]:
    """Of each item: the process, how many masks are in force there, and whether work might be forked."""
    return [[item, os.getpid(), len(loaded.in_force), processes.available(loaded)] for item in items]


def fails(loaded: LoadedModel, items: list[int]) -> list[int]:
    """Fails where the item is 1, on purpose, and where it is 2, by mistake."""
    if items == [1]:
        raise HarmvizError("no such thing")
    return [1 // (item - 2) for item in items]


def some_mask(loaded: LoadedModel, seed: int, kind: Kind = "harm") -> PruneMask:
    draw = np.random.default_rng(seed)
    chosen = draw.choice(loaded.table.n_weights, 60, replace=False)
    return PruneMask.from_global(loaded.table, chosen, kind=kind, model_hash=loaded.weight_hash)


def measured(loaded: LoadedModel) -> dict[str, Any]:
    """Losses, answers and scores of a few samples, and the last that was told of their progress."""
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    group, few = samples(17), samples(2, seed=1)
    batches, two = make_batches(group, max_tokens=300), make_batches(few, max_tokens=300)
    norms, prompts = InputNorms(loaded), [list(range(3, 8 + i % 5)) for i in range(11)]
    score_absolute(loaded, two, norms=norms)  # what follows is added
    return {
        "losses": response_losses(loaded, group, skips=(0, 2), progress=tell),
        "answers": generate_batch(loaded, prompts, 12, batch_size=4),
        "no answers": generate_batch(loaded, [], 12),
        "signed": score_signed(loaded, batches, progress=tell),
        "signed, some": score_signed(loaded, batches, matrices=[3, 5], progress=tell),
        "signed, fewer samples than ranks": score_signed(loaded, two),
        "absolute": score_absolute(loaded, batches, norms=norms, progress=tell),
        "norms": norms.squares,
        "told": told[-1],
    }


def differences(together: dict[str, Any], alone: dict[str, Any]) -> dict[str, Any]:
    return {
        **{k: worst_error(together[k], alone[k]) for k in together if k.startswith(("signed", "absolute", "norms"))},
        **{k: together[k] == alone[k] for k in ("answers", "no answers", "told")},
        "losses": float(np.abs(together["losses"] - alone["losses"]).max()),
    }


def findings(loaded: LoadedModel) -> dict[str, Any]:
    ranks = loaded.ranks
    assert ranks is not None
    processes.SMALLEST = 0
    torch.set_num_threads(2)  # so that it would be forked
    shares = [[2, 0], [1], []][: ranks.n]

    def both() -> tuple[dict[str, Any], list[float]]:
        together = measured(loaded)
        loaded.ranks = None
        alone = measured(loaded)
        loaded.ranks = ranks
        return differences(together, alone), together["losses"][:, 0].tolist()

    found: dict[str, Any] = {"facts": ranks.facts, "here": os.getpid()}
    found["intact"], intact = both()
    found["who"] = ranks.scattered(loaded, Work("who"), [7, 8, 9], shares)
    with pruned(loaded, some_mask(loaded, 0)):
        found["one mask"], one = both()
        with pruned(loaded, some_mask(loaded, 1), strength=0.5):
            found["two masks"], two = both()
            found["who, two masks"] = ranks.scattered(loaded, Work("who"), [7, 8, 9], shares)
    with pruned(loaded, some_mask(loaded, 2)):
        _, shared = both()
    with pruned(loaded, some_mask(loaded, 2, "measurement"), allow_measurement=True):
        found["leaves"] = loaded.sharing is not None
        here = measured(loaded)["losses"][:, 0]
        found["measured where it is"] = float(np.abs(here - np.array(shared)).max())
    found["intact again"], again = both()
    found["masks change losses"] = len({str(x) for x in (intact, one, two)}) == 3 and again == intact
    found["failures"] = []
    for items in ([0, 1], [0, 2]):
        try:
            ranks.scattered(loaded, Work("fails"), items, [[0], [1], []][: ranks.n])
        except (HarmvizError, RuntimeError) as e:
            found["failures"].append(f"{type(e).__name__}: {e}")
    found["after failures"], _ = both()
    return found


if __name__ == "__main__":
    from tests.worlds import rank_program

    with joined(True, print) as leads:
        if leads:
            shared = load_shared(sys.argv[1], dtype="auto", device="cpu", say=lambda _: None)
            Path(sys.argv[2]).write_text(json.dumps(rank_program.findings(shared)))
    leave(0)
