"""A run taken up again: stored rows come out to the digit, and masks that the stored lists do not settle are exact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmviz.claims.mapping.again import open_again, taken_up
from harmviz.cli import main
from harmviz.masks.mask import PruneMask
from harmviz.runs import frame_to_records, open_run

COMPARED = ("category", "metric", "control", "value", "ci_low", "ci_high", "n", "q", "p", "contrast", "n_weights")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def document(capsys: pytest.CaptureFixture[str], argv: list[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def one_line(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("harmviz:")]
    return line


def stored_rows(run: Path, mask: PruneMask) -> list[dict[str, Any]]:
    """The report rows of the run about this mask and its drawn controls, and of the intact model."""
    rows = frame_to_records(open_run(str(run)).results())
    point = mask.point
    return [
        row
        for row in rows
        if row["experiment"] == "effect"
        and row["condition"] is None
        and row["metric"]
        in (
            "delta_nll",
            "harm_specific",
            "harm_specific_source",
            "harm_specific_matched",
            "matched_gap",
            "harm_minus_benign",
            "excess_over_control",
            "draw_sd",
            "nll",
        )
        and row["skip_tokens"] in (0, 8)
        and (
            row["metric"] in ("nll", "matched_gap")
            or (
                row["skip_tokens"] == 0
                and row["control"] in ("none", "random", "magnitude")
                and (row["mask"], row["q"], row["p"], row["contrast"]) == (point.set, point.q, point.p, point.contrast)
            )
        )
    ]


def keyed(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {
        (r["category"], r["metric"], r["control"], r["skip_tokens"]): tuple(r[name] for name in COMPARED) for r in rows
    }


@pytest.mark.parametrize("name", ["headline-plain", "headline-contrastive"])
def test_eval_on_the_report_split_repeats_the_stored_rows_to_the_digit(
    name: str, tiny_run: Path, tiny_dir: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_run / "masks" / f"{name}.safetensors"
    argv = ["eval", "--mask", str(path), "--run", str(tiny_run), "--split", "report", "--model", str(tiny_dir)]
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    again = keyed(json.loads(out)["rows"])
    stored = keyed(stored_rows(tiny_run, PruneMask.load(path)))
    assert len(stored) > 30
    assert again == stored
    assert "%] measure.intact.report" in err  # progress, on stderr
    assert not list(cache.rglob("*"))  # nothing is left behind


def test_a_mask_from_elsewhere_is_measured_beside_its_controls_too(
    tiny_run: Path, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One read off two checkpoints names no set, q and p."""
    chosen = PruneMask.load(tiny_run / "masks" / "headline-plain.safetensors")
    path = replace(chosen, provenance={}).save(tmp_path / "elsewhere.safetensors")
    assert PruneMask.load(path).point is None
    argv = ["eval", "--mask", str(path), "--run", str(tiny_run), "--split", "report", "--model", str(tiny_dir)]
    rows = document(capsys, argv)["rows"]
    assert {r["control"] for r in rows} >= {"none", "random", "magnitude"}
    again = {k: v for k, v in keyed(rows).items() if k[2] == "none" and k[1] == "delta_nll"}
    of_run = keyed(stored_rows(tiny_run, chosen))
    assert again
    place = COMPARED.index("value")
    assert all(v[place] == of_run[k][place] for k, v in again.items())


