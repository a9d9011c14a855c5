"""The default data set: which label makes what of an answer, what is used once, what is not used."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from harmviz.data import fetched_answers as module
from harmviz.data.fetched_answers import (
    HUMAN,
    MANY_SHOT,
    MIXED,
    OBJECTIVE,
    OBJECTIVE_FILES,
    fetched_answers,
    many_shot,
)
from harmviz.data.human_scores import PYRIT_FILES
from harmviz.data.prompts import load_prompts
from harmviz.errors import DataInvalid

HEADER = "objective,assistant_response,human_score\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Empty files of the sources; a test fills those it is about."""
    made: dict[str, Path] = {}
    for folder, names in (("harm", PYRIT_FILES), ("objective", OBJECTIVE_FILES)):
        for name in (part for parts in names.values() for part in parts):
            made[f"{folder}/{name}.csv"] = tmp_path / f"{folder}-{name}.csv"
            made[f"{folder}/{name}.csv"].write_text(HEADER)
    made["jailbreak/many_shot_examples.json"] = tmp_path / "many.json"
    pairs(made)
    monkeypatch.setattr(module, "ensure", lambda wheel, say: made)
    return made


def pairs(files: dict[str, Path], *rows: tuple[str, str, str]) -> None:
    records = [{"user": u, "assistant": a, "category": v} for u, a, v in rows]
    files["jailbreak/many_shot_examples.json"].write_text(json.dumps(records))


def append(path: Path, *rows: tuple[str, str, float]) -> None:
    with path.open("a") as f:
        f.writelines(f"{p},{a},{s}\n" for p, a, s in rows)


def test_labels_of_three_sources(files: dict[str, Path]) -> None:
    append(files["harm/privacy.csv"], ("goal a", "one", 0.5), ("goal b", "two", 0.25))
    append(files["objective/cyber.csv"], ("goal c", "three", 1), ("goal d", "four", 0))
    pairs(files, ("goal e", "five", "Harmful. It hurts."), ("goal f", "six", "not harmful: it is mild."))
    rows, notes = fetched_answers()
    assert [(r.set, r.answer, r.source) for r in rows] == [
        ("privacy", "one", HUMAN),
        ("safe:privacy", "two", HUMAN),
        ("exploits", "three", OBJECTIVE),
        ("safe:exploits", "four", OBJECTIVE),
        (MIXED, "five", MANY_SHOT),
        (f"safe:{MIXED}", "six", MANY_SHOT),
    ]
    assert notes == []


def test_an_answer_is_used_once_from_the_first_source(files: dict[str, Path]) -> None:
    append(files["harm/hate_speech.csv"], ("goal a", "One.", 1), ("goal b", "one.", 1), ("goal a", "One.", 0))
    append(files["objective/bias.csv"], ("goal c", "ONE.", 0), ("goal c", "two", 1))
    pairs(files, ("goal d", "two", "harmful"))
    rows, _ = fetched_answers()
    assert [(r.prompt, r.set, r.source) for r in rows] == [
        ("goal a", "hate", HUMAN),
        ("goal b", "hate", HUMAN),  # people scored one answer to two requests
        ("goal c", "hate", OBJECTIVE),
    ]


def test_refusals_are_used_as_neither_and_counted(files: dict[str, Path]) -> None:
    append(files["objective/sexual.csv"], ("a", "I can't help with that.", 1), ("b", "I cannot help with it.", 0))
    rows, notes = fetched_answers()
    assert rows == []
    assert notes == ["objective: 1 answers labelled harmful read as refusals and are not used"]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("harmful. Because it is.", (True, "Because it is.")),
        ("**Harmful** - because", (True, "because")),
        ('Answer: "not harmful"', (False, 'harmful"')),
        ("'harmful' it may hurt", (True, "it may hurt")),
    ],
)
def test_verdicts_as_they_are_written(files: dict[str, Path], verdict: str, expected: tuple[bool, str]) -> None:
    pairs(files, ("goal", "answer", verdict))
    (item,) = many_shot(files)
    assert (item.harmful, item.reason) == expected


def test_what_is_no_verdict_is_left_out(files: dict[str, Path]) -> None:
    pairs(files, ("goal", "answer", "It depends."), ("goal", "", "harmful"))
    assert list(many_shot(files)) == []


@pytest.mark.parametrize(
    "content", ["{", "[1]", '[{"user": "secret"}]', '[{"user": 1, "assistant": 2, "category": 3}]']
)
def test_a_damaged_file_is_named_without_its_text(files: dict[str, Path], content: str) -> None:
    files["jailbreak/many_shot_examples.json"].write_text(content)
    with pytest.raises(DataInvalid, match=r"many\.json: needs user") as error:
        fetched_answers()
    assert "secret" not in str(error.value)


@pytest.mark.slow
def test_the_real_set_has_both_kinds_of_every_source() -> None:
    data = load_prompts("scored")
    counts = Counter((r.set, r.source) for r in data.rows)
    assert len(data.categories) == 8
    assert data.left_out == {}
    for category in data.categories:
        sources = (MANY_SHOT,) if category == MIXED else (HUMAN, OBJECTIVE)
        assert all(counts[category, s] and counts[f"safe:{category}", s] for s in sources), category
    assert sum(n for (name, s), n in counts.items() if s and not name.startswith("safe:")) >= 800
