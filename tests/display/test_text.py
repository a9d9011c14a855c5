"""How numbers read on screen."""

import pytest

from harmviz.display import text


@pytest.mark.parametrize(
    ("fraction", "reads"),
    [
        (1e-5, "0.001 %"),
        (5e-6, "0.0005 %"),
        (1061 / 106_168_320, "0.001 %"),
        (0.01, "1 %"),
        (0.789, "79 %"),
        (1, "100 %"),
        (0.125, "12 %"),
        (1.234e-4, "0.012 %"),
        (0, "0 %"),
    ],
)
def test_percent(fraction: float, reads: str) -> None:
    assert text.percent(fraction) == reads


@pytest.mark.parametrize(
    ("value", "reads"),
    [
        (0.3, "+0.30"),
        (-0.02, "−0.02"),
        (-0.001, "+0.00"),
        (0.0, "+0.00"),
        (None, "not measured"),
        (float("nan"), "not measured"),
    ],
)
def test_signed(value: float | None, reads: str) -> None:
    assert text.signed(value) == reads


def test_intervals_fractions_dates_and_sets() -> None:
    assert text.interval(-0.01, 0.2) == "−0.01 … +0.20"
    assert text.interval(None, 0.2) == "no interval"
    assert text.fraction_of(1061, 106_168_320) == "0.001 % · 1,061 weights"
    assert text.fraction_of(3, 0) == "3 weights"
    assert text.date("2026-01-02T03:04:05+01:00") == "2 January 2026, 02:04 UTC"
    assert text.date("yesterday") == "yesterday"
    assert text.set_name("safe:self_harm") == "self-harm, same topic, no harm"
    assert [text.is_harm(c) for c in ("hate", "benign", "benign_own", "safe", "safe:hate")] == [
        True,
        False,
        False,
        False,
        False,
    ]
