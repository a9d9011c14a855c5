"""A judge's stored quality in words."""

from __future__ import annotations

from harmviz.judges.quality_words import quality_words


def test_a_judge_is_told_by_its_own_figures() -> None:
    own, words = (["auc", by, "human labels", 0.87, 0.84, 0.90, 984] for by in ("judge", "keyword list"))
    assert quality_words([own, ["auc", "keyword list", "human labels", 0.59, 0.56, 0.62, 984]]) == [
        "auc 0.87 (0.84 … 0.90, n = 984)"
    ]
    assert quality_words([words]) == ["auc 0.87 (0.84 … 0.90, n = 984)"]
    assert quality_words([["auc", "judge", "mild texts", 0.5, 0.4, 0.6, 32]]) == quality_words(None) == []
