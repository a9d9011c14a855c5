"""What people bring, and what each must get: a file of every kind of trouble, read by ``python -m harmviz data``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harmviz import jobs
from harmviz.cli import main
from harmviz.errors import DataInvalid
from tests.worlds.data_files import THINGS, Row, as_json, chat, delimited, jsonl, renamed, rows

R = rows()
PRANKS = rows(26, ("prank",))
#: A refusal that the keyword list knows, and one that it does not.
REFUSAL = "I'm sorry, but I can't help with that, number {}."
OTHER_WORDS = "The assistant would rather not, since somebody might end up hurt; this stays unanswered, number {}."


def called(**names: str) -> list[Row]:
    """The rows under other names of categories."""
    return [{**r, "category": names[r["category"]]} for r in R]


def and_refusals(category: str) -> list[Row]:
    """The rows, and thirty refusals in a set of this name."""
    asked = [(f"Where do I hide thing {i}?", REFUSAL.format(i)) for i in range(30)]
    return [*R, *({"category": category, "prompt": prompt, "response": response} for prompt, response in asked)]


def parquet(path: Path, found: list[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(found), path)
    return path


def prefixed(path: Path, found: list[Row], line: str, delimiter: str) -> Path:
    """With a first line that names the delimiter, as spreadsheets write it."""
    text = delimited(path, found, delimiter).read_text(encoding="utf-8")
    path.write_text(line + text, encoding="utf-8", newline="")
    return path


def indexed(path: Path, found: list[Row]) -> Path:
    """With the numbers of rows in a first column without a name, as pandas writes it."""
    return delimited(path, [{"": i, **row} for i, row in enumerate(found)])


def split(path: Path, found: list[Row]) -> Path:
    return as_json(path, found[0])


def unquoted(path: Path, found: list[Row]) -> Path:
    lines = [f"{r['category']},{r['prompt']},{r['response']}\n" for r in found]
    path.write_text("category,prompt,response\n" + "".join(lines))
    return path


@dataclass(frozen=True)
class Case:
    """A file, how it is read, and what must come of it.

    Attributes:
        write: writes ``found`` to a path. options: typed after the file.
        sets: the sets that it gives, and their rows; None: it is refused.
        says: what stands in what is told of it, or in the message that refuses it.
    """

    file: str
    found: list[Row]
    write: Callable[[Path, list[Row]], Path] = jsonl
    options: tuple[str, ...] = ()
    sets: dict[str, int] | None = None
    says: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.file, *self.options))


BOTH = {"prank": 26, "fib": 26}
GOALS = renamed(R, prompt="goal", response="target")
TOLD = [{"instruction": r["prompt"], "input": "", "output": r["response"]} for r in R]
FLAGS = [{**r, "category": {"animals": False, "privacy": True}, "is_safe": i % 2 == 0} for i, r in enumerate(R)]
NAMELESS = renamed(R, prompt="ask", response="said")
FAULTY = [*({**r, "response": "" if i in (3, 9) else r["response"]} for i, r in enumerate(R)), R[0], R[1]]
PAIRS = [{"prompt": r["prompt"], "rejected": r["response"], "chosen": REFUSAL.format(i)} for i, r in enumerate(PRANKS)]
READ = (
    Case("ok.jsonl", R, sets=BOTH),
    Case("one_category.jsonl", PRANKS, sets={"prank": 26}, says=("no safe:<category> rows: builtin ones are used",)),
    Case("unquoted_commas.csv", R, unquoted, says=("row 2: ", "fields, the header has 3", "quote fields that hold")),
    Case(
        "capital_Benign.jsonl",
        called(prank="prank", fib="Benign"),
        sets={"prank": 26, "benign": 26},
        says=("read as benign: the category 'Benign'",),
    ),
    Case("umlaut.jsonl", called(prank="Größe", fib="ненависть"), sets={"Größe": 26, "ненависть": 26}),
    Case("slash.jsonl", called(prank="hate/threat", fib="Hate Speech"), sets={"hate/threat": 26, "Hate Speech": 26}),
    Case("semicolon.csv", R, lambda p, r: delimited(p, r, ";"), sets=BOTH),
    Case("tab.tsv", R, lambda p, r: delimited(p, r, "\t"), sets=BOTH),
    Case("spaced_header.csv", R, lambda p, r: delimited(p, r, header="Category, Prompt ,Response"), sets=BOTH),
    Case("array.json", R, as_json, sets=BOTH),
    Case("table.parquet", R, parquet, sets=BOTH),
    Case("goal_target.csv", GOALS, delimited, says=("no column says the harm type", "--category NAME")),
    Case("goal_target.csv", GOALS, delimited, ("--category=prank",), {"prank": 52}, ("first words of an answer",)),
    Case("instruction_output.json", TOLD, as_json, ("--category=prank",), {"prank": 52}),
    Case("chat_messages.jsonl", [chat(r) for r in R], sets=BOTH),
    Case("flags_per_category.jsonl", FLAGS, sets={"privacy": 26, "safe:privacy": 26}),
    Case("nameless.csv", NAMELESS, delimited, says=("columns found: 'ask', 'said'", "prompt=ask,response=said")),
    Case("nameless.csv", NAMELESS, delimited, ("--columns=prompt=ask,response=said", "--category=fib"), {"fib": 52}),
    Case(
        "behavior_only.csv",
        renamed(R, prompt="Behavior", category="SemanticCategory"),
        delimited,
        says=("requests without answers, which cannot score a model", "--requests"),
    ),
    Case("many_faults.jsonl", FAULTY, says=("4 faults", "row 4", "row 10", "row 53", "row 54", "--drop-bad")),
    Case("many_faults.jsonl", FAULTY, options=("--drop-bad",), sets={"prank": 24, "fib": 26}, says=("4 of 54 rows",)),
)
READ += (
    Case(
        "called_benign_control.jsonl",
        called(prank="prank", fib="benign_control"),
        sets={"prank": 26, "benign_control": 26},
        says=("though its name sounds harmless: 'benign_control'; where its answers are, write benign",),
    ),
    Case("no_risk.jsonl", called(prank="prank", fib="No-Risk"), sets={"prank": 26, "benign": 26}, says=("'No-Risk'",)),
    Case("two_names.jsonl", R, options=("--category=x",), says=("says the category of each row, 2 different ones",)),
    Case("one_name.jsonl", PRANKS, options=("--category=x",), sets={"x": 26}),
    Case("sep_line.csv", R, lambda p, r: prefixed(p, r, "sep=;\n", ";"), sets=BOTH),
    Case("sep_line_crlf.csv", R, lambda p, r: prefixed(p, r, "SEP=,\r\n", ","), sets=BOTH),
    Case(
        "sep_line_faults.csv", [*R, R[0]], lambda p, r: prefixed(p, r, "sep=;\n", ";"), says=("row 55: repeats row 3",)
    ),
    Case(
        "splits.json",
        [{"train": R[:26], "test": R[26:]}],
        split,
        says=("2 tables, 'train', 'test'", "save one of them"),
    ),
    Case("splits_unequal.json", [{"train": R[:40], "test": R[40:]}], split, says=("2 tables, 'train', 'test'",)),
    Case("index.csv", R, indexed, sets=BOTH),
    Case("numbers.jsonl", [{**r, "category": 7} for r in R], says=("column 'category' holds a number, not text",)),
    Case(
        "questions_alone.jsonl",
        [{"category": "fib", "messages": [{"role": "user", "content": r["prompt"]}]} for r in R],
        says=("requests without answers, which cannot score a model", "--requests"),
    ),
)
#: Refusals are for measurement only, whatever they are called and however they are read.
REFUSALS = (
    Case("called_safe.jsonl", and_refusals("safe:prank"), says=("'safe:prank'",)),
    Case("called_safe.csv", and_refusals("SAFE:Prank"), delimited, says=("'safe:prank'",)),
    Case("called_safe_chat.jsonl", [chat(r) for r in and_refusals("safe:fib")], says=("'safe:fib'",)),
    Case("called_benign.jsonl", and_refusals("benign"), says=("'benign'",)),
    Case("called_benign.parquet", and_refusals("benign"), parquet, says=("'benign'",)),
    Case("called_harmless.json", and_refusals("Harmless"), as_json, says=("'benign'",)),
    Case("left_in_by_drop_bad.jsonl", [*and_refusals("benign"), R[0]], options=("--drop-bad",), says=("'benign'",)),
    Case(
        "safe_by_flag.jsonl",
        [{**r, "category": "prank", "is_safe": r["category"] == "?"} for r in and_refusals("?")],
        says=("'safe:prank'",),
    ),
    Case(
        "chosen.jsonl", PAIRS, options=("--columns=response=rejected,safe=chosen", "--category=x"), says=("'safe:x'",)
    ),
)


@pytest.mark.parametrize("case", [*READ, *REFUSALS], ids=str)
def test_each_is_read_or_refused_with_what_to_do(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = case.write(tmp_path / case.file, case.found)
    code = main(["data", str(path), *case.options, "--json"])
    out, err = capsys.readouterr()
    assert not any(thing in out + err for thing in (*THINGS, "sorry")), "text of the data is shown"
    told = json.dumps(json.loads(out), ensure_ascii=False) if out else err
    assert [words for words in case.says if words not in told] == []
    if case.sets is None:
        assert (code, out) == (2, "")
    else:
        assert code == 0
        own = {name: s["rows"] for name, s in json.loads(out)["sets"].items() if s["from"] != "built in"}
        assert own == case.sets


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_refusals_are_refused_for_what_they_are(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = case.write(tmp_path / case.file, case.found)
    assert main(["run", "--data", str(path), *case.options, "--out", str(tmp_path / "runs")]) == 2
    message = capsys.readouterr().err
    assert "100% of the responses of" in message
    assert "measurement-only, whatever their set is called" in message
    assert not (tmp_path / "runs").exists()


def test_an_upload_is_held_to_the_same() -> None:
    content = "".join(json.dumps(r) + "\n" for r in and_refusals("benign")).encode()
    with pytest.raises(DataInvalid, match="'benign' read as refusals"):
        jobs.check_upload("mine.jsonl", content)


def test_refusals_called_harm_are_left_out_and_in_other_words_are_for_the_run_to_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the keyword list does not know passes here; ``tests/claims/mapping/test_gate.py`` is about what then is."""
    for words, left_out in ((REFUSAL, True), (OTHER_WORDS, False)):
        found = [*PRANKS, *({**r, "response": words.format(i)} for i, r in enumerate(rows(26, ("fib",))))]
        assert main(["data", str(jsonl(tmp_path / "r.jsonl", found)), "--json"]) == 0
        read = json.loads(capsys.readouterr().out)
        assert read["categories"] == (["prank"] if left_out else ["fib", "prank"])
        assert ("measurement-only" in read["left_out"].get("fib", "")) == left_out
