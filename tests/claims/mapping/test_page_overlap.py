"""The page *Overlap & transfer*: what changes with the selection and q, what it says where rows are missing."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harmviz.claims.mapping.views import overlap as words
from harmviz.masks.candidates import Candidates
from harmviz.runs import Row, begin, read_run
from harmviz.ui import picker
from harmviz.ui.mask_settings import q_steps
from tests.worlds.charts import figures, markup, numbers, open_page, trace
from tests.worlds.fabricated import make_run, manifest
from tests.worlds.overlap import overlap_rows

ROOT = Path(__file__).resolve().parents[3]
VIEWS = ("Shared weights", "Who shares what", "Transfer", "Concentration")


opened = partial(open_page, "overlap")


@pytest.fixture
def tiny(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_run.parent.parent))
    return tiny_run


def test_the_selection_changes_the_grid_and_a_link_reopens_it(tiny: Path) -> None:
    app = opened()
    plain = numbers(figures(app)[0]["data"][0]["z"])
    app.segmented_control(key="overlap_contrast").set_value("both").run()
    assert not app.exception
    contrastive = numbers(figures(app)[0]["data"][0]["z"])
    assert plain.shape == contrastive.shape
    assert not np.array_equal(plain, contrastive, equal_nan=True)
    shared = words.overlap_at(read_run(tiny).results(), "both", words.points(read_run(tiny).results())["both"][-1])
    assert np.nansum(contrastive[:, : len(shared.categories)]) == pytest.approx(
        2 * shared.between("harm")["jaccard"].sum()
    )
    linked = opened(overlap_contrast="contrastive")
    assert np.array_equal(contrastive, numbers(figures(linked)[0]["data"][0]["z"]), equal_nan=True)


def test_the_size_of_the_masks_changes_the_grid(tiny: Path) -> None:
    app = opened()
    before = numbers(figures(app)[0]["data"][0]["z"])
    control = app.segmented_control(key="overlap_q")
    assert len(control.options) > 1
    control.set_value(words.points(read_run(tiny).results())["none"][0]).run()
    assert not np.array_equal(before, numbers(figures(app)[0]["data"][0]["z"]), equal_nan=True)


def test_the_upset_follows_its_own_q(tiny: Path) -> None:
    app = opened(overlap_view="Who shares what")
    big = numbers(trace(figures(app)[0], "weights in exactly these types")["y"])
    app.select_slider(key="overlap_upset_q").set_value(
        q_steps(Candidates.load(tiny / "candidates.safetensors").q_max)[5]
    ).run()
    assert not app.exception
    small = numbers(trace(figures(app)[0], "weights in exactly these types")["y"])
    assert small.sum() < big.sum()
    app.toggle(key="overlap_log").set_value(False).run()
    assert figures(app)[0]["layout"]["yaxis"]["type"] == "linear"


def test_transfer_in_nats_and_relative_to_the_own_type(tiny: Path) -> None:
    app = opened(overlap_view="Transfer")
    grid = figures(app)[0]["data"][0]
    rows = read_run(tiny).results()
    rows = rows[(rows["experiment"] == "transfer") & (rows["metric"] == "delta_nll") & (rows["contrast"] == "none")]
    own = rows[rows["mask"] == rows["category"]]["value"].to_numpy()
    assert np.allclose(np.diag(numbers(grid["z"])[:, : len(own)]), own)
    assert grid["zmin"] == -grid["zmax"]
    assert "In four numbers" in markup(app)
    assert app.segmented_control(key="overlap_q").disabled  # transfer sits at the chosen point
    app.segmented_control(key="overlap_scale").set_value("relative").run()
    assert not app.exception
    assert figures(app)[0]["data"][0]["zmax"] == 1


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_draws_with_every_selection(tiny: Path, view: str) -> None:
    for contrast in ("as in the paper", "contrastive"):
        app = opened(overlap_view=view, overlap_contrast=contrast)
        assert figures(app)
        assert "How to read it." in markup(app)


def test_a_run_without_such_rows_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    make_run(tmp_path / "runs")
    assert "No overlap was stored in this run" in markup(opened())
    assert "No transfer was measured" in markup(opened(overlap_view="Transfer"))
    assert "No concentration was measured" in markup(opened(overlap_view="Concentration"))
    assert "is not a harmviz candidates file" in markup(opened(overlap_view="Who shares what"))


def test_a_run_without_candidates_or_rows_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    with begin("bare-0000000000", tmp_path / "runs") as partial:
        partial.commit(manifest())
    assert "has no candidates.safetensors" in markup(opened(overlap_view="Who shares what"))


def transfer_row(mask: str, category: str, value: float) -> Row:
    return Row(
        experiment="transfer",
        metric="delta_nll",
        mask=mask,
        category=category,
        value=value,
        ci_low=value - 0.01,
        ci_high=value + 0.01,
        n=9,
        q=1e-5,
        p=0.01,
        scope="global",
        contrast="none",
        skip_tokens=0,
        n_weights=1061,
    )


def test_a_size_that_the_next_run_has_not_stored_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    pair = {("hate", "privacy"): 0.01}
    make_run(tmp_path / "runs", "first-a11111", rows=[*overlap_rows(pair, q=1e-5), *overlap_rows(pair, q=1e-4)])
    make_run(tmp_path / "runs", "second-b22222", rows=[*overlap_rows(pair, q=2e-5), *overlap_rows(pair, q=3e-5)])
    app = opened()
    ids = app.sidebar.selectbox(key=picker.KEY)
    for run_id, sizes in (
        ("first-a11111", [1e-5, 1e-4]),
        ("second-b22222", [2e-5, 3e-5]),
        ("first-a11111", [1e-5, 1e-4]),
    ):
        ids.set_value(run_id).run()
        assert not app.exception
        assert app.segmented_control(key="overlap_q").value in sizes
        app.segmented_control(key="overlap_q").set_value(sizes[0]).run()
        assert figures(app)
        ids = app.sidebar.selectbox(key=picker.KEY)


@pytest.mark.parametrize("n", [1, 3, 12])
def test_any_number_of_types(n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    names = [f"type_{i}" for i in range(n)]
    make_run(
        tmp_path / "runs",
        rows=[transfer_row(a, b, 0.3 if a == b else 0.1) for a in names for b in (*names, "safe", "benign")],
    )
    app = opened(overlap_view="Transfer")
    assert numbers(figures(app)[0]["data"][0]["z"]).shape == (n, n + 2)


def test_no_view_loads_torch(tiny: Path) -> None:
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        f"for view in {VIEWS!r}:\n"
        "    app.query_params['overlap_view'] = view\n"
        "    app.switch_page('pages/overlap.py').run()\n"
        "    assert not app.exception and app.get('plotly_chart'), view\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"
