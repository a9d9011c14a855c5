"""Categories as people write them: one spelling each, never a harm type that means harmless, safe names on disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmviz.data.categories import RESERVED, file_name, is_combined, read_category, split_names
from harmviz.data.columns import read_options
from harmviz.data.prompts import load_prompts
from harmviz.errors import DataInvalid
from tests.worlds.data_files import jsonl, rows

NAMES = (
    "hate/threatening",
    "Hate Speech",
    "Größe",
    "ненависть",
    "C++ (unsafe), really",
    "仇恨",
    "a|b",
    "fib.scoring_a",
)


@pytest.mark.parametrize("name", NAMES)
def test_any_text_is_a_category_shown_as_written(name: str, tmp_path: Path) -> None:
    found = [{**r, "category": name if r["category"] == "prank" else "fib"} for r in rows()]
    data = load_prompts(str(jsonl(tmp_path / "a.jsonl", found)))
    assert set(data.categories) == {name, "fib"}
    assert file_name(name).isascii()
    assert "/" not in file_name(name)


@pytest.mark.parametrize(
    "name", ["Benign", "harmless", "Safe", "no harm", "NO_HARM", "Non-toxic", "neutral", " OK ", "normal"]
)
def test_names_that_mean_harmless_are_benign_and_said(name: str, tmp_path: Path) -> None:
    found = [{**r, "category": name if r["category"] == "fib" else "prank"} for r in rows()]
    data = load_prompts(str(jsonl(tmp_path / "a.jsonl", found)))
    assert data.categories == ("prank",)
    assert len(data.of("benign")) == 26
    assert f"read as benign: the category {' '.join(name.split())!r}" in data.notes


@pytest.mark.parametrize("name", ["none", "N/A", "null", "unlabeled", "0", "False", "no"])
def test_names_that_may_mean_it_are_asked_about(name: str, tmp_path: Path) -> None:
    found = [{**r, "category": name if r["category"] == "fib" else "prank"} for r in rows()]
    path = str(jsonl(tmp_path / "a.jsonl", found))
    with pytest.raises(DataInvalid, match="harmless, or not known"):
        load_prompts(path)
    data = load_prompts(path, options=read_options(None, None, True))
    assert data.categories == ("prank",)
    assert data.reading is not None
    assert data.reading.dropped == {"column 'category' names no harm type": 26}


@pytest.mark.parametrize("name", [*sorted(RESERVED), "Mean", " ALL ", "mean(all)", "union(a,b)", "safe:mean", "safe:"])
def test_words_of_harmvizs_own_are_refused(name: str) -> None:
    with pytest.raises(DataInvalid, match="the category"):
        read_category(name)


@pytest.mark.parametrize("name", ["safe:safe", "safe:none", "__", "-", "x" * 201, "a\x00b", "a\ud800"])
def test_what_cannot_be_one_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(DataInvalid, match="the category"):
        read_category(name)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("safe: Hate  Speech", "safe:Hate Speech"),
        ("SAFE:fib", "safe:fib"),
        ("unsafe", "unsafe"),
        ("  Self   harm ", "Self harm"),
        ("o\u0308l", "öl"),
    ],
)
def test_blanks_and_letters_are_tidied(name: str, read: str) -> None:
    assert read_category(name) == read


def test_spellings_are_one_category_under_the_first(tmp_path: Path) -> None:
    spelt = ("Hate Speech", "hate  speech", " HATE SPEECH")
    found = [{**r, "category": spelt[i % 3]} for i, r in enumerate(rows(30, ("prank",)))]
    found += [{**r, "category": "safe:HATE speech"} for r in rows(8, ("fib",))]
    data = load_prompts(str(jsonl(tmp_path / "a.jsonl", found)))
    assert data.categories == ("Hate Speech",)
    assert len(data.of("safe:Hate Speech")) == 8
    assert any("one category each" in note for note in data.notes)


def test_built_in_safe_rows_go_with_the_readers_spelling(tmp_path: Path) -> None:
    found = [{**r, "category": "Hate"} for r in rows(26, ("prank",))]
    data = load_prompts(str(jsonl(tmp_path / "a.jsonl", found)))
    assert data.sets == ("Hate", "benign", "safe:Hate")


def test_names_in_a_list_may_hold_commas() -> None:
    known = ("Theft, online", "online", "Größe", "a,b,c")
    assert split_names("ONLINE,größe", known) == ["online", "Größe"]
    assert split_names("theft,  Online, a,b,c", known) == ["Theft, online", "a,b,c"]
    assert split_names("all", known) == ["all"]
    assert split_names("new, online", known) == ["new", "online"]


@given(st.lists(st.text(max_size=80), max_size=8, unique=True))
def test_names_on_disk_are_plain_and_different(names: list[str]) -> None:
    safe = [file_name(name) for name in names]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", s) for s in safe)
    assert len(set(safe)) == len(safe)
    assert all(0 < len(s) <= 60 for s in safe)


def test_masks_of_several_categories_are_told_from_categories() -> None:
    assert is_combined("mean(all)")
    assert is_combined("union(a,b)")
    assert not is_combined("Fraud (online)")
    assert not is_combined("prank")
