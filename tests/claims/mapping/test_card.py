"""What the list of runs shows of a map run: its numbers, and nothing that a file could smuggle in."""

from __future__ import annotations

from pathlib import Path

from harmviz.claims.mapping.card import effects, line
from tests.worlds.fabricated import effect_rows, make_run

CHOSEN = {"score": "signed", "headline": {"both": {"q": 5e-5, "p": 0.01, "n_weights": 5308}}}


def test_the_line_is_of_the_chosen_point_and_the_table_of_the_unchosen_one(tmp_path: Path) -> None:
    rows = [*effect_rows(), *effect_rows(contrast="both", q=5e-5, n_weights=5308, scale=2)]
    run = make_run(tmp_path / "runs", rows=rows, method=CHOSEN)
    results = run.results()
    assert "5,308 weights, contrastive" in line(run, results)
    assert "benign, by others" in line(run, results)
    assert "1,061 weights" in effects(run, results)
    assert "as in the paper" in effects(run, results)
    assert "random mask of the same size" in effects(run, results)


def test_without_rows_both_say_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", rows=[])
    assert "no effect measured" in line(run, run.results())
    assert "No effect has been measured" in effects(run, run.results())


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    rows = effect_rows(mask="<b>x</b>")
    run = make_run(tmp_path / "runs", rows=rows)
    assert "<b>x</b>" not in effects(run, run.results())
    assert "&lt;b&gt;" in effects(run, run.results())
