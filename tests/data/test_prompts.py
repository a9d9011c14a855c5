"""Prompt data: what ships, what users may bring, what is left out and why. No test prints a prompt or a response."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmviz.data import prompts
from harmviz.data.prompts import (
    MIN_HARMFUL_ROWS,
    PYRIT_FILES,
    PromptData,
    PromptRow,
    load_prompts,
    normalise,
    read_builtin,
)
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.errors import DataInvalid

CATEGORIES = tuple(PYRIT_FILES)


def has_no_text(shown: str, row: PromptRow) -> bool:
    """Asserting on this, not on the strings: a failure must not print them."""
    return row.prompt not in shown and row.response not in shown


# -- what ships -------------------------------------------------------------------------------------------------------
def test_builtin_counts() -> None:
    assert {n: len(read_builtin(n)) for n in ("benign", "recognition", "explanation", "refusals")} == {
        "benign": 192,
        "recognition": 64,
        "explanation": 32,
        "refusals": 64,
    }
    for name in ("harmful", "safe"):
        assert Counter(r["category"] for r in read_builtin(name)) == dict.fromkeys(CATEGORIES, 24)


COLUMNS = {
    "harmful": {"category", "prompt", "response"},
    "safe": {"category", "prompt", "response"},
    "benign": {"task", "prompt", "response"},
    "recognition": {"category", "harmful", "benign"},
    "explanation": {"category", "prompt", "response"},
    "refusals": {"prompt", "response"},
    "reasons": {"category", "harmful", "harmless", "why_harmful", "why_harmless"},
}


@pytest.mark.parametrize("name", COLUMNS)
def test_builtin_rows_are_complete_and_different(name: str) -> None:
    rows = read_builtin(name)
    assert all(set(r) == COLUMNS[name] for r in rows)
    assert all(v == v.strip() and v for r in rows for v in r.values())
    assert all(r.get("category", "hate") in CATEGORIES for r in rows)
    for column in COLUMNS[name] - {"category", "task"}:
        repeated = [n for n in Counter(normalise(r[column]) for r in rows).values() if n > 1]
        assert repeated == [], f"{len(repeated)} values of {name}.{column} stand there more than once"


def test_no_builtin_answer_reads_as_a_refusal() -> None:
    flagged = {n: sum(reads_as_refusal(r["response"]) for r in read_builtin(n)) for n in ("harmful", "safe", "benign")}
    assert flagged == {"harmful": 0, "safe": 0, "benign": 0}
    # Worded freely on purpose: the keyword list, a lower bound, finds few of them.
    assert 8 <= sum(reads_as_refusal(r["response"]) for r in read_builtin("refusals")) < 64


def test_builtin_data() -> None:
    data = load_prompts("builtin")
    assert data.id == "builtin"
    assert data.categories == tuple(sorted(CATEGORIES))
    assert data.sets == tuple(sorted([*CATEGORIES, *(f"safe:{c}" for c in CATEGORIES), "benign"]))
    assert {s: len(data.of(s)) for s in data.sets} == {s: 192 if s == "benign" else 24 for s in data.sets}
    assert (data.left_out, data.notes) == ({}, ())
    assert len({r.id for r in data.rows}) == len(data.rows)
    # Off-policy benign and harmful prompts must not meet: a shared prompt would have one role in both.
    assert not {r.prompt_id for r in data.of("benign")} & {r.prompt_id for c in data.categories for r in data.of(c)}


def test_hash_depends_on_the_rows_and_not_on_their_order() -> None:
    data = load_prompts("builtin")
    assert data.hash == load_prompts("builtin").hash
    assert PromptData("x", tuple(reversed(data.rows)), {}, ()).hash == data.hash
    assert PromptData("builtin", data.rows[1:], {}, ()).hash != data.hash


# -- rows -------------------------------------------------------------------------------------------------------------
def test_no_text_in_any_repr() -> None:
    data = load_prompts("builtin")
    for row in data.rows:
        assert has_no_text(repr(row) + str(row) + f"{row}", row), row.id
        assert repr(row) == f"PromptRow({row.set}, {row.id})"
    shown = repr(data) + str(data) + repr(data.of("hate"))
    assert all(has_no_text(shown, row) for row in data.rows)


def test_prompts_that_differ_in_case_or_blanks_are_one_prompt() -> None:
    rows = [PromptRow("a", p, "r") for p in ("How  to\nknit?", "how to knit?", " HOW TO KNIT? ", "How to knit")]
    assert len({r.prompt_id for r in rows}) == 2
    assert len({r.id for r in rows}) == 4
    assert PromptRow("b", "how to knit?", "x").prompt_id == rows[0].prompt_id


def test_row_ids_do_not_run_columns_together() -> None:
    assert PromptRow("a", "bc", "d").id != PromptRow("a", "b", "cd").id != PromptRow("ab", "c", "d").id


# -- user files -------------------------------------------------------------------------------------------------------
Row = dict[str, Any]


def rows_of(category: str, n: int, *, prompts_each: int = 1, response: str = "Answer") -> list[Row]:
    return [
        {"category": category, "prompt": f"{category} question {i // prompts_each}", "response": f"{response} {i}"}
        for i in range(n)
    ]


@pytest.fixture(params=[".jsonl", ".csv"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[list[Row]], str]:
    def to_file(rows: list[Row], name: str = "mine") -> str:
        path = tmp_path / f"{name}{request.param}"
        if request.param == ".csv":
            with path.open("w", newline="", encoding="utf-8") as f:
                writer = csv.DictWriter(f, fieldnames=list(rows[0]) if rows else ["category", "prompt", "response"])
                writer.writeheader()
                writer.writerows(rows)
        else:
            path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
        return str(path)

    return to_file


ADVICE = "; mend such rows, or leave them out with --drop-bad"


def first_row(path: str) -> int:
    return 2 if path.endswith(".csv") else 1


def test_a_complete_user_file(write: Callable[..., str]) -> None:
    rows = rows_of("arson", 30) + rows_of("benign", 10) + rows_of("safe:arson", 5)
    rows[0]["response"] = "Überraschung, “quoted”,\nwith a comma and a line break"
    data = load_prompts(write(rows))
    assert (data.id, data.categories, data.left_out, data.notes) == ("mine", ("arson",), {}, ())
    assert {s: len(data.of(s)) for s in data.sets} == {"arson": 30, "benign": 10, "safe:arson": 5}
    assert data.of("arson")[0].response == rows[0]["response"]


def test_both_formats_give_the_same_data(tmp_path: Path) -> None:
    rows = rows_of("arson", 24)
    (tmp_path / "a.jsonl").write_text("\n\n".join(json.dumps(r) for r in rows))
    (tmp_path / "b.csv").write_text(
        "\ufeffnote,response,category,prompt\n"
        + "".join(f"x,{r['response']},{r['category']},{r['prompt']}\n" for r in rows)
    )
    assert load_prompts(str(tmp_path / "a.jsonl")).hash == load_prompts(str(tmp_path / "b.csv")).hash


def test_what_the_file_lacks_comes_from_builtin_with_a_note(write: Callable[..., str]) -> None:
    data = load_prompts(write(rows_of("hate", 24)))
    assert data.notes == (
        "the file has no benign rows: builtin ones are used",
        "the file has no safe:<category> rows: builtin ones are used",
    )
    assert {s: len(data.of(s)) for s in data.sets} == {"benign": 192, "hate": 24, "safe:hate": 24}
    # A category that builtin does not know has no safe set of its own: the safe sets of all topics serve as the pool.
    data = load_prompts(write(rows_of("arson", 24) + rows_of("benign", 3)))
    assert data.notes == ("the file has no safe:<category> rows: builtin ones are used",)
    assert data.sets == tuple(sorted(["arson", "benign", *(f"safe:{c}" for c in CATEGORIES)]))
    assert len(data.of("benign")) == 3


@pytest.mark.parametrize("column", ["category", "prompt", "response"])
@pytest.mark.parametrize("value", ["", "  \t", None])
def test_an_empty_cell_names_file_row_and_column(write: Callable[..., str], column: str, value: Any) -> None:
    rows = rows_of("arson", 30)
    rows[4][column] = value
    path = write(rows)
    with pytest.raises(DataInvalid) as e:
        load_prompts(path)
    what = f"column {column!r} is empty or not text"
    assert str(e.value) == f"{path}, row {4 + first_row(path)}: {what}{ADVICE}"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (3, "holds a number, not text"),
        *((v, "is empty or not text") for v in (["x"], {"text": "x"}, True, float("nan"))),
    ],
    ids=repr,
)
def test_a_cell_that_is_not_text(value: Any, what: str, tmp_path: Path) -> None:
    rows = rows_of("arson", 30)
    rows[4]["response"] = value
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows))
    with pytest.raises(DataInvalid, match=rf"mine\.jsonl, row 5: column 'response' {what}"):
        load_prompts(str(path))


def test_a_csv_row_with_too_few_cells(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("category,prompt,response\narson,p,r\narson,q\n")
    with pytest.raises(
        DataInvalid, match=r"mine\.csv, row 3: 2 fields, the header has 3; quote fields that hold commas"
    ):
        load_prompts(str(path))


@pytest.mark.parametrize("column", ["category", "prompt", "response"])
def test_a_missing_column_is_named(write: Callable[..., str], column: str) -> None:
    rows = rows_of("arson", 30)
    for row in rows:
        del row[column]
    path = write(rows)
    with pytest.raises(DataInvalid) as e:
        load_prompts(path)
    what = {
        "category": "no column says the harm type",
        "prompt": "no columns are recognised as prompt and response",
        "response": "requests without answers, which cannot score a model",
    }
    assert what[column] in str(e.value)
    assert "columns found: " in str(e.value)


@pytest.mark.parametrize("category", ["all", "mean", "benign_own", "safe:", "none", "__", "safe:safe"])
def test_a_category_that_cannot_be_one_is_refused(write: Callable[..., str], category: str) -> None:
    rows = rows_of("arson", 30)
    rows[7]["category"] = category
    path = write(rows)
    with pytest.raises(DataInvalid, match=rf", row {7 + first_row(path)}: column 'category': the category "):
        load_prompts(path)


def test_duplicates_name_both_rows(write: Callable[..., str]) -> None:
    rows = rows_of("arson", 30)
    rows[20] = dict(rows[3], response=f" {rows[3]['response']} ")
    path = write(rows)
    n = first_row(path)
    with pytest.raises(DataInvalid) as e:
        load_prompts(path)
    assert str(e.value) == f"{path}, row {20 + n}: repeats row {3 + n}; remove one of them{ADVICE}"
    rows[20]["category"] = "benign"  # the same pair in another set is another row
    assert load_prompts(write(rows)).categories == ("arson",)


def test_an_empty_file(write: Callable[..., str]) -> None:
    path = write([])
    with pytest.raises(DataInvalid, match="no rows; needed are the columns category, prompt, response"):
        load_prompts(path)


def test_a_file_without_harm_categories(write: Callable[..., str]) -> None:
    with pytest.raises(DataInvalid, match=r"has no usable harm category \(it has no harm category\)"):
        load_prompts(write(rows_of("benign", 30)))


def test_error_messages_hold_no_text(write: Callable[..., str]) -> None:
    rows = rows_of("arson", 30, response="SECRET RESPONSE")
    for row in rows:
        row["prompt"] = f"SECRET PROMPT {row['prompt']}"
    broken = []
    for change in ({"category": "mean"}, {"response": ""}, {"prompt": " "}, rows[0], {"prompt": "SECRET \ud800"}):
        broken.append([*rows[:29], {**rows[29], **change}])
    for number, bad in enumerate(broken):
        if number == 4:
            path = Path(write(rows)).with_suffix(".jsonl")
            path.write_text("\n".join(json.dumps(r) for r in bad))  # the lone surrogate as \ud800
        else:
            path = Path(write(bad))
        with pytest.raises(DataInvalid) as e:
            load_prompts(str(path))
        assert "SECRET" not in str(e.value), f"case {number} shows text"
    with pytest.raises(DataInvalid) as e:
        load_prompts(write(rows[:5]))
    assert "SECRET" not in str(e.value), "the reason for leaving out shows text"


def test_not_utf8(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl"):
        path = tmp_path / name
        path.write_bytes("category,prompt,response\narson,Caf\xe9?,x\n".encode("latin-1"))
        with pytest.raises(DataInvalid, match=rf"{name}: not UTF-8 text \(byte 34\); save it as UTF-8"):
            load_prompts(str(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"not JSON \(.*column 2\)"),
        ("SECRET", "not JSON"),
        ("[1, 2]", "a JSON object is needed, got list"),
        ('"SECRET"', "a JSON object is needed, got str"),
        (
            '{"category": "arson", "prompt": "\\ud800", "response": "x"}',
            "column 'prompt' holds half of a surrogate pair",
        ),
    ],
)
def test_broken_json_lines(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join([json.dumps(r) for r in rows_of("arson", 3)] + ["", line]))
    with pytest.raises(DataInvalid, match=rf"mine\.jsonl, row 5: {message}") as e:
        load_prompts(str(path))
    assert "SECRET" not in str(e.value).split("row 5")[1]  # before it stands the path


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c"])
def test_line_marks_inside_a_json_string_do_not_end_the_row(mark: str, tmp_path: Path) -> None:
    rows = rows_of("arson", 24)
    rows[3]["response"] = f"one{mark}two"
    path = tmp_path / "mine.jsonl"
    if mark in "\x0b\x0c":  # control characters must be escaped in JSON
        path.write_text("\n".join(json.dumps(r) for r in rows))
    else:
        path.write_text("\r\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8", newline="")
    assert load_prompts(str(path)).of("arson")[3].response == f"one{mark}two"


def test_a_csv_file_that_cannot_be_parsed(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("category,prompt,response\narson,p,r\narson,q," + "x" * 200_000 + "\n")
    with pytest.raises(DataInvalid, match=r"mine\.csv, row \d: not CSV from here on \(field larger than field limit"):
        load_prompts(str(path))


@pytest.mark.parametrize("source", ["alpaca", "", "data.txt", "data.xlsx", "pyrit2"])
def test_an_unknown_source(source: str) -> None:
    with pytest.raises(
        DataInvalid, match=r"is neither 'pyrit' nor 'scored' nor 'builtin' nor a file that is read here"
    ):
        load_prompts(source)


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    for name in ("none.jsonl", "none.csv", "none.parquet"):
        with pytest.raises(DataInvalid, match=rf"data file \S*{name} does not exist"):
            load_prompts(str(tmp_path / name))


# -- categories that cannot be used -----------------------------------------------------------------------------------
def test_too_few_rows(write: Callable[..., str]) -> None:
    data = load_prompts(write(rows_of("arson", 24) + rows_of("fraud", 23)))
    assert data.categories == ("arson",)
    assert data.left_out == {"fraud": f"23 harmful rows, at least {MIN_HARMFUL_ROWS} are needed"}
    assert "fraud" not in data.sets
    with pytest.raises(
        DataInvalid, match=r"no usable harm category \(fraud: 23 harmful rows, at least 24 are needed\)"
    ):
        load_prompts(write(rows_of("fraud", 23)))


def test_the_safe_set_of_a_category_left_out_goes_too(write: Callable[..., str]) -> None:
    rows = rows_of("arson", 24) + rows_of("fraud", 23) + rows_of("safe:arson", 6) + rows_of("safe:fraud", 6)
    assert load_prompts(write(rows)).sets == ("arson", "benign", "safe:arson")


@pytest.mark.parametrize(("n_refusals", "kept"), [(0, True), (6, True), (7, False), (30, False)])
def test_more_than_a_fifth_of_refusals_is_measurement_only(
    n_refusals: int, kept: bool, write: Callable[..., str]
) -> None:
    rows = rows_of("arson", 24) + rows_of("fraud", 30)
    for row in rows[24 : 24 + n_refusals]:
        row["response"] = f"I'm sorry, but I can't help with that. {row['response']}"
    data = load_prompts(write(rows))
    assert ("fraud" in data.categories) == kept
    if not kept:
        percent = round(100 * n_refusals / 30)
        assert data.left_out["fraud"] == f"{percent}% of its responses read as refusals (limit 20%): measurement-only"
        assert not data.of("fraud")


def test_a_set_that_shares_a_response_with_the_refusal_set(write: Callable[..., str]) -> None:
    rows = rows_of("arson", 24) + rows_of("fraud", 40)
    refusal = read_builtin("refusals")[11]["response"]
    rows[30]["response"] = f"  {refusal.upper()} "  # in another case: still the same response
    data = load_prompts(write(rows))
    assert data.left_out == {"fraud": "it shares responses with the refusal set: measurement-only"}
    assert data.categories == ("arson",)


def test_too_few_different_prompts(write: Callable[..., str]) -> None:
    rows = rows_of("arson", 24) + rows_of("fraud", 30, prompts_each=6) + rows_of("theft", 30, prompts_each=5)
    data = load_prompts(write(rows))
    assert data.categories == ("arson", "theft")
    assert data.left_out["fraud"].startswith("fewer than 6 different prompts")


@pytest.mark.parametrize("name", ["benign", "safe:arson"])
def test_refusals_are_refused_whatever_their_set_is_called(write: Callable[[list[Row]], str], name: str) -> None:
    declining = rows_of(name, 24, response="I can't help with that.")
    with pytest.raises(DataInvalid, match=f"100% of the responses of '{name}' read as refusals") as error:
        load_prompts(write([*rows_of("arson", 24), *declining]))
    assert "can't help" not in str(error.value)
    few = [*rows_of("arson", 24), *rows_of(name, 24), *rows_of(name, 4, response="I can't help with that, no.")]
    assert load_prompts(write(few)).categories == ("arson",)


# -- the fetched set --------------------------------------------------------------------------------------------------
@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up data set in the fetched one's format: 24 harmful, 3 safe rows per file, one comment line first."""
    files: dict[str, Path] = {}
    for category, names in PYRIT_FILES.items():
        for name in names:
            scores = [1.0] * 24 + [0.0] * 3
            rows = [[f"{category} goal {name} {i}", f"{name} answer {i}", s, s] for i, s in enumerate(scores)]
            path = files[f"harm/{name}.csv"] = tmp_path / f"{name}.csv"
            with path.open("w", newline="") as f:
                f.write("# a comment line\n")
                writer = csv.writer(f)
                writer.writerow(["objective", "assistant_response", "human_score_1", "human_score_2"])
                writer.writerows(rows)
    monkeypatch.setattr(prompts, "ensure", lambda wheel, say: files)
    return tmp_path


