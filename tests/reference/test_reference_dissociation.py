"""The committed result on dissociation: whole, and what the README says of it."""

from __future__ import annotations

import pytest

EXPERIMENT = "dissociation"


@pytest.fixture(scope="module")
def change(result):
    """(metric, category) → its row under a contrastive mask."""
    frame = result.results()

    def one(mask, metric, category):
        here = frame[(frame["mask"] == mask) & (frame.control == "none") & (frame.contrast == "both")]
        (row,) = here[(here.metric == metric) & (here.category == category)].itertuples()
        return row

    return one


def test_no_mask_of_refusals_was_stored(result):
    assert result.manifest["method"]["refusal_mask"]["kind"] == "measurement"
    assert not [p for p in result.path.rglob("*") if p.suffix in (".safetensors", ".npz")]  # no mask leaves the process


def test_writing_harm_and_declining_it_come_apart(change):
    writing, declining = (
        {mask: change(mask, metric, category) for mask in ("mean(all)", "refusal")}
        for metric, category in (("harm_specific", "harm"), ("delta_refusal_log_odds", "harmful"))
    )
    assert writing["mean(all)"].ci_low > 0 > writing["refusal"].ci_high
    assert declining["mean(all)"].ci_low > 0 > declining["refusal"].ci_high


def test_recognition_and_harmless_answers_stay(change):
    auc = change("mean(all)", "delta_auc", "all")
    assert auc.ci_low < 0 < auc.ci_high
    assert change("mean(all)", "delta_nll", "benign").value < 0.05
