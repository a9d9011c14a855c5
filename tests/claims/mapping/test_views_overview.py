"""The Overview's numbers and words come from the rows, also where there are few of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harmviz.claims.mapping.headline import chosen_headline, headline, report_rows, rows_at, set_order
from harmviz.claims.mapping.remarks import remarks
from harmviz.claims.mapping.views.overview import effect_tables, limits, shared_range, tiles
from harmviz.runs import rows_to_frame
from tests.worlds.fabricated import effect_rows, make_run

CHOSEN = {"score": "signed", "headline": {"both": {"q": 5e-5, "p": 0.01, "n_weights": 5308}}}


def test_the_chosen_point_is_found_among_others(tmp_path: Path) -> None:
    rows = [
        *effect_rows(),
        *effect_rows(contrast="both", q=5e-5, n_weights=5308, scale=2),
        *effect_rows(contrast="both", scale=9),
    ]
    run = make_run(tmp_path / "runs", rows=rows, method=CHOSEN)
    results = run.results()
    mask = chosen_headline(run, results, "both")
    assert mask is not None
    assert mask.effect.set_index("category").loc["hate", "value"] == pytest.approx(0.88)
    assert mask.random["hate"] == pytest.approx(0.004)
    assert chosen_headline(run, results, "none") is None
    tables = effect_tables(run, results)
    assert list(tables) == ["both"]
    assert tables["both"]["label"].tolist()[-3:] == ["same topics, no harm", "benign, by others", "benign, own answers"]
    low, high = shared_range(list(tables.values())) or (0, 0)
    assert low < 0 < tables["both"]["ci_high"].max() < high


def test_a_run_that_chose_nothing_shows_its_unchosen_point(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    (contrast,) = effect_tables(run, run.results())
    assert contrast == "none"
    assert "1,061" in tiles(run, run.results())
    assert shared_range([]) is None


def test_rows_that_chose_the_settings_are_never_reported() -> None:
    frame = rows_to_frame([*effect_rows(condition="validation", scale=5), *effect_rows()])
    assert report_rows(frame)["value"].max() == pytest.approx(0.52)
    mask = headline(frame)
    assert mask is not None
    assert mask.effect["value"].max() == pytest.approx(0.52)
    assert headline(rows_to_frame(effect_rows(condition="validation"))) is None


def test_rows_at_treats_missing_settings_as_equal() -> None:
    frame = pd.DataFrame({"mask": ["a", "a"], "q": [None, 0.1], "contrast": ["none", "none"]})
    assert rows_at(frame, {"mask": "a", "q": None}).index.tolist() == [0]
    assert rows_at(frame, {"mask": "a"}).index.tolist() == [0, 1]


def test_limits_speak_of_an_interval_with_zero_in_it_only_where_there_is_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    assert "not specific to harm" not in limits(run, run.results())
    assert "The harm type sexual was left out: 21 harmful rows, 24 are needed." in remarks(run, run.results())


def test_sets_are_ordered_harm_first_and_own_answers_last() -> None:
    names = ["benign_own", "safe:hate", "violence", "benign", "harm", "safe", "hate"]
    assert sorted(names, key=set_order) == ["harm", "hate", "violence", "safe:hate", "safe", "benign", "benign_own"]