def test_the_report_split_needs_the_run_its_model_and_its_data(
    tiny_run: Path, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = str(tiny_run / "masks" / "headline-plain.safetensors")
    argv = ["eval", "--mask", mask, "--split", "report", "--model", str(tiny_dir)]
    assert "name it with --run" in one_line(capsys, argv)
    data = tmp_path / "other.jsonl"
    rows = [
        {
            "category": c,
            "prompt": f"Question {i} about {c}?",
            "response": f"Here is answer {i} about {c} in a few words.",
        }
        for c in ("kites", "benign", "safe:kites")
        for i in range(40)
    ]
    data.write_text("\n".join(map(json.dumps, rows)))
    said = one_line(capsys, [*argv, "--run", str(tiny_run), "--data", str(data)])
    assert "is not the one run" in said


# -- masks ranked anew ------------------------------------------------------------------------------------------------
def by_hand(run: Path, model: Path, names: tuple[str, ...], q: float, p: float, contrast: str) -> np.ndarray:
    """The weights that a ranking of all N weights gives, from the full score arrays, by sorting everything."""
    stored = open_run(str(run))
    loaded, data = open_again(stored, model=str(model), data=None, device="cpu", say=lambda _: None)
    with taken_up(stored, loaded, data, lambda _: None) as work:
        work.score()
        table, n = work.loaded.table, work.loaded.table.n_weights

        def whole(name: str) -> np.ndarray:
            return np.concatenate([work.scores.harm(name, i) for i in range(len(table))])

        guard = np.maximum(np.maximum(whole("safe"), whole("benign")), np.float32(0)) if contrast == "both" else 0
        total = sum((whole(c) - guard).astype(np.float64) for c in data.categories if c in names)
        score = (total / len(names)).astype(np.float32)
        utility = np.concatenate([work.scores.utility(i) for i in range(len(table))])
    tail = n - np.searchsorted(np.sort(utility), utility, side="left")  # #{j : U_j >= U_i}
    allowed = np.flatnonzero((tail > p * n) & (score > 0))
    best = allowed[np.argsort(-score[allowed], kind="stable")]
    return np.sort(best[: int(q * n)])


@pytest.mark.parametrize(
    ("names", "q", "p", "contrast"),
    [
        (("violence", "hate"), 0.05, 0.01, "none"),
        (("hate", "violence"), 0.2, 0.03, "both"),
        (("hate",), 0.11, 0.0, "none"),
    ],
)
def test_a_mask_ranked_from_the_model_is_that_of_sorting_all_weights(
    names: tuple[str, ...],
    q: float,
    p: float,
    contrast: str,
    tiny_run: Path,
    tiny_dir: Path,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "mask.safetensors"
    argv = ["mask", str(tiny_run), "--categories", ",".join(names), "--q", str(q), "--p", str(p)]
    argv += ["--contrast", contrast, "--out", str(target)]
    if q > 0.05:  # beyond what this run stores
        assert "--from-model" in one_line(capsys, argv)
    document(capsys, [*argv, "--from-model", "--model", str(tiny_dir)])
    assert not list(cache.rglob("*"))
    mask, table = PruneMask.load(target), open_run(str(tiny_run)).table
    np.testing.assert_array_equal(np.sort(mask.to_global(table)), by_hand(tiny_run, tiny_dir, names, q, p, contrast))
    assert mask.point.set == (names[0] if len(names) == 1 else f"mean({','.join(names)})")


@pytest.mark.parametrize(
    "options",
    [
        ["--categories", "hate,violence", "--q", "0.001"],
        ["--categories", "all", "--q", "0.01", "--contrast", "both"],
        ["--categories", "hate,violence", "--q", "0.01", "--combine", "union", "--scope", "matrix"],
    ],
)
def test_where_the_stored_lists_settle_it_both_give_the_same_mask(
    options: list[str], tiny_run: Path, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["mask", str(tiny_run), *options, "--out"]
    stored = document(capsys, [*argv, str(tmp_path / "a.safetensors")])
    again = document(capsys, [*argv, str(tmp_path / "b.safetensors"), "--from-model", "--model", str(tiny_dir)])
    assert stored["digest"] == again["digest"]
    marks = [PruneMask.load(tmp_path / f"{n}.safetensors").provenance for n in "ab"]
    assert marks[0] == marks[1]


def test_baselines_are_answered_by_the_stored_lists(
    tiny_run: Path, tiny_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["mask", str(tiny_run), "--categories", "benign", "--q", "0.01", "--out", str(tmp_path / "m.safetensors")]
    assert "ranks harm categories, not 'benign'" in one_line(capsys, [*argv, "--from-model", "--model", str(tiny_dir)])
    assert not (tmp_path / "m.safetensors").exists()
