"""A jailbreak experiment made by hand, with rows computed from made-up answers: what the page, its words and its
figures are shown with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.claims.jailbreak.arms import Arm
from harmviz.claims.jailbreak.attacks import Attack, load_attacks
from harmviz.claims.jailbreak.requests import Request
from harmviz.claims.jailbreak.rows import AnswerGrid
from harmviz.data.prompts import PromptRow
from harmviz.runs import Point, Run, begin, write_rows
from tests.worlds.fabricated import manifest

PLAIN = Point("mean(all)", 5e-6, 0.01)
CONTRASTIVE = Point("mean(all)", 5e-5, 0.01, contrast="both")
GUARDED = Point("mean(all)", 2e-5, 0.01, contrast="guarded")
ARMS = (
    Arm("intact", "intact"),
    Arm("plain", "plain", point=PLAIN, n_weights=530),
    Arm("contrastive", "contrastive", point=CONTRASTIVE, n_weights=5308),
    Arm("random-0", "random", point=CONTRASTIVE, control="random", n_weights=5308),
    Arm("random-1", "random", point=CONTRASTIVE, control="random", n_weights=5308),
    Arm("benign_signed", "benign_signed", point=CONTRASTIVE, control="benign_signed", n_weights=5308),
)
#: With the mask of a stage scene.
WITH_SCENE = (*ARMS[:3], Arm("guarded", "guarded", point=GUARDED, n_weights=2123), *ARMS[3:])
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


def empty_grid(arms: Sequence[Arm], attacks: Sequence[Attack], asked: Sequence[Request], seed: int = 0) -> AnswerGrid:
    """A grid that no number was entered into."""
    return AnswerGrid(
        [(arm.group, arm.where("jailbreak")) for arm in arms],
        [attack.id for attack in attacks],
        [request.harmful for request in asked],
        bare=next((attack.id for attack in attacks if attack.plain), None),
        seed=seed,
    )


def grid(
    attacks: tuple[Attack, ...],
    asked: list[Request],
    refused: Mapping[str, tuple[float, float]] = REFUSED,
    over: Mapping[str, float] = OVER,
    *,
    judge: bool = True,
    seed: int = 0,
    arms: tuple[Arm, ...] = ARMS,
) -> AnswerGrid:
    """A grid of made-up answers. One request is as easily refused under every mask, so that pairs agree as real ones
    do."""
    rng = np.random.default_rng(seed)
    answers = empty_grid(arms, attacks, asked, seed)
    ease = rng.random((len(attacks), len(asked)))
    hard = rng.uniform(-0.25, 0.25, len(attacks))
    for i, arm in enumerate(arms):
        bare, attacked = refused[arm.name]
        for j, attack in enumerate(attacks):
            share = bare if attack.plain else attacked + hard[j]
            flags = [
                float(ease[j, k] < (share if request.harmful else over[arm.name])) for k, request in enumerate(asked)
            ]
            collapsed = attack.id == "spaced" and arm.name == "benign_signed"
            numbers: dict[str, list[float]] = {
                "refusal_rate": flags,
                "compliance_rate": [1 - f for f in flags],
                "empty_rate": [0.0] * len(asked),
                "repetition": [0.5 if collapsed else 0.08] * len(asked),
            }
            if judge:
                judged = [min(1.0, f + float(ease[j, k] > 0.9)) for k, f in enumerate(flags)]
                numbers["refusal_rate:offline-refusal"] = judged
                numbers["unscored:offline-refusal"] = [0.0] * len(asked)
                numbers["unscored:offline-harm"] = [1.0 if r.harmful else np.nan for r in asked]
                numbers["attack_success:offline-harm"] = [np.nan] * len(asked)
            answers.put(i, j, numbers)
    return answers


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
    over: Mapping[str, float] = OVER,
    states: tuple[Arm, ...] = ARMS,
) -> Run:
    """Writes a complete jailbreak experiment below ``root``. ``method`` changes what its manifest says; ``lines``: the
    transcripts' text."""
    chosen = load_attacks()[:4] if attacks is None else attacks
    asked = requests(*n)
    about: dict[str, Any] = {
        "experiment": "jailbreak",
        "version": 1,
        "attacks": [a.record() for a in chosen],
        "arms": [{**arm.record(), "digest": "d"} for arm in states],
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
        write_rows(partial.path("results/grid.parquet"), grid(chosen, asked, refused, over, arms=states).rows())
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
                method={**about, **(method or {})},
                parameters={"max_new_tokens": 64},
            )
        )
