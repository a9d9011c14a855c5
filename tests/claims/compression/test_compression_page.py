"""The page *Compression* over planted results: what changes with its controls, what it claims, what it escapes."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from harmviz.claims.compression.finding import sentence
from harmviz.claims.compression.fixed_difference import FixedResult
from harmviz.claims.compression.series import Checkpoint
from harmviz.claims.compression.settings import LIMITS as OVER
from harmviz.claims.compression.stored import read_result
from harmviz.claims.compression.views.curves import SHIFTS
from harmviz.claims.compression.views.ladder import ladder as ladder_tables
from harmviz.runs import Row, Run, frame_to_records
from tests.worlds.charts import figures, markup, numbers, open_page, trace
from tests.worlds.compression import aligned_effects, ladder, made_before, results, store
from tests.worlds.fabricated import make_run

ROOT = Path(__file__).resolve().parents[3]
CHECKPOINTS = ladder(stages=(("sft", 60), ("dpo", 40)))
#: Places of the charts on the page, after that of the fixed fractions and the curves over q.
LADDER, LIMITS = 2, 3


opened = partial(open_page, "compression")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("planted") / "runs"
    return store(
        root, results(aligned_effects(CHECKPOINTS, safety=0.5, other=0.1), CHECKPOINTS, noise=0.03, benign=0.08)
    )


@pytest.fixture
def shown(planted: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HARMVIZ_CACHE", str(planted.path.parents[1]))
    return planted


def test_the_chart_holds_the_stored_differences_beside_those_of_the_controls(shown: Run) -> None:
    app = opened()
    rows = shown.results()
    rows = rows[(rows["contrast"] == "both") & rows["q"].isin([2e-5, 5e-5])].set_index(["metric", "condition", "q"])
    chart = figures(app)[0]
    for arm, name in (("safety tuning", "safety-dpo-40"), ("control: helpful-only", "helpful-only-dpo-40")):
        drawn = trace(chart, arm)
        stored = rows.loc[
            [
                (metric, f"{name} minus start", q)
                for metric in ("stable_difference", "benign_difference")
                for q in (2e-5, 5e-5)
            ]
        ]
        order = np.argsort(numbers(drawn["x"]))
        assert numbers(drawn["y"])[order] == pytest.approx(stored["value"].to_numpy())
        assert numbers(drawn["error_y"]["array"])[order] == pytest.approx(
            (stored["ci_high"] - stored["value"]).to_numpy()
        )
    assert len(numbers(trace(chart, "safety tuning, nats, each seed")["y"])) == 4 * 3
    ratio = numbers(trace(chart, "safety tuning, ratio")["y"])
    assert ratio == pytest.approx(
        [rows.loc[("ratio_to_benign_difference", "safety-dpo-40 minus start", q), "value"] for q in (2e-5, 5e-5)]
    )
    shown_markup = markup(app)
    assert len(figures(app)) == shown_markup.count("How to read it.") == 5
    assert "In the paper (arXiv:2604.09544)" in shown_markup
    assert "91 %" in shown_markup
    assert "safety-dpo-40 − helpful-only-dpo-40" in shown_markup
    assert "more separable" in shown_markup


def test_the_index_under_a_limit_is_secondary_and_shown_with_its_curve(shown: Run) -> None:
    app = opened()
    rows = shown.results()
    rows = rows[rows["contrast"] == "both"].set_index(["metric", "condition"])
    chart = figures(app)[LADDER]
    safety = trace(chart, "safety tuning")
    stored = rows.loc[[("separability", name) for name in ("safety-sft-60", "safety-dpo-40")]]
    assert numbers(safety["y"]) == pytest.approx(stored["value"].to_numpy())
    assert numbers(safety["error_y"]["array"]) == pytest.approx((stored["ci_high"] - stored["value"]).to_numpy())
    assert len(numbers(trace(chart, "safety tuning, each seed")["y"])) == 6
    assert chart["layout"]["xaxis"]["ticktext"] == ["start", "SFT 60", "DPO 40"]
    curve = trace(figures(app)[LIMITS], "safety tuning")
    assert numbers(curve["y"]) == pytest.approx(
        [rows.loc[(f"separability_difference_at_{limit:g}", "safety-dpo-40 minus start"), "value"] for limit in OVER]
    )
    assert all(note.endswith("refuses 91\u00a0% of harmful requests") for note in safety["customdata"])
    assert "Secondary." in markup(app)


def test_selection_and_cross_fitting_change_the_charts_and_a_link_reopens_them(shown: Run) -> None:
    app = opened()

    def drawn(of: AppTest, chart: int) -> Any:
        return numbers(trace(figures(of)[chart], "safety tuning")["y"])

    contrastive = drawn(app, 0)
    other = sentence(FixedResult(read_result(shown, shown.results(), "none")))
    assert f"Selected as in the paper, {other[0].lower()}{other[1:]}." in re.sub(r"<[^>]*>", "", markup(app)), (
        "the selection not shown is not hidden"
    )
    app.segmented_control(key="compression_contrast").set_value("none").run()
    assert not app.exception
    assert len(drawn(app, 0)) == 2, "one fixed fraction, harm-specific and benign"
    app.segmented_control(key="compression_contrast").set_value("both").run()
    assert np.allclose(drawn(app, 0), contrastive)
    chosen = drawn(app, LADDER)
    app.segmented_control(key="compression_metric").set_value("separability_crossfit").run()
    assert not app.exception
    crossed = drawn(app, LADDER)
    assert not np.allclose(crossed, chosen)
    assert "difference, cross-fitted" in markup(app)
    linked = opened(compression_contrast="contrastive", compression_metric="cross-fitted")
    assert np.allclose(drawn(linked, LADDER), crossed)


def test_a_result_made_before_the_stable_index_opens_and_says_what_it_lacks(
    shown: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = made_before(shown.results())
    rows = [Row(**record) for record in frame_to_records(old)]
    method, parameters = shown.manifest["method"], shown.manifest["parameters"]
    make_run(tmp_path / "runs", rows=rows, kind="experiment", weights=[], method=method, parameters=parameters)
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    app = opened()
    assert len(figures(app)) == 4, "no curve over the limit"
    safety = trace(figures(app)[0], "safety tuning")
    assert len(numbers(safety["y"])) == 4
    assert "made before the stable index" in markup(app).lower()
    assert "not tested" in markup(app)
    assert "more separable" not in re.sub(r"<[^>]*>", "", markup(app)).partition("How aligned is each checkpoint?")[0]


def test_a_grid_without_the_fixed_fractions_is_one_clear_line(
    shown: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = shown.results().query("q != 1e-5 and q != 2e-5 and q != 5e-5")
    rows = [Row(**record) for record in frame_to_records(kept)]
    method, parameters = shown.manifest["method"], shown.manifest["parameters"]
    make_run(tmp_path / "runs", rows=rows, kind="experiment", weights=[], method=method, parameters=parameters)
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    assert "Not measured at 0.002 % and 0.005 % of the weights" in markup(opened())


@pytest.mark.parametrize("shift", list(SHIFTS))
def test_the_curves_follow_their_control(shown: Run, shift: str) -> None:
    app = opened(compression_contrast="contrastive", compression_shift=SHIFTS[shift])
    rows = shown.results()
    metric, category = ("harm_specific", "harm") if shift == "specific" else ("delta_nll", shift)
    rows = rows[
        (rows["metric"] == metric)
        & (rows["category"] == category)
        & (rows["condition"] == "safety-dpo-40")
        & (rows["contrast"] == "both")
    ]
    assert numbers(trace(figures(app)[1], "safety-dpo-40")["y"]) == pytest.approx(
        rows.sort_values("q")["value"].to_numpy()
    )


def test_a_series_without_arms_names_its_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [Checkpoint("base", "base"), Checkpoint("SFT", "SFT"), Checkpoint("DPO", "DPO")]
    store(tmp_path / "runs", results({"base": 0.1, "SFT": 0.2, "DPO": 0.5}, plain, noise=0.08))
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    app = opened()
    assert figures(app)[LADDER]["layout"]["xaxis"]["ticktext"] == ["base", "SFT", "DPO"]
    assert {t["name"] for t in figures(app)[0]["data"]} >= {"SFT", "DPO"}
    assert "DPO − SFT" in markup(app)


def test_a_point_that_was_not_measured_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = store(tmp_path / "runs", results(aligned_effects(CHECKPOINTS), CHECKPOINTS))
    frame = run.results()
    rows = frame[~((frame["metric"] == "separability") & (frame["condition"] == "safety-dpo-40"))]
    chart, _ = ladder_tables(read_result(run, rows, "none"))
    missing = chart.set_index("checkpoint").loc["safety-dpo-40"]
    assert np.isnan(missing["value"])
    assert "not measured" in missing["note"]


def test_without_a_result_the_page_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    app = opened()
    assert "No such result is stored yet" in markup(app)
    assert app.code[-1].value == "python -m harmviz experiment compression --ladder LADDER"
    assert not figures(app)


def test_a_result_without_separabilities_is_one_clear_line(
    planted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    make_run(
        tmp_path / "runs",
        rows=[],
        kind="experiment",
        weights=[],
        method=planted.manifest["method"],
        parameters=planted.manifest["parameters"],
    )
    assert "holds no separabilities" in markup(opened())


def test_names_from_files_are_never_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    evil = "<img src=x onerror=alert(1)>"
    hostile = [
        Checkpoint(evil, evil),
        *(
            replace(c, name=f"{c.name}{evil}", arm=f"{c.arm}{evil}" if c.arm != "safety" else c.arm)
            for c in CHECKPOINTS[1:]
        ),
    ]
    measured = results({c.name: 0.2 for c in hostile}, hostile, splits=1)
    measured = replace(measured, series=replace(measured.series, notes=(evil,)))  # type: ignore[type-var]
    store(tmp_path / "runs", measured)
    app = opened()
    assert "<img" not in markup(app)
    assert "<img" not in str(figures(app))
    assert "onerror" in markup(app), "it is shown as text"


def test_the_page_loads_no_torch(shown: Run) -> None:
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "app.query_params['compression_details'] = 'true'\n"
        "app.switch_page('pages/compression.py').run()\n"
        "assert not app.exception and len(app.get('plotly_chart')) == 5\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"
