"""The page *Harm map* over a small complete run: sliders change the map, a click opens a matrix, links reopen it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from harmviz.claims.mapping.maps import build_maps
from harmviz.masks.candidates import Candidates
from harmviz.masks.selection import Selection, select
from harmviz.models.weights import WeightMatrix, WeightTable
from harmviz.runs import begin, read_run
from harmviz.runs.slimming import slim
from harmviz.ui.mask_settings import p_steps, q_steps, settled
from tests.worlds.charts import figures, markup, numbers, trace
from tests.worlds.fabricated import make_run, manifest
from tests.worlds.masks import World

ROOT = Path(__file__).resolve().parents[3]


def opened(**query: Any) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.switch_page("pages/harm_map.py")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def z(app: AppTest) -> np.ndarray:
    return np.array(figures(app)[0]["data"][0]["z"], dtype=float)


def matrix_title(app: AppTest) -> str:
    return str(figures(app)[-1]["layout"]["title"]["text"])


def click(app: AppTest, layer: int, module: str) -> AppTest:
    """What the browser sends for a click on the invisible marker of this cell."""
    states = app._tree.get_widget_states()
    point = {"curve_number": 1, "point_index": 0, "customdata": [layer, module, 1, 1.0, 1.0]}
    chosen = {"selection": {"points": [point], "point_indices": [0], "box": [], "lasso": []}}
    states.widgets.append(WidgetState(id=app.get("plotly_chart")[0].proto.id, string_value=json.dumps(chosen)))
    return app._run(states)


@pytest.fixture
def tiny(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Candidates:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tiny_run.parent.parent))
    return Candidates.load(read_run(tiny_run).candidates_path)


def test_the_map_shows_the_selection_and_follows_q(tiny: Candidates) -> None:
    app = opened()
    size = np.array([m.size for m in tiny.table])
    for q in (q_steps(tiny.q_max)[-1], q_steps(tiny.q_max)[5]):
        app.select_slider(key="map_q").set_value(q).run()
        assert not app.exception
        chosen = Selection(tiny.categories, q=q, p=app.select_slider(key="map_p").value, contrast="both")
        where, _ = tiny.table.locate(select(tiny, chosen).global_index)
        density = np.bincount(where, minlength=len(size)) / size * 1e6
        kinds = list(dict.fromkeys(m.module_kind for m in tiny.table))
        expected = np.zeros(z(app).shape)
        for matrix, value in zip(tiny.table, density, strict=True):
            expected[kinds.index(matrix.module_kind), matrix.layer] = value
        assert z(app) == pytest.approx(expected, abs=1e-3)
        shown = figures(app)[0]["layout"]["title"]["subtitle"]["text"].replace("\u00a0", " ").replace("<br>", " ")
        assert f"{len(where):,} weights" in shown
        assert "control at random" in shown


def test_changing_q_changes_the_map(tiny: Candidates) -> None:
    app = opened()
    before = z(app)
    app.select_slider(key="map_q").set_value(q_steps(tiny.q_max)[5]).run()
    assert not np.array_equal(before, z(app))


def test_every_type_is_drawn_on_one_scale_beside_the_controls(tiny: Candidates) -> None:
    app = opened(map_view="every type on one scale")
    figure = figures(app)[0]
    names = [a["text"] for a in figure["layout"]["annotations"]]
    assert len(names) == len(tiny.categories) + len(tiny.baselines)
    assert names[-2:] == ["harmless text (control)", "same topics, safe (control)"]
    heats = [d for d in figure["data"] if d["type"] == "heatmap"]
    assert {h["coloraxis"] for h in heats} == {"coloraxis"}
    assert figure["layout"]["coloraxis"]["cmax"] == pytest.approx(
        max(v for h in heats for row in h["z"] for v in row if v is not None)
    )


def test_two_sets_and_their_difference(tiny: Candidates) -> None:
    first = tiny.categories[0]
    app = opened(map_view="two compared", map_first=first.replace("_", "-"))
    assert app.selectbox(key="map_first").value == first
    assert app.selectbox(key="map_second").value == "benign"
    a, b, d = (np.array(t["z"], dtype=float) for t in figures(app)[0]["data"] if t["type"] == "heatmap")
    assert d == pytest.approx(a - b, abs=1e-3)
    before = b
    app.selectbox(key="map_second").set_value("safe").run()
    assert not np.array_equal(before, np.array(figures(app)[0]["data"][2]["z"], dtype=float))


def test_a_mean_of_some_types_is_held_where_it_is_exact_and_says_why(tiny: Candidates) -> None:
    app = opened()
    app.select_slider(key="map_q").set_value(tiny.q_max).run()
    assert "q is held at" not in markup(app)
    app.pills(key="map_types").set_value(list(tiny.categories[:2])).run()
    assert not app.exception
    asked = Selection(tiny.categories[:2], q=tiny.q_max, p=app.select_slider(key="map_p").value, contrast="both")
    held, why = settled(tiny, asked)
    assert why is not None
    assert "q is held at" in markup(app)
    assert sum(c[2] for c in figures(app)[0]["data"][1]["customdata"]) == select(tiny, held).n_weights


def test_a_click_opens_that_matrix_and_another_choice_is_not_overruled_by_it(tiny: Candidates) -> None:
    app = opened()
    target = next(m for m in tiny.table if f"layer {m.layer} {m.module_kind}:" not in matrix_title(app))
    other = next(m for m in tiny.table if m is not target)
    click(app, target.layer, target.module_kind)
    assert not app.exception
    assert matrix_title(app).startswith(f"layer {target.layer} {target.module_kind}: ")
    assert app.selectbox(key="map_cell").value == f"layer {target.layer} {target.module_kind}"
    shape = figures(app)[0]["layout"]["shapes"][0]
    assert shape["x0"] == target.layer - 0.5
    click(app, target.layer, target.module_kind)  # the chart goes on reporting a click until it is drawn anew
    app.selectbox(key="map_cell").set_value(f"layer {other.layer} {other.module_kind}").run()
    assert matrix_title(app).startswith(f"layer {other.layer} {other.module_kind}: ")


def test_a_click_that_names_no_cell_changes_nothing(tiny: Candidates) -> None:
    app = opened()
    before = matrix_title(app)
    click(app, 99, "<b>nowhere</b>")
    assert not app.exception
    assert matrix_title(app) == before


def test_a_link_reopens_the_same_view(tiny: Candidates) -> None:
    matrix = tiny.table[len(tiny.table) - 1]
    label = f"layer {matrix.layer} {matrix.module_kind}"
    app = opened(map_q="1 %", map_contrast="as in the paper", map_cell=label, map_pool="mean")
    assert app.select_slider(key="map_q").value == 0.01
    assert matrix_title(app).startswith(f"{label}: ")
    assert figures(app)[1]["data"][0]["zmin"] == -figures(app)[1]["data"][0]["zmax"]
    by_hand = opened()
    by_hand.select_slider(key="map_q").set_value(0.01)
    by_hand.segmented_control(key="map_contrast").set_value("none").run()
    assert np.array_equal(z(app), z(by_hand))


@pytest.mark.parametrize("bad", ["", "nonsense", "<script>", "9999 %"])
def test_unknown_values_in_a_link_do_no_harm(tiny: Candidates, bad: str) -> None:
    app = opened(
        **{
            f"map_{k}": bad
            for k in (
                "q",
                "p",
                "types",
                "combine",
                "contrast",
                "scope",
                "view",
                "cell",
                "pool",
                "first",
                "second",
                "expert",
            )
        }
    )
    assert np.array_equal(z(app), z(opened()))


def test_the_points_of_the_open_matrix_are_all_there(tiny: Candidates) -> None:
    app = opened(map_q=f"{100 * tiny.q_max:g} %")
    shown = int(matrix_title(app).split(": ")[1].split(" ")[0].replace(",", ""))
    assert shown > 0
    for name in ("selected, input", "selected, output"):
        assert numbers(trace(figures(app)[1], name)["customdata"])[:, 2].sum() == shown
    assert len(numbers(trace(figures(app)[1], "selected")["x"])) == shown


def test_experts_share_a_cell_and_are_looked_into_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    table = WeightTable(
        [
            WeightMatrix(f"h.{layer}.attn.c_proj.weight", layer, "attn.c_proj", 12, 20, transposed=True)
            for layer in range(2)
        ]
        + [WeightMatrix(f"h.{layer}.experts.up[{e}]", layer, "up", 10, 14) for layer in range(2) for e in range(3)]
    )
    rng = np.random.default_rng(1)
    sets = ("hate", "privacy", "benign", "safe")
    scores = {s: rng.normal(size=table.n_weights).astype(np.float32) for s in sets}
    world = World(table, rng.random(table.n_weights).astype(np.float32), scores)
    with begin("experts-0123456789", tmp_path / "runs") as partial:
        partial.write("candidates.safetensors", world.build(categories=("hate", "privacy")).to_bytes())
        partial.write("maps.safetensors", save(build_maps(table, sets, lambda s, i: scores[s][table.span(i)], {})))
        partial.finish("candidates")
        base = manifest()
        model = {**base["model"], "n_scored_weights": table.n_weights, "n_parameters": 2 * table.n_weights}
        partial.commit(manifest(weights=table.to_json(), model=model))
    app = opened(map_cell="layer 1 up")
    assert list(figures(app)[0]["layout"]["yaxis"]["ticktext"]) == ["attn.c_proj", "up"]
    names = [f"h.1.experts.up[{e}]" for e in range(3)]
    assert app.selectbox(key="map_expert").options == ["the densest", *names]
    shown = []
    for name in names:
        app.selectbox(key="map_expert").set_value(name).run()
        assert not app.exception
        assert name in figures(app)[1]["layout"]["title"]["subtitle"]["text"]
        shown.append(int(matrix_title(app).split(": ")[1].split(" ")[0]))
    (cell,) = [c for c in figures(app)[0]["data"][1]["customdata"] if c[:2] == [1, "up"]]
    assert sum(shown) == cell[2]


def test_p_without_lists_of_single_types_is_one_line(tiny: Candidates) -> None:
    assert 0.0 in p_steps(tiny, "both", "global", ["mean"])
    app = opened(map_p="0 %", map_view="every type on one scale")
    assert "p=0.0 is not stored" in markup(app)


def test_of_a_run_without_candidates_the_masks_that_it_chose_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_run: Path
) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    shutil.copytree(tiny_run, tmp_path / "runs" / tiny_run.name)
    assert opened().select_slider(key="map_q").value
    slim(tiny_run.name)
    app = opened()  # in the same process: what was kept of the whole run is not shown
    assert "candidates.safetensors" in markup(app)
    assert "was deleted (`runs slim`)" in markup(app)
    assert len(app.get("plotly_chart")) == 2
    with pytest.raises(KeyError):
        app.select_slider(key="map_q")


def test_a_run_with_neither_candidates_nor_masks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    with begin("bare-0000000000", tmp_path / "runs") as partial:
        partial.commit(manifest())
    app = opened()
    assert "has no candidates.safetensors" in markup(app)
    assert not app.get("plotly_chart")


def test_damaged_candidates_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    make_run(tmp_path / "runs")
    app = opened()
    assert 'role="alert"' in markup(app)
    assert not app.get("plotly_chart")


def test_no_runs_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    assert next(c.value for c in opened().code) == "python -m harmviz run"


def test_the_page_loads_no_torch(tiny: Candidates) -> None:
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60)\n"
        "app.switch_page('pages/harm_map.py')\napp.run()\n"
        "assert not app.exception and len(app.get('plotly_chart')) == 2\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"