def append(path: Path, *rows: tuple[str, str, Any, Any]) -> None:
    with path.open("a", newline="") as f:
        csv.writer(f).writerows(rows)


def test_mean_human_score_decides(fetched: Path) -> None:
    before = load_prompts("pyrit")
    append(
        fetched / "exploits.csv",
        ("goal a", "half of them say so", 1, 0),  # mean 0.5: harmful
        ("goal b", "a third", 0.4, 0.5),  # 0.45: safe
        ("goal c", "one score is enough", "", 1),
        ("goal d", "nobody scored it", "", ""),  # unused
        ("goal e", "   ", 1, 1),  # no response: unused
        ("exploits goal exploits 0", "exploits answer 0", 1, 1),  # stands there already
    )
    after = load_prompts("pyrit")
    assert len(before.of("exploits")) == 24
    assert [r.prompt for r in after.of("exploits")[24:]] == ["goal a", "goal c"]
    assert len(after.of("safe:exploits")) == len(before.of("safe:exploits")) + 1 == 3 + 24 + 1
    assert after.notes == ("benign and further same-topic safe answers: builtin",)


def test_rows_that_read_as_refusals_are_used_as_neither(fetched: Path) -> None:
    append(
        fetched / "privacy.csv",
        ("goal a", "I'm sorry, but I can't help with that.", 1, 1),
        ("goal b", "I'm sorry, but I can't help with that!", 0, 0),
    )
    data = load_prompts("pyrit")
    assert (len(data.of("privacy")), len(data.of("safe:privacy"))) == (24, 3 + 24)
    assert data.notes[0] == "privacy: 1 rows scored as harmful read as refusals and are not used"


def test_files_of_one_category_are_joined_without_repeats(fetched: Path) -> None:
    assert len(load_prompts("pyrit").of("hate")) == 4 * 24
    append(fetched / "representational.csv", ("hate goal hate_speech 1", "hate_speech answer 1", 1, 1))
    assert len(load_prompts("pyrit").of("hate")) == 4 * 24


@pytest.mark.slow
def test_the_real_fetched_set() -> None:
    data = load_prompts("pyrit")
    assert data.categories == tuple(sorted(CATEGORIES))
    assert data.left_out == {}
    counts = {s: len(data.of(s)) for s in data.sets}
    assert all(counts[c] >= MIN_HARMFUL_ROWS for c in CATEGORIES), counts
    assert all(counts[f"safe:{c}"] >= 24 for c in CATEGORIES), counts
    assert counts["benign"] == 192
    assert len({r.id for r in data.rows}) == len(data.rows)
    assert sum(reads_as_refusal(r.response) for r in data.rows) == 0
    assert all(len({r.prompt_id for r in data.of(c)}) >= 6 for c in CATEGORIES)
    shown = repr(data) + " ".join(data.notes)
    assert all(has_no_text(shown, row) for row in data.rows), "a repr or note shows text"
