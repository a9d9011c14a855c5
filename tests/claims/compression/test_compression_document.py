"""What a result gives documentation, reports and a terminal: every part, with intervals and without."""

from __future__ import annotations

import pytest

from harmviz.claims.compression import lines
from harmviz.claims.compression.command import print_result
from harmviz.claims.compression.document import PARTS
from harmviz.claims.compression.fixed_difference import FixedResult
from harmviz.claims.compression.pictures import pictures
from harmviz.claims.compression.stored import read_result
from harmviz.display.style import Theme
from harmviz.runs import Row, Run, frame_to_records
from tests.worlds.compression import aligned_effects, ladder, made_before, results, store
from tests.worlds.fabricated import make_run

CHECKPOINTS = ladder(stages=(("dpo", 40),))
N_TESTS = 5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    planted = results(aligned_effects(CHECKPOINTS, safety=0.5, other=0.1), CHECKPOINTS, noise=0.03, benign=0.08)
    return store(tmp_path_factory.mktemp("new") / "runs", planted)


@pytest.fixture(scope="module")
def old(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same, made before the stable index."""
    rows = [Row(**record) for record in frame_to_records(made_before(run.results()))]
    method, parameters = run.manifest["method"], run.manifest["parameters"]
    root = tmp_path_factory.mktemp("old") / "runs"
    return make_run(root, rows=rows, kind="experiment", weights=[], method=method, parameters=parameters)


def body(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")][2:]


def test_the_table_of_fixed_fractions_has_a_line_a_difference_and_fraction(run: Run, old: Run) -> None:
    lines_now, lines_before = (body(PARTS["stable"](r)) for r in (run, old))
    assert len(lines_now) == len(lines_before) == 3 * N_TESTS  # two contrastive fractions, one plain
    first = dict(
        zip(("at", "difference", "specific", "seeds", "p", "benign", "ratio", "called"), lines_now[0], strict=True)
    )
    assert first["at"] == "contrastive, 0.002 %"
    assert first["difference"] == "safety-dpo-40 minus start"
    assert first["specific"].startswith("+0.")
    assert "[" in first["specific"]
    assert first["seeds"].count(",") == 2
    assert first["called"] == "larger"
    assert not any("[" in line[2] for line in lines_before)
    assert {line[-1] for line in lines_before} == {"not tested"}
    assert PARTS["stable"](old).startswith("Made before the stable index")
    assert "Made before" not in PARTS["stable"](run)


def test_the_other_parts_are_there_for_both(run: Run, old: Run) -> None:
    assert len(body(PARTS["limits"](run))) == 2 * N_TESTS
    assert PARTS["limits"](old) == "Made before the curve over the limit was stored."
    for stored in (run, old):
        assert len(body(PARTS["fixed"](stored))) == 3 * len(CHECKPOINTS)
        assert len(body(PARTS["controls"](stored))) == 4
        assert len(body(PARTS["contrastive"](stored))) == len(body(PARTS["plain"](stored))) == len(CHECKPOINTS)


def test_a_report_begins_with_the_fixed_fractions(run: Run, old: Run) -> None:
    drawn, before = ({p.key: p for p in pictures(r, Theme())} for r in (run, old))
    assert [next(iter(keys)) for keys in (drawn, before)] == ["compression-fixed-both"] * 2
    assert set(drawn) - set(before) == {"compression-limits-both", "compression-limits-none"}
    assert "more separable" in drawn["compression-fixed-both"].words.title
    assert "no paired intervals are stored" in before["compression-fixed-both"].words.subtitle


def test_the_terminal_shows_the_same_numbers(run: Run, old: Run, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(run)
    now = capsys.readouterr().out
    assert now.index("contrastive, at fixed fractions: more separable") < now.index("plain, as in the paper, at fixed")
    assert "made before" not in now
    difference = FixedResult(read_result(run, run.results(), "both")).against_start()[0]
    assert f"{difference.specific.value:+.3f} [{difference.specific.low:+.3f}, {difference.specific.high:+.3f}]" in now
    print_result(old)
    before = capsys.readouterr().out
    assert "no losses of single samples, so no paired interval and no test" in before
    assert "benign ΔL at most" not in before
    assert all(
        len(line) == len(lines.FIXED) for line in lines.fixed(FixedResult(read_result(run, run.results(), "both")))
    )
