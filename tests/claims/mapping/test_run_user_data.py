"""Map runs over data of a reader's own: one harm type, any names, long prompts, one digest in every layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harmviz.cli import main
from harmviz.data.columns import read_options
from harmviz.data.prompts import load_prompts
from harmviz.errors import BadSetting
from harmviz.files import sha256_of_file
from harmviz.masks.candidates import Candidates
from harmviz.masks.selection import Selection, largest_exact_q
from harmviz.runs import Run, open_run
from harmviz.runs.point import MEAN_OF_ALL
from tests.worlds.charts import markup, open_page
from tests.worlds.data_files import WRITERS, Row, jsonl, rows

BRIEF = ("--samples", "4", "--max-response-tokens", "16", "--q-max", "1e-3")
NAMES = {"prank": "hate/threatening, online", "fib": "Größe"}


def harmless(n: int = 26) -> list[Row]:
    """Benign and same-topic safe rows, so that the built-in ones, which are many, are not needed."""
    return [{**r, "category": c} for c, name in (("benign", "tip"), ("safe:prank", "game")) for r in rows(n, (name,))]


def made(tiny_dir: Path, path: Path, root: Path, *options: str) -> Run:
    assert main(["run", "--model", str(tiny_dir), "--data", str(path), *BRIEF, "--out", str(root), *options]) == 0
    (folder,) = [p for p in root.iterdir() if not p.name.startswith(".")]
    return open_run(str(folder))


# -- one harm type ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def of_one(tiny_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("one")
    return made(tiny_dir, jsonl(folder / "one.jsonl", [*rows(26, ("prank",)), *harmless()]), folder / "runs")


def test_one_harm_type_is_enough(of_one: Run) -> None:
    results = of_one.results()
    effect = results[(results["experiment"] == "effect") & (results["metric"] == "delta_nll")]
    assert set(effect[effect["category"] == "prank"]["mask"].dropna()) >= {MEAN_OF_ALL, "prank"}
    unprotected = effect[(effect["control"] == "unprotected") & (effect["category"] == "harm")]
    assert unprotected["value"].notna().all()
    assert len(unprotected)
    own, mean = (
        effect[(effect["mask"] == m) & (effect["control"] == "none") & (effect["category"] == "prank")]
        for m in ("prank", MEAN_OF_ALL)
    )
    assert set(own["value"]) <= set(mean["value"])  # its own mask is the mean of all
    assert main(["verify", str(of_one.path)]) == 0


def test_what_needs_two_types_says_so(of_one: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(of_one.path)]) == 0
    assert "one harm type: overlap and transfer between types need two" in capsys.readouterr().out


def test_the_page_on_overlap_says_so(of_one: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMVIZ_CACHE", str(of_one.path.parent.parent))
    for page in ("overview", "harm_map", "overlap"):
        shown = markup(open_page(page, run=of_one.id))
        assert ("This run has one harm type" in shown) == (page == "overlap")


def test_its_masks_are_selected_at_every_stored_level(of_one: Run) -> None:
    candidates = Candidates.load(of_one.candidates_path)
    assert candidates.categories == ("prank",)
    for p in (0.0, 0.01, 0.05):
        assert largest_exact_q(candidates, Selection(("prank",), p=p))[0] == candidates.q_max


def test_it_is_exported_by_its_name_and_by_all(of_one: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = set()
    for name in ("PRANK", "all"):
        out = str(tmp_path / f"{name}.safetensors")
        assert main(["mask", str(of_one.path), "--categories", name, "--q", "1e-3", "--out", out, "--json"]) == 0
        digests.add(json.loads(capsys.readouterr().out)["digest"])
    assert len(digests) == 1


# -- names and lengths ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def named(tiny_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("named")
    found = [{**r, "category": NAMES[r["category"]]} for r in rows()]
    for row in found[::4]:
        row["prompt"] += " Please." * 600
    path = jsonl(folder / "named.jsonl", [*found, *harmless(), {**found[0], "response": ""}])
    return made(tiny_dir, path, folder / "runs", "--quick", "--drop-bad"), path


def test_names_are_shown_as_written_and_plain_on_disk(named: tuple[Run, Path]) -> None:
    run, _ = named
    assert set(Candidates.load(run.candidates_path).categories) == set(NAMES.values())
    assert set(NAMES.values()) <= set(run.results()["category"])
    assert all(p.name.isascii() for p in run.path.rglob("*"))
    assert main(["verify", str(run.path)]) == 0


def test_a_name_with_a_comma_is_one_name(
    named: tuple[Run, Path], tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, path = named
    out, names = str(tmp_path / "m.safetensors"), "GRÖSSE,HATE/threatening, Online"
    words = ["--combine", "union", "--q", "1e-3", "--out", out, "--json"]
    assert main(["mask", str(run.path), "--categories", names, *words]) == 0
    assert json.loads(capsys.readouterr().out)["categories"] == ["Größe", "hate/threatening, online"]
    assert main(["eval", "--mask", out, "--model", str(tiny_dir), "--data", str(path), "--drop-bad", "--json"]) == 0
    assert set(NAMES.values()) <= {r["category"] for r in json.loads(capsys.readouterr().out)["rows"]}
    assert main(["mask", str(run.path), "--categories", "other", *words]) == 2
    assert "unknown category 'other'" in capsys.readouterr().err


def test_a_run_taken_up_again_reads_its_data_as_it_did(
    named: tuple[Run, Path], tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, path = named
    out = str(tmp_path / "m.safetensors")
    assert main(["mask", str(run.path), "--categories", "all", "--q", "1e-3", "--out", out]) == 0
    again = ["eval", "--mask", out, "--run", str(run.path), "--split", "report", "--model", str(tiny_dir)]
    assert main([*again, "--data", str(path), "--drop-bad"]) == 2
    assert "leave out --columns, --category and --drop-bad" in capsys.readouterr().err
    assert main([*again, "--data", str(path), "--json"]) == 0  # it has a row that only --drop-bad leaves out
    assert set(NAMES.values()) <= {r["category"] for r in json.loads(capsys.readouterr().out)["rows"]}


def test_rows_left_out_are_counted_and_stored(named: tuple[Run, Path]) -> None:
    why = "prompt longer than 512 tokens"
    counted = {name: reasons[why] for name, reasons in named[0].manifest["data"]["dropped"].items() if why in reasons}
    assert counted == {"Größe": 6, "hate/threatening, online": 7}
    notes = named[0].manifest["data"]["notes"]
    assert any("1 of 105 rows are left out by --drop-bad: 1 × column 'response' is empty" in note for note in notes)
    assert named[0].manifest["data"]["reading"]["options"] == {"drop_bad": True}


def test_the_limit_on_prompts_can_be_raised_and_is_part_of_the_run(tiny_dir: Path, named: tuple[Run, Path]) -> None:
    from harmviz.claims.mapping.measure import map_run_id
    from harmviz.claims.mapping.samples import length_notes
    from harmviz.claims.mapping.settings import RunSpec
    from harmviz.models.load import load_model

    loaded = load_model(str(tiny_dir))
    data = load_prompts(str(named[1]), options=read_options(None, None, True))
    specs = [
        RunSpec(samples=4, max_response_tokens=16, q_max=1e-3, quick=True, max_prompt_tokens=most)
        for most in (512, 8192)
    ]
    assert len({map_run_id(loaded, data, spec) for spec in specs}) == 2
    assert map_run_id(loaded, data, specs[0]) == named[0].id
    assert "max_prompt_tokens" not in specs[0].parameters()  # runs from before it could be set keep their ids
    assert RunSpec.of_run(specs[1].parameters()) == specs[1]
    said = [[note for note in length_notes(loaded, data, spec) if "prompt longer" in note] for spec in specs]
    assert said[0] == [
        "13 rows (Größe: 6, hate/threatening, online: 7) are left out: prompt longer than 512 tokens; "
        "--max-prompt-tokens raises the limit"
    ]
    assert ["the model's context holds no more" in note for note in said[1]] == [True]
    with pytest.raises(BadSetting, match="max_prompt_tokens"):
        RunSpec(max_prompt_tokens=3)


# -- layouts ----------------------------------------------------------------------------------------------------------
def test_equal_content_gives_equal_candidates_in_every_layout(tiny_dir: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("semicolon.csv", "chat.jsonl"):
        path = WRITERS[name](tmp_path / name, [*rows(24, ("prank",)), *harmless(24)])
        run = made(tiny_dir, path, tmp_path / f"runs-{name}", "--quick")
        digests.add((run.manifest["data"]["hash"], sha256_of_file(run.candidates_path)))
    assert len(digests) == 1
