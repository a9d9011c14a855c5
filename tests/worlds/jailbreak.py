"""A jailbreak experiment made by hand, with rows computed from made-up answers: what the page, its words and its figures are shown with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.claims.jailbreak.attacks import Attack, load_attacks
from harmviz.claims.jailbreak.requests import Request
from harmviz.claims.jailbreak.rows import Arm, Grid
from harmviz.data.prompts import PromptRow
from harmviz.runs import Run, begin, write_rows
from tests.worlds.fabricated import manifest

POINT = {"mask": "mean(all)", "scope": "global", "p": 0.01}
BOTH = {**POINT, "contrast": "both", "q": 5e-5, "n_weights": 5308}
ARMS = (
    Arm("intact", "intact", None, {"mask": None, "control": "none"}),
    Arm("plain", "plain", None, {**POINT, "contrast": "none", "q": 5e-6, "n_weights": 530, "control": "none"}),
    Arm("contrastive", "contrastive", None, {**BOTH, "control": "none"}),
    Arm("random-0", "random", None, {**BOTH, "control": "random"}),
    Arm("random-1", "random", None, {**BOTH, "control": "random"}),
    Arm("benign_signed", "benign_signed", None, {**BOTH, "control": "benign_signed"}),
)
#: With the mask of a stage scene.
WITH_SCENE = (
    *ARMS[:3],
    Arm("guarded", "guarded", None, {**POINT, "contrast": "guarded", "q": 2e-5, "n_weights": 2123, "control": "none"}),
    *ARMS[3:],
)
#: Share of refused harmful requests by state of the model: bare, and under attack.
REFUSED = {
    "intact": (0.97, 0.3),
    "plain": (0.97, 0.33),
    "contrastive": (0.98, 0.72),
    "guarded": (0.97, 0.8),
    "random-0": (0.97, 0.31),
    "random-1": (0.97, 0.29),
    "benign_signed": (0.9, 0.28),
}
OVER = {
    "intact": 0.04,
    "plain": 0.04,
    "contrastive": 0.09,
    "guarded": 0.04,
    "random-0": 0.04,
    "random-1": 0.03,
    "benign_signed": 0.05,
}


def requests(harmful: int = 20, benign: int = 12) -> list[Request]:
    """Requests without meaning; ``mild`` as the built-in ones are."""
    rows = [PromptRow("privacy", f"harmful request {i}", "") for i in range(harmful)] + [
        PromptRow("benign", f"benign request {i}", "") for i in range(benign)
    ]
    return [Request(r, mild=True) for r in rows]


def grid(
    attacks: tuple[Attack, ...],
    asked: list[Request],
    refused: Mapping[str, tuple[float, float]] = REFUSED,
    *,
    judge: bool = True,
    seed: int = 0,
    arms: tuple[Arm, ...] = ARMS,
) -> Grid:
    """A grid of made-up answers. One request is as easily refused under every mask, so that pairs agree as real ones do."""
    rng = np.random.default_rng(seed)
    made = Grid(arms, attacks, asked, seed)
    ease = rng.random((len(attacks), len(asked)))
    hard = rng.uniform(-0.25, 0.25, len(attacks))
    for i, arm in enumerate(arms):
        for j, attack in enumerate(attacks):
            flags = []
            for k, request in enumerate(asked):
                share = (
                    OVER[arm.name]
                    if not request.harmful
                    else refused[arm.name][0]
                    if attack.plain
                    else refused[arm.name][1] + hard[j]
                )
                flags.append(float(ease[j, k] < share))
            numbers: dict[str, list[float]] = {
                "refusal_rate": flags,
                "compliance_rate": [1 - f for f in flags],
                "empty_rate": [0.0] * len(asked),
                "repetition": [0.5 if attack.id == "spaced" and arm.name == "benign_signed" else 0.08] * len(asked),
            }
            if judge:
                numbers["refusal_rate:offline-refusal"] = [
                    min(1.0, f + float(ease[j, k] > 0.9)) for k, f in enumerate(flags)
                ]
                numbers["unscored:offline-refusal"] = [0.0] * len(asked)
                numbers["unscored:offline-harm"] = [1.0 if r.harmful else np.nan for r in asked]
                numbers["attack_success:offline-harm"] = [np.nan] * len(asked)
            made.put(i, j, numbers)
    return made


def transcript(attacks: tuple[Attack, ...], answer: str = "{mask} answers {attack}") -> list[dict[str, Any]]:
    """Kept answers to one harmful and one benign request."""
    return [
        {
            "mask": mask,
            "attack": a.id,
            "category": category,
            "request": f"a {category} request",
            "opening": a.opening,
            "answer": answer.format(mask=mask, attack=a.id),
            "refused": mask == "contrastive",
        }
        for mask in ("intact", "plain", "contrastive", "random", "benign_signed")
        for a in attacks
        for category in ("privacy", "benign")
    ]


def make_experiment(
    root: Path,
    run_id: str = "smollm2-135m-instruct-jailbreak-0123456789",
    *,
    attacks: tuple[Attack, ...] | None = None,
    answer: str = "{mask} answers {attack}",
    parent: str = "smollm2-135m-instruct-pyrit-0123456789",
    method: Mapping[str, Any] | None = None,
    lines: str | None = None,
    n: tuple[int, int] = (20, 12),
    refused: Mapping[str, tuple[float, float]] = REFUSED,
    states: tuple[Arm, ...] = ARMS,
) -> Run:
    """Writes a complete jailbreak experiment below ``root``. ``method`` changes what its manifest says; ``lines``: the transcripts' text."""
    chosen = load_attacks()[:4] if attacks is None else attacks
    asked = requests(*n)
    arms = [{"name": a.name, "group": a.group, "digest": "d", **a.facts} for a in states]
    told = {
        "experiment": "jailbreak",
        "version": 1,
        "attacks": [a.record() for a in chosen],
        "arms": arms,
        "judges": [
            {
                "name": "keyword",
                "kind": "refusal",
                "source": "s",
                "quality": [["recall", "keyword list", "human labels", 0.52, 0.33, 0.71, 109]],
            },
            {
                "name": "offline-harm",
                "kind": "harm",
                "source": "s",
                "quality": [["auc", "judge", "human labels", 0.87, 0.84, 0.90, 984]],
            },
        ],
        "requests": {"harmful": n[0], "benign": n[1], "mild": n[0]},
        "unscored": {
            "offline-harm": {"it does not tell harmful from harmless in mild texts": n[0] * len(chosen) * len(ARMS)}
        },
    }
    with begin(run_id, root) as partial:
        write_rows(partial.path("results/grid.parquet"), grid(chosen, asked, refused, arms=states).rows())
        written = "".join(json.dumps(r) + "\n" for r in transcript(chosen, answer)) if lines is None else lines
        partial.write("results/transcripts.jsonl", written.encode())
        partial.finish("rows")
        data = {
            "id": "builtin",
            "hash": "e",
            "counts": {"benign": {"asked": n[1]}},
            "left_out": {},
            "notes": ["a note"],
        }
        return partial.commit(
            manifest(
                kind="experiment",
                parents=[parent],
                weights=[],
                data=data,
                method={**told, **(method or {})},
                parameters={"max_new_tokens": 64},
            )
        )
