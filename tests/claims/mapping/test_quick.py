"""A quick run: complete, honest, marked; and what a run of any size says of the rows, answers and masks it lacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from harmviz.claims.mapping.extent import FULL, QUICK
from harmviz.claims.mapping.measure import map_run_id
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.mapping.work import SCORE_UNITS, Samples, gate_units, run_units
from harmviz.cli import main, parser
from harmviz.data.prompts import load_prompts
from harmviz.masks.mask import PruneMask
from harmviz.models.load import load_model
from harmviz.preflight import model_estimate, plan_source, run_estimate
from harmviz.runs import Run, list_runs, open_run, verify_run
from harmviz.ui import menu
from tests.worlds.charts import markup, open_page

SMALL = ("--q-max", "0.05", "--max-response-tokens", "16")


def made(root: Path, model: Path, *options: str, data: str = "builtin") -> Run:
    """The run that ``run --model … OPTIONS`` makes."""
    before = {r.id for r in list_runs(root)}
    assert main(["run", "--model", str(model), "--data", data, *options, "--out", str(root)]) == 0
    (run,) = [r for r in list_runs(root) if r.id not in before]
    return run


@pytest.fixture(scope="module")
def quick(tiny_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A quick run of the tiny model on the built-in data, in a cache of its own."""
    return made(tmp_path_factory.mktemp("cache") / "runs", tiny_dir, "--quick", "--q-max", "0.05")


@pytest.fixture
def cache(quick: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(quick.path.parent.parent))
    return quick.path.parent


# -- what it is -------------------------------------------------------------------------------------------------------
def test_a_quick_run_is_complete_and_every_number_has_n_interval_and_controls(quick: Run) -> None:
    assert verify_run(quick) == []
    assert quick.quick
    assert quick.tags == ("quick",)
    assert "-quick-builtin-" in quick.id
    rows = quick.results()
    assert set(rows["experiment"]) == {"effect", "transfer", "overlap", "concentration", "causal"}
    effect = rows[(rows["experiment"] == "effect") & rows["condition"].isna()]
    for contrast, point in quick.manifest["method"]["headline"].items():
        at = effect[(effect["contrast"] == contrast) & (effect["q"] == point["q"]) & (effect["p"] == point["p"])]
        at = at[at["mask"] == "mean(all)"]
        controls = {"none", "random", "magnitude", "utility", "benign_signed", "safe_signed", "unprotected"}
        assert controls <= set(at["control"])
        harm = at[at["category"] == "harm"]
        shifts = harm[harm["metric"].isin(["delta_nll", "excess_over_control"])]
        own = harm[(harm["metric"] == "harm_specific") & (harm["control"] == "none")]
        assert len(own)
        for numbers in (shifts, own):
            assert numbers["n"].notna().all()
            assert numbers["ci_low"].notna().all()
        spread = at[at["metric"] == "draw_sd"]
        assert set(spread["n"]) == {QUICK.control_draws}
        assert PruneMask.load(quick.masks()[point["mask"]]).n_weights == point["n_weights"]
    assert not rows["mask"].str.startswith(("snip_abs", "wanda", "magnitude("), na=False).any()
    counts = quick.manifest["data"]["counts"]
    assert all(counts[c]["report"] <= QUICK.report.harm for c in ("hate", "violence"))
    assert counts["benign"]["report"] <= QUICK.report.benign


def test_what_was_made_smaller_stands_in_the_manifest(quick: Run) -> None:
    parameters = quick.manifest["parameters"]
    assert parameters["quick"] is True
    assert parameters["control_draws"] == QUICK.control_draws
    assert parameters["extent"]["report"]["harm"] == QUICK.report.harm
    assert RunSpec.of_run(parameters).parameters() == parameters


def test_settings_given_beside_quick_win(tiny_dir: Path, tmp_path: Path) -> None:
    run = made(tmp_path, tiny_dir, "--quick", *SMALL, "--samples", "4", "--seed", "3")
    for name, value in (("max_response_tokens", 16), ("samples", 4), ("seed", 3), ("q_max", 0.05)):
        assert run.manifest["parameters"][name] == value
    assert run.quick


