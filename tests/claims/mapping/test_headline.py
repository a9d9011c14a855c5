"""Which rows sum a run up: a fixed point, never the best-looking one."""

from typing import Any

from harmviz.claims.mapping.headline import headline
from harmviz.runs import Row, rows_to_frame


def row(category: str, value: float | None = 0.1, **changes: Any) -> Row:
    base: dict[str, Any] = dict(
        experiment="effect",
        metric="delta_nll",
        mask="mean(all)",
        q=1e-5,
        p=0.01,
        scope="global",
        contrast="none",
        skip_tokens=0,
    )
    return Row(**(base | {"category": category, "value": value} | changes))


def test_the_point_nearest_the_claim_is_shown_whatever_its_value() -> None:
    mask = headline(
        rows_to_frame(
            [
                row("hate", 9.0, q=1e-4),
                row("hate", 8.0, contrast="both"),
                row("hate", 7.0, p=0.0),
                row("hate", 6.0, mask="hate"),
                row("hate", 5.0, scope="matrix"),
                row("hate", 4.0, skip_tokens=8),
                row("hate", 0.1),
                row("hate", 3.0, experiment="transfer"),
                row("hate", 2.0, metric="nll"),
                row("hate", 1.0, condition="validation"),
            ]
        )
    )
    assert mask is not None
    assert mask.effect["value"].tolist() == [0.1]


def test_harm_comes_first_and_controls_of_the_same_point_are_averaged() -> None:
    mask = headline(
        rows_to_frame(
            [
                *(row(c) for c in ("benign_own", "benign", "safe", "safe:hate", "violence", "hate")),
                row("hate", 0.01, control="random"),
                row("hate", 0.03, control="random"),
                row("hate", 5.0, control="random", q=1e-4),
                row("hate", 5.0, control="magnitude"),
                row("violence", None, control="random"),
            ]
        )
    )
    assert mask is not None
    assert mask.effect["category"].tolist() == ["hate", "violence", "safe:hate", "safe", "benign", "benign_own"]
    assert mask.random == {"hate": 0.02}


def test_other_masks_where_there_is_no_mean_and_none_without_effects() -> None:
    mask = headline(
        rows_to_frame([row("hate", mask="hate", q=None, p=None, scope=None, contrast=None, skip_tokens=None)])
    )
    assert mask is not None
    assert mask.first["mask"] == "hate"
    assert headline(rows_to_frame([])) is None
    assert headline(rows_to_frame([row("hate", control="random")])) is None
