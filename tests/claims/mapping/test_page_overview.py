"""The Overview over small stored runs: what it says, what changes when the run does, and what it must not load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from harmviz.runs import Row
from tests.worlds.charts import figures, markup, numbers, trace
from tests.worlds.fabricated import effect_rows, make_run

ROOT = Path(__file__).resolve().parents[3]
POINT: dict[str, Any] = {"q": 5e-5, "p": 0.01, "n_weights": 5308}
CHOSEN = {
    "score": "signed",
    "headline": {
        "none": {"q": 1e-5, "p": 0.01, "n_weights": 1061},
        "both": {"q": 5e-5, "p": 0.01, "n_weights": 5308},
    },
}


def both_selections() -> list[Row]:
    """Effects of both selections; harm − safe is clear of zero for the contrastive one only."""
    rows = [*effect_rows(), *effect_rows(contrast="both", scale=2.0, **POINT)]
    common: dict[str, Any] = dict(
        experiment="effect",
        mask="mean(all)",
        unit="nats/token",
        p=0.01,
        scope="global",
        skip_tokens=0,
        category="harm",
    )
    rows += [
        Row(
            **common,
            metric="delta_nll",
            contrast="both",
            q=5e-5,
            n_weights=5308,
            value=0.77,
            ci_low=0.7,
            ci_high=0.84,
            n=96,
        ),
        Row(
            **common,
            metric="harm_specific",
            contrast="both",
            q=5e-5,
            n_weights=5308,
            value=0.53,
            ci_low=0.4,
            ci_high=0.66,
            n=120,
        ),
        Row(
            **common,
            metric="harm_specific",
            contrast="none",
            q=1e-5,
            n_weights=1061,
            value=-0.01,
            ci_low=-0.05,
            ci_high=0.03,
            n=120,
        ),
    ]
    return rows


def opened(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for name, value in ({"overview_details": "true", "overview_limits": "true"} | query).items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def test_it_shows_the_chosen_points_of_both_selections_side_by_side(runs: Path) -> None:
    make_run(runs, rows=both_selections(), method=CHOSEN)
    app = opened()
    plain, contrastive = figures(app)
    assert plain["layout"]["title"]["text"] == "As in the paper"
    assert contrastive["layout"]["title"]["text"] == "Contrastive"
    assert "5,308 weights, 1 % protected" in contrastive["layout"]["title"]["subtitle"]["text"]
    assert plain["layout"]["xaxis"]["range"] == contrastive["layout"]["xaxis"]["range"], "one scale for both"
    page = markup(app)
    for part in ("+0.77", "+0.70 … +0.84", "= 96 prompts", "+0.53", "5,308", "+0.00"):
        assert part in page, part
    assert "not specific to harm on this model" in page, "the plain interval includes 0, and the page says so"


def test_choosing_another_run_changes_the_figure(runs: Path) -> None:
    make_run(runs)
    other = make_run(runs, "other-0000000000", scale=3.0)
    app = opened()
    (before,) = figures(app)
    picker = app.selectbox(key="run-choice")
    picker.select(next(o for o in picker.options if o.endswith(other.id[-6:]))).run()
    assert not app.exception
    (after,) = figures(app)
    values, tripled = (numbers(trace(figure, "harmful answers")["x"]) for figure in (before, after))
    assert tripled == pytest.approx(3 * values)


def test_a_link_opens_the_run_it_names_and_an_unknown_one_is_named(runs: Path) -> None:
    make_run(runs)
    other = make_run(runs, "other-0000000000", scale=3.0)
    assert opened(run=other.id).selectbox(key="run-choice").value == other.id
    app = opened(run="gone-1")
    assert app.selectbox(key="run-choice").value != "gone-1"
    assert "no run &#x27;gone-1&#x27; here" in markup(app)


def test_without_rows_it_says_that_nothing_was_measured(runs: Path) -> None:
    make_run(runs, rows=[])
    app = opened()
    assert figures(app) == []
    assert "No effect has been measured" in markup(app)


def test_the_numbers_can_be_saved_and_the_picture_as_svg(runs: Path) -> None:
    make_run(runs)
    app = opened()
    config = json.loads(app.get("plotly_chart")[0].proto.config)
    assert config["toImageButtonOptions"]["format"] == "png"
    app.segmented_control(key="effect-none-format").set_value("SVG").run()
    config = json.loads(app.get("plotly_chart")[0].proto.config)
    assert config["toImageButtonOptions"]["format"] == "svg"