def test_a_quick_run_is_another_run_and_a_full_one_keeps_its_id(tiny_dir: Path) -> None:
    loaded, data = load_model(str(tiny_dir)), load_prompts("builtin")
    full, quick = (map_run_id(loaded, data, RunSpec(quick=quick)) for quick in (False, True))
    assert full != quick
    assert "quick" not in full
    parameters = RunSpec().parameters()
    assert not {"quick", "extent", "max_prompt_tokens"} & set(parameters)
    assert (len(parameters["q_grid"]), parameters["p_grid"], parameters["control_draws"]) == (6, [0.01, 0.05], 5)


def test_the_command_line_of_the_shipped_runs_gives_their_settings() -> None:
    arguments = parser().parse_args(["run"])
    assert (arguments.samples, arguments.max_response_tokens, arguments.max_prompt_tokens) == (None, None, 512)
    for run in list_runs(Path(__file__).resolve().parents[3] / "cache" / "runs"):
        if run.kind == "map":
            assert RunSpec.of_run(run.manifest["parameters"]).parameters() == run.manifest["parameters"]


# -- where its time goes ----------------------------------------------------------------------------------------------
def test_a_quick_run_is_a_quarter_of_the_passes_and_preflight_knows() -> None:
    plans = {
        quick: plan_source("builtin", RunSpec(quick=quick, samples=8, max_response_tokens=32))
        for quick in (False, True)
    }
    units = {quick: run_units(plan.samples, plan.spec) for quick, plan in plans.items()}
    assert units[True] < units[False] / 3
    seconds = {
        quick: run_estimate(model_estimate("smollm2-135m-instruct"), plan).seconds for quick, plan in plans.items()
    }
    assert seconds[True] == pytest.approx(seconds[False] * units[True] / units[False], rel=0.02)
    assert seconds[True] < 600


def test_the_units_of_a_full_run_are_those_it_was_measured_by() -> None:
    """The committed run: 15,718 of its 17,879 passes measure. Later came the gate, two mirrors and the sham types, and
    Wanda's pass of its own went (4 units a sample with absolute SNIP, now 3.5)."""
    samples = Samples(7, 375, 155, 96, 128, 226, 83)
    later = gate_units(samples, FULL) + 2 * samples.report + SCORE_UNITS * samples.scoring
    assert run_units(samples, RunSpec()) - later == pytest.approx(17_879 - 0.5 * samples.harm_scoring)
    assert RunSpec().extent == FULL


