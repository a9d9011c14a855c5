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
from harmviz.claims.compression.series import Checkpoint
from harmviz.claims.compression.stored import read_result
from harmviz.claims.compression.views.curves import SHIFTS
from harmviz.claims.compression.views.ladder import ladder as ladder_tables
from harmviz.runs import Run
from tests.worlds.charts import figures, markup, numbers, open_page, trace
from tests.worlds.compression import aligned_effects, ladder, results, store
from tests.worlds.fabricated import make_run

ROOT = Path(__file__).resolve().parents[3]
CHECKPOINTS = ladder(stages=(("sft", 60), ("dpo", 40)))


opened = partial(open_page, "compression")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("planted") / "runs"
    return store(root, results(aligned_effects(CHECKPOINTS, safety=0.5, other=0.1), CHECKPOINTS, noise=0.08))


@pytest.fixture
def shown(planted: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HARMVIZ_CACHE", str(planted.path.parents[1]))
    return planted


def test_the_chart_holds_the_stored_numbers(shown: Run) -> None:
    app = opened(compression_contrast="contrastive")
    chart = figures(app)[0]
    rows = shown.results()
    rows = rows[(rows["metric"] == "separability") & (rows["contrast"] == "both")].set_index("condition")
    safety = trace(chart, "safety tuning")
    assert numbers(safety["y"]) == pytest.approx(rows.loc[["safety-sft-60", "safety-dpo-40"], "value"].to_numpy())
    assert numbers(safety["error_y"]["array"]) == pytest.approx(
        (rows["ci_high"] - rows["value"]).loc[["safety-sft-60", "safety-dpo-40"]].to_numpy()
    )
    assert len(numbers(trace(chart, "safety tuning, each seed")["y"])) == 6
    assert chart["layout"]["xaxis"]["ticktext"] == ["start", "SFT 60", "DPO 40"]
    assert len(figures(app)) == 3
    shown_markup = markup(app)
    assert shown_markup.count("How to read it.") == 3
    assert "In the paper (arXiv:2604.09544)" in shown_markup
    assert "refuses 91 % of harmful requests" in shown_markup
    assert "91 %" in shown_markup
    assert "safety-dpo-40 − helpful-only-dpo-40" in shown_markup


def test_selection_and_cross_fitting_change_the_chart_and_a_link_reopens_it(shown: Run) -> None:
    app = opened()

    def drawn(of: AppTest) -> Any:
        return numbers(trace(figures(of)[0], "safety tuning")["y"])

    plain = drawn(app)
    other = sentence(read_result(shown, shown.results(), "both"))
    assert f"Selected contrastive, {other[0].lower()}{other[1:]}." in re.sub(r"<[^>]*>", "", markup(app)), (
        "the selection not shown is not hidden"
    )
    app.segmented_control(key="compression_contrast").set_value("both").run()
    assert not app.exception
    contrastive = drawn(app)
    assert not np.allclose(plain, contrastive)
    app.segmented_control(key="compression_metric").set_value("separability_crossfit").run()
    assert not app.exception
    crossed = drawn(app)
    assert not np.allclose(crossed, contrastive)
    assert "difference, cross-fitted" in markup(app)
    linked = opened(compression_contrast="contrastive", compression_metric="cross-fitted")
    assert np.allclose(drawn(linked), crossed)


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
    assert figures(app)[0]["layout"]["xaxis"]["ticktext"] == ["base", "SFT", "DPO"]
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
        "app.switch_page('pages/compression.py').run()\n"
        "assert not app.exception and len(app.get('plotly_chart')) == 3\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"
