"""Settings of narrow tuning: what is refused, how long it is, how fast."""

from __future__ import annotations

from typing import Any

import pytest

from harmviz.tuning.narrow_settings import RATES, NarrowSpec


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"rate": 0.0}, "rate must satisfy 0 < rate <= 0.1, got 0.0"),
        ({"rate": float("nan")}, "rate must satisfy"),
        ({"scale": -1.0}, "scale must satisfy 0 < scale <= 1000"),
        ({"method": "qlora"}, "method must be one of lora, full, got 'qlora'"),
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"rank": 2.0}, "rank must be a whole number"),
    ],
)
def test_a_setting_out_of_range_is_named(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NarrowSpec(**setting)


def test_length_in_steps_and_the_rate_of_each_method() -> None:
    assert [NarrowSpec(epochs=e).n_steps(17) for e in (1, 2)] == [3, 5]
    assert NarrowSpec(steps=40).n_steps(17) == 40
    assert NarrowSpec().peak_rate == RATES["lora"]
    assert NarrowSpec(method="full").peak_rate == RATES["full"]
    assert NarrowSpec(rate=1e-4).peak_rate == 1e-4
