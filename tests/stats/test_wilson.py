"""Wilson's interval by hand, and of nothing."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from harmviz.stats.wilson import wilson


def test_wilson_by_hand() -> None:
    # z = 1.96: 8 of 10, middle (0.8 + 0.19207)/(1.38415), half √(0.016 + 0.0096) · 1.96 / 1.38415
    share = wilson(8, 10)
    assert (share.value, share.n, share.n_clusters) == (0.8, 10, 10)
    assert share.ci_low == pytest.approx(0.4902, abs=1e-4)
    assert share.ci_high == pytest.approx(0.9433, abs=1e-4)
    assert wilson(0, 10).ci_low == 0.0
    assert wilson(0, 10).ci_high == pytest.approx(0.2775, abs=1e-4)
    assert wilson(10, 10).ci_high == 1.0
    assert wilson(8, 10, level=0.5).ci_high < share.ci_high  # type: ignore[operator]


def test_wilson_is_what_scipy_says() -> None:
    """To 1e-14. It stays our own: stored rows hold its last bits, and scipy's formula rounds otherwise."""
    for n in (1, 2, 7, 40, 1000):
        for hits in {0, 1, n // 3, n - 1, n}:
            theirs = binomtest(hits, n).proportion_ci(0.95, method="wilson")
            assert wilson(hits, n)[1:3] == pytest.approx((theirs.low, theirs.high), abs=1e-14)


def test_wilson_of_nothing_is_nan() -> None:
    share = wilson(0, 0)
    assert math.isnan(share.value)
    assert (share.ci_low, share.ci_high, share.n) == (None, None, 0)
    assert share.reason
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="level"):
        wilson(1, 2, level=0)
