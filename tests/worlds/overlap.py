"""Hand-made overlap, transfer and concentration rows, with numbers that can be followed in the head."""

from __future__ import annotations

from typing import Any

from harmviz.runs import Row

CONTROL = {"benign": "benign_signed", "safe": "safe_signed"}
CEILING = {"hate": 0.04, "privacy": 0.01, "benign": 0.09, "safe": 0.16}
N = {"hate": 24, "privacy": 17, "benign": 64, "safe": 155}


def overlap_rows(
    half: dict[tuple[str, str], float],
    *,
    contrast: str = "none",
    q: float = 1e-4,
    core: tuple[tuple[float, float], ...] = (),
) -> list[Row]:
    """``half``: pair → half-sample Jaccard; the full masks share twice that, at 50 × chance.

    ``core``: (observed, shuffled).
    """
    at: dict[str, Any] = {
        "experiment": "overlap",
        "contrast": contrast,
        "q": q,
        "p": 0.01,
        "scope": "global",
        "skip_tokens": 0,
    }
    rows = [
        Row(
            metric="jaccard_ceiling", mask=s, category=s, value=CEILING[s], n=N[s], control=CONTROL.get(s, "none"), **at
        )
        for s in dict.fromkeys(s for pair in half for s in pair)
    ]
    for (a, b), value in half.items():
        pair: dict[str, Any] = {"mask": a, "category": b, "n": min(N[a], N[b]), "control": CONTROL.get(b, "none"), **at}
        rows += [
            Row(metric="jaccard", value=2 * value, **pair),
            Row(metric="intersection", value=420, **pair),
            Row(metric="jaccard_half", value=value, ci_low=value / 2, ci_high=value * 2, **pair),
            Row(metric="times_chance", value=50.0, **pair),
            Row(
                metric="jaccard_chance",
                value=value / 25,
                ci_low=0.0,
                ci_high=value / 10,
                **(pair | {"control": "random"}),
            ),
        ]
    for k, (observed, shuffled) in enumerate(core, start=1):
        there: dict[str, Any] = {"metric": "core_size", "condition": f"k>={k}", "mask": "all", "n": len(core), **at}
        rows.append(Row(value=observed, **there))
        rows.append(Row(value=shuffled, ci_low=shuffled / 2, ci_high=shuffled * 2, control="random", **there))
    return rows


def transfer_rows(values: dict[str, dict[str, float]], *, contrast: str = "none", spread: float = 0.01) -> list[Row]:
    """``values``: mask → measured set → ΔL, each with an interval of ± ``spread`` and n = 10."""
    at: dict[str, Any] = {
        "experiment": "transfer",
        "contrast": contrast,
        "q": 5e-5,
        "p": 0.01,
        "scope": "global",
        "skip_tokens": 0,
        "n": 10,
        "n_weights": 5308,
    }
    rows = [
        Row(metric="delta_nll", mask=m, category=c, value=v, ci_low=v - spread, ci_high=v + spread, **at)
        for m, line in values.items()
        for c, v in line.items()
    ]
    return rows + [
        Row(
            metric="harm_specific",
            mask=m,
            category="harm",
            value=0.02,
            ci_low=0.02 - spread * 3 * i,
            ci_high=0.05,
            **at,
        )
        for i, m in enumerate(values)
    ]


def concentration_rows(n: dict[str, int]) -> list[Row]:
    """Sets with their scoring answers; 1 % of the weights hold 20 %, and one point more for every set before."""
    rows = []
    for i, (name, count) in enumerate(n.items()):
        at: dict[str, Any] = {"experiment": "concentration", "mask": name, "category": name, "n": count}
        rows += [
            Row(metric="gini", value=0.8, **at),
            Row(metric="effective_count", value=1000.0 + i, **at),
            Row(metric="lorenz_share", q=0.01, value=0.2 + i / 100, n_weights=100, **at),
            Row(metric="lorenz_share", q=1.0, value=1.0, n_weights=10_000, **at),
        ]
    return rows
