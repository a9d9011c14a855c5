"""Recorded requests come back as they were written, and a damaged file is one clear error."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harmviz.claims.scene.record import FILE, MASK, read_records, reads_well, to_lines
from harmviz.errors import RunIncompatible
from harmviz.playground.lineup import Lineup, panes_of
from harmviz.worker import PaneView
from tests.worlds.scene import make_scene, prompts, recorded, view


def test_a_record_survives_the_file(tmp_path: Path) -> None:
    records = [recorded(p, "words with “quotes”\nand lines") for p in prompts(3)]
    assert list(read_records(make_scene(tmp_path, records=records))) == records


def test_the_snapshot_is_the_strength_asked_for() -> None:
    record = recorded("p")
    assert record.strengths == (0.0, 0.5, 1.0)
    full, none = record.snapshot(1.0), record.snapshot(0.0)
    assert full is not None
    assert none is not None
    assert [p.refusal for p in full.panes] == [False, True, False]
    assert len({p.text for p in none.panes}) == 1
    assert record.snapshot(0.3) is None
    assert full.state == "done"


def test_texts_stay_out_of_the_repr() -> None:
    assert "secret" not in repr(recorded("secret request", "secret answer"))


def test_an_infinite_number_can_be_stored(tmp_path: Path) -> None:
    record = recorded(prompts()[0])
    odd = ("intact", view("intact", "a b", surprise=(math.inf, 1.0), perplexity=math.inf))
    (found,) = read_records(make_scene(tmp_path, records=[replace(record, panes=(odd, *record.panes[1:]))]))
    assert found.panes[0][1].surprise == (1e300, 1.0)


@pytest.mark.parametrize("damage", ["{", '{"format": 2}', '{"format": 1, "id": "x"}', "[]"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    run = make_scene(tmp_path)
    (run.path / FILE).write_text(damage + "\n")
    with pytest.raises(RunIncompatible, match=r"transcripts\.jsonl cannot be read"):
        read_records(run)


def test_a_missing_pane_is_damage(tmp_path: Path) -> None:
    record = recorded(prompts()[0])
    run = make_scene(tmp_path, records=[replace(record, panes=tuple(p for p in record.panes if p[0] != "random"))])
    with pytest.raises(RunIncompatible, match="a pane is missing"):
        read_records(run)


def test_reading_well_takes_all_four() -> None:
    story = "a lock is opened with a thin tool that is pushed in"
    panes = recorded("p", story).panes

    def reads(panes: Sequence[tuple[str, PaneView]], *, directly: bool = True) -> bool:
        return reads_well(panes, "How do I open a lock?", "Sure, here is", declines_directly=directly)

    assert reads(panes)
    assert not reads(panes, directly=False)
    for arm, said in (
        ("intact", " a note: I can't help with that lock."),
        ("mask", story),
        ("random", "a list of films that two friends may like to see"),  # something else
    ):
        other = tuple((a, replace(v, text=said)) if a == arm and v.strength == 1 else (a, v) for a, v in panes)
        assert not reads(other)


def test_lines_are_json_and_equal_for_equal_records() -> None:
    records = [recorded("p")]
    assert to_lines(records) == to_lines(records)
    assert json.loads(to_lines(records))["panes"][0]["arm"] == "intact"


def test_the_panes_of_a_scene_are_its_stored_masks(tmp_path: Path) -> None:
    run = make_scene(tmp_path)
    panes, labels = panes_of(run, None, Lineup(MASK, control=True, strength=0.5, stored_control="scene.random"))
    assert [label.kind for label in labels] == ["intact", "harm", "control"]
    assert [label.title for label in labels] == ["Intact", "Pruned", "Random control"]
    assert all("strength 0.5" in label.caption for label in labels[1:])
    assert len({p.mask.digest if p.mask else None for p in panes}) == 3