def test_progress_counts_every_unit_of_a_quick_run(
    tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, tiny_dir, "--quick", *SMALL)
    shares = [int(line[1 : line.index("%")]) for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert shares == sorted(shares)
    assert 85 <= shares[-1] <= 100


# -- how it is marked -------------------------------------------------------------------------------------------------
def test_it_is_marked_in_every_list_and_in_show(quick: Run, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "quick" in capsys.readouterr().out.splitlines()[1].split()
    assert main(["show", quick.id]) == 0
    shown = capsys.readouterr().out
    assert f"{quick.id} [quick]" in shown
    assert "QUICK run, a first look: at most 5 report prompts a harm type, 2 draws a control" in shown
    assert main(["show", quick.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tags"] == ["quick"]
    assert main(["verify", quick.id]) == 0


@pytest.mark.parametrize("page", [page.file for page in menu.entries()])
def test_it_opens_on_every_page(cache: Path, page: str) -> None:
    app: AppTest = open_page(page)
    assert not [e for e in app.get("html") if 'class="hv hv-error"' in e.proto.body]
    assert '<span class="hv-tag">quick</span>' in markup(app)  # beside the picker, on every page
    if page == "overview":
        assert "QUICK run, a first look" in markup(app)


# -- what a run lacks -------------------------------------------------------------------------------------------------
def written(path: Path, *, long_prompts: int = 0) -> Path:
    """A data set of two types, some of whose prompts are 700 characters long (the tiny model: a token each)."""
    rows: list[dict[str, str]] = []
    for name in ("fib", "prank", "benign"):
        for i in range(30):
            prompt = f"Please tell me {name} number {i}." + (" More." * 120 if i < long_prompts else "")
            rows.append({"category": name, "prompt": prompt, "response": f"Here is the text of {name} {i}, at length."})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def said(run: Run, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["show", str(run.path)]) == 0
    return capsys.readouterr().out


def test_rows_over_the_limit_are_counted_stored_and_shown(
    tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(written(tmp_path / "set.jsonl", long_prompts=6))
    root = tmp_path / "cache" / "runs"
    usual = made(root, tiny_dir, "--quick", *SMALL, data=data)
    why = "prompt longer than 512 tokens"
    assert usual.manifest["data"]["dropped"] == {name: {why: 6} for name in ("benign", "fib", "prank")}
    shown = said(usual, capsys)
    assert f"18 rows were left out: {why}" in shown
    assert sum(why in line and "6" in line for line in shown.splitlines()) >= 3
    raised = made(root, tiny_dir, "--quick", *SMALL, "--max-prompt-tokens", "900", data=data)
    assert "dropped" not in raised.manifest["data"]
    assert raised.manifest["parameters"]["max_prompt_tokens"] == 900
    assert "left out" not in said(raised, capsys)
    monkeypatch.setenv("HARMVIZ_CACHE", str(root.parent))
    app = open_page("runs")
    app.selectbox(key="runs_chosen").set_value(usual.id).run()
    app.toggle(key=f"runs_inside_{usual.id}").set_value(True).run()
    page = markup(app)
    assert f"<td>6</td><td>{why}</td>" in page
    assert "18 rows left out" in page


def test_a_limit_that_leaves_nothing_says_so_at_once(
    tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(written(tmp_path / "set.jsonl", long_prompts=30))
    assert main(["run", "--model", str(tiny_dir), "--data", data, "--quick", "--out", str(tmp_path / "runs")]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "30 rows: prompt longer than 512 tokens" in line
    assert "--max-prompt-tokens" in line


@pytest.fixture(scope="module")
def blank_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that ends every answer before its first token, and whose weights score nothing."""
    import torch

    from tests.worlds.tiny import tiny_model

    folder = tmp_path_factory.mktemp("models") / "blank"
    loaded = tiny_model("llama")
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.zero_()
        loaded.model.get_output_embeddings().weight[2] = 1.0  # the end of the text, wherever the rest ties
        for module in loaded.model.modules():
            if "norm" in type(module).__name__.lower():
                module.weight.fill_(1.0)
        loaded.model.get_input_embeddings().weight.fill_(1.0)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("options", [("--quick",), ("--samples", "8")], ids=["quick", "full"])
def test_a_model_that_writes_nothing_is_done_with_nothing_to_judge(
    blank_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: Sequence[str]
) -> None:
    run = made(tmp_path / "runs", blank_dir, *options, *SMALL, data=str(written(tmp_path / "set.jsonl")))
    rows = run.results()
    rates = rows[rows["metric"] == "refusal_rate"]
    assert len(rates)
    assert set(rates["n"]) == {0}
    assert rates["value"].isna().all()
    assert "NaN" not in (run.path / "manifest.json").read_text()
    assert run.manifest["data"]["dropped"]["benign_own"]
    assert run.manifest["method"]["empty_masks"]
    shown = said(run, capsys)
    for part in ("MASKS OF 0 WEIGHTS: mean(all)", "No answer to judge (n = 0): the intact model", "holds 0 weights"):
        assert part in shown
    assert main(["show", str(run.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert document["finding"]["verdict"] == "undecided"
    assert open_run(run.path).manifest == run.manifest


def test_an_empty_mask_is_said_on_the_overview(
    blank_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "runs", blank_dir, "--quick", *SMALL, data=str(written(tmp_path / "set.jsonl")))
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path))
    for page in ("overview", "harm_map", "overlap", "compare", "runs"):
        page_markup = markup(open_page(page))
        if page == "overview":
            assert "MASKS OF 0 WEIGHTS" in page_markup
