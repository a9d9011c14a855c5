"""Texts of the data are found wherever they stand, whole or in part; what anybody may write is not."""

from __future__ import annotations

import csv
import json
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from safetensors.numpy import save

from harmviz.data import leaks
from harmviz.data.shingles import Index, texts_in, words
from harmviz.errors import BadSetting, DataInvalid

SECRET = "The quick brown fox jumps over the lazy dog while seventeen purple elephants quietly paint the harbour wall"
SHORT = "eight little ducks went swimming one summer day"
OTHERS = [
    f"number {i} of many texts that all begin with the very same opening words and go on alike {i}" for i in range(6)
]
INDEX = Index([SECRET, SHORT, "a b c", *OTHERS], known=["eight little birds went swimming one summer day"])


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"before {SECRET.upper()} after",
        " ".join(SECRET.split()[3:16]),
        json.dumps({"answer": SECRET.replace(" ", "\n")}),
        SECRET.replace(" ", " <b>", 1).replace("fox", "fox&#x27;s".replace("&#x27;s", "")),
        f"they say {SHORT}!",
    ],
)
def test_a_text_or_a_part_of_it_is_found(text: str) -> None:
    assert INDEX.match(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The quick brown fox jumps over the lazy dog",
        " ".join(SECRET.split()[:11]),
        "a b c",
        "many other words " * 9,
    ],
)
def test_a_common_phrase_is_nothing(text: str) -> None:
    assert INDEX.match(text) is None


def test_what_many_texts_share_and_what_ships_is_left_out() -> None:
    assert INDEX.match("of many texts that all begin with the very same opening words and go on alike") is None
    assert Index([SHORT], known=[f"so {SHORT}"]).match(SHORT) is None
    assert words("Don't\\nstop") == ["dont", "stop"]


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    frame, archive = tmp_path / "a.parquet", tmp_path / "a.zip"
    pd.DataFrame({"n": [1, 2], "said": ["x", SECRET]}).to_parquet(frame)
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("run/results/answers.jsonl", json.dumps({"text": SECRET}))
    header = save({"w": pd.Series([1.0]).to_numpy()}, {"note": SECRET})
    for name, content in {
        "a.parquet": frame.read_bytes(),
        "a.zip": archive.read_bytes(),
        "a.safetensors": header,
        "damaged.parquet": SECRET.encode(),
        "log.txt": f"asked: {SECRET}".encode(),
    }.items():
        found = leaks.leak_in(INDEX, name, content)
        assert found is not None, name
        assert found.match.texts == 1
        assert "fox" not in repr(found)
    assert leaks.leak_in(INDEX, "a.png", SECRET.encode()) is None


def test_git_is_read_at_its_tip_and_with_its_history(tmp_path: Path) -> None:
    def git(*command: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", "-C", str(tmp_path), *who, *command], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "notes.md").write_text(SECRET)
    git("add", "-A")
    git("commit", "-qm", "one")
    (tmp_path / "notes.md").write_text("nothing")
    git("commit", "-qam", "two")

    def leaking(*, history: bool) -> list[str]:
        files = leaks.files_of_git(tmp_path, history=history)
        return [place for place, content in files if leaks.leak_in(INDEX, place, content)]

    assert leaking(history=False) == []
    assert leaking(history=True) == ["notes.md"]
    with pytest.raises(BadSetting, match="cannot be read with git"):
        list(leaks.files_of_git(tmp_path / "nowhere"))


def test_files_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text(SECRET)
    assert [Path(place).name for place, _ in leaks.files_in([tmp_path])] == ["a.txt"]
    with pytest.raises(DataInvalid, match="there is no"):
        list(leaks.files_in([tmp_path / "b"]))


def test_a_long_cell_is_read_and_the_limit_of_others_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "a.csv").write_text("objective\n" + "x" * 200_000 + "\n")
    assert len(list(texts_in(tmp_path / "a.csv"))[1]) == 200_000
    assert csv.field_size_limit() == before


def test_texts_of_a_fetched_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('# comment\nobjective,answer\n"one, two",three\n')
    (tmp_path / "b.json").write_text(json.dumps([{"user": "u", "more": ["v", 1]}]))
    (tmp_path / "c.prompt").write_text("name: n\nprompts:\n  - p\n")
    assert list(texts_in(tmp_path / "a.csv")) == ["objective", "answer", "one, two", "three"]
    assert list(texts_in(tmp_path / "b.json")) == ["u", "v"]
    assert "p" in list(texts_in(tmp_path / "c.prompt"))
