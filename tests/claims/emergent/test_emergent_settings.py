"""Settings: what is refused, which arms there are, how long training is."""

from __future__ import annotations

from typing import Any

import pytest

from harmviz.claims.emergent.settings import ARMS, EmergentSpec, check_arms, part_ends
from harmviz.tuning.narrow_settings import RATES


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"rate": 0.0}, "rate must satisfy 0 < rate <= 0.1, got 0.0"),
        ({"rate": 1.0}, "rate must satisfy"),
        ({"rate": float("nan")}, "rate must satisfy"),
        ({"scale": -1.0}, "scale must satisfy"),
        ({"method": "qlora"}, "method must be one of lora, full, got 'qlora'"),
        ({"arms": ("base", "magic")}, "arms must be among .* got 'magic'"),
        ({"arms": ("base", "base")}, "arms must name each arm once"),
        ({"seeds": 0}, "seeds must be a whole number from 1"),
        ({"steps": 3}, "steps must be a whole number from 4"),
        ({"epochs": 0}, "epochs must be a whole number"),
        ({"q": 0.0}, "q must satisfy 0 < q <= 0.1"),
        ({"q": 0.5}, "q must satisfy 0 < q <= 0.1"),
        ({"p": 1.0}, "p must satisfy 0 <= p < 1"),
        ({"dose": (1e-5, 1e-5)}, "dose must hold fractions that differ"),
        ({"dose": (2e-5,)}, "dose must hold fractions that differ"),
    ],
)
def test_a_setting_out_of_range_is_named(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        EmergentSpec(**setting)


def test_what_everything_is_compared_with_is_always_there() -> None:
    assert check_arms(["pruned-held"]) == ("base", "narrow-bad", "pruned-held")
    assert check_arms(["benign-held", "narrow-good"]) == ("base", "narrow-bad", "narrow-good", "benign-held")
    assert EmergentSpec().arms == ARMS


def test_doses_are_further_arms_that_hold_other_fractions() -> None:
    spec = EmergentSpec(dose=(1e-5, 5e-6), arms=("pruned-held",))
    assert [(a.name, a.q, a.held, a.mask) for a in spec.all_arms[3:]] == [
        ("pruned-held@5e-06", 5e-6, True, "harm"),
        ("pruned-held@1e-05", 1e-5, True, "harm"),
    ]


def test_only_the_regrow_arm_lets_pruned_weights_go_and_only_controls_are_named_so() -> None:
    arms = {a.name: a for a in EmergentSpec().all_arms}
    assert [n for n, a in arms.items() if a.mask and not a.held] == ["pruned-regrow"]
    assert {n: a.control for n, a in arms.items() if a.control != "none"} == {
        "random-held": "random",
        "benign-held": "benign_signed",
    }


def test_length_in_steps_and_the_rate_of_each_method() -> None:
    assert [EmergentSpec(epochs=e).tuning.n_steps(17) for e in (1, 2)] == [3, 5]
    assert EmergentSpec(steps=40).tuning.n_steps(17) == 40
    assert (EmergentSpec().rate, EmergentSpec(method="full").rate, EmergentSpec(rate=1e-4).rate) == (
        RATES["lora"],
        RATES["full"],
        1e-4,
    )
    assert part_ends(20) == (5, 10, 15, 20)
    assert part_ends(3) == (1, 2, 3)
