"""Masks from files beside a run's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harmviz.masks.mask import PruneMask
from harmviz.paths import masks_root
from harmviz.playground.lineup import Lineup, panes_of, stored_masks, stored_name
from harmviz.runs import open_run
from tests.worlds.fabricated import TABLE


def test_masks_from_files_are_played_where_they_fit_the_runs_model(mapped: Path) -> None:
    run = open_run("latest")
    first = TABLE[0].name
    for name, model in (("fits", run.manifest["model"]["weight_hash"]), ("other", "cd" * 32)):
        mask = PruneMask({first: np.array([1, 5], np.uint32)}, "harm", model, {"origin": "checkpoints"})
        mask.save(masks_root() / f"{name}.safetensors")
    (masks_root() / "damaged.safetensors").write_bytes(b"no mask")
    assert [name for name in stored_masks(run) if name.startswith("file:")] == ["file:fits"]
    panes, labels = panes_of(run, None, Lineup("file:fits"))
    assert panes[1].mask is not None
    assert panes[1].mask.n_weights == 2
    assert "from a file: fits" in labels[1].caption
    assert stored_name("file:fits") == "from a file: fits"
