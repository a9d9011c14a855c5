"""A stage scene made by hand over ``fabricated``'s run, no torch: what page and browser tests look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harmviz.claims.scene.record import FILE, MASK, RANDOM, Recorded, to_lines
from harmviz.data.prompts import PromptRow, read_builtin
from harmviz.masks.mask import Kind, PruneMask
from harmviz.runs import Row, Run, begin, write_rows
from harmviz.worker import PaneView
from tests.worlds.fabricated import TABLE, make_run, manifest

ALIGNED = "smollm2-135m-aligned"
SCENE_ID = f"{ALIGNED}-scene-0123456789"
STRENGTHS = (0.5, 1.0)
N = 64
FACTS: dict[str, Any] = dict(mask="mean(all)", q=4e-5, p=0.01, scope="global", contrast="both", n_weights=4246)


def rate(
    hits: float, condition: str, control: str | None, category: str = "advbench", metric: str = "refusal_rate"
) -> Row:
    """The row of one rate of refusals; ``control`` None: the intact model."""
    share = hits / N
    facts = {} if control is None else FACTS | {"control": control}
    return Row(
        experiment="scene",
        metric=metric,
        unit="share",
        category=category,
        condition=condition,
        n=N,
        value=share,
        ci_low=max(0.0, share - 0.06),
        ci_high=min(1.0, share + 0.06),
        **facts,
    )


def scene_rows() -> list[Row]:
    return [
        rate(3, "opener", None),
        rate(40, "opener", "none"),
        rate(13 / 3, "opener", "random"),
        rate(4, "opener#1", "random"),
        rate(21, "opener@0.5", "none"),
        rate(3, "opener@0.5", "random"),
        rate(62, "direct", None),
        rate(61, "direct", "none"),
        rate(2, "direct", None, "benign"),
        rate(5, "direct", "none", "benign"),
        rate(9, "selection:opener", "none"),
        *(
            rate(hits, "opener", who, metric="refusal_quoted")
            for hits, who in ((11, None), (44, "none"), (12, "random"))
        ),
    ]


def view(name: str, words: str, **changes: Any) -> PaneView:
    tokens = tuple(f" {w}" for w in words.split())
    facts: dict[str, Any] = dict(
        name=name,
        n_weights=0,
        strength=1.0,
        mask_digest=None,
        tokens=tokens,
        text="".join(tokens),
        surprise=(0.5,) * len(tokens),
        first_difference=None,
        divergence=(),
        tokens_per_s=0.0,
        finished="length",
        perplexity=2.0,
        repetition=0.0,
        refusal=False,
    )
    return PaneView(**(facts | changes))


def recorded(prompt: str, words: str = "a story that begins well", *, opening: str = "Sure, here is") -> Recorded:
    """A request whose panes say ``words``, but for the mask's, which declines at full strength."""
    panes = [("intact", view("intact", words))]
    for strength in (0.0, *STRENGTHS):
        no = strength == 1
        text = "something that I can't help with" if no else words
        panes.append(
            (
                "mask",
                view(
                    MASK,
                    text,
                    strength=strength,
                    n_weights=4246,
                    mask_digest="m",
                    refusal=no,
                    first_difference=0 if no else None,
                ),
            )
        )
    panes += [("random", view(RANDOM, words, strength=s, n_weights=4246, mask_digest="r")) for s in (0.0, *STRENGTHS)]
    return Recorded(
        PromptRow("x", prompt, "").prompt_id, "hate", prompt, opening, 48, True, True, "<template>", tuple(panes)
    )


def prompts(n: int = 2) -> list[str]:
    """Mild built-in requests."""
    return [r["prompt"] for r in read_builtin("harmful")[:n]]


def make_scene(
    root: Path,
    *,
    rows: list[Row] | None = None,
    records: list[Recorded] | None = None,
    shows: bool = True,
    **changes: Any,
) -> Run:
    """Writes a map run and a complete scene below ``root``; ``changes`` replace keys of the scene's manifest."""
    parent = make_run(root) if not (root / "smollm2-135m-instruct-pyrit-0123456789").exists() else None
    facts = manifest()
    model = facts["model"] | {"name": ALIGNED}
    with begin(SCENE_ID, root) as partial:
        masks: tuple[tuple[str, Kind, int], ...] = ((MASK, "harm", 0), (RANDOM, "control", 10))
        for name, kind, at in masks:
            mask = PruneMask({TABLE[0].name: np.arange(3) + at}, kind, model["weight_hash"], {"q": 4e-5, "p": 0.01})
            mask.save(partial.path(f"masks/{name}.safetensors"))
        write_rows(partial.path("results/scene.parquet"), scene_rows() if rows is None else rows)
        partial.write(FILE, to_lines([recorded(p) for p in prompts()] if records is None else records))
        partial.finish("all")
        method = {
            "experiment": "scene",
            "version": 1,
            "judges": ["keyword"],
            "n_read_well": 2,
            "offered": [],
            "chosen": {
                "q": 4e-5,
                "p": 0.01,
                "contrast": "both",
                "n_weights": 4246,
                "within_limits": True,
                "broken": [],
                "n_tried": 1,
                "n_points": 20,
            },
            "shows": {
                "advbench": {
                    "doubled": shows,
                    "clear_of_random": shows,
                    "direct_kept": True,
                    "benign_kept": True,
                    "fluent": True,
                }
            },
        }
        return partial.commit(
            facts
            | {
                "kind": "experiment",
                "parents": [parent.id] if parent else [],
                "model": model,
                "weights": [],
                "method": method,
                "parameters": {"opener": "Sure, here is", "sources": ["advbench", "mild"], "max_new_tokens": 48},
            }
            | changes
        )
